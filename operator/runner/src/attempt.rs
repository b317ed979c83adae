//! One attempt at a shard or a seal: a child process from its start to its end. The child's standard input is a pipe that
//! this process holds: when the runner dies, however it dies, the kernel closes it and the worker saves and ends, so that no
//! orphan works on. The child's log file is locked as long as the child lives, which tells the next runner of leftovers.
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
use super::stop::Stop;

/// How long a worker may take to save what it has after it was asked to stop; it is killed afterwards, which loses no more
/// than the time since its last checkpoint.
const GRACE: Duration = Duration::from_secs(60);

/// What a child process is started with.
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

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code; absent where a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it reported, where it did.
    pub report: Option<StageReport>,
    /// The last lines of its log.
    pub last_words: String,
    /// Wall time.
    pub millis: i64,
}

impl Attempt {
    /// Runs the child to its end. `progress` is called for each progress line. An error means that no child was started.
    pub async fn run(
        &self,
        mut stop: watch::Receiver<Stop>,
        mut progress: impl FnMut(Progress),
    ) -> io::Result<Ended> {
        if let Err(error) = fs::remove_file(&self.report)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let started = Instant::now();
        let mut child = self.spawn()?;
        // Held here, because waiting for the child would close it.
        let mut stdin = child.stdin.take();
        let mut kill = stop.clone();
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
                Ok(()) = stop.changed(), if deadline.is_none() => {
                    drop(stdin.take());
                    deadline = Some(tokio::time::Instant::now() + GRACE);
                }
                () = urgent(&mut kill, deadline), if deadline.is_some() => child.start_kill()?,
            }
        };
        Ok(self.ended(status, started.elapsed()))
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
        command.env("RAYON_NUM_THREADS", self.cores.to_string());
        if let Some(gpu) = &self.gpu {
            command.env(VISIBLE_VARIABLE, gpu);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        // A terminal's Ctrl-C goes to a whole process group: workers are asked by the runner, not by the terminal.
        command.process_group(0).kill_on_drop(true);
        command.spawn().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot start {}: {error}", self.program.display()),
            )
        })
    }

    fn ended(&self, status: ExitStatus, took: Duration) -> Ended {
        let report = fs::read(&self.report)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let millis = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        Ended {
            code: status.code(),
            signal: status.signal(),
            report,
            last_words: last_lines(&self.log, 5),
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
async fn urgent(stop: &mut watch::Receiver<Stop>, deadline: Option<tokio::time::Instant>) {
    let at_once = async {
        if stop.wait_for(|stop| *stop == Stop::AtOnce).await.is_err() {
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

impl Ended {
    /// What went wrong, for a person: the report's message, or the end of the log, or how the process ended.
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
        if self.last_words.is_empty() {
            end
        } else {
            format!("{end}; the end of its log:\n{}", self.last_words)
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
    async fn progress_code_and_last_words_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"echo '{"activity":"train","done":1,"total":2,"tokens":3}'; echo noise; echo "threads $RAYON_NUM_THREADS on $CUDA_VISIBLE_DEVICES" >&2; exit 7"#;
        let attempt = attempt(directory.path(), script);
        let (_sender, stop) = watch::channel(Stop::No);
        let mut seen = Vec::new();
        let ended = attempt
            .run(stop, |progress| seen.push(progress.activity))
            .await
            .unwrap();
        assert_eq!(
            (ended.code, ended.last_words.as_str()),
            (Some(7), "threads 3 on GPU-5d1c")
        );
        assert!(ended.message().contains("exit code 7"));
        assert!(seen.is_empty() || seen == ["train"]);
    }

    #[tokio::test]
    async fn a_gentle_stop_closes_the_standard_input() {
        let directory = tempfile::tempdir().unwrap();
        let attempt = attempt(directory.path(), "cat >/dev/null; exit 75");
        let (sender, stop) = watch::channel(Stop::No);
        let running = tokio::spawn(async move { attempt.run(stop, |_| ()).await });
        tokio::task::yield_now().await;
        sender.send(Stop::Gently).unwrap();
        assert_eq!(running.await.unwrap().unwrap().code, Some(75));
    }

    #[tokio::test]
    async fn a_second_stop_kills_and_the_log_is_locked_until_then() {
        let directory = tempfile::tempdir().unwrap();
        let attempt = attempt(
            directory.path(),
            "echo '{\"activity\":\"up\",\"done\":0,\"total\":0,\"tokens\":0}'; exec sleep 600",
        );
        let log = attempt.log.clone();
        let (sender, stop) = watch::channel(Stop::No);
        let (up, mut is_up) = tokio::sync::mpsc::unbounded_channel();
        let running =
            tokio::spawn(async move { attempt.run(stop, move |_| up.send(()).unwrap()).await });
        is_up.recv().await.unwrap();
        assert!(Lock::is_held(&log));
        sender.send(Stop::Gently).unwrap();
        sender.send(Stop::AtOnce).unwrap();
        assert_eq!(running.await.unwrap().unwrap().signal, Some(9));
        assert!(!Lock::is_held(&log));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let attempt = Attempt {
            program: directory.path().join("gone"),
            ..attempt(directory.path(), "")
        };
        let (_sender, stop) = watch::channel(Stop::No);
        assert!(
            attempt
                .run(stop, |_| ())
                .await
                .unwrap_err()
                .to_string()
                .contains("gone")
        );
    }
}
