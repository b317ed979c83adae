//! A server that a stage starts for itself: a child process from its start until the stage is over, started again a few times where it
//! dies. Between the two stands a keeper (`scalequest-worker supervise`), so that no server outlives a worker that was killed.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::EndpointError;

/// Starts again, over the life of a stage.
const RESTARTS: u32 = 3;

/// Pause before a start again.
const PAUSE: Duration = Duration::from_secs(1);

/// A server of one's own; it ends when dropped.
#[derive(Debug)]
pub struct OwnServer {
    shared: Arc<Shared>,
    base_url: String,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// No start again: the stage is over.
    is_ending: AtomicBool,
    /// The keeper ends its server when this is closed.
    stdin: Mutex<Option<ChildStdin>>,
    /// Why there is no server any more.
    failed: Mutex<Option<String>>,
}

impl OwnServer {
    /// Starts `command`, in which `{model}` and `{port}` are replaced, for the model at `model`.
    ///
    /// # Errors
    /// There is no such program, or no free port.
    pub fn start(command: &[String], model: &Path) -> Result<Self, EndpointError> {
        let port = free_port().map_err(|error| {
            EndpointError::Broken(format!("no port is free for the model's server: {error}"))
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
        let first = keep(&command, &shared)?;
        let watcher = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || watch(first, &command, &shared))
        };
        Ok(OwnServer {
            shared,
            base_url: format!("http://127.0.0.1:{port}/v1"),
            watcher: Some(watcher),
        })
    }

    /// The base URL.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Why there is no server any more; `None` while there is one, or will be again.
    pub fn failed(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || lock(&shared.failed).clone()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.stdin).take());
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

/// Waits for the server's end, and starts it again.
fn watch(mut keeper: Child, command: &[String], shared: &Arc<Shared>) {
    let mut restarts = 0;
    loop {
        let ended = keeper.wait();
        if shared.is_ending.load(Ordering::SeqCst) {
            return;
        }
        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        if restarts == RESTARTS {
            let message = format!(
                "`{}` ended {} times, the last time with {how}; what it said is in the worker's log",
                command.join(" "),
                restarts + 1
            );
            *lock(&shared.failed) = Some(message);
            return;
        }
        restarts += 1;
        tracing::warn!(
            how,
            restarts,
            "the model's server ended and is started again"
        );
        std::thread::sleep(PAUSE);
        match keep(command, shared) {
            Ok(child) => keeper = child,
            Err(error) => {
                *lock(&shared.failed) = Some(error.to_string());
                return;
            }
        }
        if shared.is_ending.load(Ordering::SeqCst) {
            drop(lock(&shared.stdin).take());
        }
    }
}

/// Starts the keeper of a server. What either says goes to this process's standard error: its output is for progress.
fn keep(command: &[String], shared: &Shared) -> Result<Child, EndpointError> {
    let cannot = |error: std::io::Error| {
        EndpointError::Broken(format!("cannot start `{}`: {error}", command.join(" ")))
    };
    let mut child = Command::new(std::env::current_exe().map_err(cannot)?)
        .args(["supervise", "--"])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::from(std::io::stderr()))
        .spawn()
        .map_err(cannot)?;
    *lock(&shared.stdin) = child.stdin.take();
    Ok(child)
}

/// A port that is free now. Another program may take it before the server does; then the server ends and is started again in vain, with its
/// own words in the log.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
