//! Files, folders and standard input, read into the objects that `render` knows.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    api::{BackupStore, BackupTarget, GROUP},
    commands::Failure,
};

/// The objects that were given.
#[derive(Default)]
pub struct Input {
    pub targets: Vec<(Origin, BackupTarget)>,
    pub stores: Vec<(Origin, BackupStore)>,
    /// What is known of Namespaces, by name.
    pub namespaces: BTreeMap<String, ObjectMeta>,
    /// What was passed over.
    pub notes: Vec<String>,
    faults: Vec<String>,
}

/// Where an object stands.
#[derive(Clone)]
pub struct Origin {
    /// Name of the file, and number of the document in it.
    pub place: String,
    /// Its kind and name.
    pub object: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.place, self.object)
    }
}

/// Reads all that was given.
///
/// # Errors
/// Every fault in it.
pub fn read(paths: &[PathBuf]) -> Result<Input, Failure> {
    let mut input = Input::default();
    for path in paths {
        if let Err(fault) = input.path(path) {
            input.faults.push(fault);
        }
    }
    if input.faults.is_empty() { Ok(input) } else { Err(Failure::Input(input.faults)) }
}

impl Input {
    /// What is missing, and what was there instead.
    pub fn without(&self, kind: &str) -> Failure {
        let mut faults = vec![format!("there is no {kind} in what was given with -f")];
        faults.extend(self.notes.iter().cloned());
        Failure::Input(faults)
    }

    fn path(&mut self, path: &Path) -> Result<(), String> {
        let cannot = |error: io::Error| format!("{} cannot be read: {error}", path.display());
        if path == Path::new("-") {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(cannot)?;
            self.text("standard input", &text);
        } else if path.is_dir() {
            let entries = fs::read_dir(path).map_err(cannot)?.collect::<Result<Vec<_>, _>>().map_err(cannot)?;
            let mut files: Vec<PathBuf> =
                entries.into_iter().map(|entry| entry.path()).filter(|path| is_manifest(path)).collect();
            files.sort();
            for file in files {
                self.path(&file)?;
            }
        } else {
            self.text(&path.display().to_string(), &fs::read_to_string(path).map_err(cannot)?);
        }
        Ok(())
    }

    fn text(&mut self, name: &str, text: &str) {
        // No snippets in errors: among the documents may be Secrets.
        let options = serde_saphyr::options! { with_snippet: false };
        let mut reader = text.as_bytes();
        for (number, document) in serde_saphyr::read_with_options::<_, Value>(&mut reader, options).enumerate() {
            let place = format!("{name}, document {}", number + 1);
            match document {
                Ok(document) => self.document(&place, document),
                Err(error) => self.faults.push(format!("{place}: it is not YAML: {error}")),
            }
        }
    }

    fn document(&mut self, place: &str, mut document: Value) {
        let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let ours = version.split('/').next() == Some(GROUP);
        let known = <BackupTarget as Resource>::api_version(&());
        let result = match kind.as_str() {
            "List" => {
                let items = document.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
                for (number, item) in items.unwrap_or_default().into_iter().enumerate() {
                    self.document(&format!("{place}, item {}", number + 1), item);
                }
                Ok(())
            }
            "BackupTarget" | "BackupStore" if ours && version != known => {
                Err(format!("apiVersion: {version} is not known; write {known}"))
            }
            "BackupTarget" if ours => self.target(place, document),
            "BackupStore" if ours => self.store(place, document),
            "Namespace" if version == "v1" => typed::<Namespace>(document).map(|namespace| {
                self.namespaces.insert(namespace.name_any(), namespace.metadata);
            }),
            "" => Err("it is no Kubernetes object: apiVersion and kind are missing".to_owned()),
            _ if ours || ["backuptarget", "backupstore"].contains(&kind.to_lowercase().as_str()) => {
                Err(format!("{version} {kind} is not known; write {known} and BackupTarget or BackupStore"))
            }
            _ => {
                self.notes.push(format!("{place}: passed over, it is a {kind}"));
                Ok(())
            }
        };
        if let Err(fault) = result {
            self.faults.push(format!("{place}: {fault}"));
        }
    }

    fn target(&mut self, place: &str, document: Value) -> Result<(), String> {
        let target: BackupTarget = typed(document)?;
        let namespace = target.namespace().unwrap_or_else(|| "default".to_owned());
        let object = format!("BackupTarget {namespace}/{}", named(&target)?);
        self.targets.push((Origin { place: place.to_owned(), object }, target));
        Ok(())
    }

    fn store(&mut self, place: &str, document: Value) -> Result<(), String> {
        let store: BackupStore = typed(document)?;
        let object = format!("BackupStore {}", named(&store)?);
        if let Some((before, _)) = self.stores.iter().find(|(_, known)| known.name_any() == store.name_any()) {
            return Err(format!("{object} stands in {} already", before.place));
        }
        self.stores.push((Origin { place: place.to_owned(), object }, store));
        Ok(())
    }
}

fn named(object: &impl ResourceExt) -> Result<String, String> {
    let name = object.name_any();
    if name.is_empty() { Err("metadata.name: it is missing".to_owned()) } else { Ok(name) }
}

fn is_manifest(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known))
}

/// A typed object; a field that does not exist is a fault, as in `kubectl apply --validate=strict`.
fn typed<T: DeserializeOwned>(document: Value) -> Result<T, String> {
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string());
    let strict = serde_ignored::Deserializer::new(document, &mut note);
    let object =
        serde_path_to_error::deserialize(strict).map_err(|error| format!("{}: {}", error.path(), error.inner()))?;
    // kube's types know these two without reading them.
    unknown.retain(|field| !["apiVersion", "kind"].contains(&field.as_str()));
    match unknown.first() {
        None => Ok(object),
        Some(field) => Err(format!("{field}: there is no such field")),
    }
}
