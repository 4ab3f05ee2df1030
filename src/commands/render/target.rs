//! What the operator would make of one BackupTarget.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use secrecy::{ExposeSecret, SecretString};

use super::{Arguments, Input, Output, Part, Store, explain};
use crate::{
    access::{
        Access, Invalid, PolicyDocument,
        allow::{CLUSTER, Namespace, need_namespace},
        rclone::AccessKey,
        rights::{Right, rights},
    },
    api::{
        BackupTarget, Capability,
        backup_target::{PolicyForm, Record},
    },
    cluster::{NewSecret, secret_manifest},
    controller::{
        backup_target::decide::{self, Facts, Goal, Provide},
        time::now,
    },
    names,
};

const KEY_ID: &str = "ACCESS-KEY-ID";
const SECRET_KEY: &str = "SECRET-ACCESS-KEY";
/// Stands for the id of a cluster that is not known; a target that needs it is refused.
const CLUSTER_ID: &str = "CLUSTER-ID";
const UID: &str = "UID-OF-THE-TARGET";
const PRINCIPAL: &str = "ARN-OF-THE-IAM-USER";

/// A target, and what the operator would provide for it.
pub struct Target {
    object: BackupTarget,
    store: Store,
    provide: Box<Provide>,
}

impl Target {
    /// Holds the store's rules against the target.
    pub fn new(object: &BackupTarget, store: Store, input: &Input) -> Result<Self, String> {
        let name = object.namespace().unwrap_or_else(|| "default".to_owned());
        let known = input.namespaces.get(&name).cloned();
        if known.is_none() && need_namespace(&store.spec.allow) {
            return Err(format!(
                "metadata.namespace: BackupStore {} selects namespaces by label, or goes by their UIDs; give the Namespace {name} \
                 with -f, too",
                store.name
            ));
        }
        let ObjectMeta { labels, uid, .. } = known.unwrap_or_default();
        let namespace = Namespace {
            name,
            labels: labels.unwrap_or_default(),
            uid: uid.unwrap_or_default(),
            cluster: store.cluster.clone().unwrap_or_else(|| CLUSTER_ID.to_owned()),
        };
        let facts = Facts {
            target: object,
            record: &Record::default(),
            rules: &store.spec.allow,
            terms: &store.terms,
            limits: store.limits,
            bound: None,
            namespace: &namespace,
            // How many there are in the cluster, no file says.
            rivals: &[],
            full: None,
            reactivate_at: None,
            now: now(),
        };
        match decide::decide(facts).map_err(|invalid| invalid.to_string())? {
            Goal::Provide(provide) if store.limits.form(&provide.document).is_none() => Err(format!(
                "spec.prefix: the policy has {} characters, and it may have {}; shorten the prefix or set ancestorListing: Deny",
                provide.document.size(),
                store.limits.largest_document()
            )),
            Goal::Provide(provide) => Ok(Self { object: object.clone(), provide, store }),
            Goal::Withhold { why } => {
                let by_cluster =
                    store.spec.allow.iter().flat_map(|rule| &rule.prefixes).any(|text| text.contains(CLUSTER));
                let more = if by_cluster && store.cluster.is_none() {
                    format!("; give --cluster-id, since rules go by {CLUSTER}")
                } else {
                    String::new()
                };
                Err(format!("spec: BackupStore {} does not allow this claim: {why}{more}", store.name))
            }
            Goal::Remove | Goal::Retain { .. } => {
                Err("metadata.deletionTimestamp: it is being deleted, so nothing would be made of it".to_owned())
            }
        }
    }

    /// One output.
    pub fn render(&self, output: Output, arguments: &Arguments) -> Result<Part, String> {
        match output {
            Output::BucketPolicy => Ok(self.bucket_policy(arguments)),
            Output::Rclone => self.rclone().map_err(|invalid| invalid.to_string()),
            Output::Secret => self.secret(),
            Output::Table => Ok(self.table()),
            _ => Ok(self.policy()),
        }
        .map(|part| Part { notes: [part.notes, self.store.about_the_rules()].concat(), ..part })
    }

    fn access(&self) -> &Access {
        &self.provide.grant.access
    }

    fn policy(&self) -> Part {
        let document = &self.provide.document;
        let limits = self.store.limits;
        let fits = |(known, _): &&(PolicyForm, usize)| Some(*known) == limits.form(document);
        let limit = limits.forms.iter().find(fits).map_or_else(|| limits.largest_document(), |(_, limit)| *limit);
        let of_limit = |form: &str| format!("{form} ({} of {limit} characters)", document.size());
        let title = match limits.form(document) {
            Some(PolicyForm::Inline) => of_limit("inline policy"),
            Some(PolicyForm::Managed) | None => of_limit("managed policy"),
            Some(PolicyForm::External) => "what the key has to be able to do, and nothing else".to_owned(),
        };
        let notes = self.store.about_the_account().into_iter().chain(self.about_the_bucket());
        let notes = notes.chain(self.store.about_the_key(self.access())).collect();
        Part { title, text: document.to_pretty_json(), notes }
    }

    fn bucket_policy(&self, arguments: &Arguments) -> Part {
        let unfit = rights(self.access()).filter(|right| !right.fits_bucket_policy());
        let unsupported = |right: &Right| {
            format!(
                "Unsupported in a bucket policy: {} ({}); only the IAM user's own policy can give it",
                right.tier.name(),
                right.action
            )
        };
        let mut notes: Vec<String> = unfit.map(unsupported).collect();
        let principals = self.principals(arguments);
        if principals.contains(PRINCIPAL) {
            notes.push(format!(
                "replace {PRINCIPAL}; with metadata.uid (kubectl get -o yaml), --account and the store's path it is known, or give \
                 --principal"
            ));
        }
        let document = PolicyDocument::for_bucket(&self.store.terms, [self.access()], &principals);
        Part { title: format!("policy of bucket {}", self.access().bucket), text: document.to_pretty_json(), notes }
    }

    fn principals(&self, arguments: &Arguments) -> BTreeSet<String> {
        if !arguments.principals.is_empty() {
            return arguments.principals.iter().cloned().collect();
        }
        let known = (self.object.uid(), self.store.account.as_deref(), self.store.path.as_deref());
        let (Some(uid), Some(account), Some(path)) = known else { return [PRINCIPAL.to_owned()].into() };
        let partition = self.store.terms.partition.as_str();
        [format!("arn:{partition}:iam::{account}:user{path}{}", names::principal(&uid))].into()
    }

    fn rclone(&self) -> Result<Part, Invalid> {
        Ok(Part {
            title: names::RCLONE_CONF.to_owned(),
            text: self.rclone_conf()?.expose_secret().to_owned(),
            notes: self.about_the_bucket(),
        })
    }

    /// With placeholders for the key.
    fn rclone_conf(&self) -> Result<SecretString, Invalid> {
        self.provide.rclone.render(&AccessKey { id: KEY_ID.to_owned(), secret: SECRET_KEY.into() })
    }

    fn about_the_bucket(&self) -> Vec<String> {
        let creates = self.access().capabilities.contains(&Capability::CreateBucket);
        let note = "shown for a bucket that exists; while it is missing, the policy has s3:CreateBucket, and rclone.conf no \
                    no_check_bucket, so that rclone creates it";
        creates.then(|| note.to_owned()).into_iter().collect()
    }

    fn secret(&self) -> Result<Part, String> {
        let rclone_conf = self.rclone_conf().map_err(|invalid| invalid.to_string())?;
        let mut object = self.object.clone();
        object.metadata.uid.get_or_insert_with(|| UID.to_owned());
        let name = &self.provide.secret_name;
        let new = NewSecret { target: &object, name, rclone_conf: &rclone_conf };
        let mut secret = secret_manifest(&new, None);
        secret.metadata.namespace = Some(object.namespace().unwrap_or_else(|| "default".to_owned()));
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        let yaml = serde_saphyr::to_string_with_options(&secret, options)
            .map_err(|error| format!("it cannot be written as YAML: {error}"))?;
        Ok(Part { title: format!("Secret {name}"), text: format!("---\n{yaml}"), notes: self.about_the_bucket() })
    }

    fn table(&self) -> Part {
        let text = explain::explain(&self.store.terms, self.access());
        Part { title: "what each tier allows".to_owned(), text, notes: self.store.about_the_account() }
    }
}
