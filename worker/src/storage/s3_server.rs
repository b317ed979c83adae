//! A real S3 server (versitygw) on loopback over a temporary directory, which can be killed and restarted.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::own_port::own_port;
use super::store::{Access, Store};

pub(super) struct Server {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Server {
    /// Starts a server with one bucket, `bucket`; `None` if versitygw is not installed, which is a failure in CI.
    pub(super) fn start() -> Option<Server> {
        let Some(program) = find() else {
            let hint = "versitygw is not installed: run .ci/tools.sh versitygw, or set SCALEQUEST_VERSITYGW";
            assert!(std::env::var_os("CI").is_none(), "{hint}");
            eprintln!("skipped: {hint}");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data/bucket")).unwrap();
        let port = own_port();
        let process = launch(&program, &folder, port);
        Some(Server {
            program,
            folder,
            port,
            process,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn store(&self, prefix: &str) -> Store {
        let access = self.access(self.port, Duration::from_secs(60));
        Store::open_with(&format!("s3://bucket/{prefix}"), &access).unwrap()
    }

    /// Opens the bucket through another port.
    pub(super) fn store_through(&self, port: u16, retry_timeout: Duration) -> Store {
        Store::open_with("s3://bucket", &self.access(port, retry_timeout)).unwrap()
    }

    pub(super) fn access(&self, port: u16, retry_timeout: Duration) -> Access {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "user".to_string()),
            ("AWS_SECRET_ACCESS_KEY", "password".to_string()),
            ("AWS_REGION", "us-east-1".to_string()),
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
            ("AWS_ALLOW_HTTP", "true".to_string()),
        ];
        Access {
            variables: variables
                .map(|(name, value)| (name.to_string(), value))
                .into(),
            retry_timeout,
        }
    }

    /// Reads an object's text from the server's directory.
    pub(super) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.file(path)).unwrap()
    }

    /// Returns the file of an object in the server's directory.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join("data/bucket").join(path)
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn restart(&mut self) {
        self.process = launch(&self.program, &self.folder, self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(program: &PathBuf, folder: &tempfile::TempDir, port: u16) -> Child {
    let address = format!("127.0.0.1:{port}");
    let process = Command::new(program)
        .args([
            "--port", &address, "--access", "user", "--secret", "password", "--quiet", "posix",
        ])
        .arg(folder.path().join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(&address).is_err() {
        assert!(
            Instant::now() < deadline,
            "versitygw does not listen on {address}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    process
}

/// Finds the program by variable, in PATH, or in the cache that `.ci/tools.sh` fills.
fn find() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("SCALEQUEST_VERSITYGW") {
        return Some(program.into());
    }
    let cache = std::env::var_os("SCALEQUEST_CACHE").map(PathBuf::from);
    let home =
        || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/scalequest"));
    let tools = cache.or_else(home).map(|cache| cache.join("tools/bin"));
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = tools.into_iter().collect();
    folders.extend(std::env::split_paths(&search));
    folders
        .into_iter()
        .map(|folder| folder.join("versitygw"))
        .find(|program| program.is_file())
}
