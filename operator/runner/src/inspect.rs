//! Asks a worker to look at everything that a spec refers to: models, seed questions, benchmarks, endpoints, stores. The
//! worker reads, and fetches models to the cache of this machine where it may; nothing else is written.

use std::path::Path;
use std::process::{Output, Stdio};

use scalequest_crds::protocol::exit_codes::worker::STOPPED;
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::SynthesisRun;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::stop::Stop;

/// Why there are no findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// A stop was asked for.
    Stopped,
    /// The worker could not be started, or did not answer; for a person.
    Broken(String),
}

/// How to look.
pub struct Look<'a> {
    /// Threads that the worker may use.
    pub cores: usize,
    /// Whether models are fetched that are not on this machine.
    pub fetch: bool,
    /// Whether to stop.
    pub stop: watch::Receiver<Stop>,
    /// Hears how far the fetching of a model is.
    pub progress: &'a mut dyn FnMut(Progress),
}

/// The facts and errors that the worker at `program` finds for `run`, whose spec is resolved. The worker ends with this process, however
/// that ends: its standard input does.
///
/// # Errors
/// [`Unseen`].
pub async fn inspect(
    program: &Path,
    run: &SynthesisRun,
    look: Look<'_>,
) -> Result<PreflightReport, Unseen> {
    let mut spec = serde_json::to_vec(run)
        .map_err(|error| broken(format!("cannot write the spec for the worker: {error}")))?;
    spec.push(b'\n');
    let mut command = Command::new(program);
    command
        .args(["preflight", "--spec", "-"])
        .args((!look.fetch).then_some("--no-fetch"))
        .env("RAYON_NUM_THREADS", look.cores.to_string());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A terminal's Ctrl-C goes to a whole process group: the worker is asked by this process, not by the terminal.
    command.process_group(0).kill_on_drop(true);
    let child = command
        .spawn()
        .map_err(|error| broken(format!("cannot start {}: {error}", program.display())))?;
    let (output, answer) = listen(child, spec, look.stop, look.progress)
        .await
        .map_err(|error| broken(format!("cannot wait for {}: {error}", program.display())))?;
    if output.status.code() == Some(STOPPED) {
        return Err(Unseen::Stopped);
    }
    serde_json::from_str(&answer).map_err(|error| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = stderr.lines().collect();
        let words = lines[lines.len().saturating_sub(5)..].join("\n");
        broken(format!(
            "{} inspect ended with {} and no answer ({error}): {words}",
            program.display(),
            output.status
        ))
    })
}

fn broken(message: String) -> Unseen {
    Unseen::Broken(message)
}

/// Hears a worker to its end: how it ended, and the last line that was no progress.
async fn listen(
    mut child: Child,
    spec: Vec<u8>,
    mut stop: watch::Receiver<Stop>,
    progress: &mut dyn FnMut(Progress),
) -> std::io::Result<(Output, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let said = async {
        let mut answer = String::new();
        if let Some(stdout) = stdout {
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await? {
                match serde_json::from_str(&line) {
                    Ok(known) => progress(known),
                    Err(_) => answer = line,
                }
            }
        }
        Ok::<_, std::io::Error>(answer)
    };
    let words = async {
        let mut words = Vec::new();
        if let Some(mut stderr) = stderr {
            stderr.read_to_end(&mut words).await?;
        }
        Ok::<_, std::io::Error>(words)
    };
    // Its input stays open until it ends, or until it is to end.
    let told = async {
        let Some(mut stdin) = stdin else { return };
        // A worker that did not read to the end says why in its exit code.
        let _ = stdin.write_all(&spec).await;
        let _ = stdin.flush().await;
        if stop.wait_for(|stop| *stop != Stop::No).await.is_err() {
            std::future::pending::<()>().await;
        }
        drop(stdin);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        both = async { tokio::try_join!(said, words) } => {
            let (answer, stderr) = both?;
            let status = child.wait().await?;
            Ok((Output { status, stdout: Vec::new(), stderr }, answer))
        }
        () = told => Err(std::io::Error::other("its input was closed")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    /// What comes of a worker that is this script.
    async fn inspected(
        script: &str,
        stops: bool,
    ) -> (Result<PreflightReport, Unseen>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("worker");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let run = scalequest_core::plan::simulation::run(&Default::default());
        let run = SynthesisRun::new(run.name(), run.spec().clone());
        let (sender, stop) = watch::channel(Stop::No);
        let mut heard = Vec::new();
        let mut progress = |progress: Progress| {
            heard.push(progress.activity);
            if stops {
                sender.send(Stop::Gently).unwrap();
            }
        };
        let look = Look {
            cores: 1,
            fetch: true,
            stop,
            progress: &mut progress,
        };
        let found = tokio::time::timeout(Duration::from_secs(60), inspect(&program, &run, look));
        (found.await.expect("an end"), heard)
    }

    const PROGRESS: &str = r#"echo '{"activity":"fetch","done":1,"total":2,"tokens":0}'"#;

    #[tokio::test]
    async fn findings_come_after_progress_and_noise() {
        let answer = r#"echo '{"models":[],"seedQuestions":[],"benchmarks":[],"errors":[]}'"#;
        let script = format!("read spec; {PROGRESS}; echo noise; {answer}");
        let (found, heard) = inspected(&script, false).await;
        assert_eq!(found, Ok(PreflightReport::default()));
        assert_eq!(heard, ["fetch"]);
        let (found, _) = inspected("echo words >&2; exit 3", false).await;
        assert!(
            matches!(&found, Err(Unseen::Broken(said)) if said.contains("words")),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn a_stop_closes_the_workers_input() {
        let script = format!("read spec; {PROGRESS}; cat >/dev/null; exit 75");
        let (found, _) = inspected(&script, true).await;
        assert_eq!(found, Err(Unseen::Stopped));
    }
}
