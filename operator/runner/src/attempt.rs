//! One attempt at a shard or a seal. The child's log file is locked as long as the child lives, by which the next runner finds orphaned
//! processes. It must not know what the outcome means for the run.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use scalequest_core::stage_machine::{AttemptEnd, FailureClass};
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::report::{Outcome, StageReport};
use tokio::sync::watch;

use super::child::{last_lines, spawn, supervise, worker};
use super::gpus::VISIBLE_VARIABLE;
use super::shutdown::Shutdown;

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
}

impl Attempt {
    /// Runs the child to its end. `progress` is called for each progress line. An error means that no child was started.
    pub async fn run(
        &self,
        shutdown: watch::Receiver<Shutdown>,
        mut progress: impl FnMut(Progress),
    ) -> io::Result<AttemptResult> {
        match fs::remove_file(&self.report) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let log = File::create(&self.log)?;
        // The child inherits the locked file, so the lock lives exactly as long as the child.
        log.try_lock()?;
        let mut command = worker(&self.program, self.cores);
        command.args(&self.arguments).arg("--report");
        command.arg(&self.report).stderr(log);
        if let Some(gpu) = &self.gpu {
            command.env(VISIBLE_VARIABLE, gpu);
        }
        let mut child = spawn(command)?;
        let line = |line: &str| {
            if let Ok(known) = serde_json::from_str(line) {
                progress(known);
            }
        };
        let status = supervise(&mut child, b"", &shutdown, line).await?;
        let report = fs::read(&self.report).ok();
        Ok(AttemptResult {
            code: status.code(),
            signal: status.signal(),
            report: report.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            log_tail: last_lines(&read_end(&self.log).unwrap_or_default(), 5),
        })
    }
}

/// Reads the last 16 KiB of a text file that may hold anything.
fn read_end(path: &Path) -> io::Result<String> {
    const LENGTH: u64 = 16 << 10;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LENGTH)))?;
    let mut bytes = Vec::new();
    file.take(LENGTH).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The signal with which the kernel kills a process that uses too much memory.
const SIGKILL: i32 = 9;

impl AttemptResult {
    /// Returns how the attempt ended for the stage with content key `key`.
    pub fn end(&self, key: &str) -> AttemptEnd {
        let end = AttemptEnd::of(key, self.code, self.report.as_ref(), self.message());
        match end {
            AttemptEnd::Failed {
                class: FailureClass::Unknown { code: None },
                message,
            } if self.signal == Some(SIGKILL) => AttemptEnd::Failed {
                class: FailureClass::Transient(Cause::OutOfMemory),
                message,
            },
            end => end,
        }
    }

    /// Returns what went wrong, for users: the report's message, or the end of the log, or how the process ended.
    pub fn message(&self) -> String {
        let outcome = self.report.as_ref().map(|report| &report.outcome);
        if let Some(Outcome::Failed { message } | Outcome::Transient { message, .. }) = outcome {
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
