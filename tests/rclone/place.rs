//! Where the cells of one release and one set of tiers happen, one after the other: a bucket, and a key for a folder in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use backup_target_operator::{
    access::{
        Access, BucketName, PolicyDocument, Prefix,
        claim::RemoteName,
        rclone::{AccessKey, RcloneConf},
        terms::Endpoint,
    },
    api::Capability,
};
use secrecy::ExposeSecret;
use testbed::rclone::Rclone;

use crate::{
    files::{Content, Folder, MODIFIED, Tree},
    releases::Release,
    tiers::TierSet,
    world::World,
};

pub const PREFIX: &str = "backups/dataset-1/";
/// A folder of somebody else, whose name begins like the prefix without its last `/`.
pub const SIBLING: &str = "backups/dataset-10/";
/// Objects of others, which nothing here may change.
const FOREIGN: [&str; 2] = ["backups/dataset-10/theirs", "theirs"];

/// One release with one set of tiers.
pub struct Place {
    pub world: Arc<World>,
    pub release: Release,
    pub tiers: &'static TierSet,
    pub bucket: String,
    pub rclone: Rclone,
    /// What must be under the prefix.
    pub tree: Tree,
    /// The keys of the unfinished uploads that must be in the bucket.
    pub uploads: BTreeSet<String>,
    access_key: AccessKey,
    conf: RcloneConf,
    /// What others have in the bucket.
    theirs: Tree,
    /// What was read already: the content is read again only where an object was written since.
    seen: BTreeMap<String, (String, Content)>,
}

impl Place {
    /// A place without its bucket.
    pub async fn new(world: Arc<World>, release: Release, tiers: &'static TierSet) -> Result<Self> {
        let bucket = format!("{}-{}", release.name.replace('.', "-"), tiers.name);
        let access = Access {
            bucket: BucketName::parse(&bucket)?,
            prefix: Prefix::parse(PREFIX)?,
            capabilities: tiers.capabilities.iter().copied().collect(),
            ancestor_listing: tiers.ancestor_listing,
        };
        let access_key = create_principal(&world, &bucket, &access).await?;
        let conf = RcloneConf {
            provider: "AWS".into(),
            remote: RemoteName::parse("backup")?,
            access,
            region: world.terms.region.clone(),
            endpoint: None,
            create_bucket: tiers.has(Capability::CreateBucket),
        };
        let rclone = rclone(&world, release, &conf, &access_key)?;
        let (tree, theirs, uploads, seen) = (Tree::new(), Tree::new(), BTreeSet::new(), BTreeMap::new());
        let place = Self { world, release, tiers, bucket, rclone, tree, uploads, access_key, conf, theirs, seen };
        // Where the bucket is missing, S3 says that before anything else.
        if place.conf.create_bucket {
            place.limit_acls();
        }
        Ok(place)
    }

    /// Gives it its bucket, unless rclone created it, with what others have in it; and the rclone.conf for a bucket that
    /// exists, as the operator does.
    pub async fn furnish(&mut self) -> Result<()> {
        if !self.has_bucket().await? {
            self.world.aws.create_bucket(&self.bucket).await?;
        }
        for key in FOREIGN {
            self.world.aws.put_object(&self.bucket, key, key).await?;
            self.theirs.insert(key.to_owned(), key.as_bytes().into());
        }
        self.limit_acls();
        let theirs = format!("{SIBLING}unfinished");
        self.world.aws.s3.create_multipart_upload().bucket(&self.bucket).key(&theirs).send().await?;
        self.uploads.insert(theirs);
        self.conf.create_bucket = false;
        self.rclone = rclone(&self.world, self.release, &self.conf, &self.access_key)?;
        Ok(())
    }

    pub async fn has_bucket(&self) -> Result<bool> {
        let buckets = self.world.aws.s3.list_buckets().send().await?.buckets.unwrap_or_default();
        Ok(buckets.iter().any(|bucket| bucket.name() == Some(&self.bucket)))
    }

    /// The id of the key that rclone has.
    pub fn key(&self) -> &str {
        &self.access_key.id
    }

    /// rclone with the same key in the configuration for a store with an endpoint.
    pub fn rclone_at(&self, endpoint: &str) -> Result<Rclone> {
        let endpoint = Some(Endpoint::parse("endpoint", endpoint)?);
        rclone(&self.world, self.release, &RcloneConf { endpoint, ..self.conf.clone() }, &self.access_key)
    }

    /// A path on this machine for what an operation writes there.
    pub fn local(&self, name: &str) -> PathBuf {
        self.rclone.folder().join(name)
    }

    /// The words of a command, with what the words in capitals stand for.
    pub fn command(&self, command: &str) -> Vec<String> {
        let files = &self.world.files;
        let folder = |folder: &Folder| folder.path.display().to_string();
        let replaced = |word: &str| {
            word.replace("DATA", &folder(&files.data))
                .replace("LATER", &folder(&files.later))
                .replace("SIZES", &folder(&files.sizes))
                .replace("LARGE", &folder(&files.large))
                .replace("DEEP", &folder(&files.deep))
                .replace("LOCAL", &self.local("local").display().to_string())
                .replace("BUCKET", &self.bucket)
                .replace("PREFIX/", PREFIX)
                .replace("PREFIX", PREFIX.trim_end_matches('/'))
                .replace("SIBLING/", SIBLING)
        };
        command.split_whitespace().map(replaced).collect()
    }

    /// Removes everything under the prefix, with the rights of the account's root.
    pub async fn empty(&mut self) -> Result<()> {
        let s3 = &self.world.aws.s3;
        for key in self.world.aws.objects(&self.bucket).await?.into_keys().filter(|key| key.starts_with(PREFIX)) {
            s3.delete_object().bucket(&self.bucket).key(key).send().await?;
        }
        self.tree.clear();
        Ok(())
    }

    /// Does with the rights of the account's root what rclone could not, so that the next operations find it.
    pub async fn change_as_root(&mut self, change: fn(&mut Self)) -> Result<()> {
        let (before, uploads) = (self.tree.clone(), self.uploads.clone());
        change(self);
        let s3 = &self.world.aws.s3;
        for (name, content) in self.tree.iter().filter(|(name, content)| before.get(*name) != Some(content)) {
            let put = s3.put_object().bucket(&self.bucket).key(format!("{PREFIX}{name}"));
            put.metadata("mtime", MODIFIED.to_string()).body(content.to_vec().into()).send().await?;
        }
        for name in before.keys().filter(|name| !self.tree.contains_key(*name)) {
            s3.delete_object().bucket(&self.bucket).key(format!("{PREFIX}{name}")).send().await?;
        }
        for key in self.uploads.difference(&uploads) {
            s3.create_multipart_upload().bucket(&self.bucket).key(key).send().await?;
        }
        Ok(())
    }

    fn limit_acls(&self) {
        if !self.tiers.has(Capability::ObjectAcls) {
            self.world.without_acls.insert(self.key());
        }
    }

    /// Fails unless the bucket holds what it must: under the prefix what was put there, and elsewhere what others have. What
    /// it holds instead is where the next operation starts from.
    pub async fn is_as_it_must(&mut self) -> Result<()> {
        let mut found = self.objects().await?;
        let uploads = self.unfinished_uploads().await?;
        let inside = found.extract_if(.., |key, _| key.starts_with(PREFIX));
        let inside = inside.map(|(key, content)| (key[PREFIX.len()..].to_owned(), content)).collect();
        let tree = mem::replace(&mut self.tree, inside);
        let must = mem::replace(&mut self.uploads, uploads);
        same(&tree, &self.tree).context("under the prefix")?;
        same(&self.theirs, &found).context("outside of the prefix")?;
        ensure!(must == self.uploads, "there are unfinished uploads {:?} and not {must:?}", self.uploads);
        Ok(())
    }

    /// The keys of the unfinished uploads in the bucket.
    pub async fn unfinished_uploads(&self) -> Result<BTreeSet<String>> {
        let answer = self.world.aws.s3.list_multipart_uploads().bucket(&self.bucket).send().await?;
        Ok(answer.uploads.unwrap_or_default().into_iter().filter_map(|upload| upload.key).collect())
    }

    async fn objects(&mut self) -> Result<Tree> {
        let states = self.world.aws.objects(&self.bucket).await?;
        self.seen.retain(|key, _| states.contains_key(key));
        for (key, state) in states {
            if self.seen.get(&key).is_none_or(|(seen, _)| *seen != state) {
                let object = self.world.aws.s3.get_object().bucket(&self.bucket).key(&key).send().await?;
                let content = object.body.collect().await?.into_bytes();
                self.seen.insert(key, (state, content.to_vec().into()));
            }
        }
        Ok(self.seen.iter().map(|(key, (_, content))| (key.clone(), content.clone())).collect())
    }
}

/// Fails unless both are the same, and says which files differ without showing what is in them.
pub fn same(must: &Tree, found: &Tree) -> Result<()> {
    let names: Vec<&String> = must.keys().chain(found.keys().filter(|name| !must.contains_key(*name))).collect();
    let differ = |name: &&&String| must.get(**name) != found.get(**name);
    let told = |name: &&String| {
        let size = |tree: &Tree| tree.get(*name).map_or("missing".to_owned(), |content| format!("{} B", content.len()));
        format!("{name:?} is {} and not {}", size(found), size(must))
    };
    let wrong: Vec<String> = names.iter().filter(differ).map(told).take(5).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

async fn create_principal(world: &World, name: &str, access: &Access) -> Result<AccessKey> {
    let iam = &world.aws.iam;
    let policy = PolicyDocument::new(&world.terms, [access]).to_json();
    iam.create_user().user_name(name).send().await?;
    iam.put_user_policy().user_name(name).policy_name("access").policy_document(policy).send().await?;
    let key = iam.create_access_key().user_name(name).send().await?.access_key.context("no key")?;
    Ok(AccessKey { id: key.access_key_id, secret: key.secret_access_key.into() })
}

fn rclone(world: &World, release: Release, conf: &RcloneConf, key: &AccessKey) -> Result<Rclone> {
    let rclone = Rclone::with_program(release.program()?, conf.render(key)?.expose_secret())?;
    // Most of what a short rclone computes is to collect garbage while it starts.
    Ok(rclone.trusting(&world.authority)?.env("HTTPS_PROXY", world.tunnel.url()).env("GOGC", "1000"))
}
