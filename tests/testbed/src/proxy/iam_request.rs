//! A request to IAM, as far as AWS decides by it whether it is allowed.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;

/// IAM's version of its API. That of STS, which speaks in the same way, is another.
const IAM: &str = "2010-05-08";

/// The fields of a request.
#[derive(Clone, Debug)]
pub(super) struct IamRequest(BTreeMap<String, String>);

impl IamRequest {
    /// The request in a form, if it is one to IAM.
    pub(super) fn of(form: &str) -> Option<Self> {
        let fields = form.split('&').filter_map(|field| field.split_once('='));
        let fields: BTreeMap<_, _> = fields.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        (fields.get("Version").map(String::as_str) == Some(IAM)).then_some(Self(fields))
    }

    pub(super) fn action(&self) -> &str {
        self.field("Action").unwrap_or_default()
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn only_reads(&self) -> bool {
        ["Get", "List"].iter().any(|verb| self.action().starts_with(verb))
    }

    /// The names of the tags that it gives.
    pub(super) fn tags(&self) -> BTreeSet<String> {
        let is_name = |field: &str| field.starts_with("Tags.member.") && field.ends_with(".Key");
        self.0.iter().filter(|(field, _)| is_name(field)).map(|(_, name)| name.clone()).collect()
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}
