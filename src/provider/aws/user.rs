//! An IAM user as a target's principal: its name, path and tags, whose it is, and what is not as it should be. Pure.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types::Tag;

use super::dialect::{Ownership, PolicyChange};
use crate::{
    names::{self, tag},
    provider::{Deviation, DeviationKind, ForeignOwner},
};

/// AWS attaches this to a user whose key it found in public. It is a warning, and only a person may take it off.
const QUARANTINE: &str = ":iam::aws:policy/AWSCompromisedKeyQuarantine";

/// Which user is meant, and what marks it as ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Tags that say whose it is.
    pub tags: BTreeMap<String, String>,
    /// ARN of the permissions boundary that it gets.
    pub boundary: Option<String>,
    /// The unique id that it had when this operator last saw it as its own.
    pub known_id: Option<String>,
    /// ARN of its managed policy, or the beginning of it.
    pub policy_arn: String,
    /// How that is changed.
    pub change: PolicyChange,
    /// What marks it as a target's.
    pub ownership: Ownership,
}

/// How a deviation of a user is put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// This permissions boundary is set.
    SetBoundary(String),
    /// The tags are put.
    Tag,
    /// An inline policy of that name is deleted.
    DeleteInline(String),
    /// The managed policy with that ARN is detached.
    Detach(String),
    /// It is not: the right to take a user out of a group cannot be limited to our users, so the operator does not have it.
    None,
}

/// What others put on a user: rights that its own policy does not say, or less.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    /// Names of inline policies.
    pub inline: Vec<String>,
    /// ARNs of managed policies.
    pub attached: Vec<String>,
    /// Names of groups that it is a member of.
    pub groups: Vec<String>,
    /// Of the policies, those that only deny: somebody contains the principal with them.
    pub denials: BTreeSet<String>,
    /// Of the policies, those that the operator may not read, so that they may be such, too.
    pub unread: BTreeSet<String>,
}

impl Additions {
    fn kind(&self, policy: &String) -> DeviationKind {
        if policy.contains(QUARANTINE) {
            DeviationKind::Alarm
        } else if self.denials.contains(policy) {
            DeviationKind::Denial
        } else if self.unread.contains(policy) {
            DeviationKind::Unread
        } else {
            DeviationKind::Addition
        }
    }

    /// The same as deviations.
    pub fn deviations(&self) -> impl Iterator<Item = Deviation> {
        let of = |kind, what, fix| Deviation { kind, what, fix };
        let inline = self
            .inline
            .iter()
            .map(move |name| of(self.kind(name), format!("inline policy {name}"), Fix::DeleteInline(name.clone())));
        let attached = self.attached.iter().map(move |arn| of(self.kind(arn), arn.clone(), Fix::Detach(arn.clone())));
        let groups = self
            .groups
            .iter()
            .map(move |group| of(DeviationKind::Beyond, format!("group {group}, of which it is a member"), Fix::None));
        inline.chain(attached).chain(groups)
    }
}

impl UserSpec {
    /// Whether a managed policy is this target's, by its ARN.
    pub fn owns_policy(&self, arn: &str) -> bool {
        match self.change {
            PolicyChange::Version => arn == self.policy_arn,
            PolicyChange::Replacement => arn.strip_prefix(&self.policy_arn).is_some_and(|rest| rest.starts_with('-')),
        }
    }

    /// The boundary that the user lacks.
    pub fn missing_boundary(&self, found: Option<&String>) -> Option<Deviation> {
        let boundary = self.boundary.as_ref().filter(|boundary| found != Some(boundary))?;
        let what = "its permissions boundary".to_owned();
        Some(Deviation { kind: DeviationKind::Bound, what, fix: Fix::SetBoundary(boundary.clone()) })
    }

    /// The tags that the user lacks.
    pub fn missing_tags(&self, given: &[Tag]) -> Option<Deviation> {
        let complete = self.tags().iter().all(|tag| given.contains(tag));
        (!complete).then(|| Deviation { kind: DeviationKind::Mark, what: "its tags".to_owned(), fix: Fix::Tag })
    }

    /// Its tags, as requests have them.
    pub fn tags(&self) -> Vec<Tag> {
        self.tags.iter().map(|(key, value)| new_tag(key, value)).collect()
    }

    /// Whose a user of our name is, if it is not this target's. IAM never gives an id twice: what had this one when this operator
    /// last saw it as its own is the same user, though its tags may be gone. Tags that say something else are somebody's word,
    /// such as a cluster's that was copied.
    pub fn foreign_owner(&self, path: &str, id: &str, tags: &[Tag]) -> Option<ForeignOwner> {
        match self.ownership {
            Ownership::PathAndTags => {
                let is_known = self.known_id.as_deref() == Some(id) && !id.is_empty();
                self.owner_by_path(path, tags, is_known)
            }
            // A creation that was cut short left it so, or somebody took the tags off.
            Ownership::TagsAlone => self.owner_by_path(&self.path, tags, true),
        }
    }

    fn owner_by_path(&self, path: &str, tags: &[Tag], may_lack_tags: bool) -> Option<ForeignOwner> {
        let is_elsewhere = path != self.path;
        let uid = value(tags, tag::UID);
        let by_path = || names::cluster_of_default_path(path).filter(|_| is_elsewhere);
        let cluster = value(tags, tag::CLUSTER).or_else(by_path);
        let other = cluster.filter(|id| self.tags.get(tag::CLUSTER).is_none_or(|ours| ours != id));
        let same_uid = uid.is_none_or(|uid| self.tags.get(tag::UID).is_some_and(|ours| ours == uid));
        if let Some(id) = other.filter(|_| same_uid) {
            return Some(ForeignOwner::Cluster { id: id.to_owned(), path: path.to_owned() });
        }
        if is_elsewhere {
            return Some(ForeignOwner::Other(format!("its path is {path}, not {}", self.path)));
        }
        self.foreign(tags, may_lack_tags).map(ForeignOwner::Other)
    }

    /// What shows that a user or policy is not this target's; its name alone proves nothing.
    pub fn foreign(&self, tags: &[Tag], may_lack_tags: bool) -> Option<String> {
        [tag::UID, tag::CLUSTER].into_iter().find_map(|key| {
            let value = value(tags, key);
            let excused = value.is_none() && may_lack_tags;
            (!excused && value != self.tags.get(key).map(String::as_str))
                .then(|| format!("its tag {key} is not this target's"))
        })
    }
}

fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == key).map(Tag::value)
}

pub(super) fn new_tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().expect("key and value are set")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> UserSpec {
        UserSpec {
            name: "btgt-1".into(),
            path: "/backup-target/c/".into(),
            boundary: None,
            known_id: None,
            policy_arn: "arn:aws:iam::123456789012:policy/backup-target/c/btgt-1".into(),
            tags: [(tag::UID.to_owned(), "1".to_owned()), (tag::CLUSTER.to_owned(), "c".to_owned())].into(),
            ownership: Ownership::PathAndTags,
            change: PolicyChange::Version,
        }
    }

    fn known() -> UserSpec {
        UserSpec { known_id: Some("AIDA1".into()), ..spec() }
    }

    fn marked(uid: &str, cluster: &str) -> Vec<Tag> {
        vec![new_tag(tag::UID, uid), new_tag(tag::CLUSTER, cluster)]
    }

    #[test]
    fn another_clusters_user_is_told_from_what_is_nobodys() {
        let (here, elsewhere) = ("/backup-target/c/", "/backup-target/d/");
        let cluster = |path: &str| Some(ForeignOwner::Cluster { id: "d".into(), path: path.into() });
        let owner = |path: &str, tags: &[Tag]| spec().foreign_owner(path, "AIDA1", tags);
        assert_eq!(owner(here, &marked("1", "c")), None);
        assert_eq!(owner(elsewhere, &marked("1", "d")), cluster(elsewhere));
        assert_eq!(
            known().foreign_owner(here, "AIDA1", &marked("1", "d")),
            cluster(here),
            "clusters that share a path"
        );
        assert_eq!(owner(elsewhere, &[]), cluster(elsewhere), "by its path alone");
        let others = [
            (elsewhere, marked("1", "c")),
            ("/else/", marked("1", "c")),
            ("/else/", Vec::new()),
            (here, Vec::new()),
            (here, marked("2", "d")),
        ];
        for (path, tags) in others {
            assert!(matches!(owner(path, &tags), Some(ForeignOwner::Other(_))), "{path} {tags:?}");
        }
    }

    #[test]
    fn ownership_needs_both_tags() {
        let ours = [marked("1", "c"), vec![new_tag("other", "x")]].concat();
        assert_eq!(spec().foreign(&ours, false), None);
        assert!(spec().foreign(&[], false).is_some());
        assert_eq!(spec().foreign(&[], true), None, "a known one may have lost its tags");
        assert!(spec().foreign(&marked("2", "c"), true).is_some());
        assert!(spec().foreign(&marked("1", "d"), true).is_some());
    }

    /// An SDK fills an id that is missing with an empty one, and two of those are no identity.
    #[test]
    fn an_empty_id_is_no_identity() {
        let here = "/backup-target/c/";
        assert_eq!(known().foreign_owner(here, "AIDA1", &[]), None, "the same user, which lost its tags");
        let nameless = UserSpec { known_id: Some(String::new()), ..spec() };
        assert!(nameless.foreign_owner(here, "", &[]).is_some());
    }

    #[test]
    fn where_users_have_tags_alone_a_user_without_them_is_known_by_its_name() {
        let spec = UserSpec { ownership: Ownership::TagsAlone, ..spec() };
        assert_eq!(spec.foreign_owner("/", "", &[]), None, "its creation was cut short");
        assert_eq!(spec.foreign_owner("/", "", &marked("1", "c")), None);
        assert!(matches!(spec.foreign_owner("/", "", &marked("1", "d")), Some(ForeignOwner::Cluster { .. })));
        assert!(matches!(spec.foreign_owner("/", "", &marked("2", "c")), Some(ForeignOwner::Other(_))));
        assert!(spec.missing_tags(&[]).is_some() && spec.missing_tags(&marked("1", "c")).is_none());
    }

    #[test]
    fn what_others_put_on_a_user_is_told_by_what_it_means() {
        let quarantine = "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3".to_owned();
        let additions = Additions {
            inline: vec!["wide".into(), "deny".into()],
            attached: vec!["arn:x".into(), quarantine.clone()],
            groups: vec!["g".into()],
            denials: ["deny".to_owned(), quarantine].into(),
            unread: ["arn:x".to_owned()].into(),
        };
        let kinds: Vec<DeviationKind> = additions.deviations().map(|deviation| deviation.kind).collect();
        let told = [
            DeviationKind::Addition,
            DeviationKind::Denial,
            DeviationKind::Unread,
            DeviationKind::Alarm,
            DeviationKind::Beyond,
        ];
        assert_eq!(kinds, told);
    }
}
