//! `scalequest status`: how far a run is, while it runs and afterwards.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use scalequest_crds::protocol::exit_codes;
use scalequest_crds::v1alpha1::status::{StageStatus, SynthesisRunStatus};
use scalequest_crds::v1alpha1::{StorageLocation, SynthesisRun};
use serde_json::{Value, json};

use super::arguments::{OutputFormat, StatusArguments};
use super::summary::numbers;
use super::{CliError, text};
use scalequest_core::plan::{Observations, plan};
use scalequest_core::record::{RECORD_FILE, RunRecord};
use scalequest_core::status::{StatusInput, status as project};
use scalequest_core::validate::{Environment, validate};
use scalequest_runner::locations::state_directory;
use scalequest_runner::lock::Lock;
use scalequest_runner::machine::now_millis;
use scalequest_runner::progress::sentence::format_duration;
use scalequest_runner::record_file;
use scalequest_runner::status_file::StatusFile;

/// Prints how far a run is.
pub fn status(arguments: &StatusArguments) -> Result<i32, CliError> {
    let directory = run_directory(&arguments.dir, arguments.run.as_deref())?;
    let loaded = record_file::load(&directory).map_err(CliError::Failed)?;
    let record = loaded.record.ok_or_else(|| {
        let why = loaded
            .corruption
            .unwrap_or_else(|| format!("{} is not there", directory.join(RECORD_FILE).display()));
        CliError::input(
            "DIR",
            format!("holds no record of a run that can be read: {why}"),
        )
    })?;
    let is_running = Lock::is_held(&directory.join("lock"));
    let status_file = StatusFile::read(&directory).filter(|_| is_running);
    let status = match &status_file {
        Some(status_file) => status_file.status.clone(),
        None => projected(&record, StatusFile::read(&directory).as_ref())?,
    };
    let answer = match arguments.output {
        OutputFormat::Json => {
            let active = status_file
                .as_ref()
                .map(|status_file| status_file.active.clone())
                .unwrap_or_default();
            let pid = status_file.as_ref().map(|status_file| status_file.pid);
            format!(
                "{:#}\n",
                json!({"run": record.name, "running": is_running, "pid": pid, "status": status, "active": active})
            )
        }
        OutputFormat::Text => as_text(&record.name, is_running, &status, status_file.as_ref()),
    };
    text::print(&answer)?;
    Ok(exit_codes::run::DONE)
}

/// Returns the status that follows from the record alone.
fn projected(
    record: &RunRecord,
    last: Option<&StatusFile>,
) -> Result<SynthesisRunStatus, CliError> {
    let run = SynthesisRun::new(&record.name, record.spec.clone());
    let valid = validate(&run, Environment::Local).map_err(CliError::InvalidInput)?;
    let next = plan(&valid, record, &Observations::default(), now_millis());
    Ok(project(&StatusInput {
        run: &valid,
        record,
        plan: &next,
        progress: &[],
        degradations: &[],
        previous: last
            .map(|status_file| status_file.status.conditions.as_slice())
            .unwrap_or_default(),
        generation: None,
        now_millis: now_millis(),
    }))
}

/// The run's directory: `dir` itself, or the one run, or the named one, in the workspace `dir`.
fn run_directory(dir: &Path, run: Option<&str>) -> Result<PathBuf, CliError> {
    let name = dir.to_string_lossy();
    let workspace = match name.contains("://") {
        true => state_directory(&StorageLocation {
            uri: Some(name.to_string()),
            ..StorageLocation::default()
        }),
        false => dir.to_path_buf(),
    };
    if workspace.join(RECORD_FILE).is_file() {
        return Ok(workspace);
    }
    let mut runs: Vec<String> = fs::read_dir(workspace.join("runs"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            entry
                .ok()
                .filter(|entry| entry.path().is_dir())?
                .file_name()
                .into_string()
                .ok()
        })
        .collect();
    runs.sort();
    match (run, runs.as_slice()) {
        (_, []) => Err(CliError::input(
            "DIR",
            format!("{name} holds no run: name a run's workspace, or <workspace>/runs/<run>"),
        )),
        (Some(run), _) if runs.iter().any(|known| known == run) => {
            Ok(workspace.join("runs").join(run))
        }
        (Some(run), _) => Err(CliError::input(
            "--run",
            format!("{name} holds no run `{run}`; it holds: {}", runs.join(", ")),
        )),
        (None, [only]) => Ok(workspace.join("runs").join(only)),
        (None, _) => Err(CliError::input(
            "DIR",
            format!(
                "{name} holds several runs: choose one with --run: {}",
                runs.join(", ")
            ),
        )),
    }
}

fn as_text(
    name: &str,
    is_running: bool,
    status: &SynthesisRunStatus,
    status_file: Option<&StatusFile>,
) -> String {
    let mut out = String::new();
    let phase = status.phase.clone().unwrap_or_default();
    let driver = match status_file {
        Some(status_file) => format!("running in process {}", status_file.pid),
        None if is_running => "starting".into(),
        None => "not running; resume with `scalequest run -f FILE`".into(),
    };
    let _ = match phase.as_str() {
        "Complete" => writeln!(out, "run {name}: {phase}"),
        _ => writeln!(out, "run {name}: {phase}, {driver}"),
    };
    let _ = writeln!(out, "{}", numbers(status));
    if let Some(estimate) = &status.estimate {
        let cost = estimate
            .cost
            .as_ref()
            .map(|cost| format!(", cost {cost}"))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "estimate  {} questions, {} hours of workers, yield {}{cost}",
            text::number(estimate.questions),
            estimate.gpu_hours,
            estimate.yield_ratio
        );
    }
    if let Some(dataset) = &status.dataset {
        let _ = writeln!(
            out,
            "dataset   {} ({} pairs)",
            dataset.uri,
            text::number(dataset.rows)
        );
    }
    let active = status_file
        .map(|status_file| status_file.active.as_slice())
        .unwrap_or_default();
    let mut rows = vec![
        ["stage", "generator", "wave", "state", "shards", ""]
            .map(String::from)
            .to_vec(),
    ];
    rows.extend(status.stages.iter().map(|stage| row(stage, active)));
    let _ = write!(out, "\n{}", text::table(&rows, &[2, 4]));
    out
}

fn row(stage: &StageStatus, active: &[Value]) -> Vec<String> {
    let StageStatus {
        name,
        wave,
        generator,
        state,
        job: _,
        shards,
        // The runner's own file says more of what is under way.
        percent: _,
        activity: _,
    } = stage;
    let is_it = |event: &&Value| {
        event["stage"] == json!(name)
            && event.get("wave").cloned() == wave.map(|wave| json!(wave))
            && event.get("generator").cloned() == generator.as_ref().map(|g| json!(g))
    };
    let activity = active.iter().find(is_it).map(progress).unwrap_or_default();
    vec![
        name.to_string(),
        generator.clone().unwrap_or_default(),
        wave.map(|wave| wave.to_string()).unwrap_or_default(),
        state.clone(),
        if shards.total > 0 {
            format!("{}/{}", shards.succeeded, shards.total)
        } else {
            String::new()
        },
        activity,
    ]
}

/// `generate 12/50, 3.1/s, about 12s outcome`.
fn progress(event: &Value) -> String {
    let number = |name: &str| event[name].as_i64().unwrap_or(0);
    let mut text = event["activity"].as_str().unwrap_or_default().to_string();
    if number("total") > 0 {
        let _ = write!(text, " {}/{}", number("done"), number("total"));
    }
    if let Some(rate) = event["perSecond"].as_f64().filter(|rate| *rate > 0.0) {
        let _ = write!(text, ", {rate:.1}/s");
    }
    if let Some(seconds) = event["etaSeconds"].as_i64() {
        let _ = write!(text, ", about {} left", format_duration(seconds));
    }
    text
}
