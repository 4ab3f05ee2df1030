//! Where folders of two rules can meet, because somebody chooses the name of a namespace.

use super::allow::{CLUSTER, NAMESPACE, NAMESPACE_UID};
use crate::api::backup_store::AllowRule;

/// The longest name of a namespace.
const LONGEST_NAME: usize = 63;

/// Each two folders of one bucket of which one is the other's, or within it, as soon as there is a namespace of the right name:
/// whoever may create namespaces with the labels of one rule reaches what the other rule keeps for somebody else. In words for
/// people. `cluster` is the id of the cluster, where it is known.
#[must_use]
pub fn meetings(rules: &[AllowRule], cluster: Option<&str>) -> Vec<String> {
    let folders = rules.iter().enumerate().flat_map(|(number, rule)| {
        rule.prefixes.iter().map(move |text| Folder { number, rule, text, segments: segments(text, cluster) })
    });
    let folders: Vec<Folder<'_>> = folders.collect();
    let pairs = folders.iter().flat_map(|open| folders.iter().map(move |other| (open, other)));
    pairs.filter_map(|(open, other)| open.meets(other)).collect()
}

struct Folder<'a> {
    number: usize,
    rule: &'a AllowRule,
    text: &'a str,
    segments: Vec<Segment<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment<'a> {
    /// Just this name.
    Name(&'a str),
    /// The name of the target's namespace.
    Namespace,
    /// A name that nobody chooses, or that is not known here.
    Given,
}

fn segments<'a>(text: &'a str, cluster: Option<&'a str>) -> Vec<Segment<'a>> {
    let segment = |segment: &'a str| match segment {
        NAMESPACE => Segment::Namespace,
        NAMESPACE_UID => Segment::Given,
        CLUSTER => cluster.map_or(Segment::Given, Segment::Name),
        name => Segment::Name(name),
    };
    text.split('/').filter(|name| !name.is_empty()).map(segment).collect()
}

impl Folder<'_> {
    /// Which name of a namespace takes the first folder into the second one, or the other way round.
    fn meets(&self, other: &Folder<'_>) -> Option<String> {
        let bucket = self.rule.buckets.iter().find(|bucket| other.rule.buckets.contains(bucket))?;
        // Namespaces that are named are no surprise.
        if self.rule.namespaces.match_labels.is_empty() {
            return None;
        }
        let mut chosen = None;
        for pair in self.segments.iter().zip(&other.segments) {
            match pair {
                (Segment::Namespace, Segment::Name(name)) if chosen.is_none_or(|chosen| chosen == *name) => {
                    chosen = Some(*name);
                }
                (Segment::Name(one), Segment::Name(other)) if one == other => {}
                (Segment::Namespace, Segment::Namespace) | (Segment::Given, Segment::Given) => {}
                _ => return None,
            }
        }
        let name = chosen.filter(|name| is_name_of_namespace(name))?;
        Some(format!(
            "in bucket {bucket}, the folder {} of spec.allow[{}] is the way to {} of spec.allow[{}] for a namespace {name}, and its \
             rule selects namespaces by label: put the folders of rules with labels into one of their own, such as \
             clusters/prod/{NAMESPACE}/",
            self.text, self.number, other.text, other.number,
        ))
    }
}

fn is_name_of_namespace(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= LONGEST_NAME && name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(labelled: &str, other: &str) -> Vec<AllowRule> {
        let rule = |namespaces: serde_json::Value, prefix: &str| {
            let rule = serde_json::json!({"namespaces": namespaces, "buckets": ["shared"], "prefixes": [prefix]});
            serde_json::from_value(rule).expect("a rule")
        };
        let by_label = serde_json::json!({"matchLabels": {"tenant": "true"}});
        vec![rule(by_label, labelled), rule(serde_json::json!({"names": ["infra"]}), other)]
    }

    #[test]
    fn a_name_that_somebody_chooses_can_lead_into_the_folder_of_others() {
        let table = [
            ("{namespace}/", "platform/", true),
            ("{namespace}/", "platform/databases/", true),
            ("{namespace}/data/", "platform/", true),
            ("teams/{namespace}/", "teams/infra", true),
            ("{namespace}/{namespace}/", "a/a/", true),
            ("{cluster}/{namespace}/", "prod/platform/", true),
            ("{namespace}/", "{cluster}/", true),
            ("{namespace}/{namespace}/", "a/b/", false),
            ("{namespace}/", "Platform/", false),
            ("{namespace}/", "-a/", false),
            ("{namespace}/data/", "platform/other/", false),
            ("teams/{namespace}/", "platform/", false),
            ("teams/{namespace}/", "teams/", false),
            ("clusters/prod/{namespace}/", "platform/", false),
            ("{namespace}/", "{namespace}/", false),
            ("{namespace}/", "{namespaceUID}/", false),
            ("{namespaceUID}/", "platform/", false),
            ("{cluster}/{namespace}/", "test/platform/", false),
            ("{namespace}/", "", false),
        ];
        for (labelled, other, meet) in table {
            let found = meetings(&rules(labelled, other), Some("prod"));
            assert_eq!(found.len(), usize::from(meet), "{labelled} and {other}: {found:?}");
        }
        let told = meetings(&rules("{namespace}/", "platform/"), None).remove(0);
        for part in ["bucket shared", "spec.allow[0]", "spec.allow[1]", "for a namespace platform"] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn rules_that_name_their_namespaces_and_other_buckets_are_no_surprise() {
        let mut named = rules("{namespace}/", "platform/");
        named[0].namespaces = named[1].namespaces.clone();
        assert!(meetings(&named, None).is_empty());
        let mut apart = rules("{namespace}/", "platform/");
        apart[1].buckets = vec!["other".to_owned()];
        assert!(meetings(&apart, None).is_empty());
    }

    /// Of one rule, too: what two of its folders have in common is each namespace's own, unless one has a name.
    #[test]
    fn folders_of_one_rule_meet_like_those_of_two() {
        let mut one = rules("{namespace}/", "platform/");
        one[0].prefixes.push("common/".to_owned());
        assert_eq!(meetings(&one[..1], None).len(), 1);
    }
}
