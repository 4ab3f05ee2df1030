//! The files that are backed up, made once.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Result;

/// What a file holds.
pub type Content = Arc<[u8]>;

/// Files by their path below the folder that they are in.
pub type Tree = BTreeMap<String, Content>;

pub const MIB: usize = 1 << 20;

/// When all files were modified, in seconds since 1970: what rclone notes in an object is known without asking.
pub const MODIFIED: u64 = 1_700_000_000;

/// A folder, and what is in it.
pub struct Folder {
    pub path: PathBuf,
    pub tree: Tree,
}

/// The folders that are backed up.
pub struct Files {
    /// Small files, with names of all kinds.
    pub data: Folder,
    /// The same folder at another time: files were removed, changed and added.
    pub later: Folder,
    /// Files of sizes around rclone's 5 MiB.
    pub sizes: Folder,
    /// One of 30 MiB.
    pub large: Folder,
    /// A file 200 folders deep.
    pub deep: Folder,
}

/// Names that have to be escaped somewhere: in a URL, a signature, XML, or a shell.
pub const NAMES: [&str; 6] = [
    "two  words.txt",
    "Straße/日本語 🧨.txt",
    "100%+1 #1?.txt",
    "a&b=c;d,e~!$@.txt",
    "quotes ' \" ` <x>.txt",
    "(round) [square] {curly} ^|*.txt",
];

impl Files {
    pub fn new(room: &Path) -> Result<Self> {
        let folder = |name: &str, tree: Tree| {
            let path = room.join(name);
            write(&path, &tree)?;
            anyhow::Ok(Folder { path, tree })
        };
        Ok(Self {
            data: folder("data", data())?,
            later: folder("later", later())?,
            sizes: folder(
                "sizes",
                [5 * MIB - 1, 5 * MIB, 5 * MIB + 1].into_iter().map(|size| (size.to_string(), filled(size))).collect(),
            )?,
            large: folder("large", Tree::from([("30MiB".into(), filled(30 * MIB))]))?,
            deep: folder("deep", Tree::from([(format!("{}file", "d/".repeat(200)), filled(3))]))?,
        })
    }
}

fn data() -> Tree {
    let named = NAMES.iter().map(|name| ((*name).to_owned(), name.as_bytes().into()));
    named
        .chain([("empty".to_owned(), filled(0)), ("one".to_owned(), filled(1)), ("sub/two".to_owned(), filled(2))])
        .collect()
}

fn later() -> Tree {
    let mut tree = data();
    tree.remove(NAMES[0]);
    tree.remove("sub/two");
    tree.insert("one".into(), filled(11));
    tree.insert("new/three".into(), filled(3));
    tree
}

/// Bytes of which no two parts of a file are the same.
pub fn filled(size: usize) -> Content {
    let mut bytes = Vec::with_capacity(size + 8);
    let mut state = size as u64;
    while bytes.len() < size {
        // Knuth's MMIX generator: anything that does not repeat will do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

fn write(folder: &Path, tree: &Tree) -> Result<()> {
    for (name, content) in tree {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder"))?;
        let mut file = File::create(path)?;
        file.write_all(content)?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED))?;
    }
    Ok(())
}

/// What is in a folder of this machine.
pub fn read(folder: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_else(|name| format!("not UTF-8: {}", name.display()));
        if entry.file_type()?.is_dir() {
            tree.extend(read(&entry.path())?.into_iter().map(|(below, content)| (format!("{name}/{below}"), content)));
        } else {
            tree.insert(name, fs::read(entry.path())?.into());
        }
    }
    Ok(tree)
}
