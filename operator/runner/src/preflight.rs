//! Preflight checks: a worker reads everything that a spec refers to (models, seed questions, benchmarks, endpoints, stores). It
//! fetches models to the cache of this machine if it may; nothing else is written.

use std::path::Path;
use std::process::{Output, Stdio};

use scalequest_crds::protocol::exit_codes::worker::STOPPED;
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::SynthesisRun;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::program::{THREADS_VARIABLE, start_error};
use super::shutdown::Shutdown;

/// Why a preflight has no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreflightError {
    /// A shutdown was requested.
    Stopped,
    /// The worker could not be started, or did not answer; for users.
    Failed(String),
}

/// Options of a preflight.
pub struct PreflightOptions<'a> {
    /// Threads that the worker may use.
    pub cores: usize,
    /// Whether models are fetched that are not on this machine.
    pub fetch: bool,
    /// Ends the preflight.
    pub shutdown: watch::Receiver<Shutdown>,
    /// Is called with the progress of a download.
    pub progress: &'a mut dyn FnMut(Progress),
}

/// Runs the worker at `program` on `run`, whose spec is resolved, and returns the facts and errors that it finds. The worker ends with
/// this process, however that ends: its standard input is closed then.
///
/// # Errors
/// [`PreflightError`].
pub async fn run_preflight(
    program: &Path,
    run: &SynthesisRun,
    options: PreflightOptions<'_>,
) -> Result<PreflightReport, PreflightError> {
    let mut spec = serde_json::to_vec(run)
        .map_err(|error| failed(format!("cannot write the spec for the worker: {error}")))?;
    spec.push(b'\n');
    let mut command = Command::new(program);
    command
        .args(["preflight", "--spec", "-"])
        .args((!options.fetch).then_some("--no-fetch"))
        .env(THREADS_VARIABLE, options.cores.to_string());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A terminal's Ctrl-C goes to a whole process group: the worker is asked by this process, not by the terminal.
    command.process_group(0).kill_on_drop(true);
    let child = command
        .spawn()
        .map_err(|error| failed(start_error(program, &error)))?;
    let (output, answer) = listen(child, spec, options.shutdown, options.progress)
        .await
        .map_err(|error| failed(format!("cannot wait for {}: {error}", program.display())))?;
    if output.status.code() == Some(STOPPED) {
        return Err(PreflightError::Stopped);
    }
    serde_json::from_str(&answer).map_err(|error| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = stderr.lines().collect();
        let words = lines[lines.len().saturating_sub(5)..].join("\n");
        failed(format!(
            "{} inspect ended with {} and no answer ({error}): {words}",
            program.display(),
            output.status
        ))
    })
}

fn failed(message: String) -> PreflightError {
    PreflightError::Failed(message)
}

/// Waits for a worker and returns how it ended, and the last line that was no progress.
async fn listen(
    mut child: Child,
    spec: Vec<u8>,
    mut shutdown: watch::Receiver<Shutdown>,
    progress: &mut dyn FnMut(Progress),
) -> std::io::Result<(Output, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let answer_text = async {
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
    let input = async {
        let Some(mut stdin) = stdin else { return };
        // A worker that did not read to the end says why in its exit code.
        let _ = stdin.write_all(&spec).await;
        let _ = stdin.flush().await;
        if shutdown
            .wait_for(|shutdown| *shutdown != Shutdown::None)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
        drop(stdin);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        both = async { tokio::try_join!(answer_text, words) } => {
            let (answer, stderr) = both?;
            let status = child.wait().await?;
            Ok((Output { status, stdout: Vec::new(), stderr }, answer))
        }
        () = input => Err(std::io::Error::other("its input was closed")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    /// Runs a preflight whose worker is this script.
    async fn preflight_of(
        script: &str,
        stops: bool,
    ) -> (Result<PreflightReport, PreflightError>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("worker");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let run = scalequest_core::plan::simulation::run(&Default::default());
        let run = SynthesisRun::new(run.name(), run.spec().clone());
        let (sender, shutdown) = watch::channel(Shutdown::None);
        let mut activities = Vec::new();
        let mut progress = |progress: Progress| {
            activities.push(progress.activity);
            if stops {
                sender.send(Shutdown::Graceful).unwrap();
            }
        };
        let options = PreflightOptions {
            cores: 1,
            fetch: true,
            shutdown,
            progress: &mut progress,
        };
        let found = tokio::time::timeout(
            Duration::from_secs(60),
            run_preflight(&program, &run, options),
        );
        (found.await.expect("an end"), activities)
    }

    const PROGRESS: &str = r#"echo '{"activity":"fetch","done":1,"total":2,"tokens":0}'"#;

    #[tokio::test]
    async fn report_follows_progress_and_noise() {
        let answer = r#"echo '{"models":[],"seedQuestions":[],"benchmarks":[],"errors":[]}'"#;
        let script = format!("read spec; {PROGRESS}; echo noise; {answer}");
        let (found, activities) = preflight_of(&script, false).await;
        assert_eq!(found, Ok(PreflightReport::default()));
        assert_eq!(activities, ["fetch"]);
        let (found, _) = preflight_of("echo words >&2; exit 3", false).await;
        assert!(
            matches!(&found, Err(PreflightError::Failed(answer_text)) if answer_text.contains("words")),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn shutdown_closes_worker_input() {
        let script = format!("read spec; {PROGRESS}; cat >/dev/null; exit 75");
        let (found, _) = preflight_of(&script, true).await;
        assert_eq!(found, Err(PreflightError::Stopped));
    }
}
