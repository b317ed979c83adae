//! A scenario's own directory, with the means to run `scalequest` in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::binaries::binary;

/// A directory in which runs are made. Removed when dropped, unless the test fails.
pub struct Workbench {
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

impl Workbench {
    /// An empty directory.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("scalequest-test-")
            .tempdir();
        Workbench {
            dir: Some(dir.expect("a temporary directory")),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir
            .as_ref()
            .expect("lives as long as the workbench")
            .path()
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

impl Default for Workbench {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Workbench {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("the workbench is kept: {}", dir.keep().display());
        }
    }
}
