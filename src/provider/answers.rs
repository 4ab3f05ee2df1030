//! Answers of stores are somebody else's words: lists have an end, and what is passed on is of the form that it must have.

use super::{Error, Kind};

const MOST_PAGES: usize = 16;
const MOST_ENTRIES: usize = 1_000;
/// The longest of all texts that IAM has a name for.
const LONGEST_WORD: usize = 2_048;

/// How far a list was read. IAM's quotas keep what hangs on one user far below these limits, and a list without end is no
/// answer.
#[derive(Default)]
pub(super) struct List {
    pages: usize,
}

impl List {
    /// One more page was read, and there are so many entries by now.
    pub(super) fn page(&mut self, action: &'static str, entries: usize) -> Result<(), Error> {
        self.pages += 1;
        let fits = self.pages <= MOST_PAGES && entries <= MOST_ENTRIES;
        if fits { Ok(()) } else { Err(Error::new(action, Kind::Unreadable)) }
    }
}

/// A name, path, id or ARN.
pub(super) fn word(action: &'static str, text: String) -> Result<String, Error> {
    let fits = !text.is_empty() && text.len() <= LONGEST_WORD && text.chars().all(|c| c.is_ascii_graphic());
    if fits { Ok(text) } else { Err(Error::new(action, Kind::Unreadable)) }
}

/// The id of an access key.
pub(super) fn key_id(action: &'static str, text: String) -> Result<String, Error> {
    let fits = (16..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    if fits { Ok(text) } else { Err(Error::new(action, Kind::Unreadable)) }
}

/// The id of an account.
pub(super) fn account_id(action: &'static str, text: String) -> Result<String, Error> {
    let fits = text.len() == 12 && text.chars().all(|c| c.is_ascii_digit());
    if fits { Ok(text) } else { Err(Error::new(action, Kind::Unreadable)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_has_the_form_that_it_must_have() {
        let many = "A".repeat(129);
        for (read, good, bad) in [
            (
                account_id as fn(_, _) -> _,
                vec!["000000000000", "123456789012"],
                vec!["", "12345678901", "1234567890123", "00000000000\u{1b}", "12345678901a", "１２３４５６789012"],
            ),
            (
                key_id,
                vec!["AKIAIOSFODNN7EXAMPLE", "0123456789ABCDEF"],
                vec!["", "AKIA", "akiaiosfodnn7example", "AKIAIOSFODNN7EXAMPL\n", &many],
            ),
            (word, vec!["AIDA1", "/a/", "arn:aws:iam::1:user/x"], vec!["", "a b", "a\u{1b}[31m", "\u{202e}a", "ä"]),
        ] {
            for text in good {
                assert_eq!(read("iam:X", text.to_owned()), Ok(text.to_owned()));
            }
            for text in bad {
                assert_eq!(
                    read("iam:X", text.to_owned()).map_err(|error| error.kind),
                    Err(Kind::Unreadable),
                    "{text:?}"
                );
            }
        }
    }
}
