//! What is in an administrator's Secret, and what is told when it is no key. Pure. Who has a target learns what its administrator
//! has to do, and not where keys are: that stands in the BackupStore.

use secrecy::{ExposeSecret, SecretString};

use crate::access::rclone::AccessKey;

/// No entry is for just what is claimed.
pub const NO_ENTRY: &str = "the BackupStore has no key for just this bucket and prefix: have its administrator make one, and add an \
                            entry for them to spec.staticKeys";
/// An entry names a Secret that is not there.
pub const NO_SECRET: &str = "the Secret that spec.staticKeys of the BackupStore names for this bucket and prefix is not there: have the \
                             store's administrator create it in the operator's namespace, with AWS_ACCESS_KEY_ID and \
                             AWS_SECRET_ACCESS_KEY";
const INCOMPLETE: &str = "the Secret that spec.staticKeys of the BackupStore names for this bucket and prefix lacks AWS_ACCESS_KEY_ID or \
                          AWS_SECRET_ACCESS_KEY: have the store's administrator complete it";
const TEMPORARY: &str = "the key that the store's administrator brought is temporary (its Secret has AWS_SESSION_TOKEN), and a backup \
                         needs one that lasts: have them bring one without";
const MALFORMED: &str = "what the store's administrator brought is no access key: one half or both have white space or other characters \
                         that no key has, or are longer than any; have them look at how the Secret was made";

/// The longest of what stores call a key.
const LONGEST_ID: usize = 128;
const LONGEST_SECRET: usize = 512;

/// Reads the key out of what has entries by these names.
///
/// # Errors
/// What is wrong, and who has to do what.
pub fn read(entry: impl Fn(&str) -> Option<SecretString>) -> Result<AccessKey, &'static str> {
    let (Some(id), Some(secret)) = (entry("AWS_ACCESS_KEY_ID"), entry("AWS_SECRET_ACCESS_KEY")) else {
        return Err(INCOMPLETE);
    };
    if entry("AWS_SESSION_TOKEN").is_some() {
        return Err(TEMPORARY);
    }
    if !is_half(&id, LONGEST_ID) || !is_half(&secret, LONGEST_SECRET) {
        return Err(MALFORMED);
    }
    Ok(AccessKey { id: id.expose_secret().to_owned(), secret })
}

fn is_half(text: &SecretString, longest: usize) -> bool {
    let text = text.expose_secret();
    text.len() <= longest && text.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(entries: &[(&str, &str)]) -> Result<String, &'static str> {
        let find = |name: &str| entries.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).into());
        read(find).map(|key| format!("{} {}", key.id, key.secret.expose_secret()))
    }

    #[test]
    fn a_key_is_two_halves_that_last() {
        let (id, secret) = (("AWS_ACCESS_KEY_ID", "GOOG1EXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "a/b+c="));
        assert_eq!(read_from(&[id, secret]).as_deref(), Ok("GOOG1EXAMPLE a/b+c="));
        let long = "x".repeat(513);
        let table: [(&[(&str, &str)], &str); 8] = [
            (&[], INCOMPLETE),
            (&[id], INCOMPLETE),
            (&[secret], INCOMPLETE),
            (&[id, secret, ("AWS_SESSION_TOKEN", "t")], TEMPORARY),
            (&[("AWS_ACCESS_KEY_ID", "a b"), secret], MALFORMED),
            (&[("AWS_ACCESS_KEY_ID", "a\u{1b}"), secret], MALFORMED),
            (&[id, ("AWS_SECRET_ACCESS_KEY", "a\nb")], MALFORMED),
            (&[id, ("AWS_SECRET_ACCESS_KEY", &long)], MALFORMED),
        ];
        for (entries, why) in table {
            assert_eq!(read_from(entries), Err(why), "{entries:?}");
        }
    }

    #[test]
    fn nothing_that_was_brought_is_told() {
        for told in [NO_ENTRY, NO_SECRET, INCOMPLETE, TEMPORARY, MALFORMED] {
            assert!(told.contains("administrator") && !told.contains('{'), "{told}");
        }
    }
}
