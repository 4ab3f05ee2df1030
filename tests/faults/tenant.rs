//! What a tenant does, drawn by chance: objects that are good, nearly good and forged. Pure: a seed says all of it.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::decoys::SECRETS;

/// Something that a tenant asks of the API server, which may refuse it.
#[derive(Clone, Debug)]
pub enum Wish {
    Create(Value),
    /// A merge patch.
    Patch {
        name: String,
        body: Value,
    },
    /// Puts another object in the place of this one, as `kubectl replace` does.
    Replace(Value),
    Delete(String),
    DeleteSecret(String),
}

/// Where the objects are, and what good ones speak of.
pub struct Place<'a> {
    pub store: &'a str,
    pub bucket: &'a str,
    pub labels: Value,
}

/// So few that most are met again.
const NAMES: [&str; 16] = [
    "a",
    "b",
    "0",
    "db-1",
    "dataset-2",
    "x.y.z",
    "a-b",
    "a.b",
    "data.set",
    "longer-than-most-names",
    "n1",
    "n2",
    "n3",
    "n4",
    "n5",
    "n6",
];
const NO_NAMES: [&str; 4] = ["A", "under_score", "-a", "ü"];
const PIECES: [&str; 22] = [
    "a", "Z", "0", "-", ".", "_", "/", "/", "//", "..", " ", "é", "×", "日", "*", "$", "\n", "'", "#", "?", "%2e%2e",
    "+=@,:(!)",
];
/// Characters that mean something in a URL, aliases of a name, and names of others.
const STORES: [&str; 8] = ["{}#x", "{}?x=y", "{}/status", "../{}", "%2e%2e/{}", "{}.", "{}-other", "missing"];
const DURATIONS: [&str; 10] = ["0s", "1s", "24h", "90m", "8760h", "8761h", "1h30m", "", "-1h", "99999999999999999999h"];
const CAPABILITIES: [&str; 5] = ["MultipartUploads", "ObjectAcls", "ListAllBuckets", "CreateBucket", "Everything"];
/// What only the operator writes, in words that it could have written.
const FORGED_INTENT: &str =
    r#"{"nonce": "0", "startedAt": "2026-01-01T00:00:00Z", "existing": [], "secret": "dataset-10"}"#;
/// Of one annotation; the API server takes 256 KiB of all.
const LARGE: usize = 200_000;
const LARGE_ONE_IN: usize = 50;

/// As many wishes as `count`, from a seed.
pub fn wishes(seed: u64, count: usize, place: &Place<'_>) -> Vec<Wish> {
    let mut draw = Draw { chance: Rng::with_seed(seed), place };
    (0..count).map(|_| draw.wish()).collect()
}

struct Draw<'a> {
    chance: Rng,
    place: &'a Place<'a>,
}

impl Draw<'_> {
    fn wish(&mut self) -> Wish {
        match self.chance.u8(..20) {
            0..=9 => Wish::Create(self.object()),
            10..=12 => {
                let (name, field) = (self.name(), self.field());
                Wish::Patch { name, body: json!({"spec": field}) }
            }
            13 => Wish::Patch { name: self.name(), body: json!({"metadata": self.metadata()}) },
            14 | 15 => {
                let mut object = self.object();
                object["metadata"]["name"] = json!(self.name());
                Wish::Replace(object)
            }
            16 | 17 => Wish::DeleteSecret(self.name()),
            _ => Wish::Delete(self.name()),
        }
    }

    fn object(&mut self) -> Value {
        let mut metadata = self.metadata();
        metadata["name"] = json!(if self.rarely() { self.one_of(&NO_NAMES).to_owned() } else { self.name() });
        let place = self.place;
        let mut spec = Map::from_iter([
            ("storeRef".to_owned(), json!({"name": place.store})),
            ("bucket".to_owned(), json!(place.bucket)),
        ]);
        if self.rarely() {
            let name = self.one_of(&STORES).replace("{}", place.store);
            spec.insert("storeRef".to_owned(), json!({"name": name}));
        }
        for _ in 0..self.chance.u8(..4) {
            let Value::Object(field) = self.field() else { continue };
            spec.extend(field);
        }
        json!({"metadata": metadata, "spec": spec})
    }

    /// One field of a spec; most are good.
    fn field(&mut self) -> Value {
        match self.chance.u8(..10) {
            0..=2 => json!({"prefix": self.text("backups/")}),
            3 => {
                let bucket = if self.rarely() { self.text("b") } else { format!("{}-other", self.place.bucket) };
                json!({"bucket": bucket})
            }
            4 => {
                json!({"capabilities": (0..self.chance.u8(..4)).map(|_| self.one_of(&CAPABILITIES)).collect::<Vec<_>>()})
            }
            5 => json!({"keyOverlap": self.one_of(&DURATIONS)}),
            6 => json!({"secret": {"name": self.secret()}}),
            7 => json!({"secret": {"remote": self.text("r")}}),
            8 => json!({"deletionPolicy": self.one_of(&["Delete", "Retain", "Keep"])}),
            _ => match self.chance.u8(..3) {
                0 => json!({"ancestorListing": self.one_of(&["Allow", "Deny"])}),
                1 => json!({"verification": self.one_of(&["Full", "ReadOnly", "None"])}),
                _ => json!({"suspend": self.chance.bool()}),
            },
        }
    }

    /// Labels, annotations and finalizers of a tenant's own, and forged ones of the operator's.
    fn metadata(&mut self) -> Value {
        let mut labels = self.place.labels.clone();
        let mut annotations = Map::new();
        let mut finalizers = Vec::new();
        if self.chance.bool() {
            labels["app.kubernetes.io/managed-by"] = json!(self.one_of(&["Helm", "backup-target-operator"]));
            labels["backup-target.dev/target"] = json!(self.name());
        }
        if self.rarely() {
            let forged = if self.chance.bool() { FORGED_INTENT.to_owned() } else { self.text("{") };
            annotations.insert("backup-target.dev/first-key-intent".to_owned(), json!(forged));
        }
        if self.rarely() {
            let at = if self.chance.bool() { "2026-01-01T00:00:00Z".to_owned() } else { self.text("20") };
            annotations.insert("backup-target.dev/verify-at".to_owned(), json!(at));
            annotations.insert("backup-target.dev/paused-drift-repair".to_owned(), json!(self.text("")));
        }
        if self.chance.usize(..LARGE_ONE_IN) == 0 {
            annotations.insert("example.com/large".to_owned(), json!("x".repeat(LARGE)));
        }
        if self.rarely() {
            finalizers.push(self.one_of(&[
                "backup-target.dev/principal",
                "example.com/mine",
                "backup-target.dev/in-use",
            ]));
        }
        json!({"labels": labels, "annotations": annotations, "finalizers": finalizers})
    }

    fn name(&mut self) -> String {
        self.one_of(&NAMES).to_owned()
    }

    /// The name of a Secret: its own, another target's, one of somebody else, or none.
    fn secret(&mut self) -> String {
        match self.chance.u8(..4) {
            0 => self.text("s"),
            1 => self.one_of(&SECRETS).to_owned(),
            _ => self.name(),
        }
    }

    fn text(&mut self, begin: &str) -> String {
        let pieces = self.chance.usize(..5);
        let good = self.chance.bool();
        let piece = |draw: &mut Self| if good { draw.one_of(&["a", "b-1", "c", "0"]) } else { draw.one_of(&PIECES) };
        (0..pieces).fold(begin.to_owned(), |text, _| text + piece(self))
    }

    fn rarely(&mut self) -> bool {
        self.chance.u8(..6) == 0
    }

    fn one_of<'t>(&mut self, all: &[&'t str]) -> &'t str {
        all[self.chance.usize(..all.len())]
    }
}
