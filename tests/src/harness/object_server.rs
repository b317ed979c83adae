//! A real S3 server on loopback (versitygw, over a directory), which can be killed and started again.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::certificate::Certificate;
use super::own_port::own_port;
use super::processes::wait_until;

/// The server's only user.
const USER: (&str, &str) = ("scalequest", "scalequest-secret");

/// A running server.
#[derive(Debug)]
pub struct ObjectServer {
    program: PathBuf,
    root: PathBuf,
    address: SocketAddr,
    tls: Option<Certificate>,
    /// The secret that it accepts.
    secret: String,
    child: Child,
}

/// Finds versitygw in the project's tool cache or in `PATH`.
pub fn find_program() -> Option<PathBuf> {
    let cache = std::env::var_os("SCALEQUEST_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cache/scalequest")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(cache.map(|cache| cache.join("tools/bin")));
    folders
        .map(|folder| folder.join("versitygw"))
        .find(|program| program.is_file())
}

impl ObjectServer {
    /// Starts a server whose buckets are directories below `root`; `buckets` are made.
    pub fn start(program: &Path, root: &Path, buckets: &[&str]) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST, program, root, buckets)
    }

    /// The same over HTTPS.
    pub fn start_https(program: &Path, root: &Path, buckets: &[&str], tls: Certificate) -> Self {
        Self::start_with(Ipv4Addr::LOCALHOST, program, root, buckets, Some(tls))
    }

    /// The same at an address of this machine.
    pub fn start_on(at: Ipv4Addr, program: &Path, root: &Path, buckets: &[&str]) -> Self {
        Self::start_with(at, program, root, buckets, None)
    }

    fn start_with(
        at: Ipv4Addr,
        program: &Path,
        root: &Path,
        buckets: &[&str],
        tls: Option<Certificate>,
    ) -> Self {
        for bucket in buckets {
            std::fs::create_dir_all(root.join("data").join(bucket)).expect("a bucket's directory");
        }
        std::fs::create_dir_all(root.join("iam")).expect("a directory");
        let free = SocketAddr::from((at, own_port()));
        let mut server = ObjectServer {
            program: program.to_path_buf(),
            root: root.to_path_buf(),
            address: free,
            child: spawn(program, root, free, tls.as_ref(), USER.1),
            tls,
            secret: USER.1.into(),
        };
        server.wait();
        server
    }

    /// Kills it at once and starts it again at the same address after `pause`.
    pub fn restart(&mut self, pause: Duration) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::thread::sleep(pause);
        self.child = spawn(
            &self.program,
            &self.root,
            self.address,
            self.tls.as_ref(),
            &self.secret,
        );
        self.wait();
    }

    /// Revokes the secret of [`ObjectServer::environment`], which is denied from now on.
    pub fn revoke_key(&mut self) {
        self.secret = "another-secret".into();
        self.restart(Duration::ZERO);
    }

    /// Accepts that secret again.
    pub fn restore_key(&mut self) {
        self.secret = USER.1.into();
        self.restart(Duration::ZERO);
    }

    /// The directory that holds a bucket's objects.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name)
    }

    /// The environment by which a program reaches it.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        [
            ("AWS_ACCESS_KEY_ID", USER.0.into()),
            ("AWS_SECRET_ACCESS_KEY", USER.1.into()),
            ("AWS_ENDPOINT_URL", format!("{scheme}://{}", self.address)),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ALLOW_HTTP", "true".into()),
        ]
    }

    fn wait(&mut self) {
        let (address, child) = (self.address, &mut self.child);
        wait_until(
            "the S3 server's first answer",
            Duration::from_secs(30),
            || {
                assert!(matches!(child.try_wait(), Ok(None)), "the S3 server ended");
                TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
            },
        );
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    program: &Path,
    root: &Path,
    address: SocketAddr,
    tls: Option<&Certificate>,
    secret: &str,
) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(root.join("server.log"))
        .expect("a log");
    let copy = log.try_clone().expect("a second handle");
    let mut command = Command::new(program);
    if let Some(Certificate {
        certificate, key, ..
    }) = tls
    {
        command.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    command
        .args([
            "--access",
            USER.0,
            "--secret",
            secret,
            "--port",
            &address.to_string(),
            "--iam-dir",
        ])
        .arg(root.join("iam"))
        .arg("posix")
        .arg(root.join("data"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(copy)
        .spawn()
        .expect("the S3 server starts")
}
