//! A Kubernetes control plane: real etcd and kube-apiserver, with RBAC.
//!
//! There are no controllers: a Namespace that is deleted stays `Terminating`, and the objects of a deleted owner stay.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hyper::Request;
use kube::{Client, Config};
use serde_json::json;
use tempfile::TempDir;

use super::{
    certificates::{Authority, SigningKey},
    child::command,
    install,
    ports::with_free_port,
    process::Process,
    proxy::Upstream,
    run::Run,
    tools::{project, tool},
};

const START: Duration = Duration::from_mins(1);

/// A running control plane; dropping it ends its servers and removes their data. Several can run side by side.
pub struct ControlPlane {
    apiserver: Mutex<Process>,
    etcd: Process,
    etcd_url: String,
    data: TempDir,
    authority: Authority,
    url: String,
    token: String,
    run: Run,
    room: PathBuf,
}

impl ControlPlane {
    /// A cluster as `helm install` leaves it for the operator: with its CRDs and its rights.
    pub async fn start(run: &Run) -> Result<Self> {
        let control_plane = Self::bare(run).await?;
        let client = control_plane.client()?;
        Box::pin(install::crds(&client, &project().join("crds"))).await?;
        Box::pin(install::rights(&client, &control_plane.room)).await?;
        Ok(control_plane)
    }

    /// A cluster with nothing of ours in it.
    pub async fn bare(run: &Run) -> Result<Self> {
        let room = run.room("kubernetes")?;
        let data = TempDir::new_in(&room)?;
        let authority = Authority::new("testbed")?;
        let token = write_credentials(&room, &authority)?;
        let (etcd, etcd_url) = with_free_port(async |port| start_etcd(&room, data.path(), port).await).await?;
        let (apiserver, url) = with_free_port(async |port| {
            let (mut apiserver, url) = start_apiserver(&room, &etcd_url, port)?;
            let client = client(&url, &authority, &token)?;
            apiserver.until_ready(START, async || readyz(&client).await).await?;
            Ok((apiserver, url))
        })
        .await?;
        let (apiserver, run) = (Mutex::new(apiserver), run.clone());
        let control_plane = Self { apiserver, etcd, etcd_url, data, authority, url, token, run, room };
        control_plane.write_kubeconfig(&control_plane.room, "admin", &control_plane.url, &control_plane.token)?;
        Ok(control_plane)
    }

    /// A client of the administrator. It belongs to the async runtime it is made in.
    pub fn client(&self) -> Result<Client> {
        client(&self.url, &self.authority, &self.token)
    }

    /// A client of any user that RBAC knows, by the administrator's right to impersonate.
    pub fn client_as(&self, user: &str) -> Result<Client> {
        let mut config = config(&self.url, &self.authority, &self.token)?;
        config.auth_info.impersonate = Some(user.to_owned());
        Ok(Client::try_from(config)?)
    }

    /// The administrator's kubeconfig, for kubectl and helm.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.room.join("admin.kubeconfig")
    }

    /// A new kubeconfig, in `folder`, with the operator's own rights. `server` is where it finds the API server: usually
    /// [`Self::url`], or a [`super::proxy::Proxy`] in front of it.
    pub async fn operator_kubeconfig(&self, server: &str, folder: &Path) -> Result<PathBuf> {
        let token = install::operator_token(&self.client()?).await?;
        self.write_kubeconfig(folder, "operator", server, &token)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a proxy in front of the API server needs to know.
    pub fn upstream(&self) -> Upstream {
        Upstream { url: self.url.clone(), authority: Some(self.authority.der()) }
    }

    /// The run it belongs to.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The servers, to disturb or to report.
    pub fn servers(&mut self) -> [&mut Process; 2] {
        [self.apiserver.get_mut().unwrap_or_else(PoisonError::into_inner), &mut self.etcd]
    }

    /// Ends the API server as a crash would. Etcd stays.
    pub fn kill_apiserver(&self) {
        self.apiserver.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }

    /// Starts the API server again, at the same place.
    pub async fn start_apiserver(&self) -> Result<()> {
        let port = self.url.rsplit(':').next().context("a port")?.parse()?;
        let (mut apiserver, _) = start_apiserver(&self.room, &self.etcd_url, port)?;
        let client = self.client()?;
        apiserver.until_ready(START, async || readyz(&client).await).await?;
        *self.apiserver.lock().unwrap_or_else(PoisonError::into_inner) = apiserver;
        Ok(())
    }

    fn write_kubeconfig(&self, folder: &Path, user: &str, server: &str, token: &str) -> Result<PathBuf> {
        let mut kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": {"server": server}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
            "current-context": "testbed",
        });
        if server.starts_with("https:") {
            kubeconfig["clusters"][0]["cluster"]["certificate-authority"] = json!(self.room.join("ca.crt"));
        }
        let path = folder.join(format!("{user}.kubeconfig"));
        write_private(&path, &serde_saphyr::to_string(&kubeconfig)?)?;
        Ok(path)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // A graceful end takes seconds, and nothing in them is worth it.
        for server in self.servers() {
            server.kill();
        }
    }
}

async fn start_etcd(room: &Path, data: &Path, port: u16) -> Result<(Process, String)> {
    let url = format!("http://127.0.0.1:{port}");
    let mut etcd = command(tool("etcd")?);
    // Durability costs most of the time a write takes, and nothing here outlives the run.
    // Port 0: a lone member has no peers.
    etcd.args(["--unsafe-no-fsync", "--name=testbed"])
        .args(["--initial-cluster=testbed=http://127.0.0.1:0", "--initial-advertise-peer-urls=http://127.0.0.1:0"])
        .arg("--listen-peer-urls=http://127.0.0.1:0")
        .arg(format!("--data-dir={}", data.display()))
        .arg(format!("--listen-client-urls={url}"))
        .arg(format!("--advertise-client-urls={url}"));
    let mut etcd = Process::start("etcd", etcd, &room.join("etcd.log"))?;
    etcd.until_prints(START, "ready to serve client requests").await?;
    Ok((etcd, url))
}

fn start_apiserver(room: &Path, etcd_url: &str, port: u16) -> Result<(Process, String)> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", room.join(name).display());
    let mut apiserver = command(tool("kube-apiserver")?);
    apiserver
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", &format!("--secure-port={port}")])
        // A loopback address is no endpoint of the `kubernetes` Service, and nobody looks for one.
        .arg("--endpoint-reconciler-type=none")
        .arg("--service-cluster-ip-range=10.0.0.0/24")
        .arg(format!("--etcd-servers={etcd_url}"))
        .arg("--authorization-mode=RBAC")
        // Off by default, on in some clusters: the chart's rights must be enough for these, too.
        .arg("--enable-admission-plugins=OwnerReferencesPermissionEnforcement")
        .arg(file("token-auth-file", "tokens.csv"))
        .args([file("tls-cert-file", "server.crt"), file("tls-private-key-file", "server.key")])
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .args([file("service-account-signing-key-file", "tokens.key"), file("service-account-key-file", "tokens.pub")])
        .arg("--profiling=false");
    let apiserver = Process::start("kube-apiserver", apiserver, &room.join("kube-apiserver.log"))?;
    Ok((apiserver, format!("https://127.0.0.1:{port}")))
}

async fn readyz(client: &Client) -> Result<()> {
    let answer = client.request_text(Request::get("/readyz").body(Vec::new())?).await?;
    ensure!(answer == "ok", "it says {answer}");
    Ok(())
}

fn client(url: &str, authority: &Authority, token: &str) -> Result<Client> {
    Ok(Client::try_from(config(url, authority, token)?)?)
}

/// Made by hand and not from a kubeconfig, because that would also read the proxies of this program's environment.
fn config(url: &str, authority: &Authority, token: &str) -> Result<Config> {
    let mut config = Config::new(url.parse()?);
    config.root_cert = Some(vec![authority.der()]);
    config.auth_info.token = Some(token.to_owned().into());
    Ok(config)
}

/// Writes what the API server reads, and returns the administrator's token.
fn write_credentials(room: &Path, authority: &Authority) -> Result<String> {
    let identity = authority.identity()?;
    let token = random_token()?;
    fs::write(room.join("ca.crt"), authority.pem())?;
    fs::write(room.join("server.crt"), identity.certificate)?;
    write_private(&room.join("server.key"), &identity.key)?;
    let tokens = SigningKey::new()?;
    write_private(&room.join("tokens.key"), &tokens.private)?;
    fs::write(room.join("tokens.pub"), tokens.public)?;
    write_private(&room.join("tokens.csv"), &format!("{token},admin,admin,system:masters\n"))?;
    Ok(token)
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("failed to read /dev/urandom")?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("failed to write {}", path.display()))
}
