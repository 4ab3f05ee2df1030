//! The operations of the matrix, in the order in which they happen in a bucket.
//!
//! What must happen is written from what S3, IAM and rclone are known to do, and not taken from a run.

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::Capability::{CreateBucket, ListAllBuckets, MultipartUploads, ObjectAcls};
use testbed::program::Ran;

use crate::{
    files::{self, MIB, Tree, filled},
    must::{
        Must::{self, BeRefused, Complain, Fail, Work},
        Rules, When,
    },
    operation::{Operation, PLAIN, Run},
    place::{PREFIX, Place, SIBLING, same},
    special,
    tiers::Extent,
};

const DENIED: &str = "AccessDenied";

/// A HEAD that is refused while rclone looks whether the path is a file; older releases take it for "no file".
const SHRUGGED: Must = Complain { calls: &["HeadObject"], says: "" };
const CANNOT_LIST: Must = BeRefused { calls: &["ListObjects"], says: DENIED };
/// Without the last `/`, rclone asks whether the prefix is an object, which the key may not.
const WITHOUT_SLASH: Rules = &[
    (SENDS_AN_ACL, BeRefused { calls: &["HeadObject", "PutObject"], says: FOR_THE_ACL }),
    (&[When::Since(74)], BeRefused { calls: &["HeadObject"], says: "is a file not a directory" }),
    (&[When::Since(72)], BeRefused { calls: &["HeadObject"], says: "403" }),
    (&[], SHRUGGED),
];

/// Releases before 1.61 ask for the ACL `private` where the configuration names none, and an upload with any ACL needs
/// s3:PutObjectAcl.
const SENDS_AN_ACL: &[When] = &[When::Before(61), When::Without(ObjectAcls)];
const FOR_THE_ACL: &str = "status code: 403";
const UPLOAD: Rules = &[(SENDS_AN_ACL, BeRefused { calls: &["PutObject"], says: FOR_THE_ACL })];
const UPLOAD_IN_PARTS: Rules = &[(SENDS_AN_ACL, BeRefused { calls: &["CreateMultipartUpload"], says: FOR_THE_ACL })];

/// While there is no bucket.
pub const BEFORE: Operation = Operation {
    title: "first copy, while the bucket is missing",
    command: "copy DATA backup:",
    extent: Extent::Core,
    rules: &[
        (&[When::Without(CreateBucket)], Fail { says: "NoSuchBucket" }),
        (SENDS_AN_ACL, BeRefused { calls: &["PutObject"], says: FOR_THE_ACL }),
    ],
    change: |place| place.tree = place.world.files.data.tree.clone(),
    calls: &["CreateBucket"],
    ..PLAIN
};

/// All others.
pub const ALL: &[Operation] = &[
    Operation {
        title: "first copy, S3 remote without the last `/`",
        command: "copy DATA backup_s3:BUCKET/PREFIX",
        extent: Extent::Core,
        fresh: true,
        rules: WITHOUT_SLASH,
        change: |place| place.tree = place.world.files.data.tree.clone(),
        ..PLAIN
    },
    Operation {
        title: "first copy, a `/` after the colon",
        command: "copy DATA backup:/",
        fresh: true,
        rules: WITHOUT_SLASH,
        change: |place| place.tree = place.world.files.data.tree.clone(),
        ..PLAIN
    },
    Operation {
        title: "copy with `--s3-directory-markers`",
        command: "copy DATA backup: --s3-directory-markers",
        fresh: true,
        rules: &[
            (
                &[When::Since(71)],
                BeRefused { calls: &["HeadObject", "PutObject"], says: "creating directory marker failed" },
            ),
            (&[When::Since(65)], BeRefused { calls: &["HeadObject"], says: "Forbidden" }),
            (&[], Fail { says: "unknown flag" }),
        ],
        ..PLAIN
    },
    Operation {
        title: "first copy, S3 remote with the last `/`",
        command: "copy DATA backup_s3:BUCKET/PREFIX/",
        fresh: true,
        change: |place| place.tree = place.world.files.data.tree.clone(),
        calls: &["PutObject"],
        rules: UPLOAD,
        ..PLAIN
    },
    Operation {
        title: "first copy to an empty prefix",
        command: "copy DATA backup:",
        extent: Extent::Core,
        fresh: true,
        change: |place| place.tree = place.world.files.data.tree.clone(),
        calls: &["PutObject"],
        needed: true,
        rules: UPLOAD,
        ..PLAIN
    },
    Operation {
        title: "next copy, S3 remote without the last `/`",
        command: "copy DATA backup_s3:BUCKET/PREFIX",
        rules: &[
            (&[When::Since(74)], SHRUGGED),
            (&[When::Since(72)], BeRefused { calls: &["HeadObject"], says: "403" }),
            (&[], SHRUGGED),
        ],
        calls: &["ListObjects"],
        ..PLAIN
    },
    Operation {
        title: "sync, with deletes",
        command: "sync LATER backup:",
        extent: Extent::Core,
        change: |place| place.tree = place.world.files.later.tree.clone(),
        calls: &["PutObject", "DeleteObject"],
        needed: true,
        rules: UPLOAD,
        ..PLAIN
    },
    Operation { title: "check", command: "check LATER backup:", extent: Extent::Core, holds: all_match, ..PLAIN },
    Operation { title: "ls", command: "ls backup:", holds: lists_files, ..PLAIN },
    Operation { title: "lsf -R", command: "lsf -R backup:", holds: lists_all, ..PLAIN },
    Operation {
        title: "cat",
        command: "cat backup:a&b=c;d,e~!$@.txt",
        holds: |_, ran| ensure_equal(&ran.stdout, "a&b=c;d,e~!$@.txt"),
        ..PLAIN
    },
    Operation { title: "size", command: "size --json backup:", holds: counts, ..PLAIN },
    Operation { title: "restore", command: "copy backup: LOCAL", extent: Extent::Core, holds: restores, ..PLAIN },
    Operation {
        title: "VFS: a range of a file, through serve",
        command: "serve http backup:",
        run: Run::Specially(|place, words| Box::pin(special::serve(place, words))),
        calls: &["GetObject"],
        ..PLAIN
    },
    Operation {
        title: "copyto",
        command: "copyto DATA/one backup:copies/1",
        extent: Extent::Core,
        change: |place| put(place, "copies/1", 1),
        calls: &["HeadObject", "PutObject"],
        needed: true,
        rules: UPLOAD,
        ..PLAIN
    },
    Operation {
        title: "server-side copy",
        command: "copyto backup:new/three backup:copies/3",
        change: |place| put(place, "copies/3", 3),
        calls: &["PutObject"],
        never: &["GetObject"],
        needed: true,
        rules: UPLOAD,
        ..PLAIN
    },
    Operation {
        title: "rcat, 1 KiB",
        command: "rcat backup:streams/short",
        run: Run::Fed(1 << 10),
        change: |place| put(place, "streams/short", 1 << 10),
        calls: &["PutObject"],
        needed: true,
        rules: UPLOAD,
        ..PLAIN
    },
    Operation {
        title: "rcat, 300 KiB, in parts",
        command: "rcat backup:streams/long",
        extent: Extent::Core,
        run: Run::Fed(300 << 10),
        change: |place| put(place, "streams/long", 300 << 10),
        calls: &["CreateMultipartUpload", "CompleteMultipartUpload"],
        needed: true,
        rules: UPLOAD_IN_PARTS,
        ..PLAIN
    },
    Operation {
        title: "rcat, 12 MiB, in parts",
        command: "rcat backup:streams/longest",
        run: Run::Fed(12 * MIB),
        extent: Extent::Everything,
        change: |place| put(place, "streams/longest", 12 * MIB),
        calls: &["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"],
        needed: true,
        rules: UPLOAD_IN_PARTS,
        ..PLAIN
    },
    Operation {
        title: "files of 5 MiB − 1 B, 5 MiB, 5 MiB + 1 B",
        command: "copy SIZES backup:sizes",
        extent: Extent::Everything,
        change: |place| add(place, "sizes/", |files| &files.sizes),
        never: &["CreateMultipartUpload"],
        needed: true,
        rules: UPLOAD,
        ..PLAIN
    },
    Operation {
        title: "the same, in parts",
        command: "copy SIZES backup:parts --s3-upload-cutoff 5Mi --s3-chunk-size 5Mi",
        extent: Extent::Everything,
        change: |place| add(place, "parts/", |files| &files.sizes),
        calls: &["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"],
        needed: true,
        rules: &[(SENDS_AN_ACL, BeRefused { calls: &["CreateMultipartUpload", "PutObject"], says: FOR_THE_ACL })],
        ..PLAIN
    },
    Operation {
        title: "a file of 30 MiB, in parts",
        command: "copy LARGE backup:parts --s3-upload-cutoff 5Mi --s3-chunk-size 5Mi",
        extent: Extent::Everything,
        change: |place| add(place, "parts/", |files| &files.large),
        calls: &["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"],
        needed: true,
        rules: UPLOAD_IN_PARTS,
        ..PLAIN
    },
    Operation {
        title: "server-side copy of 30 MiB, in parts",
        command: "copyto backup:parts/30MiB backup:copies/30MiB --s3-copy-cutoff 5Mi",
        extent: Extent::Everything,
        change: |place| put(place, "copies/30MiB", 30 * MIB),
        calls: &["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"],
        never: &["GetObject"],
        needed: true,
        rules: UPLOAD_IN_PARTS,
        ..PLAIN
    },
    Operation {
        title: "a file 200 folders deep",
        command: "copy DEEP backup:deep",
        extent: Extent::Everything,
        change: |place| add(place, "deep/", |files| &files.deep),
        calls: &["PutObject"],
        needed: true,
        rules: UPLOAD,
        ..PLAIN
    },
    Operation {
        title: "check of it, folder by folder",
        command: "check DEEP backup:deep",
        extent: Extent::Everything,
        holds: |_, ran| says(ran, "1 matching files"),
        ..PLAIN
    },
    Operation {
        title: "lsd of all buckets",
        command: "lsd backup_s3:",
        extent: Extent::Core,
        rules: &[(&[When::With(ListAllBuckets)], Work), (&[], BeRefused { calls: &["ListBuckets"], says: DENIED })],
        holds: |place, ran| ensure_contains(&ran.stdout, &place.bucket),
        ..PLAIN
    },
    Operation {
        title: "lsd of the bucket",
        command: "lsd backup_s3:BUCKET",
        extent: Extent::Core,
        rules: &[(&[When::WithAncestors], Work), (&[], CANNOT_LIST)],
        holds: |_, ran| ensure_contains(&ran.stdout, "backups"),
        ..PLAIN
    },
    Operation { title: "ls of the bucket", command: "ls backup_s3:BUCKET", rules: &[(&[], CANNOT_LIST)], ..PLAIN },
    Operation {
        title: "ls of a folder beside it",
        command: "ls backup_s3:BUCKET/SIBLING/",
        extent: Extent::Core,
        rules: &[(&[], CANNOT_LIST)],
        ..PLAIN
    },
    Operation {
        title: "copy to a folder beside it",
        command: "copy DATA/one backup_s3:BUCKET/SIBLING/ --no-check-dest",
        rules: &[(&[], BeRefused { calls: &["PutObject"], says: "403" })],
        ..PLAIN
    },
    Operation {
        title: "upload with an ACL",
        command: "copyto DATA/one backup:acl --s3-acl bucket-owner-full-control",
        extent: Extent::Core,
        rules: &[(&[When::Without(ObjectAcls)], BeRefused { calls: &["PutObject"], says: "403" })],
        change: |place| put(place, "acl", 1),
        calls: &["PutObject"],
        ..PLAIN
    },
    Operation {
        title: "a store with an endpoint of its own",
        command: "lsf backup:",
        run: Run::Specially(|place, words| Box::pin(special::with_endpoint(place, words))),
        // Older ones put the bucket into the host's name all the same, where an address cannot have it.
        rules: &[(&[When::Since(68)], Work), (&[], Fail { says: ".127.0.0.1:" })],
        ..PLAIN
    },
    Operation {
        title: "an upload in parts that is killed",
        command: "copyto LARGE/30MiB backup:killed --bwlimit 4M --s3-upload-cutoff 5Mi --s3-chunk-size 5Mi",
        run: Run::Specially(|place, words| Box::pin(special::kill_upload(place, words))),
        extent: Extent::Everything,
        change: |place| {
            place.uploads.insert(format!("{PREFIX}killed"));
        },
        calls: &["CreateMultipartUpload"],
        needed: true,
        rules: UPLOAD_IN_PARTS,
        ..PLAIN
    },
    Operation {
        title: "cleanup, of uploads older than a day",
        command: "cleanup backup:",
        rules: CLEANUP,
        calls: &["ListMultipartUploads"],
        never: &["AbortMultipartUpload"],
        ..PLAIN
    },
    Operation {
        title: "cleanup, of all uploads",
        command: "backend cleanup -o max-age=0 backup:",
        extent: Extent::Core,
        rules: &[
            (&[When::With(MultipartUploads)], Complain { calls: &["AbortMultipartUpload"], says: DENIED }),
            (&[], CANNOT_LIST_UPLOADS),
        ],
        change: |place| place.uploads.retain(|key| key.starts_with(SIBLING)),
        calls: &["ListMultipartUploads"],
        ..PLAIN
    },
    Operation {
        title: "delete",
        command: "delete backup:copies",
        change: |place| place.tree.retain(|name, _| !name.starts_with("copies/")),
        calls: &["DeleteObject"],
        ..PLAIN
    },
    Operation {
        title: "purge",
        command: "purge backup:",
        extent: Extent::Core,
        rules: &[(&[], Complain { calls: &["GetBucketVersioning"], says: "GetBucketVersioning" })],
        change: |place| place.tree.clear(),
        calls: &["DeleteObject"],
        ..PLAIN
    },
];

const CANNOT_LIST_UPLOADS: Must = BeRefused { calls: &["ListMultipartUploads"], says: DENIED };
const CLEANUP: Rules = &[(&[When::With(MultipartUploads)], Work), (&[], CANNOT_LIST_UPLOADS)];

fn put(place: &mut Place, name: &str, size: usize) {
    place.tree.insert(name.to_owned(), filled(size));
}

fn add(place: &mut Place, below: &str, folder: fn(&files::Files) -> &files::Folder) {
    let tree =
        folder(&place.world.files).tree.iter().map(|(name, content)| (format!("{below}{name}"), content.clone()));
    let tree: Tree = tree.collect();
    place.tree.extend(tree);
}

fn all_match(place: &Place, ran: &Ran) -> Result<()> {
    says(ran, "0 differences found")?;
    says(ran, &format!("{} matching files", place.tree.len()))
}

fn lists_files(place: &Place, ran: &Ran) -> Result<()> {
    let mut must: Vec<String> = place.tree.iter().map(|(name, content)| format!("{} {name}", content.len())).collect();
    let mut found: Vec<String> = ran.stdout.lines().map(|line| line.trim_start().to_owned()).collect();
    must.sort();
    found.sort();
    ensure!(must == found, "it listed {found:?} and not {must:?}");
    Ok(())
}

fn lists_all(place: &Place, ran: &Ran) -> Result<()> {
    let folders = |name: &String| name.match_indices('/').map(|(at, _)| name[..=at].to_owned()).collect::<Vec<_>>();
    let mut must: Vec<String> = place.tree.keys().flat_map(folders).chain(place.tree.keys().cloned()).collect();
    let mut found: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
    must.sort();
    must.dedup();
    found.sort();
    ensure!(must == found, "it listed {found:?} and not {must:?}");
    Ok(())
}

fn counts(place: &Place, ran: &Ran) -> Result<()> {
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).context("it did not print JSON")?;
    let bytes: usize = place.tree.values().map(|content| content.len()).sum();
    ensure!(told["count"] == place.tree.len() && told["bytes"] == bytes, "it counted {told}");
    Ok(())
}

fn restores(place: &Place, _: &Ran) -> Result<()> {
    same(&place.tree, &files::read(&place.local("local"))?).context("what was restored")
}

fn says(ran: &Ran, text: &str) -> Result<()> {
    ensure_contains(&ran.stderr, text)
}

fn ensure_contains(printed: &str, text: &str) -> Result<()> {
    ensure!(printed.contains(text), "'{text}' is missing");
    Ok(())
}

fn ensure_equal(printed: &str, text: &str) -> Result<()> {
    ensure!(printed == text, "it printed '{printed}' and not '{text}'");
    Ok(())
}
