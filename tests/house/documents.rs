//! What people read is true: links lead somewhere, and what has to be explained is explained.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use backup_target_operator::api::{Reason, Tier};

use super::{project, sources};

/// A newcomer reads it to the end.
const LONGEST_README: usize = 120;
const REASONS: &str = "docs/reasons.md";
const ON_CALL: &str = "docs/on-call.md";

fn read(path: impl AsRef<Path>) -> String {
    let path = project().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All documents of the project.
fn documents() -> Vec<PathBuf> {
    let at_the_top = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| project().join(name));
    let in_docs = sources("docs").into_iter().filter(|path| path.extension().is_some_and(|it| it == "md"));
    at_the_top.into_iter().chain(in_docs).collect()
}

/// The lines of a document that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// What the first cell of each row of a document's tables names.
fn named_in_rows(text: &str) -> BTreeSet<&str> {
    let cells = prose(text).filter_map(|line| line.strip_prefix('|')?.split('|').next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_readme_is_read_to_the_end() {
    let lines = read("README.md").lines().count();
    assert!(lines <= LONGEST_README, "README.md has {lines} lines: move what a newcomer does not need to docs/");
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = Vec::new();
    for document in documents() {
        let text = read(&document);
        for link in prose(&text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next()) {
            if let Err(why) = follow(&document, link) {
                found.push(format!("{} links to {link}: {why}", document.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Addresses elsewhere are not asked.
fn follow(from: &Path, link: &str) -> Result<(), &'static str> {
    if link.contains("://") {
        return Ok(());
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let to = if file.is_empty() { from.to_owned() } else { from.parent().expect("a folder").join(file) };
    if !to.exists() {
        return Err("there is no such file");
    }
    let has_heading = || prose(&read(&to)).any(|line| line.starts_with('#') && anchor_of(line) == anchor);
    if anchor.is_empty() || has_heading() { Ok(()) } else { Err("there is no such heading") }
}

/// The anchor that GitHub gives a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_word_of_a_status_is_explained_and_no_other() {
    let (text, code) = (read(REASONS), read("src/api/condition.rs"));
    let types = code.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1));
    let words = types.chain(Reason::ALL.iter().map(|reason| reason.as_str()));
    let said: BTreeSet<&str> = words.chain(Tier::ALL.map(Tier::name)).collect();
    assert!(said.len() > 60, "{said:?}");
    let explained = named_in_rows(&text);
    let missing: Vec<&&str> = said.difference(&explained).collect();
    let unknown: Vec<&&str> = explained.difference(&said).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "{REASONS} lacks {missing:?}, and nothing says {unknown:?}");
}

#[test]
fn every_alert_is_explained() {
    let (text, rules) = (read(ON_CALL), read("charts/backup-target-operator/files/alerts.yaml"));
    let alerts: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    let missing: Vec<&str> = alerts.difference(&named_in_rows(&text)).copied().collect();
    assert!(missing.is_empty(), "{ON_CALL} does not say what to do about {missing:?}");
}

#[test]
fn every_metric_is_explained() {
    let (text, code) = (read(ON_CALL), read("src/telemetry/metrics.rs"));
    let metrics: Vec<&str> =
        code.split("registry.register").skip(1).filter_map(|rest| rest.split('"').nth(1)).collect();
    assert!(metrics.len() > 10, "{metrics:?}");
    let explained = named_in_rows(&text);
    let is_explained =
        |name: &&&str| ["", "_total", "_seconds"].iter().any(|end| explained.contains(&*format!("{name}{end}")));
    let missing: Vec<&&str> = metrics.iter().filter(|name| !is_explained(name)).collect();
    assert!(missing.is_empty(), "{ON_CALL} does not explain {missing:?}");
}

/// Folders of which documents name files.
const ROOTS: [&str; 6] = ["src/", "tests/", "docs/", "charts/", "examples/", "crds/"];

/// A path as it stands in a document, without what is no path.
fn as_path(word: &str) -> Option<&str> {
    let is_path = ROOTS.iter().any(|root| word.starts_with(root)) && !word.contains(['*', ' ']);
    is_path.then_some(word)
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let mut found = Vec::new();
    for document in documents().into_iter().filter(|document| !document.ends_with("CHANGELOG.md")) {
        let text = read(&document);
        let words = prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2));
        let missing = words.filter_map(as_path).filter(|path| !project().join(path).exists());
        found.extend(missing.map(|path| format!("{} names {path}", document.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Folders whose files are all on the map; of others it shows the folder alone.
const SHOWN_IN_FULL: [&str; 3] = ["src", "src/controller", "src/controller/backup_target"];

/// The paths of a row of the map: a name without a folder is beside the first one.
fn of_row(row: &str) -> Vec<PathBuf> {
    let names = row.trim_start_matches('|').split('|').next().unwrap_or_default().split('`').skip(1).step_by(2);
    let mut beside = PathBuf::new();
    let of_name = |name: &str| {
        let path = as_path(name).map_or_else(|| beside.join(name), PathBuf::from);
        path.parent().unwrap_or(&path).clone_into(&mut beside);
        path
    };
    names.map(of_name).collect()
}

#[test]
fn the_map_shows_every_module() {
    let text = read("CONTRIBUTING.md");
    let (_, map) = text.split_once("## Map of the code").expect("a map");
    let (map, _) = map.split_once("\n## ").expect("an end of the map");
    let rows = map.lines().filter(|line| line.starts_with("| `"));
    let shown: BTreeSet<PathBuf> = rows.flat_map(of_row).collect();
    let missing: Vec<&PathBuf> = shown.iter().filter(|path| !project().join(path).exists()).collect();
    assert!(missing.is_empty(), "the map shows what is not there: {missing:?}");
    let left_out: Vec<PathBuf> = modules().into_iter().filter(|path| !shown.contains(path)).collect();
    assert!(left_out.is_empty(), "the map does not show {left_out:?}");
}

/// What has to be on the map: every folder, and the files of some of them, but for those that only hold a module together and
/// for tests.
fn modules() -> BTreeSet<PathBuf> {
    let mut modules = BTreeSet::new();
    for path in sources("src") {
        let path = path.strip_prefix(project()).expect("inside").to_owned();
        let folder = path.parent().expect("a folder").to_owned();
        let is_apart = |name: &str| path.file_stem().is_some_and(|stem| stem == name);
        if is_apart("tests") || folder.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        if SHOWN_IN_FULL.iter().any(|shown| folder == Path::new(shown)) && !is_apart("mod") {
            modules.insert(path);
        }
        modules.insert(folder);
    }
    modules.remove(Path::new("src"));
    modules
}

/// What only those have who wrote the code.
const NOT_HERE: [&str; 3] = ["design §", "reference/", "reference §"];

#[test]
fn no_comment_cites_what_is_not_here() {
    let sources = ["src", "tests", "charts", "examples"].into_iter().flat_map(sources);
    let mut found = Vec::new();
    for path in sources.filter(|path| !path.ends_with("house/documents.rs")) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let elsewhere = NOT_HERE.iter().filter(|cited| text.contains(*cited)).map(ToString::to_string);
        let missing = pages(&text).filter(|page| !project().join(page).exists());
        found.extend(elsewhere.chain(missing).map(|cited| format!("{} cites {cited}", path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The pages of docs/ that a text names.
fn pages(text: &str) -> impl Iterator<Item = String> {
    let names = text.split("docs/").skip(1).filter_map(|rest| rest.split_once(".md")).map(|(name, _)| name);
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || ['/', '-'].contains(&c));
    names.filter(is_name).map(|name| format!("docs/{name}.md"))
}
