//! What is said of a key that was replaced: what it may be counted on for, and how it came to its end. A principal has no more
//! keys than its store allows, so one that is lost while both are in use takes the place of the older one, and no promise may say otherwise.

use jiff::Timestamp;

use crate::api::backup_target::KeyRecord;

/// What is promised of a key when another takes its place.
#[must_use]
pub fn promise(replaced: &KeyRecord) -> String {
    match (replaced.superseded_at, replaced.revoke_at) {
        (Some(superseded), Some(revoke)) if superseded < revoke => {
            format!("{} stays valid until {revoke}, or until a key is lost again before that", replaced.id)
        }
        _ => format!("{} is made inactive", replaced.id),
    }
}

/// A replaced key had to go because its place was needed: whether that broke off its overlap, and what is said of it.
#[must_use]
pub fn made_room(replaced: &KeyRecord, now: Timestamp) -> (bool, String) {
    let id = &replaced.id;
    match replaced.revoke_at.filter(|revoke| *revoke > now && replaced.inactive_since.is_none()) {
        Some(revoke) => (
            true,
            format!(
                "access key {id}, which was to stay valid until {revoke}, was deleted: another key was lost, and a principal \
                 has no more than two"
            ),
        ),
        None => (false, format!("access key {id}, whose overlap had ended, was deleted to make room for a new one")),
    }
}
