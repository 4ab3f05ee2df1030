//! Who may claim what: a store's `allow` rules held against a claim.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use super::{Access, BucketName, Claim, Prefix};
use crate::api::{
    Capability,
    backup_store::{AllowRule, NamespaceRule},
    backup_target::AncestorListing,
};

/// As a whole folder name in a rule's prefix: the name of the target's namespace, …
pub const NAMESPACE: &str = "{namespace}";
/// … its UID, …
pub const NAMESPACE_UID: &str = "{namespaceUID}";
/// … and the id of the cluster.
pub const CLUSTER: &str = "{cluster}";
const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);
const DEFAULT_MAX_OVERLAP: Duration = Duration::from_hours(168);

/// The namespace of a target, as rules see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its UID, which no other namespace ever has; empty where no rule asks for it.
    pub uid: String,
    /// Id of the cluster that it is in.
    pub cluster: String,
}

/// Another target of the same namespace and store that comes before this one, where a rule serves only so many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rival {
    /// It has credentials for this.
    Has(Access),
    /// It is older, and asks for this.
    Wants(Claim),
}

/// What a rule lets a target have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the key may reach: the claim, less what no rule covers.
    pub access: Access,
    /// The same as it was claimed, so that a right comes back when a rule allows it again.
    pub claimed: Access,
    /// Whether the credentials may outlive the target.
    pub retain: bool,
    /// How long replaced access stays valid.
    pub key_overlap: Duration,
    /// The longest that a replaced key in use is kept.
    pub max_key_overlap: Duration,
}

/// The answer of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One rule covers the entire claim.
    Allowed(Grant),
    /// A rule covers the place, but not all that is asked for there.
    Partly {
        /// What it covers.
        grant: Grant,
        /// What it does not.
        missing: Vec<Missing>,
    },
    /// No rule covers the place.
    Refused {
        /// What no rule covers, in words for people.
        why: String,
    },
}

/// What is asked for and no rule covers. Its text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The folder.
    Place {
        /// Its bucket.
        bucket: BucketName,
        /// The folder in it.
        prefix: Prefix,
    },
    /// A capability.
    Capability(Capability),
    /// To list the way to the folder.
    AncestorListing,
    /// That the credentials outlive the target.
    Retain,
    /// A longer overlap than the rule's.
    KeyOverlap {
        /// The longest that the rule allows.
        most: Duration,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place { bucket, prefix } => write!(f, "{prefix} of bucket {bucket}"),
            Self::Capability(capability) => write!(f, "capability {capability}"),
            Self::AncestorListing => f.write_str("ancestorListing: Allow"),
            Self::Retain => f.write_str("deletionPolicy: Retain"),
            Self::KeyOverlap { most } => write!(f, "keyOverlap beyond {}h", most.as_secs().div_ceil(3600)),
        }
    }
}

/// What is missing, one after the other.
#[must_use]
pub fn listed(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Holds the rules against a claim. One rule must cover all of it; of several, the first counts. Rules that serve as many
/// targets as they may count for nothing.
#[must_use]
pub fn decide(claim: &Claim, namespace: &Namespace, rules: &[AllowRule], rivals: &[Rival]) -> Verdict {
    let covers = |rule: &&AllowRule| covers_place(rule, namespace, claim.bucket.as_str(), &claim.prefix);
    let best = rules
        .iter()
        .filter(covers)
        .filter(|rule| has_room(rule, namespace, rivals))
        .map(|rule| hold_against(claim, rule))
        .min_by_key(|(_, missing)| missing.len());
    match best {
        None => Verdict::Refused {
            why: match rules.iter().find(covers).and_then(|rule| rule.max_targets) {
                Some(most) => too_many(claim, namespace, most),
                None => refusal(claim, namespace, rules),
            },
        },
        Some((grant, missing)) if missing.is_empty() => Verdict::Allowed(grant),
        Some((grant, missing)) => Verdict::Partly { grant, missing },
    }
}

fn has_room(rule: &AllowRule, namespace: &Namespace, rivals: &[Rival]) -> bool {
    let takes_one = |rival: &&Rival| match rival {
        Rival::Has(access) => covers_place(rule, namespace, access.bucket.as_str(), &access.prefix),
        Rival::Wants(claim) => {
            covers_place(rule, namespace, claim.bucket.as_str(), &claim.prefix)
                && hold_against(claim, rule).1.is_empty()
        }
    };
    let taken = rivals.iter().filter(takes_one).count();
    rule.max_targets.and_then(|most| usize::try_from(most).ok()).is_none_or(|most| taken < most)
}

fn too_many(claim: &Claim, namespace: &Namespace, most: u32) -> String {
    format!(
        "the rule for {} of bucket {} serves {most} targets of namespace {} (maxTargets), and as many come before this one; \
         delete one that is not needed",
        claim.prefix, claim.bucket, namespace.name
    )
}

/// What the rules still allow of access that was given earlier; `None` when nothing.
#[must_use]
pub fn limit(access: &Access, namespace: &Namespace, rules: &[AllowRule]) -> Option<Access> {
    rules
        .iter()
        .filter(|rule| covers_place(rule, namespace, access.bucket.as_str(), &access.prefix))
        .map(|rule| Access {
            capabilities: access.capabilities.iter().copied().filter(|c| rule.capabilities.contains(c)).collect(),
            ancestor_listing: access.ancestor_listing && allows_listing(rule),
            ..access.clone()
        })
        .max_by_key(|limited| (limited.capabilities.len(), limited.ancestor_listing))
}

/// Whether the rules look at more than the namespace's name, so that it has to be read.
#[must_use]
pub fn need_namespace(rules: &[AllowRule]) -> bool {
    let by_uid = |text: &String| text.split('/').any(|segment| segment == NAMESPACE_UID);
    rules.iter().any(|rule| !rule.namespaces.match_labels.is_empty() || rule.prefixes.iter().any(by_uid))
}

/// Whether a rule serves only so many targets.
#[must_use]
pub fn have_limits(rules: &[AllowRule]) -> bool {
    rules.iter().any(|rule| rule.max_targets.is_some())
}

fn hold_against(claim: &Claim, rule: &AllowRule) -> (Grant, Vec<Missing>) {
    let mut missing = Vec::new();
    let (capabilities, refused): (BTreeSet<Capability>, BTreeSet<Capability>) =
        claim.capabilities.iter().copied().partition(|c| rule.capabilities.contains(c));
    missing.extend(refused.into_iter().map(Missing::Capability));

    let listing = claim.ancestor_listing.unwrap_or(allows_listing(rule));
    if listing && !allows_listing(rule) {
        missing.push(Missing::AncestorListing);
    }
    if claim.retain && !rule.retain {
        missing.push(Missing::Retain);
    }
    let max_key_overlap = rule.max_key_overlap.map_or(DEFAULT_MAX_OVERLAP, Duration::from);
    let overlap = claim.key_overlap.unwrap_or(DEFAULT_OVERLAP.min(max_key_overlap));
    if overlap > max_key_overlap {
        missing.push(Missing::KeyOverlap { most: max_key_overlap });
    }
    let claimed = Access {
        bucket: claim.bucket.clone(),
        prefix: claim.prefix.clone(),
        capabilities: claim.capabilities.clone(),
        ancestor_listing: listing,
    };
    let grant = Grant {
        access: Access { capabilities, ancestor_listing: listing && allows_listing(rule), ..claimed.clone() },
        claimed,
        retain: claim.retain && rule.retain,
        key_overlap: overlap.min(max_key_overlap),
        max_key_overlap,
    };
    (grant, missing)
}

fn allows_listing(rule: &AllowRule) -> bool {
    rule.ancestor_listing == AncestorListing::Allow
}

fn covers_place(rule: &AllowRule, namespace: &Namespace, bucket: &str, prefix: &Prefix) -> bool {
    covers_namespace(&rule.namespaces, namespace)
        && rule.buckets.iter().any(|allowed| allowed == bucket)
        && covers_prefix(rule, namespace, prefix)
}

fn covers_namespace(rule: &NamespaceRule, namespace: &Namespace) -> bool {
    let labelled = |(key, value): (&String, &String)| namespace.labels.get(key) == Some(value);
    rule.names.contains(&namespace.name) || (!rule.match_labels.is_empty() && rule.match_labels.iter().all(labelled))
}

fn covers_prefix(rule: &AllowRule, namespace: &Namespace, prefix: &Prefix) -> bool {
    rule.prefixes.iter().filter_map(|allowed| rule_prefix(allowed, namespace)).any(|allowed| allowed.covers(prefix))
}

/// A rule's prefix with its placeholders filled in; one that no target could claim matches nothing.
#[must_use]
pub fn rule_prefix(text: &str, namespace: &Namespace) -> Option<Prefix> {
    if text.is_empty() {
        return Some(Prefix::whole_bucket());
    }
    let filled = |segment| match segment {
        NAMESPACE => namespace.name.as_str(),
        NAMESPACE_UID => namespace.uid.as_str(),
        CLUSTER => namespace.cluster.as_str(),
        literal => literal,
    };
    Prefix::parse(&text.split('/').map(filled).collect::<Vec<_>>().join("/")).ok()
}

fn refusal(claim: &Claim, namespace: &Namespace, rules: &[AllowRule]) -> String {
    let here: Vec<&AllowRule> = rules.iter().filter(|rule| covers_namespace(&rule.namespaces, namespace)).collect();
    if here.is_empty() {
        return format!("no rule speaks of namespace {}", namespace.name);
    }
    if !here.iter().any(|rule| rule.buckets.iter().any(|allowed| allowed == claim.bucket.as_str())) {
        return format!("no rule for namespace {} has bucket {}", namespace.name, claim.bucket);
    }
    format!("no rule for namespace {} and bucket {} covers {}", namespace.name, claim.bucket, claim.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::backup_target::BackupTargetSpec;

    fn rule(json: serde_json::Value) -> AllowRule {
        serde_json::from_value(json).expect("a valid rule")
    }

    fn claim(json: serde_json::Value) -> Claim {
        let spec: BackupTargetSpec = serde_json::from_value(json).expect("a valid spec");
        Claim::parse("target", &spec).expect("a valid claim")
    }

    fn namespace(name: &str) -> Namespace {
        Namespace {
            name: name.to_owned(),
            labels: [("team".to_owned(), "a".to_owned())].into(),
            uid: format!("uid-of-{name}"),
            cluster: "prod".to_owned(),
        }
    }

    fn base_rule() -> AllowRule {
        rule(serde_json::json!({
            "namespaces": {"names": ["team-a"]}, "buckets": ["b-1"], "prefixes": ["backups/", "{namespace}/"],
            "capabilities": ["MultipartUploads"], "maxKeyOverlap": "2h",
        }))
    }

    #[test]
    fn places_match_by_whole_segment_or_not_at_all() {
        let table = [
            ("team-a", "b-1", Some("backups/x"), true),
            ("team-a", "b-1", Some("backups"), true),
            ("team-a", "b-1", Some("backups-2/x"), false),
            ("team-a", "b-1", Some("team-a/x"), true),
            ("team-a", "b-1", Some("team-ab/x"), false),
            ("team-a", "b-1", Some("team-b/x"), false),
            ("team-a", "b-1", None, false),
            ("team-a", "b-2", Some("backups/x"), false),
            ("team-b", "b-1", Some("backups/x"), false),
        ];
        for (ns, bucket, prefix, expected) in table {
            let claim = claim(serde_json::json!({"bucket": bucket, "prefix": prefix}));
            let allowed = matches!(decide(&claim, &namespace(ns), &[base_rule()], &[]), Verdict::Allowed(_));
            assert_eq!(allowed, expected, "{ns} {bucket} {prefix:?}");
        }
    }

    #[test]
    fn a_list_left_out_matches_nothing() {
        let claim = claim(serde_json::json!({"bucket": "b-1", "prefix": "backups/x"}));
        for missing in ["buckets", "prefixes"] {
            let mut json = serde_json::to_value(base_rule()).expect("serialisable");
            json.as_object_mut().expect("an object").remove(missing);
            assert!(matches!(decide(&claim, &namespace("team-a"), &[rule(json)], &[]), Verdict::Refused { .. }));
        }
        let nobody = AllowRule { namespaces: NamespaceRule::default(), ..base_rule() };
        assert!(matches!(decide(&claim, &namespace("team-a"), &[nobody], &[]), Verdict::Refused { .. }));
        assert!(matches!(decide(&claim, &namespace("team-a"), &[], &[]), Verdict::Refused { .. }));
    }

    #[test]
    fn only_the_empty_prefix_permits_the_whole_bucket() {
        let whole = claim(serde_json::json!({"bucket": "b-1"}));
        let open = AllowRule { prefixes: vec![String::new()], ..base_rule() };
        assert!(matches!(decide(&whole, &namespace("team-a"), &[open], &[]), Verdict::Allowed(_)));
        for text in ["/", "//", "*", "{namespace}*/"] {
            let odd = AllowRule { prefixes: vec![text.to_owned()], ..base_rule() };
            assert!(matches!(decide(&whole, &namespace("team-a"), &[odd], &[]), Verdict::Refused { .. }), "{text}");
        }
    }

    #[test]
    fn labels_select_namespaces() {
        let labelled = rule(serde_json::json!({
            "namespaces": {"matchLabels": {"team": "a"}}, "buckets": ["b-1"], "prefixes": [""],
        }));
        let claim = claim(serde_json::json!({"bucket": "b-1"}));
        assert!(need_namespace(std::slice::from_ref(&labelled)));
        assert!(matches!(decide(&claim, &namespace("x"), std::slice::from_ref(&labelled), &[]), Verdict::Allowed(_)));
        let other = Namespace { labels: BTreeMap::new(), ..namespace("x") };
        assert!(matches!(decide(&claim, &other, &[labelled], &[]), Verdict::Refused { .. }));
    }

    #[test]
    fn extras_beyond_the_rule_are_named() {
        let claim = claim(serde_json::json!({
            "bucket": "b-1", "prefix": "backups/x", "capabilities": ["MultipartUploads", "ObjectAcls"],
            "ancestorListing": "Allow", "deletionPolicy": "Retain", "keyOverlap": "3h",
        }));
        let Verdict::Partly { grant, missing } = decide(&claim, &namespace("team-a"), &[base_rule()], &[]) else {
            panic!("the rule covers the place only");
        };
        let named = "capability ObjectAcls, ancestorListing: Allow, deletionPolicy: Retain, keyOverlap beyond 2h";
        assert_eq!(listed(&missing), named);
        assert_eq!(grant.access.capabilities, [Capability::MultipartUploads].into());
        assert!(!grant.retain && !grant.access.ancestor_listing);
        assert_eq!(grant.key_overlap, Duration::from_hours(2));
    }

    #[test]
    fn one_rule_must_cover_the_entire_claim() {
        let acls = AllowRule { capabilities: vec![Capability::ObjectAcls], ..base_rule() };
        let claim = claim(serde_json::json!({
            "bucket": "b-1", "prefix": "backups/x", "capabilities": ["MultipartUploads", "ObjectAcls"],
        }));
        assert!(matches!(decide(&claim, &namespace("team-a"), &[base_rule(), acls], &[]), Verdict::Partly { .. }));
    }

    #[test]
    fn what_is_left_out_follows_the_rule() {
        let claim = claim(serde_json::json!({"bucket": "b-1", "prefix": "backups/x"}));
        let listing = AllowRule { ancestor_listing: AncestorListing::Allow, max_key_overlap: None, ..base_rule() };
        for (rule, listed, hours) in [(base_rule(), false, 2), (listing, true, 24)] {
            let Verdict::Allowed(grant) = decide(&claim, &namespace("team-a"), &[rule], &[]) else {
                panic!("allowed");
            };
            assert_eq!((grant.access.ancestor_listing, grant.key_overlap), (listed, Duration::from_hours(hours)));
        }
    }

    #[test]
    fn the_longest_overlap_is_still_within_the_rule() {
        for (overlap, allowed) in [("2h", true), ("2h1s", false)] {
            let claim = claim(serde_json::json!({"bucket": "b-1", "prefix": "backups/x", "keyOverlap": overlap}));
            let verdict = decide(&claim, &namespace("team-a"), &[base_rule()], &[]);
            assert_eq!(matches!(verdict, Verdict::Allowed(_)), allowed, "{overlap}");
        }
    }

    #[test]
    fn credentials_outlive_a_target_only_when_both_want_it() {
        for (policy, rule_retains, retained) in
            [("Retain", true, true), ("Retain", false, false), ("Delete", true, false), ("Delete", false, false)]
        {
            let claim = claim(serde_json::json!({"bucket": "b-1", "prefix": "backups/x", "deletionPolicy": policy}));
            let rule = AllowRule { retain: rule_retains, ..base_rule() };
            let (Verdict::Allowed(grant) | Verdict::Partly { grant, .. }) =
                decide(&claim, &namespace("team-a"), &[rule], &[])
            else {
                panic!("the place is covered");
            };
            assert_eq!(grant.retain, retained, "{policy}, and the rule says {rule_retains}");
        }
    }

    #[test]
    fn a_refusal_names_the_first_thing_that_no_rule_has() {
        let table = [
            ("team-b", "b-1", "backups/x", "no rule speaks of namespace team-b"),
            ("team-a", "b-2", "backups/x", "no rule for namespace team-a has bucket b-2"),
            ("team-a", "b-1", "other", "no rule for namespace team-a and bucket b-1 covers other/"),
        ];
        for (ns, bucket, prefix, expected) in table {
            let claim = claim(serde_json::json!({"bucket": bucket, "prefix": prefix}));
            let refused = Verdict::Refused { why: expected.to_owned() };
            assert_eq!(decide(&claim, &namespace(ns), &[base_rule()], &[]), refused);
        }
        let whole = claim(serde_json::json!({"bucket": "b-1"}));
        let Verdict::Refused { why } = decide(&whole, &namespace("team-a"), &[base_rule()], &[]) else {
            panic!("no rule covers the whole bucket");
        };
        assert!(why.ends_with("covers the whole bucket"), "{why}");
    }

    #[test]
    fn the_namespace_is_needed_only_when_a_rule_asks_for_more_than_its_name() {
        assert!(!need_namespace(&[base_rule()]));
        assert!(!need_namespace(&[]));
        let by_uid = AllowRule { prefixes: vec!["a/{namespaceUID}/".into()], ..base_rule() };
        assert!(need_namespace(&[base_rule(), by_uid]));
    }

    #[test]
    fn placeholders_stand_for_what_the_claim_comes_from() {
        let prefixes = vec!["clusters/{cluster}/{namespaceUID}/{namespace}".to_owned()];
        let rule = AllowRule { prefixes, ..base_rule() };
        for (prefix, expected) in [
            ("clusters/prod/uid-of-team-a/team-a/x", true),
            ("clusters/test/uid-of-team-a/team-a/x", false),
            ("clusters/prod/uid-of-team-b/team-a/x", false),
            ("clusters/prod/uid-of-team-a/team-b/x", false),
            ("clusters/prod", false),
        ] {
            let claim = claim(serde_json::json!({"bucket": "b-1", "prefix": prefix}));
            let verdict = decide(&claim, &namespace("team-a"), std::slice::from_ref(&rule), &[]);
            assert_eq!(matches!(verdict, Verdict::Allowed(_)), expected, "{prefix}");
        }
        let nameless = Namespace { uid: String::new(), ..namespace("team-a") };
        let claim = claim(serde_json::json!({"bucket": "b-1", "prefix": "clusters/prod/team-a"}));
        assert!(matches!(decide(&claim, &nameless, &[rule], &[]), Verdict::Refused { .. }), "unknown is no folder");
    }

    #[test]
    fn earlier_access_keeps_its_way_only_when_it_had_one_and_a_rule_allows_it() {
        let allows = AllowRule { ancestor_listing: AncestorListing::Allow, ..base_rule() };
        for (had, rule, has) in [
            (true, allows.clone(), true),
            (false, allows, false),
            (true, base_rule(), false),
            (false, base_rule(), false),
        ] {
            let access = Access {
                bucket: super::super::BucketName::parse("b-1").expect("valid"),
                prefix: Prefix::parse("backups/x").expect("valid"),
                capabilities: BTreeSet::new(),
                ancestor_listing: had,
            };
            let limited = limit(&access, &namespace("team-a"), &[rule]).expect("the place is covered");
            assert_eq!(limited.ancestor_listing, has);
        }
    }

    #[test]
    fn earlier_access_is_limited_to_what_is_still_allowed() {
        let access = Access {
            bucket: super::super::BucketName::parse("b-1").expect("valid"),
            prefix: Prefix::parse("backups/x").expect("valid"),
            capabilities: [Capability::MultipartUploads, Capability::CreateBucket].into(),
            ancestor_listing: true,
        };
        let limited = limit(&access, &namespace("team-a"), &[base_rule()]).expect("the place is covered");
        assert_eq!(limited.capabilities, [Capability::MultipartUploads].into());
        assert!(!limited.ancestor_listing);
        assert_eq!(limit(&access, &namespace("team-b"), &[base_rule()]), None);
    }
}
