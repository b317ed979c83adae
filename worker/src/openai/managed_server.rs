//! A model server that a stage starts and manages: a child process for the time of the stage, restarted a few times if it dies. Between the
//! two runs a supervisor (`scalequest-worker supervise`), so that no server outlives a worker that was killed.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::EndpointError;

/// Restarts during a stage.
const MAX_RESTARTS: u32 = 3;

/// Delay before a restart.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// A managed server; it is stopped when dropped.
#[derive(Debug)]
pub struct ManagedServer {
    shared: Arc<Shared>,
    base_url: String,
    monitor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether the stage is over, so that the server is not restarted.
    is_stopping: AtomicBool,
    /// The supervisor stops its server when this is closed.
    stdin: Mutex<Option<ChildStdin>>,
    /// Why the server failed finally.
    failure: Mutex<Option<String>>,
}

impl ManagedServer {
    /// Starts `command` for the model at `model`; `{model}` and `{port}` in it are replaced.
    ///
    /// # Errors
    /// The program does not exist, or no port is free.
    pub fn start(command: &[String], model: &Path) -> Result<Self, EndpointError> {
        let port = free_port().map_err(|error| {
            EndpointError::ServerFailed(format!("no port is free for the model's server: {error}"))
        })?;
        let model = model.display().to_string();
        let command: Vec<String> = command
            .iter()
            .map(|part| {
                part.replace("{model}", &model)
                    .replace("{port}", &port.to_string())
            })
            .collect();
        let shared = Arc::new(Shared::default());
        let first = start_supervisor(&command, &shared)?;
        let monitor = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || restart_until_stopped(first, &command, &shared))
        };
        Ok(ManagedServer {
            shared,
            base_url: format!("http://127.0.0.1:{port}/v1"),
            monitor: Some(monitor),
        })
    }

    /// Returns the base URL.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns a function that returns why the server failed finally; `None` while it runs or is restarted.
    pub fn failure(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || lock(&shared.failure).clone()
    }
}

impl Drop for ManagedServer {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.stdin).take());
        if let Some(monitor) = self.monitor.take() {
            let _ = monitor.join();
        }
    }
}

/// Waits for the server's exit and restarts it.
fn restart_until_stopped(mut supervisor: Child, command: &[String], shared: &Arc<Shared>) {
    let mut restarts = 0;
    loop {
        let exited = supervisor.wait();
        if shared.is_stopping.load(Ordering::SeqCst) {
            return;
        }
        let status = exited.map_or_else(|error| error.to_string(), |status| status.to_string());
        if restarts == MAX_RESTARTS {
            let message = format!(
                "`{}` ended {} times, the last time with {status}; its output is in the worker's log",
                command.join(" "),
                restarts + 1
            );
            *lock(&shared.failure) = Some(message);
            return;
        }
        restarts += 1;
        tracing::warn!(status, restarts, "the model's server ended, restarting it");
        std::thread::sleep(RESTART_DELAY);
        match start_supervisor(command, shared) {
            Ok(child) => supervisor = child,
            Err(error) => {
                *lock(&shared.failure) = Some(error.to_string());
                return;
            }
        }
        if shared.is_stopping.load(Ordering::SeqCst) {
            drop(lock(&shared.stdin).take());
        }
    }
}

/// Starts a server with its supervisor. The output of both goes to this process's standard error: standard output is for progress.
fn start_supervisor(command: &[String], shared: &Shared) -> Result<Child, EndpointError> {
    let fail = |error: std::io::Error| {
        EndpointError::ServerFailed(format!("cannot start `{}`: {error}", command.join(" ")))
    };
    let mut child = Command::new(std::env::current_exe().map_err(fail)?)
        .args(["supervise", "--"])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::from(std::io::stderr()))
        .spawn()
        .map_err(fail)?;
    *lock(&shared.stdin) = child.stdin.take();
    Ok(child)
}

/// Returns a port that is free now. If another program takes it first, the server ends with its own message in the log, and the restarts
/// fail too.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
