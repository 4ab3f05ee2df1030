//! `crds`: prints what `crds/` holds.

use crate::api;

/// The CustomResourceDefinitions as one YAML stream.
///
/// # Errors
/// When a definition cannot be written as YAML, which is a fault of the program.
pub fn yaml() -> Result<String, String> {
    let mut stream = String::new();
    for crd in api::crds() {
        let document =
            serde_saphyr::to_string(&crd).map_err(|error| format!("a CRD cannot be written as YAML: {error}"))?;
        stream.extend(["---\n", document.trim_end(), "\n"]);
    }
    Ok(stream)
}
