//! The testbed has what tests use, and nothing else. The compiler cannot say so: it does not know who uses a library.

use std::{collections::BTreeSet, path::PathBuf};

use super::{code, is_rust, project, sources};

#[test]
fn whatever_the_testbed_offers_is_used() {
    let testbed = project().join("tests/testbed/src");
    let is_offer = |path: &PathBuf| path.starts_with(&testbed) && !path.starts_with(testbed.join("bin"));
    let (offers, users): (Vec<PathBuf>, Vec<PathBuf>) =
        sources("tests").into_iter().filter(|path| is_rust(path)).partition(is_offer);
    let users: String = users.iter().map(|path| code(path)).collect();
    let used: BTreeSet<&str> = users.split(|c: char| !is_of_a_name(c)).collect();
    let mut found = Vec::new();
    for path in offers {
        let code = code(&path);
        let unused = code.lines().filter_map(offered).filter(|name| !used.contains(name));
        found.extend(unused.map(|name| format!("no test uses {name} of {}: it needs no `pub`", path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The name of what a line offers to other crates.
fn offered(line: &str) -> Option<&str> {
    const KINDS: [&str; 8] = ["async", "fn", "struct", "enum", "trait", "const", "static", "type"];
    let mut words = line.trim_start().strip_prefix("pub ")?.split(' ').filter(|word| !KINDS.contains(word));
    let name = words.next()?.split(|c| !is_of_a_name(c)).next()?;
    (!["mod", "use"].contains(&name)).then_some(name)
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
