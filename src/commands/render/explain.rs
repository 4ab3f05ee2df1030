//! The policy in words: per tier, each action, on what, under which condition, and why it is there.

use std::fmt::Write as _;

use crate::{
    access::{
        Access, Terms,
        policy::{Line, explained},
    },
    api::{Capability, Tier},
};

/// All tiers, also those that were not asked for.
pub fn explain(terms: &Terms, access: &Access) -> String {
    let everything = Access { capabilities: Capability::ALL.into(), ..access.clone() };
    let lines = explained(terms, &everything);
    let mut text = String::new();
    for tier in Tier::ALL {
        let granted = access.tiers().any(|granted| granted == tier);
        let state = match (tier, granted) {
            (Tier::BaseAccess, _) => "granted (every target has it)",
            (_, true) => "granted",
            (_, false) => "not requested; it would allow",
        };
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}{}: {state}", tier.name());
        for line in lines.iter().filter(|line| line.right.tier == tier) {
            describe(&mut text, line);
        }
    }
    text
}

fn describe(text: &mut String, line: &Line) {
    let _ = writeln!(text, "  {}", line.right.action);
    let _ = writeln!(text, "    on    {}", line.resource);
    for condition in &line.conditions {
        let _ = writeln!(text, "    if    {condition}");
    }
    let _ = writeln!(text, "    to    {}", line.right.why);
    let _ = writeln!(text, "    see   {}", line.right.source);
}
