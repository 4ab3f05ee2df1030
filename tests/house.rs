//! The house is in order: pure rooms import no IO, and what is generated is what the code says.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Rooms in which decisions are made; each may be a file or a folder.
const PURE: [&str; 18] = [
    "src/api",
    "src/access",
    "src/names.rs",
    "src/fair.rs",
    "src/controller/goal.rs",
    "src/controller/plan",
    "src/controller/report.rs",
    "src/controller/state.rs",
    "src/controller/changes.rs",
    "src/controller/verdict.rs",
    "src/controller/overlap.rs",
    "src/controller/census.rs",
    "src/controller/rivals.rs",
    "src/controller/rush.rs",
    "src/probe/probes.rs",
    "src/probe/plan.rs",
    "src/probe/reading.rs",
    "src/probe/proof.rs",
];
/// What only rooms with IO may name: SDKs, clients, runtimes, clocks and chance.
const IO: [&str; 10] = [
    "aws_config",
    "aws_sdk",
    "aws_smithy",
    "kube::Client",
    "kube::Api",
    "kube::runtime",
    "tokio",
    "std::env",
    "Timestamp::now",
    "fastrand",
];
/// Each SDK has its door, and nothing else goes through it.
const DOORS: [(&str, &[&str]); 5] = [
    ("aws_sdk_iam", &["src/store"]),
    ("aws_sdk_sts", &["src/store", "src/probe/client.rs"]),
    ("aws_sdk_s3", &["src/probe"]),
    ("aws_config", &["src/store", "src/probe"]),
    ("kube::Client", &["src/cluster"]),
];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(room: &str) -> Vec<PathBuf> {
    let path = project().join(room);
    if path.is_file() {
        return vec![path];
    }
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{room}: {error}; was the room renamed?"));
    let inside = entries.map(|entry| entry.expect("readable").path());
    inside
        .flat_map(|path| {
            let name = path.strip_prefix(project()).expect("inside").to_str().expect("UTF-8").to_owned();
            if path.is_dir() { sources(&name) } else { vec![path] }
        })
        .collect()
}

/// The code of a file, without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("readable");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn pure_rooms_import_no_io() {
    let mut found = Vec::new();
    for path in PURE.iter().flat_map(|room| sources(room)) {
        let code = code(&path);
        found.extend(IO.iter().filter(|io| code.contains(*io)).map(|io| format!("{} names {io}", path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn each_sdk_has_one_door() {
    let mut found = Vec::new();
    for (sdk, rooms) in DOORS {
        let inside: Vec<PathBuf> = rooms.iter().flat_map(|room| sources(room)).collect();
        let outside = sources("src").into_iter().filter(|path| !inside.contains(path) && code(path).contains(sdk));
        found.extend(outside.map(|path| format!("{} names {sdk}", path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn generated_definitions_are_those_of_the_code() {
    let stream = backup_target_operator::commands::crds::yaml().expect("written");
    let documents: Vec<&str> = stream.split("---\n").filter(|document| !document.is_empty()).collect();
    assert_eq!(documents.len(), 2);
    for (file, document) in ["backuptargets.yaml", "backupstores.yaml"].into_iter().zip(documents) {
        for folder in ["crds", "charts/backup-target-operator/files/crds"] {
            let text = fs::read_to_string(project().join(folder).join(file)).expect("generated");
            assert_eq!(text, format!("---\n{document}"), "{folder}/{file} is stale: run `make crds`");
        }
    }
}

/// Who reads of a control finds the tests that try it.
#[test]
fn each_test_that_the_table_of_threats_names_is_there() {
    let text = fs::read_to_string(project().join("SECURITY.md")).expect("readable");
    let (_, table) = text.split_once("| Threat | Control | Tests |\n|---|---|---|\n").expect("a table of threats");
    let sources: String =
        ["src", "tests"].into_iter().flat_map(sources).filter(|path| is_rust(path)).map(|path| code(&path)).collect();
    let mut missing = Vec::new();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [threat, control, tests] = cells[..] else { panic!("not three cells: {row}") };
        let is_heading = control.is_empty() && tests.is_empty();
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(is_heading || !named.is_empty() && !control.is_empty(), "no control or no test: {threat}");
        missing.extend(named.into_iter().filter(|name| !sources.contains(&format!("fn {name}("))));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn the_readme_says_what_every_reason_means() {
    let read = |path: &str| fs::read_to_string(project().join(path)).expect("readable");
    let (readme, code) = (read("README.md"), read("src/api/condition.rs"));
    let reasons = code.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1));
    let reasons: Vec<&str> = reasons.filter(|reason| reason.starts_with(char::is_uppercase)).collect();
    assert!(reasons.len() > 50, "{reasons:?}");
    let missing: Vec<&&str> = reasons.iter().filter(|reason| !readme.contains(&format!("`{reason}`"))).collect();
    assert!(missing.is_empty(), "README.md does not have {missing:?}");
}
