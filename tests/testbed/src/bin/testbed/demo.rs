//! The main job, once and visibly: from `kubectl apply` to a backup that rclone restores, and back to nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use testbed::{
    aws::Aws,
    kubectl::Kubectl,
    kubernetes::ControlPlane,
    operator::{Operator, Options},
    rclone::Rclone,
    run::Run,
    story::{Story, indented},
};

use crate::{
    sample::{self, BACKUPS, BUCKET, PREFIX},
    serve::timed,
};

const LARGE: usize = 20 << 20;

/// Tells the story. `Ok(false)` when a part of it was not seen.
pub async fn demo() -> Result<bool> {
    let mut story = Story::new("demo");
    story.chapter("Start real servers, and the operator with exactly the chart's rights");
    let stage = Stage::start().await?;

    story.chapter("An administrator says who may claim what, and a user declares a target");
    stage.apply(&mut story).await?;
    story.chapter("The operator answers: a principal, a policy, a Secret, a condition for each tier");
    stage.look(&mut story).await;
    story.chapter("The very first backup to the empty prefix, with the Secret and nothing else");
    let rclone = stage.rclone().await?;
    back_up(&mut story, &stage, &rclone).await?;
    story.chapter("What was not granted is refused");
    refused(&mut story, &rclone).await;
    story.chapter("Capabilities change in place");
    stage.change(&mut story).await;
    story.chapter("The target is deleted: nothing of it stays in IAM, and every object is still there");
    stage.delete(&mut story).await;
    drop(stage);
    Ok(story.end())
}

/// The servers of the story, in the order in which they end.
struct Stage {
    _operator: Operator,
    aws: Aws,
    _control_plane: ControlPlane,
    kubectl: Kubectl,
}

impl Stage {
    async fn start() -> Result<Self> {
        let run = Run::begin("demo")?;
        let start = Instant::now();
        let (control_plane, aws) = tokio::try_join!(
            timed("Kubernetes (etcd, kube-apiserver)", start, ControlPlane::start(&run)),
            timed("AWS stand-in that enforces IAM policies", start, Aws::start(&run)),
        )?;
        let operator = timed("operator", start, Operator::start(&control_plane, Options::default())).await?;
        aws.create_bucket(BUCKET).await?;
        aws.create_bucket("another-bucket").await?;
        aws.put_object(BUCKET, "clusters/prod/backups/dataset-10/neighbour", "somebody else's").await?;
        let kubectl = Kubectl::new(&control_plane);
        Ok(Self { _operator: operator, aws, _control_plane: control_plane, kubectl })
    }

    async fn apply(&self, story: &mut Story) -> Result<()> {
        let objects: Vec<Value> = sample::store(self.aws.url()).into_iter().chain([sample::target()]).collect();
        self.kubectl.apply(&objects).await?;
        println!("{}", indented(&self.wanted().await?));
        story.check("kubectl apply, and it is ready", async || self.wait_for("Ready").await).await;
        Ok(())
    }

    /// The target as its user wrote it.
    async fn wanted(&self) -> Result<String> {
        let spec = self.json(&["get", "backuptarget", "dataset-1", "--output=json"]).await?["spec"].clone();
        let wanted = ["storeRef", "bucket", "prefix", "secret"].map(|field| format!("{field}: {}", spec[field]));
        let store = self.json(&["get", "backupstore", "default", "--output=json"]).await?["spec"]["allow"][0].clone();
        let rule = ["namespaces", "buckets", "prefixes", "capabilities", "ancestorListing"];
        let rule = rule.map(|field| format!("{field}: {}", store[field]));
        Ok(format!(
            "BackupStore default allows\n  {}\nBackupTarget backups/dataset-1\n  {}",
            rule.join("\n  "),
            wanted.join("\n  ")
        ))
    }

    async fn look(&self, story: &mut Story) {
        story
            .check("kubectl get backuptargets", async || {
                let table = self.kubectl(&["get", "backuptargets"]).await?;
                println!("{}", indented(&table));
                ensure!(table.contains("True") && table.contains("Provisioned"), "it is not ready");
                Ok(())
            })
            .await;
        story.check("a condition for each tier", async || self.show_conditions(&[("BaseAccess", "True")]).await).await;
        story
            .check("the policy as IAM stores it: this folder, the way to it, and no session", async || {
                let policies = self.aws.policies_of(&self.principal().await?).await?;
                let policy = policies.get("backup-target").context("there is no policy")?;
                println!("{}", indented(&serde_json::to_string_pretty(policy)?));
                let statements = policy["Statement"].as_array().context("there are no statements")?;
                let ids: Vec<&str> = statements.iter().filter_map(|statement| statement["Sid"].as_str()).collect();
                ensure!(ids == ["KeysOnly", "ListFolder", "ListOnTheWay", "Objects"], "{ids:?}");
                Ok(())
            })
            .await;
        story
            .check("the Secret holds an rclone.conf", async || {
                let secret = self.json(&["get", "secret", "dataset-1", "--output=json"]).await?;
                let names: Vec<&String> = secret["data"].as_object().context("no data")?.keys().collect();
                println!("{}", indented(&format!("keys of Secret dataset-1: {names:?}")));
                ensure!(names == ["rclone.conf"]);
                Ok(())
            })
            .await;
    }

    async fn change(&self, story: &mut Story) {
        story
            .check("a key without the tier cannot list unfinished uploads; with it, it can", async || {
                let before = self.key().await?;
                ensure!(!self.can_clean_up().await?, "it could before");
                let patch = r#"{"spec":{"capabilities":["MultipartUploads"]}}"#;
                println!(
                    "{}",
                    indented(&format!("kubectl patch backuptarget dataset-1 --type=merge --patch '{patch}'"))
                );
                self.kubectl(&["patch", "backuptarget", "dataset-1", "--type=merge", "--patch", patch]).await?;
                self.wait_for("MultipartUploads").await?;
                ensure!(self.can_clean_up().await?, "it cannot now");
                ensure!(self.key().await? == before, "the key is another one");
                Ok(())
            })
            .await;
        let conditions = [("BaseAccess", "True"), ("MultipartUploads", "True"), ("ObjectAcls", "False")];
        story.check("its condition says so", async || self.show_conditions(&conditions).await).await;
    }

    async fn can_clean_up(&self) -> Result<bool> {
        // rclone lists the unfinished uploads first; 0 of them is an answer, 403 is none.
        let ran = self.rclone().await?.run(&["backend", "list-multipart-uploads", &s3(PREFIX)]).await?;
        Ok(ran.code == Some(0))
    }

    async fn delete(&self, story: &mut Story) {
        let objects = self.aws.objects(BUCKET).await.unwrap_or_default();
        story
            .check("kubectl delete", async || {
                self.kubectl(&["delete", "backuptarget", "dataset-1", "--wait", "--timeout=30s"]).await?;
                Ok(())
            })
            .await;
        story
            .check("IAM holds nothing of it", async || {
                let users = self.aws.users_under("/").await?;
                ensure!(users.is_empty(), "{users:?}");
                let secrets = self.kubectl(&["get", "secrets", "--output=name"]).await?;
                ensure!(secrets.trim().is_empty(), "{secrets}");
                Ok(())
            })
            .await;
        story
            .check(&format!("all {} objects are still there, untouched", objects.len()), async || {
                ensure!(objects.len() > 3 && self.aws.objects(BUCKET).await? == objects, "they are not");
                Ok(())
            })
            .await;
    }

    // === what the story is told with ===

    async fn show_conditions(&self, wanted: &[(&str, &str)]) -> Result<()> {
        let target = self.json(&["get", "backuptarget", "dataset-1", "--output=json"]).await?;
        let conditions = target["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let mut found = BTreeMap::new();
        for condition in &conditions {
            let [type_, status, reason] = ["type", "status", "reason"].map(|field| text(condition, field));
            println!("{}", indented(&format!("{type_:<17} {status:<8} {reason}")));
            found.insert(type_, status);
        }
        for (type_, status) in wanted {
            ensure!(found.get(*type_).is_some_and(|found| found == status), "{type_} is not {status}");
        }
        Ok(())
    }

    async fn wait_for(&self, condition: &str) -> Result<()> {
        let condition = format!("--for=condition={condition}");
        self.kubectl(&["wait", "backuptarget/dataset-1", &condition, "--timeout=30s"]).await?;
        Ok(())
    }

    async fn principal(&self) -> Result<String> {
        self.status("principal").await
    }

    async fn key(&self) -> Result<String> {
        self.status("accessKeyId").await
    }

    async fn status(&self, field: &str) -> Result<String> {
        let target = self.json(&["get", "backuptarget", "dataset-1", "--output=json"]).await?;
        Ok(target["status"][field].as_str().with_context(|| format!("status has no {field}"))?.to_owned())
    }

    async fn rclone(&self) -> Result<Rclone> {
        let template = "--output=go-template={{index .data \"rclone.conf\" | base64decode}}";
        Rclone::new(&self.kubectl(&["get", "secret", "dataset-1", template]).await?)
    }

    async fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(arguments).await?)?)
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["--namespace", BACKUPS], arguments].concat()).await
    }
}

async fn back_up(story: &mut Story, stage: &Stage, rclone: &Rclone) -> Result<()> {
    let data = rclone.folder().join("data");
    write_tree(&data)?;
    println!(
        "{}",
        indented(
            "small files, an empty folder (S3 has none, so it does not come back), a unicode name, 20 MiB that go up in parts"
        )
    );
    // So that 20 MiB are sent as 200 MiB would be.
    let in_parts = "--s3-upload-cutoff=5Mi";
    let run = async |arguments: &[&str]| rclone.run(&[arguments, &[in_parts]].concat()).await?.succeeded();
    story.check("rclone copy data backup:", async || run(&["copy", "data", "backup:"]).await.map(drop)).await;
    story.check("rclone check data backup:", async || run(&["check", "data", "backup:"]).await.map(drop)).await;
    story
        .check("the large file went up in parts", async || {
            let objects = stage.aws.objects(BUCKET).await?;
            let large = objects.get(&format!("{PREFIX}large")).context("it is not there")?;
            ensure!(large.contains("-4"), "{large}");
            Ok(())
        })
        .await;
    story.check("rclone copy backup: restored", async || run(&["copy", "backup:", "restored"]).await.map(drop)).await;
    story
        .check("what was restored is what was backed up", async || {
            let (before, after) = (tree(&data)?, tree(&rclone.folder().join("restored"))?);
            ensure!(before == after, "they differ: {:?} {:?}", before.keys(), after.keys());
            Ok(())
        })
        .await;
    Ok(())
}

async fn refused(story: &mut Story, rclone: &Rclone) {
    let attempts = [
        (
            "reading the neighbour clusters/prod/backups/dataset-10/",
            vec!["ls".into(), s3("clusters/prod/backups/dataset-10/")],
        ),
        (
            "writing beside the prefix",
            vec!["copyto".into(), "data/a.txt".into(), s3("clusters/prod/backups/dataset-10/a.txt")],
        ),
        ("listing the whole bucket with all that is below", vec!["ls".into(), s3("")]),
        ("another bucket", vec!["ls".into(), "backup_s3:another-bucket/".into()]),
        ("listing all buckets", vec!["lsd".into(), "backup_s3:".into()]),
    ];
    for (what, arguments) in attempts {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--retries=1"]).collect();
        story
            .check(&format!("{what} is refused"), async || {
                let ran = rclone.run(&arguments).await?;
                let denied = ran.stderr.lines().find(|line| line.contains("403"));
                let Some(denied) = denied.filter(|_| ran.code != Some(0)) else {
                    bail!("it was not: {:?} {}", ran.code, ran.stderr);
                };
                println!("{}", indented(&format!("rclone {}", arguments.join(" "))));
                println!("{}", indented(denied.split("api error ").last().unwrap_or(denied)));
                Ok(())
            })
            .await;
    }
}

fn s3(path: &str) -> String {
    format!("backup_s3:{BUCKET}/{path}")
}

fn write_tree(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("folder/empty"))?;
    fs::write(root.join("a.txt"), "a small file")?;
    fs::write(root.join("nothing"), "")?;
    fs::write(root.join("folder/Größe été 日本.txt"), "a unicode name")?;
    // No two parts are the same.
    let block = |number: usize| format!("{number:01024}");
    let large: String = (0..LARGE / 1024).map(block).collect();
    Ok(fs::write(root.join("large"), large)?)
}

/// Files with their content. S3 has no folders, so an empty one is nothing that could come back.
fn tree(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root)?.to_owned(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}
