//! Where things are: the project, and the programs of others that `make tools` puts under `target/`.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

/// The path of a program of others, at the version the project pins.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = tools().join(name);
    ensure!(path.exists(), "`{name}` is missing from {}; run `make tools`", tools().display());
    Ok(path)
}

/// The folder to put into a `PATH`. `make mutants` names it, since it builds a copy of the project elsewhere.
pub fn tools() -> PathBuf {
    env::var_os("TESTBED_TOOLS").map_or_else(|| project().join("target/tools/bin"), PathBuf::from)
}

/// The project's own folder; the testbed's is `tests/testbed` in it.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders further up")
}
