//! The policy document: what a key may do, written as AWS reads it (docs/decisions/policy.md).

mod meaning;
mod statement;
#[cfg(test)]
mod tests;

pub use meaning::{Meaning, only_denies};
pub use statement::{Line, explained};

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Access, Terms, hex};
use statement::Statement;

/// A policy document in canonical form. Two are equal when they mean the same. It never changes, so its text and what follows
/// from that are worked out once, and clones share them.
#[derive(Clone, Debug)]
pub struct PolicyDocument(Arc<Written>);

#[derive(Debug)]
struct Written {
    body: Body,
    text: String,
    sha256: [u8; 32],
    /// Worked out when it is first asked for.
    meaning: OnceLock<Meaning>,
}

/// The document as AWS reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    version: &'static str,
    statement: BTreeSet<Statement>,
}

impl PolicyDocument {
    /// The identity policy for the union of several accesses.
    #[must_use]
    pub fn new<'a>(terms: &Terms, accesses: impl IntoIterator<Item = &'a Access>) -> Self {
        let allowed = accesses.into_iter().flat_map(|access| statement::identity(terms, access));
        let mut statements = statement::merge(allowed.collect());
        if !statements.is_empty() {
            statements.insert(statement::keys_only());
        }
        Self::of(statements)
    }

    /// The same as a bucket policy that names these principals, less what a bucket policy cannot grant
    /// ([`super::rights::Right::fits_bucket_policy`]).
    #[must_use]
    pub fn for_bucket<'a>(
        terms: &Terms,
        accesses: impl IntoIterator<Item = &'a Access>,
        principals: &BTreeSet<String>,
    ) -> Self {
        let allowed = accesses.into_iter().flat_map(|access| statement::resource(terms, access, principals));
        Self::of(statement::merge(allowed.collect()))
    }

    fn of(statement: BTreeSet<Statement>) -> Self {
        // Variables and their escapes are known since this version; the alphabet of prefixes keeps them out.
        let body = Body { version: "2012-10-17", statement };
        let text = serde_json::to_string(&body).expect("strings, lists and maps serialise");
        let sha256 = Sha256::digest(&text).into();
        Self(Arc::new(Written { body, text, sha256, meaning: OnceLock::new() }))
    }

    /// The canonical text, without white space.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.0.text.clone()
    }

    /// The same for people, a field on each line.
    ///
    /// # Panics
    /// Never: strings, lists and maps with string keys always serialise.
    #[must_use]
    pub fn to_pretty_json(&self) -> String {
        serde_json::to_string_pretty(&self.0.body).expect("strings, lists and maps serialise")
    }

    /// What it allows, apart from how it is written.
    ///
    /// # Panics
    /// Never: what is written here is in the language that [`Meaning::read`] understands.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        self.meant().clone()
    }

    fn meant(&self) -> &Meaning {
        self.0.meaning.get_or_init(|| Meaning::read(&self.0.text).expect("documents of ours are understood"))
    }

    /// Whether it allows nothing; such a document cannot be stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.body.statement.is_empty()
    }

    /// SHA-256 of the canonical text.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.0.sha256
    }

    /// The same in hex.
    #[must_use]
    pub fn digest(&self) -> String {
        hex(&self.0.sha256)
    }

    /// Its size as AWS counts it: characters that are not white space.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.text.chars().filter(|c| !c.is_whitespace()).count()
    }
}

impl PartialEq for PolicyDocument {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text || self.meant() == other.meant()
    }
}

impl Eq for PolicyDocument {}
