//! The operations of the matrix, in the order in which they happen to a bucket.

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::Capability;

use crate::{
    files::{self, MIB, Tree, filled},
    must::{Must, When},
    operation::{Operation, PLAIN, Run},
    place::{Place, same},
};

const FORBIDDEN: &str = "AccessDenied";

/// While there is no bucket.
pub const BEFORE: Operation = Operation {
    title: "first copy, while the bucket is missing",
    command: "copy DATA backup:",
    rules: &[(&[When::With(Capability::CreateBucket)], Must::Work), (&[], Must::Fail { says: "NoSuchBucket" })],
    change: |place| place.tree = place.world.files.data.tree.clone(),
    calls: &["CreateBucket"],
    ..PLAIN
};

/// All others.
pub const ALL: &[Operation] = &[
    Operation {
        title: "first copy to the S3 remote, without the last /",
        command: "copy DATA backup_s3:BUCKET/PREFIX",
        rules: &[
            (&[When::Since(74)], Must::Complain { call: "HeadObject", says: "is a file not a directory" }),
            (&[When::Since(72)], Must::BeRefused { call: "HeadObject", says: "403" }),
        ],
        change: |place| place.tree = place.world.files.data.tree.clone(),
        ..PLAIN
    },
    Operation {
        title: "first copy to an empty prefix",
        command: "copy DATA backup:",
        change: |place| place.tree = place.world.files.data.tree.clone(),
        ..PLAIN
    },
    Operation {
        title: "sync, with deletes",
        command: "sync LATER backup:",
        change: |place| place.tree = place.world.files.later.tree.clone(),
        calls: &["DeleteObject"],
        ..PLAIN
    },
];
