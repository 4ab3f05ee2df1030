//! `leftovers`: principals of the stores that belong to no BackupTarget of the cluster, such as those of a cluster that
//! was built anew. Only told: whether somebody still uses their keys is for a person to find out.

use std::{collections::HashSet, fmt::Write, sync::Arc};

use clap::Args;
use kube::ResourceExt;

use super::run::label_selector;
use crate::{
    api::BackupStore,
    cluster::Cluster,
    fence::Fence,
    names,
    provider::{
        Error, Kind, Listed,
        connections::{Connections, Settings},
    },
    telemetry::metrics::Metrics,
};

/// Settings of the search.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Look only at BackupStores with these labels, as the operator does that has the same setting.
    #[arg(long, env = "WATCH_LABEL_SELECTOR", value_parser = label_selector)]
    watch_label_selector: Option<String>,
}

/// Says what was found.
///
/// # Errors
/// When the cluster cannot be read, or a store not be looked at.
pub async fn leftovers(arguments: &Arguments) -> Result<String, String> {
    let cluster = Cluster::connect("").await?;
    let stores = cluster.all_stores(arguments.watch_label_selector.as_deref()).await;
    let stores = stores.map_err(|error| error.to_string())?;
    // The users first: a target that comes meanwhile has none among them.
    let connections = Connections::new(Arc::new(Metrics::default()), Fence::default())?;
    let (mut text, mut missed) = (String::new(), String::new());
    let mut found = Vec::new();
    for store in &stores {
        match users(&connections, store).await {
            Ok(users) => found.push((store.name_any(), users)),
            // Writing to a String cannot fail.
            Err(why) => drop(writeln!(missed, "BackupStore {} was not looked at: {why}", store.name_any())),
        }
    }
    let targets = cluster.target_uids().await.map_err(|error| error.to_string())?;
    for (store, users) in found {
        let left: Vec<String> = users.iter().filter_map(|user| left_over(user, &targets)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "BackupStore {store}: {} principals, of which {} belong to no BackupTarget",
            users.len(),
            left.len()
        );
        text.extend(left);
    }
    if missed.is_empty() { Ok(text) } else { Err((text + &missed).trim_end().to_owned()) }
}

/// The users of a store, as whoever runs this sees them.
async fn users(connections: &Connections, store: &BackupStore) -> Result<Vec<Listed>, String> {
    let status = store.status.clone().unwrap_or_default();
    let (Some(account), Some(path)) = (status.account_id, status.iam_path) else {
        return Err("the operator has not said yet in which account and where its principals are".to_owned());
    };
    let settings = Settings::parse(&store.spec).map_err(|invalid| invalid.to_string())?;
    let connection = connections.connect(&store.name_any(), settings).await.map_err(|error| in_words(&error))?;
    if connection.identity.account != account {
        return Err(format!(
            "your credentials belong to account {}, and its principals live in {account}",
            connection.identity.account
        ));
    }
    connection.provider.principals(&path).await.map_err(|error| in_words(&error))
}

/// Of the credentials of whoever runs this, not of the operator's.
fn in_words(error: &Error) -> String {
    match error.kind {
        Kind::Denied(_) => {
            format!("your credentials may not call {}, which this takes; allow it", error.action)
        }
        Kind::InvalidCredentials => "the store does not accept your credentials, or there are none".to_owned(),
        _ => error.to_string(),
    }
}

/// What is said of a user that belongs to no target.
fn left_over(user: &Listed, targets: &HashSet<String>) -> Option<String> {
    let tag = |key: &str| user.marks.get(key).map_or("?", String::as_str);
    let uid = user.marks.get(names::tag::UID).map_or(user.name.trim_start_matches("btgt-"), String::as_str);
    if targets.contains(uid) {
        return None;
    }
    let why = if user.marks.contains_key(names::tag::RETAINED) {
        "was left behind on purpose (deletionPolicy: Retain)"
    } else {
        "has no BackupTarget here: find out who uses its key, and delete it if nobody does"
    };
    let (namespace, name, cluster) = (tag(names::tag::NAMESPACE), tag(names::tag::NAME), tag(names::tag::CLUSTER));
    Some(format!("  {} of {namespace}/{name} in cluster {cluster} {why}\n", user.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: &str, more: &[(&str, &str)]) -> Listed {
        let tags = [(names::tag::UID, uid), (names::tag::NAMESPACE, "backups"), (names::tag::NAME, "a")];
        let tags = tags.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Listed { name: names::principal(uid), marks: tags }
    }

    #[test]
    fn only_users_without_a_target_are_told() {
        let targets = HashSet::from(["1".to_owned()]);
        assert_eq!(left_over(&user("1", &[]), &targets), None);
        let told = left_over(&user("2", &[(names::tag::CLUSTER, "c")]), &targets).expect("it is told");
        assert!(told.contains("btgt-2 of backups/a in cluster c has no BackupTarget"), "{told}");
        let told = left_over(&user("3", &[(names::tag::RETAINED, "true")]), &targets).expect("it is told");
        assert!(told.contains("on purpose"), "{told}");
        let stranger = Listed { name: "btgt-1".into(), marks: [].into() };
        assert_eq!(left_over(&stranger, &targets), None, "one that lost its tags is known by its name");
    }
}
