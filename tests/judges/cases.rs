//! The cases: what users may declare, and requests on it, beside it, above it and elsewhere.

use std::collections::BTreeSet;

use backup_target_operator::api::Capability;

use crate::{
    can::{Declared, Demands, Folder, Form},
    request::{Asker, Listing, Place, Request, folder},
};

pub const BUCKET: &str = "my-backups";
/// The first begins with the name of ours, the second is a beginning of it, the third ends with it.
pub const OTHER_BUCKETS: [&str; 4] = ["my-backups-2", "my-backup", "not-my-backups", "elsewhere"];

/// What is granted by some tier; each is asked for at every place.
pub const OBJECT_ACTIONS: [&str; 6] = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:PutObjectAcl",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
];
pub const BUCKET_ACTIONS: [&str; 3] = ["s3:ListBucketMultipartUploads", "s3:GetBucketLocation", "s3:CreateBucket"];
/// What no tier is about, however alike it may sound.
const OTHER_OBJECT_ACTIONS: [&str; 12] = [
    "s3:GetObjectVersion",
    "s3:DeleteObjectVersion",
    "s3:GetObjectAcl",
    "s3:PutObjectVersionAcl",
    "s3:GetObjectTagging",
    "s3:PutObjectTagging",
    "s3:DeleteObjectTagging",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
    "s3:BypassGovernanceRetention",
    "s3:RestoreObject",
    "s3:GetObjectAttributes",
];
const OTHER_BUCKET_ACTIONS: [&str; 14] = [
    "s3:ListBucketVersions",
    "s3:DeleteBucket",
    "s3:GetBucketAcl",
    "s3:PutBucketAcl",
    "s3:GetBucketPolicy",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
    "s3:GetBucketVersioning",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutEncryptionConfiguration",
    "s3:PutReplicationConfiguration",
    "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketTagging",
];
const USER_ACTIONS: [&str; 3] = ["iam:CreateUser", "iam:CreateAccessKey", "iam:PutUserPolicy"];

const CLOUDS: [&str; 4] = ["aws", "aws-cn", "aws-us-gov", "aws-eusc"];

/// With and without the way to the folder, in both forms.
const WAYS: [(bool, Form); 4] =
    [(true, Form::Identity), (false, Form::Identity), (true, Form::Bucket), (false, Form::Bucket)];

/// A policy to judge: what it was declared for, and what is asked of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub form: Form,
    pub declared: Vec<Declared>,
    pub requests: Vec<Request>,
}

/// The shapes of folders, as users write them.
pub fn shapes() -> Vec<String> {
    let long = format!("{}/{}/", "long".repeat(60), "x".repeat(270));
    let long_latin = format!("backups/{}/", "ü".repeat(251));
    [
        "",
        "backups/",
        "backups/dataset-1/",
        "dataset-1/dataset-10/",
        "a/b/c/d/e/f/g/",
        &long,
        &long_latin,
        "my backups/every monday/",
        "a+b=c@d/it's, (x:y)!/",
        "Größe/Été/ÿ/",
        "..a/.b/c../",
        "Backups/backups/BACKUPS/",
        "a/a/a/",
    ]
    .map(str::to_owned)
    .into()
}

pub fn declare(folder_text: &str, capabilities: BTreeSet<Capability>, ancestor_listing: bool) -> Declared {
    let folder = folder(folder_text).expect("shapes are folders");
    let demands = Demands::default();
    Declared { bucket: BUCKET.to_owned(), folder, capabilities, ancestor_listing, cloud: "aws", demands }
}

/// Every set of capabilities.
pub fn tier_sets() -> Vec<BTreeSet<Capability>> {
    let all = Capability::ALL;
    let chosen = |bits: usize| (0..all.len()).filter(move |at| bits >> at & 1 == 1).map(|at| all[at]).collect();
    (0..1 << all.len()).map(chosen).collect()
}

/// Every set of tiers for every shape, with and without the way to it, in both forms. The policies of a shape share out its
/// requests, so that each of them meets one in `shares`; the first and the last set of tiers for the folder that the
/// documentation speaks of, with no capability and with all, get every request.
pub fn each_declaration(shares: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in shapes() {
        for (number, tiers) in tier_sets().into_iter().enumerate() {
            for (turn, (listing, form)) in WAYS.into_iter().enumerate() {
                let whole = shape == "backups/dataset-1/" && (tiers.is_empty() || tiers.len() == Capability::ALL.len());
                let declared = declare(&shape, tiers.clone(), listing);
                let all = requests(form, &declared, number).into_iter().enumerate();
                let share = all.filter(|(at, _)| whole || (at + number + 2 * turn) % shares == 0);
                let requests = share.map(|(_, request)| request).collect();
                cases.push(Case { form, declared: vec![declared], requests });
            }
        }
    }
    cases
}

/// The old and the new place during an overlap: folders beside each other, within each other, in two buckets, and with
/// different tiers, of which none may reach the other place.
pub fn overlaps() -> Vec<Case> {
    let tiers = |wanted: &[Capability]| wanted.iter().copied().collect::<BTreeSet<_>>();
    let all = || tiers(&Capability::ALL);
    let old = declare("backups/dataset-1/", all(), true);
    let elsewhere = Declared { bucket: "my-backups-2".to_owned(), ..declare("backups/dataset-1/", tiers(&[]), false) };
    let pairs = [
        [old.clone(), declare("backups/dataset-10/", tiers(&[]), false)],
        [old.clone(), declare("backups/", tiers(&[Capability::ObjectAcls]), true)],
        [old.clone(), declare("archive/dataset-1/", tiers(&[Capability::MultipartUploads]), true)],
        [old.clone(), declare("", tiers(&[]), false)],
        [old, elsewhere],
        [declare("a/a/", tiers(&[Capability::ObjectAcls]), false), declare("a/", tiers(&[]), true)],
    ];
    let mut cases = Vec::new();
    for pair in pairs {
        for form in [Form::Identity, Form::Bucket] {
            // A bucket's own policy is about one bucket.
            if form == Form::Bucket && pair[0].bucket != pair[1].bucket {
                continue;
            }
            let requests = pair.iter().flat_map(|declared| requests(form, declared, 0)).collect();
            cases.push(Case { form, declared: pair.to_vec(), requests });
        }
    }
    cases
}

/// Each separate AWS, asked for its own buckets and for those of the others.
pub fn clouds() -> Vec<Case> {
    let case = |cloud: &'static str| {
        let declared = Declared { cloud, ..declare("backups/dataset-1/", Capability::ALL.into(), true) };
        let all = requests(Form::Identity, &declared, 0);
        let elsewhere = all.iter().filter(|request| matches!(request.place, Place::Object(..) | Place::Bucket(_)));
        let elsewhere = elsewhere.step_by(7).cloned().zip(CLOUDS.iter().cycle());
        let elsewhere: Vec<_> = elsewhere.map(|(request, cloud)| Request { cloud, ..request }).collect();
        Case { form: Form::Identity, declared: vec![declared], requests: [all, elsewhere].concat() }
    };
    CLOUDS.into_iter().map(case).collect()
}

/// What the administrator may demand beyond the place, each alone and all together.
pub fn demands() -> Vec<Case> {
    let off = Demands::default;
    let home = Some("eu-central-1".to_owned());
    let all = Demands { tls: true, own_bucket: true, home: home.clone() };
    let mut cases = Vec::new();
    for demands in
        [off(), Demands { tls: true, ..off() }, Demands { own_bucket: true, ..off() }, Demands { home, ..off() }, all]
    {
        for shape in ["", "backups/dataset-1/"] {
            for form in [Form::Identity, Form::Bucket] {
                let demands = demands.clone();
                let declared = Declared { demands, ..declare(shape, Capability::ALL.into(), true) };
                let requests = requests(form, &declared, 0);
                cases.push(Case { form, declared: vec![declared], requests });
            }
        }
    }
    cases
}

/// Requests in and around what is declared. Of the actions that no tier is about, each place gets some, and another `number`
/// gives it others.
pub fn requests(form: Form, declared: &Declared, number: usize) -> Vec<Request> {
    let bucket = declared.bucket.as_str();
    let inside = format!("{}x", text(&declared.folder));
    let mut requests = listings(bucket, &declared.folder);
    for (at, name) in names_around(&declared.folder).iter().enumerate() {
        let others = OTHER_OBJECT_ACTIONS.iter().cycle().skip(2 * (at + number)).take(2);
        requests.extend(OBJECT_ACTIONS.iter().chain(others).map(|action| Request::object(action, bucket, name)));
    }
    requests.extend(BUCKET_ACTIONS.iter().chain(&OTHER_BUCKET_ACTIONS).map(|action| on_bucket(action, bucket)));
    for other in OTHER_BUCKETS {
        requests.extend(OBJECT_ACTIONS.iter().map(|action| Request::object(action, other, &inside)));
        requests.extend(BUCKET_ACTIONS.iter().map(|action| on_bucket(action, other)));
        requests.extend([None, Some(""), Some(inside.as_str())].map(|prefix| Request::list(other, prefix, Some("/"))));
    }
    requests.push(Request::new("s3:ListAllMyBuckets", Place::Account));
    requests.extend(USER_ACTIONS.map(|action| Request::new(action, Place::User("somebody".to_owned()))));
    requests.extend(circumstances(form, bucket, &inside));
    requests.into_iter().map(|request| Request { cloud: declared.cloud, ..request }).collect()
}

fn on_bucket(action: &'static str, bucket: &str) -> Request {
    Request::new(action, Place::Bucket(bucket.to_owned()))
}

/// Each way to list, at each place.
fn listings(bucket: &str, folder: &Folder) -> Vec<Request> {
    let names = names_around(folder);
    let folders = names.iter().filter_map(|name| Some(name[..=name.rfind('/')?].to_owned()));
    let mut prefixes: BTreeSet<Option<String>> = folders.chain(names.iter().cloned()).map(Some).collect();
    prefixes.extend([None, Some(String::new())]);
    let mut requests = Vec::new();
    for prefix in &prefixes {
        // Older releases of rclone send an empty delimiter.
        for delimiter in [None, Some("/"), Some(""), Some("-")] {
            let mut request = Request::list(bucket, prefix.as_deref(), delimiter);
            request.listing.max_keys = [None, Some(1), Some(1000)][requests.len() % 3];
            requests.push(request);
        }
    }
    // The same words mean nothing for the other two ways to list.
    let listing = Listing { prefix: Some(text(folder)), delimiter: Some("/".to_owned()), max_keys: None };
    for action in ["s3:ListBucketMultipartUploads", "s3:ListBucketVersions"] {
        requests.push(Request { listing: listing.clone(), ..on_bucket(action, bucket) });
    }
    requests
}

/// Who asks, in which way, and for whose bucket.
fn circumstances(form: Form, bucket: &str, inside: &str) -> Vec<Request> {
    let some = [
        Request::object("s3:GetObject", bucket, inside),
        Request::object("s3:PutObject", bucket, inside),
        Request::object("s3:AbortMultipartUpload", bucket, inside),
        Request::list(bucket, Some(inside), None),
        Request::list(bucket, Some(""), Some("/")),
        on_bucket("s3:ListBucketMultipartUploads", bucket),
        on_bucket("s3:CreateBucket", bucket),
        Request::new("s3:ListAllMyBuckets", Place::Account),
    ];
    let mut requests = Vec::new();
    for request in some {
        let by = |asker| Request { asker, ..request.clone() };
        requests.extend([by(Asker::Neighbour), by(Asker::Stranger), Request { over_tls: false, ..request.clone() }]);
        requests.push(Request { by_session: true, ..request.clone() });
        // Somebody else's bucket of this name: its policy is not ours to write, nor can it be created again.
        let of_a_bucket = matches!(request.place, Place::Bucket(_) | Place::Object(..));
        if form == Form::Identity && of_a_bucket && request.action != "s3:CreateBucket" {
            requests.push(Request { own_bucket: false, ..request });
        }
    }
    for acl in [None, Some("private"), Some("public-read"), Some("authenticated-read")] {
        let acl = acl.map(str::to_owned);
        requests.push(Request { acl, ..Request::object("s3:PutObjectAcl", bucket, inside) });
    }
    for region in ["eu-central-1", "EU", "us-east-1", "eu-central-10"] {
        requests.push(Request { location: Some(region.to_owned()), ..on_bucket("s3:CreateBucket", bucket) });
    }
    requests
}

/// Names of objects in a folder, above it, and beside it where it is easily taken for the folder.
fn names_around(folder: &Folder) -> BTreeSet<String> {
    let path = text(folder);
    let within = ["x", "deep/er/x.bin", "/x", "Größe 1+1=2@.txt"].map(|name| format!("{path}{name}"));
    let mut names = BTreeSet::from(within);
    let Some(bare) = path.strip_suffix('/') else { return names };

    names.extend([path.clone(), bare.to_owned()]);
    names.extend(["0/x", "x", "-old/x", " /x", "./x"].map(|more| format!("{bare}{more}")));
    names.extend([format!("/{path}x"), format!("other/{path}x"), format!("{}/x", swap_case(bare))]);
    // What a careless reader of patterns or of URLs takes for the same.
    for (from, to) in [(".", "x"), ("+", " "), (" ", "+"), (" ", "%20"), ("(", ""), ("ü", "u\u{308}"), ("é", "e")] {
        names.insert(format!("{}x", path.replace(from, to)));
    }
    let mut shorter = bare.to_owned();
    shorter.pop();
    names.insert(format!("{shorter}/x"));

    for (at, name) in folder.0.iter().enumerate() {
        let above = text(&Folder(folder.0[..at].to_vec()));
        // The folder on the way itself, an object in it, and a folder in it that is called like the next one.
        names.extend([format!("{above}x"), format!("{above}{name}0/x"), format!("{name}/x")]);
        if !above.is_empty() {
            names.insert(above);
        }
    }
    names
}

fn swap_case(text: &str) -> String {
    let swap = |c: char| if c.is_lowercase() { c.to_uppercase().next() } else { c.to_lowercase().next() };
    text.chars().map(|c| swap(c).filter(|other| other.len_utf8() == c.len_utf8()).unwrap_or(c)).collect()
}

/// A folder as S3 writes it.
pub fn text(folder: &Folder) -> String {
    folder.0.iter().fold(String::new(), |path, name| path + name + "/")
}
