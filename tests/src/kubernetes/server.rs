//! A server as a child process: its output in a log, its process id in a file, stopped by that id and startable again with
//! the same arguments.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::processes::{signal, wait_until};

/// A server, running or not.
#[derive(Debug)]
pub struct Server {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Starts a server that keeps `<name>.log` and `<name>.pid` in `directory`.
    pub fn start(name: &str, program: &Path, arguments: Vec<String>, directory: &Path) -> Self {
        Self::start_with(name, program, arguments, Vec::new(), directory)
    }

    /// Starts a server with more in its environment.
    pub fn start_with(
        name: &str,
        program: &Path,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
        directory: &Path,
    ) -> Self {
        let mut server = Server {
            name: name.into(),
            program: program.into(),
            arguments,
            environment,
            directory: directory.into(),
            child: None,
        };
        server.start_again();
        server
    }

    /// Starts it with the same arguments.
    pub fn start_again(&mut self) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log");
        let copy = log.try_clone().expect("a second handle");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_remove("KUBECONFIG")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.program.display()));
        std::fs::write(
            self.directory.join(format!("{}.pid", self.name)),
            child.id().to_string(),
        )
        .expect("a pid file");
        self.child = Some(child);
    }

    /// Kills it at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end and waits until it has.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "TERM");
            wait_until("the end of a server", Duration::from_secs(60), || {
                child.try_wait().expect("a child")
            });
        }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Asserts that it runs.
    ///
    /// # Panics
    /// If it has ended, with the last it said.
    #[track_caller]
    pub fn assert_runs(&mut self) {
        let child = self
            .child
            .as_mut()
            .unwrap_or_else(|| panic!("{} was stopped", self.name));
        if let Some(status) = child.try_wait().expect("a child") {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            panic!("{} ended with {status}:\n{last}", self.name);
        }
    }

    /// Where its output goes.
    pub fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
