//! What is backed up.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// The user of the example's pods, as which they read and write their volumes.
const USER: u32 = 65532;

/// A few files, of which the large one has as many MiB.
pub fn write(folder: &Path, large_mib: i64) -> Result<()> {
    fs::create_dir_all(folder.join("folder"))?;
    fs::write(folder.join("a.txt"), "a small file")?;
    fs::write(folder.join("nothing"), "")?;
    fs::write(folder.join("folder/Größe été 日本.txt"), "a unicode name")?;
    // No two parts are the same.
    let block = |number: i64| format!("{number:01024}");
    Ok(fs::write(folder.join("large"), (0..large_mib * 1024).map(block).collect::<String>())?)
}

pub fn hand_over(folder: &Path) -> Result<()> {
    Ok(chown(folder, Some(USER), Some(USER))?)
}

/// All files with their content.
pub fn read(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder)?.to_owned(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}
