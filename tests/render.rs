//! `backup-target-operator render` as its users call it: the program itself, with files and standard input.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

const TARGET: &str = "apiVersion: backup-target.dev/v1alpha1
kind: BackupTarget
metadata: {name: dataset-1, namespace: backups}
spec: {bucket: my-backups, prefix: backups/dataset-1/}
";
const STORE: &str = "apiVersion: backup-target.dev/v1alpha1
kind: BackupStore
metadata: {name: default}
spec:
  region: cn-north-1
  aws: {iamPath: /backup-target/prod/, permissionsBoundary: \"arn:aws-cn:iam::123456789012:policy/backup-boundary\"}
  allow:
    - {namespaces: {names: [backups]}, buckets: [my-backups], prefixes: [\"{namespace}/\"], capabilities: [MultipartUploads]}
";

fn render(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_backup-target-operator"))
        .arg("render")
        .args(arguments)
        .env_clear()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // One that is given files reads nothing here, and may have ended by now.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Standard output of a run that has to succeed.
fn rendered(arguments: &[&str], stdin: &str) -> String {
    let output = render(arguments, stdin);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Standard error of a run that has to fail: with exit code 2, and nothing printed.
fn refused(arguments: &[&str], stdin: &str) -> String {
    let output = render(arguments, stdin);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stdout));
    assert!(output.stdout.is_empty(), "half-printed: {}", text(&output.stdout));
    text(&output.stderr)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn one_file_gives_policy_and_rclone_conf() {
    let text = rendered(&["-f", "examples/target.yaml", "--account", "123456789012"], "");
    assert!(text.starts_with("# BackupTarget backups/dataset-1: inline policy ("), "{text}");
    assert!(text.contains(" of 2048 characters)\n{\n"), "{text}");
    assert!(text.contains(r#""s3:ResourceAccount": "123456789012""#), "{text}");
    assert!(text.contains("\n# BackupTarget backups/dataset-1: rclone.conf\n"), "{text}");
    assert!(text.contains("remote = backup_s3:my-backups/clusters/prod/backups/dataset-1/"), "{text}");
}

#[test]
fn one_output_is_fit_for_a_pipe() {
    let policy = json(&rendered(&["-f", "-", "-o", "policy"], TARGET));
    assert_eq!(policy["Statement"][1]["Resource"], "arn:aws:s3:::my-backups");
    let conf = rendered(&["-f", "-", "-o", "rclone", "--region", "eu-west-1"], TARGET);
    assert!(conf.starts_with("# Written by") && conf.contains("\nregion = eu-west-1\n"), "{conf}");
    let secret: Value = serde_saphyr::from_str(&rendered(&["-f", "-", "-o", "secret"], TARGET)).expect("YAML");
    assert_eq!(secret["metadata"]["namespace"], "backups");
    assert_eq!(secret["metadata"]["ownerReferences"][0]["kind"], "BackupTarget");
}

#[test]
fn buckets_are_pinned_to_the_account_where_it_is_known() {
    let policy = |arguments: &[&str], stdin: &str| {
        let output = render(&[&["-f", "-", "-o", "policy"], arguments].concat(), stdin);
        (text(&output.stdout).contains("s3:ResourceAccount"), text(&output.stderr).contains("give --account"))
    };
    assert_eq!(policy(&[], TARGET), (false, true), "and what is not shown is told");
    assert_eq!(policy(&["--account", "123456789012"], TARGET), (true, false));
    let both = format!("{STORE}---\n{TARGET}");
    assert_eq!(policy(&[], &both), (true, false), "the boundary says which it is");
    let any = both.replace("aws: {", "aws: {bucketOwner: Any, ");
    assert_eq!(policy(&[], &any), (false, false));
}

/// Who may create a namespace with that label reads and deletes what infra keeps in platform/.
#[test]
fn folders_of_two_rules_that_can_meet_are_told() {
    let labelled =
        "    - {namespaces: {matchLabels: {tenant: \"true\"}}, buckets: [my-backups], prefixes: [\"{namespace}/\"]}\n";
    let store = format!("{STORE}{labelled}").replace("[\"{namespace}/\"], cap", "[platform/], cap");
    for output in ["boundary", "operator-policy"] {
        let told = text(&render(&["-f", "-", "-o", output], &store).stderr);
        assert!(told.contains("for a namespace platform") && told.contains("in bucket my-backups"), "{output}: {told}");
    }
    let apart = text(&render(&["-f", "-", "-o", "boundary"], STORE).stderr);
    assert!(!apart.contains("for a namespace"), "{apart}");
}

#[test]
fn rules_may_go_by_cluster_and_by_uid() {
    let store = STORE.replace("{namespace}/", "{cluster}/{namespaceUID}/");
    let target = TARGET.replace("prefix: backups/", "prefix: prod/1-2-3/");
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: backups, uid: 1-2-3}\n";
    let both = format!("{store}---\n{target}");
    assert!(refused(&["-f", "-", "--cluster-id", "prod"], &both).contains("give the Namespace backups with -f, too"));
    let all = format!("{both}{namespace}");
    assert!(refused(&["-f", "-"], &all).contains("give --cluster-id"));
    assert!(refused(&["-f", "-", "--cluster-id", "test"], &all).contains("covers prod/1-2-3/dataset-1/"));
    rendered(&["-f", "-", "--cluster-id", "prod"], &all);
}

#[test]
fn a_store_in_the_input_decides() {
    let both = format!("{STORE}---\n{TARGET}");
    let policy = rendered(&["-f", "-", "-o", "policy"], &both);
    assert!(policy.contains("arn:aws-cn:s3:::my-backups/backups/dataset-1/*"), "{policy}");
    let refused = refused(&["-f", "-"], &both.replace("dataset-1/}", "dataset-1/, capabilities: [ObjectAcls]}"));
    assert!(refused.contains("standard input, document 2 (BackupTarget backups/dataset-1)"), "{refused}");
    assert!(refused.contains("no rule allows capability ObjectAcls"), "{refused}");
}

#[test]
fn a_store_that_was_left_out_is_asked_for() {
    let other = STORE.replace("name: default", "name: other");
    let error = refused(&["-f", "-"], &format!("{other}---\n{TARGET}"));
    assert!(error.contains("spec.storeRef.name: BackupStore default is not among what was given"), "{error}");
}

#[test]
fn rules_with_labels_need_the_namespace() {
    let store = STORE.replace("{names: [backups]}", "{matchLabels: {team: a}}");
    let both = format!("{store}---\n{TARGET}");
    assert!(refused(&["-f", "-"], &both).contains("give the Namespace backups with -f, too"));
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: backups, labels: {team: a}}\n";
    rendered(&["-f", "-"], &format!("{both}{namespace}"));
}

#[test]
fn folders_lists_and_many_documents_are_read() {
    let folder = TempDir::new().expect("a folder");
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    put("a.yaml", TARGET);
    put("b.json", &json_list(&[&TARGET.replace("dataset-1", "dataset-2"), &TARGET.replace("dataset-1", "dataset-3")]));
    put("c.yml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n---\n");
    put("notes.txt", "not looked at");
    let path = folder.path().to_str().expect("UTF-8");
    let output = render(&["-f", path, "-o", "rclone"], "");
    assert_eq!(text(&output.stdout).matches("[backup]").count(), 3, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("c.yml, document 1: passed over, it is a ConfigMap"));
}

fn json_list(documents: &[&str]) -> String {
    let items: Vec<Value> = documents.iter().map(|yaml| serde_saphyr::from_str(yaml).expect("YAML")).collect();
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

#[test]
fn every_fault_is_told_with_its_place() {
    let table = [
        (
            "prefix: backups",
            "prefix: /backups",
            "spec.prefix: a prefix does not begin with '/'; write backups/dataset-1/",
        ),
        ("prefix: backups", "prefix: a*/backups", "found * at place 2"),
        ("bucket: my-backups", "bucket: My-Backups", "spec.bucket: a bucket name has only lower-case letters"),
        ("bucket: my-backups, ", "", "spec: missing field `bucket`"),
        ("prefix:", "prefx:", "spec.prefx: there is no such field"),
        ("prefix:", "capabilities: [Everything], prefix:", "spec.capabilities[0]: unknown variant `Everything`"),
        ("prefix:", "keyOverlap: 9000h, prefix:", "spec.keyOverlap: a duration is at most 8760h"),
        ("prefix:", "keyOverlap: -1h, prefix:", "spec.keyOverlap: a duration cannot be negative"),
        (
            "prefix:",
            "keyOverlap: 9999999999999999999h, prefix:",
            "spec.keyOverlap: the duration is longer than can be counted",
        ),
        ("v1alpha1", "v2", "apiVersion: backup-target.dev/v2 is not known; write backup-target.dev/v1alpha1"),
        ("name: dataset-1, ", "", "metadata.name: it is missing"),
        ("kind: BackupTarget\n", "", "apiVersion and kind are missing"),
        ("spec: {", "spec: {{", "it is not YAML"),
    ];
    for (from, to, why) in table {
        let error = refused(&["-f", "-"], &TARGET.replacen(from, to, 1));
        assert!(error.starts_with("error: standard input, document 1") && error.contains(why), "{to}: {error}");
    }
    let plain = STORE.replacen("aws: {", "aws: {iamEndpoint: 'http://iam.example.com', ", 1);
    assert!(refused(&["-f", "-", "-o", "boundary"], &plain).contains("spec.aws.iamEndpoint: it is without TLS"));
    let two = format!("{}---\n{}", TARGET.replace("my-b", "My-b"), TARGET.replace("prefix: b", "prefix: /b"));
    assert_eq!(refused(&["-f", "-"], &two).lines().filter(|line| line.starts_with("error: ")).count(), 2);
    assert!(refused(&["-f", "no/such/file.yaml"], "").contains("no/such/file.yaml cannot be read"));
    assert!(refused(&["-f", "-"], "").contains("there is no BackupTarget"));
    assert!(refused(&["-f", "-", "-o", "boundary"], TARGET).contains("there is no BackupStore"));
}

#[test]
fn what_is_secret_in_the_input_is_not_in_the_errors() {
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: hunter2, key: hunter2}\n  bad: [\n";
    let error = refused(&["-f", "-"], &format!("{TARGET}---\n{secret}"));
    assert!(error.contains("document 2: it is not YAML") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_policy_that_no_form_takes_is_refused_with_the_way_out() {
    let prefix = "nine-char/".repeat(51);
    let target = TARGET.replace("prefix: backups/dataset-1/", &format!("prefix: {prefix}, ancestorListing: Allow"));
    for output in ["policy", "rclone", "bucket-policy", "table"] {
        let error = refused(&["-f", "-", "-o", output], &target);
        assert!(error.contains("it may have 6144") && error.contains("ancestorListing: Deny"), "{error}");
    }
    let managed = target.replace(&prefix, &"nine-char/".repeat(25));
    let text = rendered(&["-f", "-"], &managed);
    assert!(text.contains("managed policy (") && text.contains("of 6144 characters)"), "{text}");
}

#[test]
fn a_bucket_policy_says_what_it_cannot_grant() {
    let target = TARGET.replace("prefix:", "capabilities: [ListAllBuckets, CreateBucket], prefix:");
    let output =
        render(&["-f", "-", "-o", "bucket-policy", "--principal", "arn:aws:iam::123456789012:user/a"], &target);
    let (policy, notes) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(json(&policy)["Statement"][0]["Principal"]["AWS"], "arn:aws:iam::123456789012:user/a");
    assert!(!policy.contains("ListAllMyBuckets") && !policy.contains("CreateBucket"), "{policy}");
    for tier in ["ListAllBuckets (s3:ListAllMyBuckets)", "CreateBucket (s3:CreateBucket)"] {
        assert!(notes.contains(&format!("Unsupported in a bucket policy: {tier}")), "{notes}");
    }
}

#[test]
fn a_bucket_is_opened_to_nobody_by_mistake() {
    for principal in ["*", "foo", "arn:aws:iam::123456789012:user/*", "123456789012", "arn:aws:s3:::b"] {
        let error = refused(&["-f", "-", "-o", "bucket-policy", "--principal", principal], TARGET);
        assert!(error.contains("the ARN of one user or role"), "{principal}: {error}");
    }
}

#[test]
fn what_is_almost_ours_is_a_fault() {
    for (from, to) in [("kind: BackupTarget", "kind: backuptarget"), ("backup-target.dev/v1alpha1", "v1")] {
        let error = refused(&["-f", "-"], &TARGET.replace(from, to));
        assert!(error.contains("is not known; write backup-target.dev/v1alpha1"), "{error}");
    }
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    for output in ["policy", "all"] {
        assert!(refused(&["-f", "-", "-o", output], other).contains("passed over, it is a ConfigMap"));
    }
}

#[test]
fn the_iam_user_is_named_when_it_can_be_known() {
    let known = TARGET.replace("name: dataset-1", "name: dataset-1, uid: 1-2-3");
    let policy = json(&rendered(&["-f", "-", "-o", "bucket-policy"], &format!("{STORE}---\n{known}")));
    let arn = "arn:aws-cn:iam::123456789012:user/backup-target/prod/btgt-1-2-3";
    assert_eq!(policy["Statement"][0]["Principal"]["AWS"], arn);
}

#[test]
fn a_store_gives_boundary_and_operator_policy() {
    let boundary = rendered(&["-f", "-", "-o", "boundary"], STORE);
    assert!(boundary.contains("arn:aws-cn:s3:::my-backups/backups/*"), "{boundary}");
    let policy = rendered(&["-f", "-", "-o", "operator-policy"], STORE);
    assert!(policy.contains("arn:aws-cn:iam::123456789012:user/backup-target/prod/*"), "{policy}");
    assert!(policy.contains("policy/backup-boundary"), "{policy}");
    let pathless = STORE.replace("iamPath: /backup-target/prod/, ", "");
    assert!(refused(&["-f", "-", "-o", "operator-policy"], &pathless).contains("give --cluster-id"));
    rendered(&["-f", "-", "-o", "operator-policy", "--cluster-id", "c"], &pathless);
    let within = STORE.replace("policy/backup-boundary", "policy/backup-target/prod/boundary");
    assert!(refused(&["-f", "-", "-o", "operator-policy"], &within).contains("move it to another path"));
}

#[test]
fn all_is_all_that_there_is() {
    let text = rendered(&["-f", "examples", "-o", "all"], "");
    for heading in ["inline policy", "policy of bucket", "rclone.conf", "Secret dataset-1", "each tier", "boundary"] {
        assert!(text.contains(heading), "{heading}");
    }
    rendered(&["-f", "-", "-o", "all"], TARGET);
    let seaweedfs = std::fs::read_to_string("examples/stores/seaweedfs.yaml").expect("readable");
    let refused = refused(&["-f", "-", "-o", "operator-policy"], &seaweedfs);
    assert!(refused.contains("its credentials are an administrator's"), "{refused}");
    rendered(&["-f", "-", "-o", "all"], STORE);
}

#[test]
fn who_brings_a_key_is_told_what_it_needs() {
    let store = fs::read_to_string(project().join("examples/stores/static-keys.yaml")).expect("readable");
    let target = |folder: &str| {
        let target = TARGET.replace("bucket:", "storeRef: {name: brought}, bucket:");
        format!("{store}---\n{}", target.replace("backups/dataset-1/", &format!("clusters/prod/backups/{folder}/")))
    };
    let output = render(&["-f", "-", "-o", "policy,rclone"], &target("dataset-1"));
    let (printed, notes) = (text(&output.stdout), text(&output.stderr));
    for part in [
        "what the key has to be able to do",
        "arn:aws:s3:::my-backups/clusters/prod/backups/dataset-1/*",
        "provider = Other",
        "endpoint = https://s3.us-west-004.backblazeb2.com",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(notes.contains("docs/stores.md") && !notes.contains("no entry"), "{notes}");
    let notes = text(&render(&["-f", "-"], &target("dataset-2")).stderr);
    assert!(notes.contains("no entry for just clusters/prod/backups/dataset-2/ of bucket my-backups"), "{notes}");
    let refused = refused(&["-f", "-", "-o", "operator-policy"], &store);
    assert!(refused.contains("no credentials of its own"), "{refused}");
}

#[test]
fn the_table_explains_every_action() {
    let table = rendered(&["-f", "-", "-o", "table"], &TARGET.replace("prefix:", "ancestorListing: Allow, prefix:"));
    for part in [
        "BaseAccess: granted",
        "ObjectAcls: not requested; it would allow\n  s3:PutObjectAcl\n",
        "if    s3:prefix is like \"backups/dataset-1/*\"",
        "if    s3:delimiter is \"/\"",
        "if    s3:prefix is \"\" or \"backups/\"",
        "see   API_GetObject",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

/// The commands of README and docs, run as they stand there.
#[test]
fn the_examples_of_the_documents_work() {
    let documents = ["README.md", "docs/administrator.md", "docs/user.md"];
    let text = documents.map(|document| fs::read_to_string(project().join(document)).expect("readable")).concat();
    let marker = "backup-target-operator render ";
    let examples: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix(marker)).collect();
    assert!(examples.len() >= 8, "the documents show render: {examples:?}");
    for example in examples {
        let command = example.split(['#', '|', '>']).next().unwrap_or_default();
        let arguments: Vec<&str> = command.split_whitespace().collect();
        assert!(!rendered(&arguments, TARGET).is_empty(), "{example}");
    }
}

/// Its store and its target fit each other, and each field of them is one.
#[test]
fn the_objects_of_the_readme_are_rendered() {
    let readme = fs::read_to_string(project().join("README.md")).expect("readable");
    let objects: Vec<&str> = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(objects.len(), 2, "a store and a target: {objects:?}");
    let policy = rendered(&["-f", "-", "-o", "policy"], &objects.join("---\n"));
    assert!(policy.contains("my-backups/clusters/prod/backups/dataset-1/*"), "{policy}");
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn completions_and_manual_pages_are_there() {
    for arguments in [&["completions", "bash"][..], &["completions", "fish"], &["man"], &["man", "render"], &["crds"]] {
        let program = Command::new(env!("CARGO_BIN_EXE_backup-target-operator")).args(arguments).output();
        let output = program.expect("it runs");
        assert!(output.status.success() && output.stdout.len() > 500, "{arguments:?}");
    }
    let unknown = Command::new(env!("CARGO_BIN_EXE_backup-target-operator")).args(["man", "x"]).output();
    assert_eq!(unknown.expect("it runs").status.code(), Some(2));
}
