//! The rclone.conf that a Secret holds (docs/decisions/secret.md).

use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{
    Access, Invalid,
    claim::RemoteName,
    hex,
    terms::{Endpoint, Region},
};
use crate::api::Capability;

/// An access key with its secret half, as it goes into a Secret.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The public half.
    pub id: String,
    /// The secret half; never printed.
    pub secret: SecretString,
}

impl AccessKey {
    /// Tells whether a Secret still holds this very key. Too short to find the key from, long enough to notice an edit.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(format!("{}:{}", self.id, self.secret.expose_secret()));
        hex(&digest[..8])
    }
}

/// All that an rclone.conf depends on, apart from the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcloneConf {
    /// Names of the two remotes.
    pub remote: RemoteName,
    /// What the key may reach.
    pub access: Access,
    /// What rclone calls the store.
    pub provider: String,
    /// Region of the bucket.
    pub region: Region,
    /// S3 endpoint, where it is not AWS's own.
    pub endpoint: Option<Endpoint>,
    /// Whether rclone may have to create the bucket. Never set for a bucket that exists: creating one's own bucket again
    /// resets its ACL in us-east-1 (docs/decisions/secret.md).
    pub create_bucket: bool,
}

impl RcloneConf {
    /// Writes the file.
    ///
    /// # Errors
    /// Refuses a value that rclone's ini format cannot carry unchanged.
    pub fn render(&self, key: &AccessKey) -> Result<SecretString, Invalid> {
        let s3 = self.remote.s3();
        let mut file = Ini::new("Written by backup-target-operator; edits are undone.");
        file.section(&s3);
        file.value("type", "s3")?;
        file.value("provider", self.provider())?;
        file.value("env_auth", "false")?;
        file.value("access_key_id", &key.id)?;
        file.value("secret_access_key", key.secret.expose_secret())?;
        file.value("region", self.region.as_str())?;
        if let Some(endpoint) = &self.endpoint {
            file.value("endpoint", endpoint.as_str())?;
            file.value("force_path_style", "true")?;
        }
        if self.access.capabilities.contains(&Capability::ObjectAcls) {
            // The only ACL that buckets with ACLs switched off accept, and the one that backups across accounts want.
            file.value("acl", "bucket-owner-full-control")?;
        }
        if self.create_bucket {
            // It would be that of the objects otherwise, which CreateBucket does not know.
            file.value("bucket_acl", "private")?;
            if let Some(location) = self.region.location_constraint() {
                file.value("location_constraint", location)?;
            }
        } else {
            // Without it rclone tries to create the bucket before many an upload (docs/decisions/secret.md).
            file.value("no_check_bucket", "true")?;
        }
        file.section(self.remote.alias());
        file.value("type", "alias")?;
        // The "/" at the end is what makes the first backup into an empty prefix work (docs/decisions/secret.md).
        file.value("remote", &format!("{s3}:{}/{}", self.access.bucket, self.access.prefix.as_str()))?;
        Ok(file.text.into())
    }

    /// Short digest of the file, apart from the key.
    #[must_use]
    pub fn digest(&self) -> String {
        let no_key = AccessKey { id: String::new(), secret: String::new().into() };
        let file = self.render(&no_key).map(|file| file.expose_secret().to_owned()).unwrap_or_default();
        hex(&Sha256::digest(file)[..8])
    }

    /// rclone refuses to upload over plain http with its AWS settings.
    fn provider(&self) -> &str {
        match &self.endpoint {
            Some(endpoint) if endpoint.is_plain() && self.provider == "AWS" => "Other",
            _ => &self.provider,
        }
    }
}

/// Finds the secret access key in a file that [`RcloneConf::render`] wrote, however edited since.
#[must_use]
pub fn find_secret_key(file: &str) -> Option<SecretString> {
    find(file, "secret_access_key").map(SecretString::from)
}

/// Finds the access key id likewise.
#[must_use]
pub fn find_key_id(file: &str) -> Option<&str> {
    find(file, "access_key_id")
}

fn find<'a>(file: &'a str, key: &str) -> Option<&'a str> {
    file.lines().filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim() == key).map(|(_, v)| v.trim())
}

struct Ini {
    text: String,
}

impl Ini {
    fn new(comment: &str) -> Self {
        Self { text: format!("# {comment}\n") }
    }

    fn section(&mut self, name: &str) {
        let _ = write!(self.text, "\n[{name}]\n");
    }

    fn value(&mut self, key: &'static str, value: &str) -> Result<(), Invalid> {
        if let Some(problem) = unsafe_in_ini(value) {
            return Err(Invalid::new(key, format!("rclone.conf cannot carry this value: it {problem}")));
        }
        let _ = writeln!(self.text, "{key} = {value}");
        Ok(())
    }
}

/// What rclone would read differently (docs/decisions/secret.md). The value itself is not told: it may be the secret.
fn unsafe_in_ini(value: &str) -> Option<&'static str> {
    if value.chars().any(char::is_control) {
        Some("has a control character")
    } else if value.trim() != value {
        Some("begins or ends with white space")
    } else if value.len() > 1 && value.starts_with('`') && value.ends_with('`') {
        Some("is wrapped in backticks")
    } else if value.starts_with("\"\"\"") {
        Some("begins with three quotes")
    } else if value.contains("%(") {
        Some("has '%(', which rclone would replace")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{BucketName, Prefix};

    fn conf(capabilities: &[Capability]) -> RcloneConf {
        RcloneConf {
            remote: RemoteName::parse("backup").expect("valid"),
            provider: "AWS".into(),
            access: Access {
                bucket: BucketName::parse("my-backups").expect("valid"),
                prefix: Prefix::parse("backups/dataset-1").expect("valid"),
                capabilities: capabilities.iter().copied().collect(),
                ancestor_listing: false,
            },
            region: Region::parse("eu-central-1").expect("valid"),
            endpoint: None,
            create_bucket: false,
        }
    }

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::parse("spec.endpoint", url).expect("valid")
    }

    fn key() -> AccessKey {
        AccessKey { id: "AKIAEXAMPLE".into(), secret: "abc/def+0".into() }
    }

    fn text(conf: &RcloneConf) -> String {
        conf.render(&key()).expect("renders").expose_secret().to_owned()
    }

    #[test]
    fn base_access_gives_the_shortest_file() {
        assert_eq!(
            text(&conf(&[])),
            "# Written by backup-target-operator; edits are undone.\n\n\
             [backup_s3]\ntype = s3\nprovider = AWS\nenv_auth = false\naccess_key_id = AKIAEXAMPLE\n\
             secret_access_key = abc/def+0\nregion = eu-central-1\nno_check_bucket = true\n\n\
             [backup]\ntype = alias\nremote = backup_s3:my-backups/backups/dataset-1/\n"
        );
    }

    #[test]
    fn options_follow_from_the_tiers() {
        assert!(text(&conf(&[Capability::ObjectAcls])).contains("\nacl = bucket-owner-full-control\n"));
        assert!(!text(&conf(&[Capability::MultipartUploads])).contains("multipart"));
        let missing = RcloneConf { create_bucket: true, ..conf(&[Capability::CreateBucket]) };
        assert!(text(&missing).contains("\nlocation_constraint = eu-central-1\n"));
        assert!(text(&missing).contains("\nbucket_acl = private\n"));
        assert!(!text(&missing).contains("no_check_bucket"));
        let home = RcloneConf { region: Region::parse("us-east-1").expect("valid"), ..missing };
        assert!(!text(&home).contains("location_constraint"));
        let exists = text(&conf(&[Capability::CreateBucket]));
        assert!(exists.contains("no_check_bucket = true") && !exists.contains("bucket_acl"));
    }

    #[test]
    fn an_endpoint_means_path_style_and_http_means_other() {
        let https = RcloneConf { endpoint: Some(endpoint("https://s3.example.com")), ..conf(&[]) };
        assert!(text(&https).contains("provider = AWS\n") && text(&https).contains("force_path_style = true\n"));
        let http = RcloneConf { endpoint: Some(endpoint("http://s3.example.com")), ..conf(&[]) };
        assert!(text(&http).contains("provider = Other\n"));
    }

    #[test]
    fn values_that_ini_mangles_are_refused_without_being_told() {
        for bad in ["a\nb", " a", "a ", "`a`", "\"\"\"a", "a%(b)s", "a\u{0}"] {
            let key = AccessKey { id: "AKIAEXAMPLE".into(), secret: bad.into() };
            let error = conf(&[]).render(&key).expect_err(bad);
            assert_eq!(error.field, "secret_access_key");
            assert!(!error.problem.contains(bad), "{error}");
        }
    }

    #[test]
    fn odd_values_that_ini_carries_are_written_as_they_are() {
        for good in ["`", "`a", "a`", "\"a\"", "a\"\"\"", "%", "a=b;c#d", ""] {
            let key = AccessKey { id: "AKIAEXAMPLE".into(), secret: good.into() };
            let file = conf(&[]).render(&key).expect(good);
            assert!(file.expose_secret().contains(&format!("secret_access_key = {good}\n")), "{good}");
        }
    }

    #[test]
    fn a_fingerprint_is_that_of_both_halves() {
        let print = key().fingerprint();
        assert_eq!(print.len(), 16);
        assert_ne!(print, AccessKey { id: "OTHER".into(), ..key() }.fingerprint());
        assert_ne!(print, AccessKey { secret: "other".into(), ..key() }.fingerprint());
    }

    #[test]
    fn the_key_is_found_again() {
        let file = text(&conf(&[]));
        let edited = file.replace("access_key_id = AKIAEXAMPLE", "access_key_id=OTHER");
        assert_eq!(find_key_id(&file), Some("AKIAEXAMPLE"));
        assert_eq!(find_key_id(&edited), Some("OTHER"));
        for file in [&file, &edited] {
            let secret = find_secret_key(file).expect("found");
            let found = AccessKey { id: "AKIAEXAMPLE".into(), secret };
            assert_eq!(found.fingerprint(), key().fingerprint());
        }
        assert_eq!(find_key_id("nothing here"), None);
    }

    #[test]
    fn a_key_does_not_print_its_secret() {
        assert!(!format!("{:?}", key()).contains("abc/def"));
    }
}
