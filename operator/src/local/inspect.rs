//! Asks a worker to look at everything that a spec refers to: models, seed questions, benchmarks, endpoints, stores. The
//! worker reads, and so may a person's mistake; nothing is written.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use scalequest_crds::inspection::Inspection;
use scalequest_crds::run::SynthesisRun;

/// The facts and faults that the worker at `program` finds for `run`, whose spec is resolved.
///
/// # Errors
/// The worker could not be started, or did not answer; for a person.
pub fn inspect(program: &Path, run: &SynthesisRun, cores: usize) -> Result<Inspection, String> {
    let spec = serde_json::to_vec(run)
        .map_err(|error| format!("cannot write the spec for the worker: {error}"))?;
    let mut command = Command::new(program);
    command
        .args(["inspect", "--spec", "/dev/stdin"])
        .env("RAYON_NUM_THREADS", cores.to_string());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let writer = child
        .stdin
        .take()
        .map(|mut stdin| std::thread::spawn(move || stdin.write_all(&spec)));
    let output = child
        .wait_with_output()
        .map_err(|error| format!("cannot wait for {}: {error}", program.display()))?;
    if let Some(writer) = writer {
        // A worker that did not read to the end says why in its exit code.
        let _ = writer.join();
    }
    let answer = output
        .stdout
        .iter()
        .rposition(|byte| *byte == b'}')
        .map(|end| &output.stdout[..=end])
        .unwrap_or_default();
    serde_json::from_slice(answer).map_err(|error| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let words = stderr
            .lines()
            .rev()
            .take(5)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join("\n");
        format!(
            "{} inspect ended with {} and no answer ({error}): {words}",
            program.display(),
            output.status
        )
    })
}
