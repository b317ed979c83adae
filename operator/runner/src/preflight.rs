//! Preflight checks: a worker reads everything that a spec refers to (models, seed questions, benchmarks, endpoints, stores). It
//! fetches models to the cache of this machine if it may; nothing else is written.

use std::path::Path;
use std::process::Stdio;

use scalequest_crds::protocol::exit_codes::worker::STOPPED;
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::SynthesisRun;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::child::{last_lines, spawn, supervise, worker};
use super::error::CommandError;
use super::shutdown::Shutdown;

/// Runs the worker at `program` on `run`, whose spec is resolved, and returns the facts and errors that it finds. It fetches models that are
/// not on this machine if `fetch` is set; `progress` is called with the progress of a download. A requested shutdown ends it.
///
/// # Errors
/// [`CommandError::Interrupted`] after a shutdown; [`CommandError::Failed`] if the worker could not be started, or did not answer.
pub async fn run_preflight(
    program: &Path,
    cores: usize,
    run: &SynthesisRun,
    fetch: bool,
    shutdown: &watch::Receiver<Shutdown>,
    mut progress: impl FnMut(Progress),
) -> Result<PreflightReport, CommandError> {
    let failed = |what: &str, error: &dyn std::error::Error| {
        CommandError::Failed(format!("{what}: {error}"))
    };
    let mut spec = serde_json::to_vec(run)
        .map_err(|error| failed("cannot write the spec for the worker", &error))?;
    spec.push(b'\n');
    let mut command = worker(program, cores);
    command
        .args(["preflight", "--spec", "-"])
        .args((!fetch).then_some("--no-fetch"))
        .stderr(Stdio::piped());
    let mut child = spawn(command).map_err(|error| CommandError::Failed(error.to_string()))?;
    let stderr = child.stderr.take();
    let read_stderr = async {
        let mut bytes = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_end(&mut bytes).await;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    // The last line that is no progress.
    let mut answer = String::new();
    let line = |line: &str| match serde_json::from_str(line) {
        Ok(known) => progress(known),
        Err(_) => answer = line.to_string(),
    };
    let (status, stderr) = tokio::join!(supervise(&mut child, &spec, shutdown, line), read_stderr);
    let program = program.display();
    let status = status.map_err(|error| failed(&format!("cannot wait for {program}"), &error))?;
    let was_killed = status.code().is_none() && *shutdown.borrow() != Shutdown::None;
    if was_killed || status.code() == Some(STOPPED) {
        return Err(CommandError::Interrupted);
    }
    serde_json::from_str(&answer).map_err(|error| {
        CommandError::Failed(format!(
            "{program} inspect ended with {status} and no answer ({error}): {}",
            last_lines(&stderr, 5)
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    /// Runs a preflight whose worker is this script.
    async fn preflight_of(
        script: &str,
        stops: &'static [Shutdown],
    ) -> (Result<PreflightReport, CommandError>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("worker");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let run = scalequest_core::plan::simulation::run(&Default::default());
        let run = SynthesisRun::new(run.name(), run.spec().clone());
        let (sender, shutdown) = watch::channel(Shutdown::None);
        let mut activities = Vec::new();
        let progress = |progress: Progress| {
            activities.push(progress.activity);
            for urgency in stops {
                sender.send(*urgency).unwrap();
            }
        };
        let found = tokio::time::timeout(
            Duration::from_secs(60),
            run_preflight(&program, 1, &run, true, &shutdown, progress),
        );
        (found.await.expect("an end"), activities)
    }

    const PROGRESS: &str = r#"echo '{"activity":"fetch","done":1,"total":2,"tokens":0}'"#;

    #[tokio::test]
    async fn report_follows_progress_and_noise() {
        let answer = r#"echo '{"models":[],"seedQuestions":[],"benchmarks":[],"errors":[]}'"#;
        let script = format!("read spec; {PROGRESS}; echo noise; {answer}");
        let (found, activities) = preflight_of(&script, &[]).await;
        assert_eq!(found, Ok(PreflightReport::default()));
        assert_eq!(activities, ["fetch"]);
        let (found, _) = preflight_of("echo words >&2; exit 3", &[]).await;
        assert!(
            matches!(&found, Err(CommandError::Failed(answer_text)) if answer_text.contains("words")),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn shutdown_closes_worker_input() {
        let script = format!("read spec; {PROGRESS}; cat >/dev/null; exit 75");
        let (found, _) = preflight_of(&script, &[Shutdown::Graceful]).await;
        assert_eq!(found, Err(CommandError::Interrupted));
    }

    #[tokio::test]
    async fn second_shutdown_kills_worker() {
        let script = format!("read spec; {PROGRESS}; exec sleep 600");
        let (found, _) = preflight_of(&script, &[Shutdown::Graceful, Shutdown::Immediate]).await;
        assert_eq!(found, Err(CommandError::Interrupted));
    }
}
