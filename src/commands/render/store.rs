//! A BackupStore as `render` sees it: given, or standing in where none was.

use kube::ResourceExt;

use super::{Arguments, Input, Output, Part};
use crate::{
    access::{Access, Partition, Terms, meeting::meetings, terms::AccountId},
    api::{
        BackupStore, BackupTarget, Capability,
        backup_store::{AllowRule, BackupStoreSpec, NamespaceRule, Provider},
    },
    names,
    provider::{
        self, Limits,
        aws::{
            dialect::MANAGED_LIMIT,
            operator_policy::{self, OperatorPolicy, Place},
            settings::{BoundaryArn, Settings},
        },
        static_keys::entries::Entries,
    },
};

/// Region of the store that stands in.
pub const DEFAULT_REGION: &str = "us-east-1";

/// A store whose terms are parsed.
pub struct Store {
    pub spec: BackupStoreSpec,
    pub terms: Terms,
    /// What the store can do.
    pub limits: &'static Limits,
    /// What its administrator says about IAM users.
    pub settings: Settings,
    /// The keys that its administrator brings.
    pub entries: Entries,
    pub name: String,
    /// The AWS account, where something says it.
    pub account: Option<String>,
    /// IAM path of the principals, where something says it.
    pub path: Option<String>,
    /// Id of the cluster, where it is given.
    pub cluster: Option<String>,
}

impl Store {
    /// A store that was given.
    pub fn new(store: &BackupStore, arguments: &Arguments) -> Result<Self, String> {
        let known = store.status.as_ref().and_then(|status| status.account_id.clone());
        Self::parse(store.name_any(), store.spec.clone(), known, arguments)
    }

    /// The store of a target.
    pub fn of(target: &BackupTarget, input: &Input, arguments: &Arguments) -> Result<Self, String> {
        let name = &target.spec.store_ref.name;
        if let Some((_, store)) = input.stores.iter().find(|(_, store)| store.name_any() == *name) {
            return Self::new(store, arguments);
        }
        if !input.stores.is_empty() {
            return Err(format!("spec.storeRef.name: BackupStore {name} is not among what was given; add it with -f"));
        }
        Self::parse(name.clone(), permissive(target, arguments), None, arguments)
    }

    fn parse(
        name: String,
        spec: BackupStoreSpec,
        account: Option<String>,
        arguments: &Arguments,
    ) -> Result<Self, String> {
        let invalid = |invalid| format!("BackupStore {name}: {invalid}");
        let settings = Settings::parse(&spec).map_err(invalid)?;
        // Of a partition that its region does not tell, the boundary does.
        let known_arn = settings.boundary.as_ref().map(BoundaryArn::as_str);
        let terms = Terms::parse(&spec, None).map_err(invalid)?;
        let terms = Terms { partition: Partition::of(terms.region.as_str(), known_arn), ..terms };
        let bounded = settings.boundary.as_ref().and_then(|boundary| boundary.account().map(str::to_owned));
        let by_cluster = arguments.cluster_id.as_deref().map(names::default_path);
        let account = arguments.account.clone().or(account).or(bounded);
        let own = account.as_deref().and_then(|account| AccountId::parse(account).ok());
        let bucket_owner = if spec.aws.bucket_owner.is_none() { own } else { terms.bucket_owner.clone() };
        Ok(Self {
            path: settings.path.as_ref().map(ToString::to_string).or(by_cluster),
            account,
            terms: Terms { bucket_owner, ..terms },
            cluster: arguments.cluster_id.clone(),
            limits: provider::limits(spec.provider),
            entries: Entries::parse(&spec).map_err(invalid)?,
            settings,
            spec,
            name,
        })
    }

    /// Where the rules let somebody reach the folder of others.
    pub fn about_the_rules(&self) -> Vec<String> {
        meetings(&self.spec.allow, self.cluster.as_deref())
    }

    /// What the operator knows and this program does not.
    pub fn about_the_account(&self) -> Vec<String> {
        let unknown = self.has_policies() && self.terms.bucket_owner.is_none() && self.spec.aws.bucket_owner.is_none();
        let note = "the AWS account is not known, so the condition s3:ResourceAccount, with which the operator pins the buckets to \
                    it, is not shown; give --account";
        unknown.then(|| note.to_owned()).into_iter().collect()
    }

    /// What its administrator has to do with the policy, where keys are theirs to make.
    pub fn about_the_key(&self, access: &Access) -> Vec<String> {
        if !self.limits.brings_keys {
            return Vec::new();
        }
        let make = "give it to the key's principal where the store takes policies, or come as close as the store can (docs/stores.md)";
        let none = format!(
            "spec.staticKeys of BackupStore {} has no entry for just {} of bucket {}",
            self.name, access.prefix, access.bucket
        );
        let has_entry = self.entries.find(access).is_some();
        [make.to_owned()].into_iter().chain((!has_entry).then_some(none)).collect()
    }

    /// Whether there is anything to print of the store itself.
    pub fn has_policies(&self) -> bool {
        self.spec.provider == Provider::Aws
    }

    /// One output of the store itself.
    pub fn render(&self, output: Output) -> Result<Part, String> {
        if self.limits.brings_keys {
            return Err("spec.provider: with StaticKeys the operator has no credentials of its own, so it needs no policy, and there is \
                        no boundary"
                .to_owned());
        }
        if !self.has_policies() {
            return Err(format!(
                "spec.provider: {} takes no policy for the operator and no boundary; its credentials are an administrator's \
                 (docs/administrator.md)",
                self.limits.words.account
            ));
        }
        match output {
            Output::Boundary => self.boundary(),
            _ => self.operator_policy(),
        }
        .map(|part| Part { notes: [part.notes, self.about_the_rules()].concat(), ..part })
    }

    fn operator_policy(&self) -> Result<Part, String> {
        let path = self.path.as_deref().ok_or(
            "spec.aws.iamPath: the store names none, so it depends on the cluster; give --cluster-id (chart value clusterId, or \
             the UID of the namespace kube-system)",
        )?;
        let mut notes = Vec::new();
        let account = self.account.as_deref().unwrap_or_else(|| {
            notes.push("the account is not known, so the policy says *; give --account to name it".to_owned());
            "*"
        });
        match &self.settings.boundary {
            None => notes.push(
                "without spec.aws.permissionsBoundary, whoever has the operator's credentials can give any right to users \
                 under the path; -o boundary prints a boundary"
                    .to_owned(),
            ),
            Some(boundary) if boundary.path().starts_with(path) => {
                return Err(format!(
                    "spec.aws.permissionsBoundary: it lies under {path}, where the operator may change policies; move it to \
                     another path"
                ));
            }
            Some(_) => {}
        }
        let policy =
            OperatorPolicy::new(Place { terms: &self.terms, boundary: self.settings.boundary.as_ref(), account, path });
        Ok(Part { title: "policy of the operator".to_owned(), text: policy.to_pretty_json(), notes })
    }

    fn boundary(&self) -> Result<Part, String> {
        let (document, mut notes) = operator_policy::boundary(&self.terms, &self.spec, self.cluster.as_deref())
            .map_err(|invalid| invalid.to_string())?;
        notes.extend(self.about_the_account());
        if document.is_empty() {
            return Err("spec.allow: no rule allows anything, so there is nothing to bound".to_owned());
        }
        let size = document.size();
        if size > MANAGED_LIMIT {
            return Err(format!(
                "spec.allow: the union of the rules has {size} characters, and a managed policy may have {MANAGED_LIMIT}; divide \
                 the rules over several stores, or name folders further up"
            ));
        }
        let title = format!("permissions boundary ({size} of {MANAGED_LIMIT} characters)");
        Ok(Part { title, text: document.to_pretty_json(), notes })
    }
}

/// Allows whatever the target asks for.
fn permissive(target: &BackupTarget, arguments: &Arguments) -> BackupStoreSpec {
    let namespace = target.namespace().unwrap_or_else(|| "default".to_owned());
    BackupStoreSpec {
        provider: crate::api::backup_store::Provider::default(),
        region: arguments.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        endpoint: None,
        allow_insecure: false,
        credentials: None,
        requests_per_second: 1,
        max_principals: None,
        tls_only: false,
        aws: crate::api::backup_store::AwsSettings::default(),
        static_keys: Vec::new(),
        rclone_provider: None,
        allow: vec![AllowRule {
            namespaces: NamespaceRule { names: vec![namespace], ..NamespaceRule::default() },
            buckets: vec![target.spec.bucket.clone()],
            prefixes: vec![String::new()],
            capabilities: Capability::ALL.to_vec(),
            retain: true,
            ancestor_listing: target.spec.ancestor_listing.unwrap_or_default(),
            max_key_overlap: target.spec.key_overlap,
            max_targets: None,
        }],
        endpoints: None,
        iam: None,
        policy: None,
    }
}
