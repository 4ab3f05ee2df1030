//! What must happen, as the tables of docs/rclone.md.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use testbed::tools::project;

use crate::{
    must::Must,
    operation::Operation,
    operations,
    releases::{self, Release},
    tiers,
};

const BEGIN: &str = "<!-- generated: `make rclone-docs` -->\n";
const END: &str = "<!-- end of what is generated -->\n";

/// Fails unless the document says what the tests try.
pub fn is_current() -> Result<()> {
    let text = fs::read_to_string(path())?;
    ensure!(text == with_table(&text)?, "docs/rclone.md is stale: run `make rclone-docs`");
    Ok(())
}

/// Brings the document up to date.
pub fn write() -> Result<()> {
    let text = fs::read_to_string(path())?;
    Ok(fs::write(path(), with_table(&text)?)?)
}

fn path() -> PathBuf {
    project().join("docs/rclone.md")
}

fn with_table(text: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).context("docs/rclone.md has lost the beginning of its table")?;
    let (_, after) = rest.split_once(END).context("docs/rclone.md has lost the end of its table")?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", table()))
}

/// What happens in a row: one outcome for each set of tiers, none where it is not tried.
type Outcomes = Vec<Option<Must>>;

fn table() -> String {
    let mut notes = Vec::new();
    let mut text = format!("Releases: {}.\n\n", releases::all().iter().map(|r| r.name).collect::<Vec<_>>().join(", "));
    let names: Vec<String> = tiers::ALL.iter().map(|set| format!("`{}`", set.name)).collect();
    let _ = writeln!(text, "| Operation | rclone | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(names.len()));
    for operation in [&operations::BEFORE].into_iter().chain(operations::ALL) {
        for (index, (releases, outcomes)) in groups(operation).into_iter().enumerate() {
            let title = format!("{}<br>`{}`", operation.title, operation.command);
            let cells: Vec<String> = outcomes.into_iter().map(|must| cell(must, &mut notes)).collect();
            let _ = writeln!(text, "| {} | {releases} | {} |", if index == 0 { &title } else { "" }, cells.join(" | "));
        }
    }
    for (index, must) in notes.iter().enumerate() {
        let _ = writeln!(text, "{}{}. {}", if index == 0 { "\n" } else { "" }, index + 1, note(*must));
    }
    text
}

/// The releases with which the same happens, oldest first.
fn groups(operation: &Operation) -> Vec<(String, Outcomes)> {
    let all = releases::all();
    let mut groups: Vec<(Vec<Release>, Outcomes)> = Vec::new();
    for release in &all {
        let outcomes: Outcomes = tiers::ALL.iter().map(|tiers| operation.must(*release, tiers)).collect();
        match groups.last_mut().filter(|(_, last)| *last == outcomes) {
            Some((releases, _)) => releases.push(*release),
            None => groups.push((vec![*release], outcomes)),
        }
    }
    let told = |releases: &[Release]| match releases {
        some if some.len() == all.len() => "all".to_owned(),
        [one] => one.short(),
        [first, .., last] => format!("{} – {}", first.short(), last.short()),
        [] => String::new(),
    };
    groups.into_iter().map(|(releases, outcomes)| (told(&releases), outcomes)).collect()
}

fn cell(must: Option<Must>, notes: &mut Vec<Must>) -> String {
    let Some(must) = must else { return "–".into() };
    let word = match must {
        Must::Work => return "works".into(),
        Must::Complain { .. } => "works",
        Must::BeRefused { .. } => "refused",
        Must::Fail { .. } => "fails",
    };
    let number = notes.iter().position(|note| *note == must).unwrap_or_else(|| {
        notes.push(must);
        notes.len() - 1
    });
    format!("{word} [{}]", number + 1)
}

fn note(must: Must) -> String {
    let (calls, says) = must.refusal();
    let calls: Vec<String> = calls.iter().map(|call| format!("`{call}`")).collect();
    let calls = calls.join(" and ");
    match must {
        Must::Work => "It works.".into(),
        Must::Complain { .. } if says.is_empty() => format!("It works. S3 refuses {calls}, and rclone does not mind."),
        Must::Complain { .. } => format!("It works. S3 refuses {calls}, and rclone complains: `{says}`."),
        Must::BeRefused { .. } => format!("S3 refuses {calls}. rclone ends with an error, in which stands `{says}`."),
        Must::Fail { .. } => format!("rclone ends with an error of its own, in which stands `{says}`."),
    }
}
