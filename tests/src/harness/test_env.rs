//! A scenario's own directory, with the means to run `scalequest` in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use scalequest_crds::digest::sha256_hex;
use serde_json::Value;
use tempfile::TempDir;

use super::binaries::binary;
use super::dataset::files_below;

/// A directory in which runs are made. Removed when dropped, unless the test fails.
pub struct TestEnv {
    path: PathBuf,
    dir: Option<TempDir>,
}

/// How a command ended.
pub struct Finished {
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Asserts the exit code, showing what was said.
    #[track_caller]
    pub fn exits_with(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts that some output line holds all of `parts`.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        let said = format!("{}\n{}", self.stdout, self.stderr);
        assert!(
            said.lines()
                .any(|line| parts.iter().all(|part| line.contains(part))),
            "no line says {parts:?} in:\n{said}"
        );
        self
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl TestEnv {
    /// An empty directory.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("scalequest-test-")
            .tempdir()
            .expect("a temporary directory");
        let path = dir.path().canonicalize().expect("a real path");
        TestEnv {
            path,
            dir: Some(dir),
        }
    }

    /// The directory at `path`, emptied first. It stays: for a run that all tests of a program look at.
    pub fn lasting(path: impl AsRef<Path>) -> Self {
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory");
        TestEnv {
            path: path.as_ref().canonicalize().expect("a real path"),
            dir: None,
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file below the directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory");
        std::fs::write(&path, content).expect("a written file");
        path
    }

    /// `scalequest` with arguments, in this directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("scalequest"));
        command
            .args(arguments)
            .current_dir(self.path())
            // Scenarios share the cores: candle's pool waits by spinning, which starves the others and itself.
            .env("CANDLE_NUM_THREADS", "1")
            // What workers fetch from object stores goes with the test environment.
            .env("SCALEQUEST_CACHE", self.path().join("cache"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `scalequest` to its end.
    pub fn scalequest(&self, arguments: &[&str]) -> Finished {
        self.command(arguments)
            .output()
            .expect("scalequest starts")
            .into()
    }

    /// Runs `run.yaml` to its end.
    pub fn run(&self) -> Finished {
        self.scalequest(&["run", "-f", "run.yaml"])
    }

    /// Runs `run.yaml` to its end and tells what happened as events.
    pub fn run_with_events(&self) -> (Finished, Vec<Value>) {
        let finished = self.scalequest(&["--log-format", "json", "run", "-f", "run.yaml"]);
        let events = finished
            .stderr
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        (finished, events)
    }

    /// The status of the only run in the workspace, as `scalequest status` tells it to machines.
    #[track_caller]
    pub fn status(&self) -> Value {
        let finished = self
            .scalequest(&["status", "workspace", "--output", "json"])
            .exits_with(0);
        serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
    }

    /// A directory with the same content.
    pub fn copy(&self) -> TestEnv {
        let copy = TestEnv::new();
        let status = Command::new("cp")
            .arg("-a")
            .arg(self.path().join("."))
            .arg(copy.path())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{} cannot be copied",
            self.path().display()
        );
        copy
    }

    /// Every file below the directory, with the hash of its content: what is compared to see that nothing was written.
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        let digest =
            |path: &String| sha256_hex(&std::fs::read(self.path().join(path)).unwrap_or_default());
        files_below(self.path())
            .into_iter()
            .map(|path| (path.clone(), digest(&path)))
            .collect()
    }

    /// Starts `scalequest` with its output kept in `log`.
    pub fn start(&self, arguments: &[&str], log: &str) -> Child {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path().join(log))
            .expect("a log file");
        let copy = file.try_clone().expect("a second handle");
        self.command(arguments)
            .stdout(file)
            .stderr(copy)
            .spawn()
            .expect("scalequest starts")
    }
}

impl Default for TestEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("the test environment is kept: {}", dir.keep().display());
        }
    }
}
