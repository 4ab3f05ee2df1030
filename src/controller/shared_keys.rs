//! What is said where several targets have the same key, which its administrator brought for all of them. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Who else has the key of a target. Of another namespace nobody here is to learn what is in it.
#[must_use]
pub fn others<'a>(target: &ObjectMeta, others: impl IntoIterator<Item = &'a ObjectMeta>) -> Vec<String> {
    let (near, far): (Vec<_>, Vec<_>) = others.into_iter().partition(|other| other.namespace == target.namespace);
    let mut near: Vec<&str> = near.iter().filter_map(|other| other.name.as_deref()).collect();
    near.sort_unstable();
    let far = match far.len() {
        0 => None,
        1 => Some("a BackupTarget of another namespace".to_owned()),
        number => Some(format!("{number} BackupTargets of other namespaces")),
    };
    near.into_iter().map(|name| format!("BackupTarget {name}")).chain(far).collect()
}

/// What it means that they have it.
#[must_use]
pub fn in_words(others: &[String]) -> String {
    format!(
        "{} got the same access key: what one does with it the others can do, too, and it is revoked for all at once",
        others.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_else_has_a_key_is_named_within_the_namespace_alone() {
        let metadata = |namespace: &str, name: &str| ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        let target = metadata("a", "t");
        let who = |all: &[ObjectMeta]| others(&target, all);
        assert!(who(&[]).is_empty());
        assert_eq!(who(&[metadata("a", "v"), metadata("a", "u")]), ["BackupTarget u", "BackupTarget v"]);
        assert_eq!(who(&[metadata("b", "secret-name")]), ["a BackupTarget of another namespace"]);
        let both = who(&[metadata("b", "x"), metadata("a", "u"), metadata("c", "y")]);
        assert_eq!(both, ["BackupTarget u", "2 BackupTargets of other namespaces"]);
        assert!(in_words(&both).starts_with("BackupTarget u and 2 BackupTargets of other namespaces got the same"));
    }
}
