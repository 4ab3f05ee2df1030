//! A Kubernetes control plane: real etcd and kube-apiserver, with RBAC.
//!
//! There are no controllers: a Namespace that is deleted stays `Terminating`, and the objects of a deleted owner stay.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::Write,
    net::Ipv4Addr,
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
const ADMIN: &str = "admin";

/// The first address of the range of Services: every pod finds the API server there.
const SERVICES: &str = "10.0.0.0/24";
const KUBERNETES_SERVICE: &str = "10.0.0.1";

/// What a control plane has to know of the cluster's nodes. Without any, it serves only what runs on this machine.
#[derive(Clone)]
pub struct Nodes {
    /// Where pods and nodes reach this machine.
    pub address: Ipv4Addr,
    /// Who talks to the API server besides the administrator: users, each with its group.
    pub users: Vec<(String, &'static str)>,
}

/// A running control plane; dropping it ends its servers and removes their data. Several can run side by side.
pub struct ControlPlane {
    apiserver: Mutex<Process>,
    etcd: Process,
    etcd_url: String,
    _data: TempDir,
    authority: Authority,
    url: String,
    /// By user.
    tokens: BTreeMap<String, String>,
    nodes: Option<Nodes>,
    run: Run,
    room: PathBuf,
}

impl ControlPlane {
    /// A cluster as `helm install` leaves it for the operator: with its CRDs and its rights.
    pub async fn start(run: &Run) -> Result<Self> {
        let control_plane = Self::bare(run).await?;
        let client = control_plane.client()?;
        Box::pin(install::crds(&client, &project().join("crds"))).await?;
        Box::pin(install::rights(&client)).await?;
        Ok(control_plane)
    }

    /// A cluster with nothing of ours in it.
    pub async fn bare(run: &Run) -> Result<Self> {
        Self::for_nodes(run, None).await
    }

    /// The same, for a cluster with nodes.
    pub async fn for_nodes(run: &Run, nodes: Option<Nodes>) -> Result<Self> {
        let room = run.room("kubernetes")?;
        let data = TempDir::new_in(&room)?;
        let authority = Authority::new("testbed")?;
        let tokens = write_credentials(&room, &authority, nodes.as_ref())?;
        let (etcd, etcd_url) = with_free_port(async |port| start_etcd(&room, data.path(), port).await).await?;
        let (apiserver, url) = with_free_port(async |port| {
            let (mut apiserver, url) = start_apiserver(&room, &etcd_url, nodes.as_ref(), port)?;
            let client = client(&url, &authority, &tokens[ADMIN])?;
            apiserver.until_ready(START, async || readyz(&client).await).await?;
            Ok((apiserver, url))
        })
        .await?;
        let (apiserver, run) = (Mutex::new(apiserver), run.clone());
        let control_plane = Self { apiserver, etcd, etcd_url, _data: data, authority, url, tokens, nodes, run, room };
        for user in control_plane.tokens.keys() {
            control_plane.write_kubeconfig(
                &control_plane.room,
                user,
                &control_plane.url,
                &control_plane.tokens[user],
            )?;
        }
        Ok(control_plane)
    }

    /// A client of the administrator. It belongs to the async runtime it is made in.
    pub fn client(&self) -> Result<Client> {
        client(&self.url, &self.authority, &self.tokens[ADMIN])
    }

    /// A client of any user that RBAC knows, by the administrator's right to impersonate.
    pub fn client_as(&self, user: &str) -> Result<Client> {
        let mut config = config(&self.url, &self.authority, &self.tokens[ADMIN])?;
        config.auth_info.impersonate = Some(user.to_owned());
        Ok(Client::try_from(config)?)
    }

    /// The administrator's kubeconfig, for kubectl and helm.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of(ADMIN)
    }

    /// The kubeconfig of the administrator or of a user of [`Nodes`].
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.room.join(format!("{user}.kubeconfig"))
    }

    /// The certificate of the authority that signed the API server's, and the key that signs tokens of ServiceAccounts.
    pub fn authority_and_token_key(&self) -> [PathBuf; 2] {
        ["ca.crt", "tokens.key"].map(|file| self.room.join(file))
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
        Upstream { url: self.url.clone(), authority: Some(self.authority.der()), as_aws: false }
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
        let (mut apiserver, _) = start_apiserver(&self.room, &self.etcd_url, self.nodes.as_ref(), port)?;
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

fn start_apiserver(room: &Path, etcd_url: &str, nodes: Option<&Nodes>, port: u16) -> Result<(Process, String)> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", room.join(name).display());
    let mut apiserver = command(tool("kube-apiserver")?);
    if let Some(nodes) = nodes {
        apiserver
            .args(["--bind-address=0.0.0.0", &format!("--advertise-address={}", nodes.address)])
            .args(["--authorization-mode=Node,RBAC", "--kubelet-preferred-address-types=InternalIP"]);
    } else {
        apiserver
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--authorization-mode=RBAC"])
            // A loopback address is no endpoint of the `kubernetes` Service, and nobody looks for one.
            .arg("--endpoint-reconciler-type=none");
    }
    apiserver
        .arg(format!("--secure-port={port}"))
        .arg(format!("--service-cluster-ip-range={SERVICES}"))
        .arg(format!("--etcd-servers={etcd_url}"))
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

/// Writes what the API server reads, and returns the token of each user.
fn write_credentials(room: &Path, authority: &Authority, nodes: Option<&Nodes>) -> Result<BTreeMap<String, String>> {
    let mut names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut users = vec![(ADMIN.to_owned(), "system:masters")];
    if let Some(nodes) = nodes {
        names.extend([nodes.address.to_string(), KUBERNETES_SERVICE.to_owned()]);
        users.extend(nodes.users.iter().cloned());
    }
    let identity = authority.identity_of(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    fs::write(room.join("ca.crt"), authority.pem())?;
    fs::write(room.join("server.crt"), identity.certificate)?;
    write_private(&room.join("server.key"), &identity.key)?;
    let keys = SigningKey::new()?;
    write_private(&room.join("tokens.key"), &keys.private)?;
    fs::write(room.join("tokens.pub"), keys.public)?;
    let (mut file, mut tokens) = (String::new(), BTreeMap::new());
    for (user, group) in users {
        let token = random_token()?;
        writeln!(file, "{token},{user},{user},{group}")?;
        tokens.insert(user, token);
    }
    write_private(&room.join("tokens.csv"), &file)?;
    Ok(tokens)
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("failed to write {}", path.display()))
}
