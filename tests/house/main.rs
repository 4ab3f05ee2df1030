//! The house is in order: pure rooms import no IO, what is generated is what the code says, and so is what people read.

mod documents;
mod testbed;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    ItemMod, ItemUse, UseTree,
    visit::{self, Visit},
};

/// Rooms in which decisions are made; each may be a file or a folder.
const PURE: [&str; 41] = [
    "src/api",
    "src/access",
    "src/names.rs",
    "src/fair.rs",
    "src/controller/absence.rs",
    "src/controller/brief.rs",
    "src/controller/census.rs",
    "src/controller/looks.rs",
    "src/controller/rivals.rs",
    "src/controller/shared_keys.rs",
    "src/controller/backup_store/report.rs",
    "src/controller/backup_target/conclude.rs",
    "src/controller/backup_target/decide.rs",
    "src/controller/backup_target/events.rs",
    "src/controller/backup_target/failure.rs",
    "src/controller/backup_target/overlap.rs",
    "src/controller/backup_target/plan",
    "src/controller/backup_target/record.rs",
    "src/controller/backup_target/report.rs",
    "src/controller/backup_target/requeue.rs",
    "src/controller/backup_target/settle.rs",
    "src/controller/backup_target/state.rs",
    "src/controller/backup_target/verification.rs",
    "src/controller/urgency.rs",
    "src/provider/identity.rs",
    "src/provider/limits.rs",
    "src/provider/principal.rs",
    "src/provider/aws/amazon.rs",
    "src/provider/aws/denial.rs",
    "src/provider/aws/dialect.rs",
    "src/provider/aws/seaweedfs.rs",
    "src/provider/aws/operator_policy.rs",
    "src/provider/aws/regions.rs",
    "src/provider/aws/settings.rs",
    "src/provider/static_keys/brought.rs",
    "src/provider/static_keys/entries.rs",
    "src/provider/static_keys/store.rs",
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
const DOORS: [(&str, &[&str]); 6] = [
    ("aws_sdk_iam", &["src/provider", "src/sdk"]),
    ("aws_sdk_sts", &["src/provider/aws", "src/probe/client.rs"]),
    ("aws_sdk_s3", &["src/probe"]),
    ("aws_credential_types", &["src/provider/aws"]),
    ("aws_config", &["src/provider", "src/probe", "src/sdk"]),
    ("kube::Client", &["src/cluster"]),
];

/// What only a family of stores may say, and the words that other rooms have instead.
const FAMILY_WORDS: [&str; 6] = ["IAM", "arn:", "boundary", "Boundary", "inline", "managed"];
/// Where families are spoken of: their own folder, what users write, and what is printed for people; and the language of policies,
/// in which every store names its buckets by ARN.
const FAMILY_ROOMS: [&str; 5] =
    ["src/provider/aws", "src/api", "src/commands/render", "src/access/policy", "src/access/partition.rs"];

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

/// The controller plans with what every store has. A family's words outside of its folder are a special case in the making.
#[test]
fn only_a_family_of_stores_says_its_words() {
    let inside: Vec<PathBuf> = FAMILY_ROOMS.iter().flat_map(|room| sources(room)).collect();
    let is_test = |path: &PathBuf| module_of(path).iter().any(|part| part == "tests") || is_for_tests(path);
    let mut found = Vec::new();
    for path in sources("src").into_iter().filter(|path| is_rust(path) && !inside.contains(path) && !is_test(path)) {
        let code = code(&path);
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in code.lines() {
            let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || ":_-".contains(c))).collect::<Vec<_>>();
            let says = |word: &&&str| {
                words.iter().any(|said| said == *word || word.ends_with(':') && said.starts_with(**word))
            };
            found.extend(FAMILY_WORDS.iter().find(says).map(|word| format!("{} says {word}: {line}", path.display())));
            let family = ["aws::", "static_keys", "staticKeys"].iter().any(|family| line.contains(family));
            let names_family = family && !path.starts_with(project().join("src/provider"));
            found.extend(names_family.then(|| format!("{} names a family: {line}", path.display())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Rooms from the top of the house to the ground; `controller` is its own files and those of its two pipelines.
const FLOORS: [&str; 14] = [
    "main",
    "commands",
    "controller",
    "provider",
    "probe",
    "sdk",
    "leader_election",
    "cluster",
    "telemetry",
    "access",
    "api",
    "fence",
    "fair",
    "names",
];

/// The path of a module in its crate, such as `["controller", "target", "plan"]`.
type Module = Vec<String>;

fn module_of(path: &Path) -> Module {
    let inside = path.strip_prefix(project().join("src")).expect("inside").with_extension("");
    let parts = inside.iter().map(|part| part.to_str().expect("UTF-8").to_owned());
    parts.filter(|part| part != "mod" && part != "lib").collect()
}

/// What a file uses of its crate, outside of its tests.
struct Uses<'a> {
    module: &'a Module,
    paths: BTreeSet<Module>,
}

impl Uses<'_> {
    fn take(&mut self, path: &[String]) {
        if path.len() < 2 {
            return;
        }
        let up = path.iter().take_while(|part| *part == "super").count();
        let start = match path.first().map(String::as_str) {
            Some("crate" | "backup_target_operator") => Vec::new(),
            Some("self") => self.module.clone(),
            Some("super") => self.module[..self.module.len().saturating_sub(up)].to_vec(),
            _ => return,
        };
        self.paths.insert(start.into_iter().chain(path[up.max(1)..].iter().cloned()).collect());
    }

    fn take_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |ident: &dyn ToString| [before, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.take_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) if name.ident == "self" => self.take(before),
            UseTree::Name(name) => self.take(&with(&name.ident)),
            UseTree::Rename(name) => self.take(&with(&name.ident)),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.take_tree(before, tree)),
            UseTree::Glob(_) => self.take(before),
        }
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.take_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.take(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let is_test = item.attrs.iter().any(|attribute| attribute.path().is_ident("cfg"));
        if !is_test {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Whether a file is compiled for tests alone.
fn is_for_tests(path: &Path) -> bool {
    let (folder, name) =
        (path.parent().expect("in a folder"), path.file_stem().expect("a file").to_str().expect("UTF-8"));
    let above = fs::read_to_string(folder.join("mod.rs")).unwrap_or_default();
    ["", "pub ", "pub(crate) "].iter().any(|seen| above.contains(&format!("#[cfg(test)]\n{seen}mod {name};")))
}

/// Which modules each module uses.
fn uses() -> BTreeMap<Module, BTreeSet<Module>> {
    let is_test = |path: &Path| module_of(path).iter().any(|part| part == "tests") || is_for_tests(path);
    let files: Vec<PathBuf> = sources("src").into_iter().filter(|path| is_rust(path) && !is_test(path)).collect();
    let modules: BTreeSet<Module> = files.iter().map(|path| module_of(path)).collect();
    let file_of =
        |path: &Module| (0..=path.len()).rev().map(|end| path[..end].to_vec()).find(|it| modules.contains(it));
    let used = |path: &PathBuf| {
        let (module, text) = (module_of(path), fs::read_to_string(path).expect("readable"));
        let mut found = Uses { module: &module, paths: BTreeSet::new() };
        found.visit_file(&syn::parse_file(&text).expect("it compiles"));
        let used = found.paths.iter().filter_map(file_of).filter(|used| *used != module).collect();
        (module, used)
    };
    files.iter().map(used).collect()
}

#[test]
fn no_room_looks_up() {
    let floor = |module: &Module| {
        let room = module.first()?;
        Some(FLOORS.iter().position(|known| known == room).unwrap_or_else(|| panic!("{room} is on no floor")))
    };
    let mut found = Vec::new();
    for (module, used) in uses() {
        let up = used.iter().filter(|used| floor(used) < floor(&module));
        found.extend(up.map(|used| format!("{} uses {}", module.join("::"), used.join("::"))));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_files_use_each_other() {
    let mut graph = uses();
    // Whoever uses nobody, or is used by nobody, is in no circle; nor is, without those, whoever else is so then.
    loop {
        let before = graph.len();
        let left: BTreeSet<Module> = graph.keys().cloned().collect();
        for used in graph.values_mut() {
            used.retain(|module| left.contains(module));
        }
        let used: BTreeSet<Module> = graph.values().flatten().cloned().collect();
        graph.retain(|module, uses| !uses.is_empty() && used.contains(module));
        if graph.len() == before {
            break;
        }
    }
    let found = graph.iter().map(|(module, used)| {
        let used: Vec<String> = used.iter().map(|used| used.join("::")).collect();
        format!("{} uses {}", module.join("::"), used.join(", "))
    });
    let found: Vec<String> = found.collect();
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
