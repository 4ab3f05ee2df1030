{{/* The chart's name, or nameOverride. */}}
{{- define "backup-target-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all objects: the release's name, with the chart's name unless that is part of it already. */}}
{{- define "backup-target-operator.fullname" -}}
{{- $name := include "backup-target-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels by which the Deployment finds its pods. They can never change. */}}
{{- define "backup-target-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "backup-target-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of all objects. */}}
{{- define "backup-target-operator.labels" -}}
{{ include "backup-target-operator.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Labels of the operator's pods: none that another version of the chart alone would change, or it would replace all pods. */}}
{{- define "backup-target-operator.podLabels" -}}
{{ include "backup-target-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* The pods' part of the Pod Security Standard "restricted"; podSecurityContext can say as whom they run, and nothing else. */}}
{{- define "backup-target-operator.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.podSecurityContext }}
{{ toYaml . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The ServiceAccount under which the operator runs. */}}
{{- define "backup-target-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "backup-target-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The image: by digest when there is one, else by tag. */}}
{{- define "backup-target-operator.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* What the operator does in the namespaces of targets: everywhere, or in those named by the value namespaces. */}}
{{- define "backup-target-operator.namespaceRules" -}}
# get: is the Secret the target's own and complete.
# create, update, delete: the Secret with the rclone.conf.
{{- if .Values.secretWatch }}
# list, watch: a changed or deleted Secret is noticed at once. The operator asks for metadata only, of Secrets with its
# own label; RBAC cannot say so, and these two verbs could read every Secret. The value namespaces limits where, and
# secretWatch: false takes them away.
{{- end }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, {{ if .Values.secretWatch }}list, watch, {{ end }}create, update, delete]
# Events on targets; patch counts a repeated one up.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The operator's ServiceAccount, as bindings name it. */}}
{{- define "backup-target-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "backup-target-operator.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}

{{/* Whether the API server knows BackupStores at the time the release is made. */}}
{{- define "backup-target-operator.storesCanCome" -}}
{{- if or (not .Values.crds.enabled) (.Capabilities.APIVersions.Has "backup-target.dev/v1alpha1/BackupStore") }}yes{{ end }}
{{- end }}

{{/* Puts an admission policy to work. */}}
{{- define "backup-target-operator.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name | quote }}
  labels:
    {{- include "backup-target-operator.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name | quote }}
  validationActions: [Deny]
{{- end }}

{{/* What an object has in metadata, now and before, as variables of an admission policy. */}}
{{- define "backup-target-operator.metadataVariables" -}}
{{- range $field, $none := dict "annotations" "{}" "finalizers" "[]" "labels" "{}" "ownerReferences" "[]" }}
- name: {{ $field }}
  expression: object.metadata.?{{ $field }}.orValue({{ $none }})
- name: old{{ title $field }}
  expression: "oldObject == null ? {{ $none }} : oldObject.metadata.?{{ $field }}.orValue({{ $none }})"
{{- end }}
{{- end }}

{{/* Whether metadata is small, with managedFields, of which anybody may write as many as he likes. What is larger from before may
still be changed and go. */}}
{{- define "backup-target-operator.metadataFits" -}}
size(bytes('%s'.format([object.metadata]))) <= 32768
|| request.operation == 'UPDATE' && size(bytes('%s'.format([oldObject.metadata]))) > 32768
&& size(bytes('%s'.format([object.metadata]))) <= size(bytes('%s'.format([oldObject.metadata]))) + 1024
{{- end }}

{{/* What to say when it is not. */}}
{{- define "backup-target-operator.metadataTooLarge" -}}
the metadata of {{ . }} may have 32 KiB in all, with managedFields; keep less in labels and annotations
{{- end }}
