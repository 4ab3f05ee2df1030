//! What one proof tries, from the table of probes and the access that is to be proven.

use std::fmt;

use super::{
    probes::{BASE, CREATE, Depth, Expect, Place, Probe, ROWS, Row, Verb},
    reading::Family,
};
use crate::{access::Access, api::Tier};

/// What the names are made of that a proof uses.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// The target's UID: what a broken proof left in the folder is found again by it.
    pub uid: &'a str,
    /// Never used before: whoever knows the names outside of the folder could have them refused, and all others allowed.
    pub nonce: &'a str,
}

/// All that one proof tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The access that is to be proven.
    pub access: Access,
    /// How deep it goes.
    pub depth: Depth,
    /// The requests; the first one decides whether the others are worth while.
    pub probes: Vec<Probe>,
    /// What is not tried.
    pub untested: Vec<Untested>,
    /// Key of the only object that a proof ever writes.
    pub object: String,
}

impl Plan {
    /// What is to be tried. `also` is other access that the policy still grants, as it does while old and new overlap: it is
    /// nothing that could be refused.
    #[must_use]
    pub fn new(family: &Family, access: &Access, also: &[Access], marks: Marks<'_>, depth: Depth) -> Self {
        let spots = Spots::new(access, marks);
        let (mut probes, mut untested) = (Vec::new(), Vec::new());
        for row in ROWS.iter().filter(|row| row.applies(access, depth) && spots.exist_for(row.place)) {
            let (at, place) = (spots.at(row), spots.in_words(row));
            let (verb, tier, action) = (row.verb, row.tier, row.action);
            match expectation(family, access, also, row, at) {
                Ok(expect) => probes.push(Probe { verb, tier, action, expect, at: at.to_owned(), place }),
                Err(why) => {
                    let what = format!("{action} {place}");
                    untested.push(Untested { tier: Some(tier), what, why: why.to_owned() });
                }
            }
        }
        untested.extend(never_tried(access, depth));
        Self { access: access.clone(), depth, probes, untested, object: spots.object }
    }
}

/// What a proof does not try, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untested {
    /// The tier that it is about; `None` when it is about none.
    pub tier: Option<Tier>,
    /// The permission, and where.
    pub what: String,
    /// Why it is not tried.
    pub why: String,
}

impl fmt::Display for Untested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.why)
    }
}

/// What has to become of a request, or why it is not worth while.
fn expectation(family: &Family, access: &Access, also: &[Access], row: &Row, at: &str) -> Result<Expect, &'static str> {
    let reaches = |other: &&Access| row.place == Place::Account || other.bucket == access.bucket;
    if let Some(why) = family.cannot_tell(row.verb) {
        Err(why)
    } else if permits(access, row, at) {
        let is_root = row.verb == Verb::Browse && row.place == Place::Root;
        family.hides_root.filter(|_| is_root).map_or(Ok(Expect::Works), Err)
    } else if also.iter().filter(reaches).any(|other| permits(other, row, at)) {
        Err("access that was granted before still includes it")
    } else {
        Ok(Expect::Refused)
    }
}

/// Whether an access lets a request through, as its policy would decide it.
fn permits(access: &Access, row: &Row, at: &str) -> bool {
    let granted = access.tiers().any(|tier| tier == row.tier);
    let on_the_way = || access.ancestor_listing && access.prefix.ancestors().any(|folder| folder == at);
    granted
        && match (row.place, row.verb) {
            (Place::Bucket | Place::Account, _) => true,
            (_, Verb::Browse) => at.starts_with(access.prefix.as_str()) || on_the_way(),
            _ => at.starts_with(access.prefix.as_str()),
        }
}

/// What has no harmless request.
fn never_tried(access: &Access, depth: Depth) -> Vec<Untested> {
    let not = |tier, what: String, why: &str| Untested { tier, what, why: why.to_owned() };
    let folder = &access.prefix;
    let mut list = Vec::new();
    if depth == Depth::Quiet {
        let why = "in a versioned bucket even deleting nothing leaves a delete marker";
        list.push(not(Some(BASE), format!("s3:DeleteObject in {folder}"), why));
    }
    if !folder.is_whole_bucket() {
        list.push(not(
            Some(BASE),
            format!("s3:DeleteObject outside of {folder}"),
            "it would delete if it were allowed",
        ));
    }
    let why = "creating one's own bucket again can succeed, and resets its ACL";
    list.push(not(Some(CREATE), "s3:CreateBucket".to_owned(), why));
    list.push(not(None, "other actions and other buckets".to_owned(), "only what the tiers name is tried"));
    list
}

/// The names that probes use.
struct Spots {
    folder: String,
    in_words: String,
    object: String,
    neighbour: String,
    neighbour_object: String,
}

impl Spots {
    fn new(access: &Access, marks: Marks<'_>) -> Self {
        let Marks { uid, nonce } = marks;
        let folder = access.prefix.as_str();
        let name = folder.strip_suffix('/').unwrap_or(folder);
        let neighbour = format!("{name}-{nonce}/");
        Self {
            folder: folder.to_owned(),
            in_words: access.prefix.to_string(),
            object: format!("{folder}.backup-target-probe-{uid}"),
            neighbour_object: format!("{neighbour}{nonce}"),
            neighbour,
        }
    }

    /// A target of a whole bucket has no outside.
    fn exist_for(&self, place: Place) -> bool {
        !self.folder.is_empty() || !matches!(place, Place::Root | Place::Neighbour | Place::NeighbourObject)
    }

    fn at(&self, row: &Row) -> &str {
        match (row.place, row.verb) {
            // So that what a broken proof left behind is found: the list cannot be narrowed by rights.
            (Place::Object, _) | (_, Verb::ListUploads) => &self.object,
            (Place::Folder, _) => &self.folder,
            (Place::Neighbour, _) => &self.neighbour,
            (Place::NeighbourObject, _) => &self.neighbour_object,
            (Place::Root | Place::Bucket | Place::Account, _) => "",
        }
    }

    fn in_words(&self, row: &Row) -> String {
        match row.place {
            Place::Folder | Place::Object => format!("in {}", self.in_words),
            Place::Root if row.verb == Verb::Browse => "at the top level of the bucket".to_owned(),
            Place::Root => "of the whole bucket".to_owned(),
            Place::Neighbour | Place::NeighbourObject => format!("outside of {}", self.in_words),
            Place::Bucket => "on the bucket".to_owned(),
            Place::Account => "on the account".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        access::{BucketName, Prefix, rights::rights},
        api::Capability,
        probe::reading::Family,
        provider::aws::amazon::ANSWERS,
    };

    const UID: &str = "6f1c7b0e-8f0a-4f57-9d0b-0a3f4c6a2b11";
    const MARKS: Marks<'_> = Marks { uid: UID, nonce: "0123456789abcdef" };

    fn access(prefix: &str, capabilities: &[Capability]) -> Access {
        Access {
            bucket: BucketName::parse("my-backups").expect("valid"),
            prefix: if prefix.is_empty() { Prefix::whole_bucket() } else { Prefix::parse(prefix).expect("valid") },
            capabilities: capabilities.iter().copied().collect(),
            ancestor_listing: false,
        }
    }

    fn plan(access: &Access, depth: Depth) -> Plan {
        Plan::new(&ANSWERS, access, &[], MARKS, depth)
    }

    fn lines(plan: &Plan, expect: Expect) -> Vec<(Verb, String)> {
        let wanted = plan.probes.iter().filter(|probe| probe.expect == expect);
        wanted.map(|probe| (probe.verb, probe.to_string())).collect()
    }

    fn expected<const N: usize>(table: [(Verb, &str); N]) -> Vec<(Verb, String)> {
        table.map(|(verb, text)| (verb, text.to_owned())).into()
    }

    #[test]
    fn base_access_has_an_inside_and_an_outside() {
        let plan = plan(&access("backups/dataset-1", &[]), Depth::Write);
        assert_eq!(
            lines(&plan, Expect::Works),
            expected([
                (Verb::List, "s3:ListBucket in backups/dataset-1/"),
                (Verb::PutDamaged, "s3:PutObject in backups/dataset-1/"),
                (Verb::Put, "s3:PutObject in backups/dataset-1/"),
                (Verb::Get, "s3:GetObject in backups/dataset-1/"),
                (Verb::Delete, "s3:DeleteObject in backups/dataset-1/"),
            ])
        );
        assert_eq!(
            lines(&plan, Expect::Refused),
            expected([
                (Verb::List, "s3:ListBucket outside of backups/dataset-1/"),
                (Verb::List, "s3:ListBucket of the whole bucket"),
                (Verb::Browse, "s3:ListBucket at the top level of the bucket"),
                (Verb::PutDamaged, "s3:PutObject outside of backups/dataset-1/"),
                (Verb::GetMissing, "s3:GetObject outside of backups/dataset-1/"),
                (Verb::ListUploads, "s3:ListBucketMultipartUploads on the bucket"),
                (Verb::ListPartsOfMissing, "s3:ListMultipartUploadParts in backups/dataset-1/"),
                (Verb::AbortMissing, "s3:AbortMultipartUpload in backups/dataset-1/"),
                (Verb::SetAclOfMissing, "s3:PutObjectAcl in backups/dataset-1/"),
                (Verb::ListBuckets, "s3:ListAllMyBuckets on the account"),
                (Verb::LocateBucket, "s3:GetBucketLocation on the bucket"),
            ])
        );
    }

    #[test]
    fn every_tier_is_tried_when_granted_and_stays_inside() {
        let all = access("backups/dataset-1", &Capability::ALL);
        let tiers = |depth| {
            let lines = lines(&plan(&all, depth), Expect::Works);
            lines.into_iter().map(|(verb, _)| verb).collect::<Vec<_>>()
        };
        assert_eq!(
            tiers(Depth::Write),
            [
                Verb::List,
                Verb::PutDamaged,
                Verb::Put,
                Verb::Get,
                Verb::SetAcl,
                Verb::Delete,
                Verb::ListUploads,
                Verb::StartUpload,
                Verb::ListParts,
                Verb::AbortUpload,
                Verb::ListBuckets,
                Verb::LocateBucket,
            ]
        );
        assert_eq!(
            tiers(Depth::Quiet),
            [
                Verb::List,
                Verb::PutDamaged,
                Verb::GetMissing,
                Verb::ListUploads,
                Verb::ListPartsOfMissing,
                Verb::AbortMissing,
                Verb::SetAclOfMissing,
                Verb::ListBuckets,
                Verb::LocateBucket,
            ]
        );
        let outside: Vec<Verb> =
            lines(&plan(&all, Depth::Write), Expect::Refused).into_iter().map(|(verb, _)| verb).collect();
        assert_eq!(
            outside,
            [
                Verb::List,
                Verb::List,
                Verb::Browse,
                Verb::PutDamaged,
                Verb::GetMissing,
                Verb::AbortMissing,
                Verb::SetAclOfMissing,
            ]
        );
    }

    #[test]
    fn every_right_is_tried_both_ways() {
        let untried = BTreeSet::from(["s3:CreateBucket"]);
        let actions = |plan: &Plan, expect, tier| {
            let probes = plan.probes.iter().filter(|probe| probe.expect == expect && probe.tier == tier);
            probes.map(|probe| probe.action).collect::<BTreeSet<_>>()
        };
        let all = access("backups/dataset-1", &Capability::ALL);
        for right in rights(&all).filter(|right| !untried.contains(right.action)) {
            let granted = plan(&all, Depth::Write);
            assert!(actions(&granted, Expect::Works, right.tier).contains(right.action), "{}", right.action);
            let without = plan(&access("backups/dataset-1", &[]), Depth::Quiet);
            let mut refused = actions(&without, Expect::Refused, right.tier);
            refused.extend(without.untested.iter().filter_map(|of| of.what.split(' ').next()));
            assert!(refused.contains(right.action), "{}", right.action);
        }
    }

    #[test]
    fn only_the_probe_object_is_ever_written() {
        for prefix in ["", "backups/dataset-1"] {
            for depth in [Depth::Write, Depth::Quiet] {
                let plan = plan(&access(prefix, &Capability::ALL), depth);
                let writes = [Verb::Put, Verb::Delete, Verb::SetAcl, Verb::StartUpload];
                for probe in plan.probes.iter().filter(|probe| writes.contains(&probe.verb)) {
                    assert!(depth == Depth::Write && probe.at == plan.object, "{probe:?}");
                }
                assert!(plan.object.ends_with(&format!(".backup-target-probe-{UID}")));
                assert!(plan.object.starts_with(prefix));
                assert!(plan.probes.iter().all(|probe| probe.action != "s3:CreateBucket"));
            }
        }
    }

    #[test]
    fn the_neighbour_shares_the_beginning_of_the_name_and_is_outside() {
        let access = access("backups/dataset-1", &[]);
        let plan = plan(&access, Depth::Write);
        let outside = plan.probes.iter().filter(|probe| probe.place.starts_with("outside"));
        for probe in outside {
            assert!(probe.at.starts_with("backups/dataset-1-"), "{}", probe.at);
            assert!(!probe.at.starts_with(access.prefix.as_str()) && probe.at.contains(MARKS.nonce), "{}", probe.at);
        }
    }

    /// Whoever knows them could have just these names refused.
    #[test]
    fn names_outside_are_others_each_time() {
        let access = access("backups/dataset-1", &Capability::ALL);
        let outside = |nonce: &str| -> BTreeSet<String> {
            let plan = Plan::new(&ANSWERS, &access, &[], Marks { uid: UID, nonce }, Depth::Write);
            let probes = plan.probes.into_iter().filter(|probe| probe.place.starts_with("outside"));
            probes.map(|probe| probe.at.replace(nonce, "")).collect()
        };
        let known = outside("0123456789abcdef");
        assert!(known.iter().all(|name| !name.contains(UID) && !name.contains("probe")), "{known:?}");
        assert_eq!(known, outside("fedcba9876543210"), "all that is the same each time is the folder's own name");
    }

    #[test]
    fn a_whole_bucket_has_no_outside() {
        let plan = plan(&access("", &Capability::ALL), Depth::Write);
        assert!(lines(&plan, Expect::Refused).is_empty());
        assert!(!plan.untested.iter().any(|of| of.what.contains("outside")), "{:?}", plan.untested);
        assert_eq!(plan.probes[0].to_string(), "s3:ListBucket in the whole bucket");
    }

    #[test]
    fn the_way_is_granted_one_level_at_a_time() {
        let open = Access { ancestor_listing: true, ..access("backups/dataset-1", &[]) };
        let plan = plan(&open, Depth::Quiet);
        let of = |verb, expect| plan.probes.iter().filter(|probe| probe.is(verb, expect)).count();
        assert_eq!((of(Verb::Browse, Expect::Works), of(Verb::Browse, Expect::Refused)), (1, 0));
        assert_eq!(of(Verb::List, Expect::Refused), 2);
    }

    #[test]
    fn what_the_policy_grants_besides_is_not_expected_to_be_refused() {
        let new = access("backups/dataset-1", &[]);
        let old = access("backups", &[Capability::ObjectAcls]);
        let plan = Plan::new(&ANSWERS, &new, std::slice::from_ref(&old), MARKS, Depth::Write);
        let refused: Vec<String> = lines(&plan, Expect::Refused).into_iter().map(|(_, text)| text).collect();
        assert!(!refused.iter().any(|text| text.contains("outside") || text.contains("PutObjectAcl")), "{refused:?}");
        assert!(refused.contains(&"s3:ListBucket of the whole bucket".to_owned()), "{refused:?}");
        let told = plan.untested.iter().filter(|of| of.why.contains("granted before")).count();
        assert_eq!(told, 4, "{:?}", plan.untested);
        let elsewhere = Access { bucket: BucketName::parse("other").expect("valid"), ..old };
        let of_other_bucket = |also: Access| Plan::new(&ANSWERS, &new, &[also], MARKS, Depth::Write);
        assert_eq!(of_other_bucket(elsewhere.clone()), super::tests::plan(&new, Depth::Write));
        let of_account = Access { capabilities: [Capability::ListAllBuckets].into(), ..elsewhere };
        let refused = lines(&of_other_bucket(of_account), Expect::Refused);
        assert!(!refused.iter().any(|(verb, _)| *verb == Verb::ListBuckets), "{refused:?}");
        assert!(refused.iter().any(|(verb, _)| *verb == Verb::LocateBucket), "{refused:?}");
    }

    #[test]
    fn what_a_family_cannot_tell_is_not_asked() {
        let family = Family {
            name: "one that lists what the key may see",
            silent: &[(Verb::ListBuckets, "it answers everybody, with the buckets that the key may see")],
            ..ANSWERS
        };
        for capabilities in [&[][..], &[Capability::ListAllBuckets]] {
            let plan = Plan::new(&family, &access("a", capabilities), &[], MARKS, Depth::Quiet);
            assert!(plan.probes.iter().all(|probe| probe.verb != Verb::ListBuckets));
            assert!(plan.untested.iter().any(|of| of.why.starts_with("it answers everybody")), "{:?}", plan.untested);
        }
    }

    #[test]
    fn a_quiet_proof_does_not_try_to_delete() {
        let plan = plan(&access("a", &[]), Depth::Quiet);
        assert!(plan.untested.iter().any(|of| of.what == "s3:DeleteObject in a/"), "{:?}", plan.untested);
        assert!(plan.probes.iter().all(|probe| probe.verb != Verb::Delete));
    }
}
