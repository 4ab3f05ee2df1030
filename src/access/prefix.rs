//! The folder of a bucket that a target may use.
//!
//! The alphabet is what AWS, an IAM policy and rclone all carry unchanged (docs/decisions/names.md): a policy holds
//! Latin-1 only, `*`, `?` and `${` are wildcards and variables in it, and rclone rewrites `\`, `.` and `..`.

use std::fmt;

use super::Invalid;
use crate::names::offending;

const FIELD: &str = "spec.prefix";
/// So that object names fit into the 1,024 bytes of an S3 key.
const LONGEST: usize = 512;

/// A folder, whose text ends in `/`, or the whole bucket, whose text is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(String);

impl Prefix {
    /// The whole bucket.
    #[must_use]
    pub fn whole_bucket() -> Self {
        Self(String::new())
    }

    /// Parses a folder; the last `/` may be missing.
    ///
    /// # Errors
    /// Says which rule the prefix breaks and where.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| Err(Invalid::new(FIELD, problem));
        if text.is_empty() {
            return refuse("an empty prefix is not written; leave the field out for the whole bucket".into());
        }
        if text.len() > LONGEST {
            return refuse(format!("a prefix has at most {LONGEST} bytes; this one has {}", text.len()));
        }
        if let Some(found) = offending(text, allowed) {
            return refuse(format!(
                "a prefix has letters (Latin-1), digits, spaces and ! _ . ' ( ) = @ + , : - only; found {found}"
            ));
        }
        if text.starts_with('/') {
            return refuse(format!("a prefix does not begin with '/'; write {}", text.trim_start_matches('/')));
        }
        let folder = text.strip_suffix('/').unwrap_or(text);
        for segment in folder.split('/') {
            if segment.is_empty() {
                return refuse("a prefix cannot have an empty folder name ('//'): rclone cannot address it".into());
            }
            if matches!(segment, "." | "..") {
                return refuse(format!(
                    "a prefix cannot have '{segment}' as a folder name: rclone would write it differently"
                ));
            }
            if segment.starts_with(' ') || segment.ends_with(' ') {
                return refuse(format!("the folder name '{segment}' in the prefix begins or ends with a space"));
            }
        }
        Ok(Self(format!("{folder}/")))
    }

    /// Empty for the whole bucket, otherwise ending in `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the whole bucket.
    #[must_use]
    pub fn is_whole_bucket(&self) -> bool {
        self.0.is_empty()
    }

    /// The folders that lead here: for `a/b/`, the root (empty) and `a/`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        let folders = self.0.match_indices('/').map(|(at, _)| &self.0[..=at]);
        std::iter::once("").chain(folders).filter(|folder| folder.len() < self.0.len())
    }

    /// Whether every object under `other` is also under this prefix; whole segments count.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!_.()=@+,:/ '-".contains(c)
        || matches!(c, '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{FF}')
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_whole_bucket() { "the whole bucket" } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_slash_may_be_missing() {
        assert_eq!(Prefix::parse("backups/dataset-1"), Prefix::parse("backups/dataset-1/"));
        assert_eq!(Prefix::parse("backups/dataset-1").expect("valid").as_str(), "backups/dataset-1/");
    }

    #[test]
    fn whatever_all_three_carry_is_accepted() {
        for text in ["a", "Größe/été", "a b/c+d=e@f", "it's (1)!", "..a/.b/c..", "team:x,y/_-"] {
            assert!(Prefix::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn bad_prefixes_say_why() {
        let table = [
            ("", "leave the field out"),
            ("/a", "does not begin with '/'; write a"),
            ("a//b", "empty folder name"),
            ("a/../b", "'..' as a folder name"),
            (".", "'.' as a folder name"),
            ("a*/", "found * at place 2"),
            ("a?b", "found ? at place 2"),
            ("a${aws:username}", "found $ at place 2"),
            ("a\nb", "found \\n at place 2"),
            ("a\\b", "found \\\\ at place 2"),
            ("日本", "found 日 at place 1"),
            ("a× b", "found × at place 2"),
            (" a", "begins or ends with a space"),
            ("a /b", "begins or ends with a space"),
            (&"x".repeat(600), "at most 512 bytes; this one has 600"),
        ];
        for (text, why) in table {
            let error = Prefix::parse(text).expect_err(text);
            assert!(error.problem.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_length_counts_in_bytes() {
        for (text, fits) in
            [("x".repeat(512), true), ("ü".repeat(256), true), ("x".repeat(513), false), ("ü".repeat(257), false)]
        {
            assert_eq!(Prefix::parse(&text).is_ok(), fits, "{} bytes", text.len());
        }
    }

    #[test]
    fn people_read_the_folder_or_that_there_is_none() {
        assert_eq!(Prefix::parse("a/b").expect("valid").to_string(), "a/b/");
        assert_eq!(Prefix::whole_bucket().to_string(), "the whole bucket");
    }

    #[test]
    fn the_way_leads_from_the_root_to_the_folder() {
        let prefix = Prefix::parse("backups/2026/dataset-1").expect("valid");
        assert_eq!(prefix.ancestors().collect::<Vec<_>>(), ["", "backups/", "backups/2026/"]);
        assert_eq!(Prefix::whole_bucket().ancestors().count(), 0);
    }

    #[test]
    fn covering_goes_by_whole_segments() {
        let parse = |text| Prefix::parse(text).expect("valid");
        assert!(parse("team-a").covers(&parse("team-a/x")));
        assert!(parse("team-a").covers(&parse("team-a")));
        assert!(!parse("team-a").covers(&parse("team-ab")));
        assert!(!parse("team-a/x").covers(&parse("team-a")));
        assert!(Prefix::whole_bucket().covers(&parse("a")));
        assert!(!parse("a").covers(&Prefix::whole_bucket()));
    }
}
