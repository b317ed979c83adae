//! One attempt at a shard or a seal: a child process from its start to its end. The child's standard input is a pipe that
//! this process holds: when the runner dies, however it dies, the kernel closes it and the worker saves and ends, so that no
//! orphan continues. The child's log file is locked as long as the child lives, by which the next runner finds orphaned processes.
//! It must not know what the outcome means for the run.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::report::StageReport;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::gpus::VISIBLE_VARIABLE;
use super::program::{THREADS_VARIABLE, start_error};
use super::shutdown::Shutdown;

/// Grace period of a worker between the request to stop and its kill; the kill loses no more
/// than the time since its last checkpoint.
const GRACE_PERIOD: Duration = Duration::from_secs(60);

/// The program, arguments and resources of a child process.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The worker's program.
    pub program: PathBuf,
    /// Its arguments, without `--report`.
    pub arguments: Vec<String>,
    /// Where it writes its report.
    pub report: PathBuf,
    /// Where its standard error goes.
    pub log: PathBuf,
    /// Threads it may use.
    pub cores: usize,
    /// The UUID of the GPU that it may use, or none of them (empty); absent: whatever there is.
    pub gpu: Option<String>,
}

/// The result of an attempt.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its report; `None` if it wrote none.
    pub report: Option<StageReport>,
    /// The last lines of its log.
    pub log_tail: String,
    /// Wall time.
    pub millis: i64,
}

impl Attempt {
    /// Runs the child to its end. `progress` is called for each progress line. An error means that no child was started.
    pub async fn run(
        &self,
        mut shutdown: watch::Receiver<Shutdown>,
        mut progress: impl FnMut(Progress),
    ) -> io::Result<AttemptResult> {
        if let Err(error) = fs::remove_file(&self.report)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let started = Instant::now();
        let mut child = self.spawn()?;
        // Held here, because waiting for the child would close it.
        let mut stdin = child.stdin.take();
        let mut kill = shutdown.clone();
        let mut lines = child
            .stdout
            .take()
            .map(|stdout| BufReader::new(stdout).lines());
        let mut deadline = None;
        let status = loop {
            tokio::select! {
                line = next_line(&mut lines) => {
                    if let Some(known) = line.as_deref().and_then(|line| serde_json::from_str(line).ok()) {
                        progress(known);
                    }
                }
                status = child.wait() => break status?,
                Ok(()) = shutdown.changed(), if deadline.is_none() => {
                    drop(stdin.take());
                    deadline = Some(tokio::time::Instant::now() + GRACE_PERIOD);
                }
                () = kill_requested(&mut kill, deadline), if deadline.is_some() => child.start_kill()?,
            }
        };
        Ok(self.result(status, started.elapsed()))
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::create(&self.log)?;
        // The child inherits the locked file, so the lock lives exactly as long as the child.
        log.try_lock().map_err(io::Error::from)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .arg("--report")
            .arg(&self.report);
        command.env(THREADS_VARIABLE, self.cores.to_string());
        if let Some(gpu) = &self.gpu {
            command.env(VISIBLE_VARIABLE, gpu);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        // A terminal's Ctrl-C goes to a whole process group: workers are asked by the runner, not by the terminal.
        command.process_group(0).kill_on_drop(true);
        command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), start_error(&self.program, &error)))
    }

    fn result(&self, status: ExitStatus, took: Duration) -> AttemptResult {
        let report = fs::read(&self.report)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let millis = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        AttemptResult {
            code: status.code(),
            signal: status.signal(),
            report,
            log_tail: last_lines(&self.log, 5),
            millis,
        }
    }
}

/// The next line of the child's output; never, once it has ended or cannot be read.
async fn next_line<R: AsyncRead + Unpin>(
    lines: &mut Option<tokio::io::Lines<BufReader<R>>>,
) -> Option<String> {
    if let Some(open) = lines {
        match open.next_line().await {
            Ok(Some(line)) => return Some(line),
            Ok(None) | Err(_) => *lines = None,
        }
    }
    std::future::pending().await
}

/// Returns when the child is to be killed: at the second request to stop, or when its time to save is over.
async fn kill_requested(
    shutdown: &mut watch::Receiver<Shutdown>,
    deadline: Option<tokio::time::Instant>,
) {
    let at_once = async {
        if shutdown
            .wait_for(|shutdown| *shutdown == Shutdown::Immediate)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = at_once => {}
        () = tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)) => {}
    }
}

/// The last `count` lines of a text file that may hold anything.
pub fn last_lines(path: &Path, count: usize) -> String {
    const TAIL: u64 = 16 << 10;
    let read = || -> io::Result<Vec<u8>> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

impl AttemptResult {
    /// Returns what went wrong, for users: the report's message, or the end of the log, or how the process ended.
    pub fn message(&self) -> String {
        use scalequest_crds::protocol::report::Outcome;
        if let Some(Outcome::Failed { message }) =
            self.report.as_ref().map(|report| &report.outcome)
        {
            return message.clone();
        }
        let end = match (self.code, self.signal) {
            (_, Some(9)) => {
                "it was killed (signal 9; out of memory is the usual cause)".to_string()
            }
            (_, Some(signal)) => format!("it was ended by signal {signal}"),
            (Some(code), None) => format!("it ended with exit code {code}"),
            (None, None) => "it ended for an unknown cause".to_string(),
        };
        if self.log_tail.is_empty() {
            end
        } else {
            format!("{end}; the end of its log:\n{}", self.log_tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::lock::Lock;

    fn attempt(directory: &Path, script: &str) -> Attempt {
        let program = directory.join("worker");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Attempt {
            program,
            arguments: vec!["run".into()],
            report: directory.join("report.json"),
            log: directory.join("log"),
            cores: 3,
            gpu: Some("GPU-5d1c".into()),
        }
    }

    #[tokio::test]
    async fn attempt_returns_progress_code_and_log() {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"echo '{"activity":"train","done":1,"total":2,"tokens":3}'; echo noise; echo "threads $RAYON_NUM_THREADS on $CUDA_VISIBLE_DEVICES" >&2; exit 7"#;
        let attempt = attempt(directory.path(), script);
        let (_sender, shutdown) = watch::channel(Shutdown::None);
        let mut seen = Vec::new();
        let result = attempt
            .run(shutdown, |progress| seen.push(progress.activity))
            .await
            .unwrap();
        assert_eq!(
            (result.code, result.log_tail.as_str()),
            (Some(7), "threads 3 on GPU-5d1c")
        );
        assert!(result.message().contains("exit code 7"));
        assert!(seen.is_empty() || seen == ["train"]);
    }

    #[tokio::test]
    async fn graceful_shutdown_closes_stdin() {
        let directory = tempfile::tempdir().unwrap();
        let attempt = attempt(directory.path(), "cat >/dev/null; exit 75");
        let (sender, shutdown) = watch::channel(Shutdown::None);
        let running = tokio::spawn(async move { attempt.run(shutdown, |_| ()).await });
        tokio::task::yield_now().await;
        sender.send(Shutdown::Graceful).unwrap();
        assert_eq!(running.await.unwrap().unwrap().code, Some(75));
    }

    #[tokio::test]
    async fn immediate_shutdown_kills_and_unlocks_log() {
        let directory = tempfile::tempdir().unwrap();
        let attempt = attempt(
            directory.path(),
            "echo '{\"activity\":\"up\",\"done\":0,\"total\":0,\"tokens\":0}'; exec sleep 600",
        );
        let log = attempt.log.clone();
        let (sender, shutdown) = watch::channel(Shutdown::None);
        let (up, mut is_up) = tokio::sync::mpsc::unbounded_channel();
        let running =
            tokio::spawn(async move { attempt.run(shutdown, move |_| up.send(()).unwrap()).await });
        is_up.recv().await.unwrap();
        assert!(Lock::is_held(&log));
        sender.send(Shutdown::Graceful).unwrap();
        sender.send(Shutdown::Immediate).unwrap();
        assert_eq!(running.await.unwrap().unwrap().signal, Some(9));
        assert!(!Lock::is_held(&log));
    }

    #[tokio::test]
    async fn missing_program_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let attempt = Attempt {
            program: directory.path().join("gone"),
            ..attempt(directory.path(), "")
        };
        let (_sender, shutdown) = watch::channel(Shutdown::None);
        assert!(
            attempt
                .run(shutdown, |_| ())
                .await
                .unwrap_err()
                .to_string()
                .contains("gone")
        );
    }
}
