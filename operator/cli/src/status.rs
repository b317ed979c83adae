//! `scalequest status`: how far a run is, while it runs and afterwards.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use scalequest_core::plan::{Observations, plan};
use scalequest_core::record::{RECORD_FILE, RunRecord};
use scalequest_core::status::{StatusInput, status as project};
use scalequest_core::validate::{Environment, validate};
use scalequest_crds::v1alpha1::status::{StageStatus, SynthesisRunStatus};
use scalequest_crds::v1alpha1::{StorageLocation, SynthesisRun};
use scalequest_runner::locations::{run_directory, runs, state_directory};
use scalequest_runner::lock::Lock;
use scalequest_runner::machine::now_millis;
use scalequest_runner::progress::Event;
use scalequest_runner::progress::sentence::{format_number, if_known, progress_sentence};
use scalequest_runner::record_file;
use scalequest_runner::status_file::StatusFile;
use serde_json::json;

use super::arguments::{OutputFormat, StatusArguments};
use super::summary::numbers;
use super::{CommandError, text};

/// Returns how far a run is, in the form that was asked for.
pub fn status(arguments: &StatusArguments) -> Result<String, CommandError> {
    let directory = find_run(&arguments.dir, arguments.run.as_deref())?;
    let loaded = record_file::load(&directory).map_err(CommandError::Failed)?;
    let record = loaded.record.ok_or_else(|| {
        let why = loaded
            .corruption
            .unwrap_or_else(|| format!("{} is not there", directory.join(RECORD_FILE).display()));
        let message = format!("holds no record of a run that can be read: {why}");
        CommandError::input("DIR", message)
    })?;
    let is_running = Lock::is_held(&directory.join("lock"));
    let last = StatusFile::read(&directory);
    let (pid, status, active) = match last {
        Some(last) if is_running => (Some(last.pid), last.status, last.active),
        last => (None, projected(&record, last)?, Vec::new()),
    };
    let name = &record.name;
    Ok(match arguments.output {
        OutputFormat::Json => format!(
            "{:#}\n",
            json!({"run": name, "running": is_running, "pid": pid, "status": status, "active": active})
        ),
        OutputFormat::Text => {
            let runner = match pid {
                Some(pid) => format!("running in process {pid}"),
                None if is_running => "starting".into(),
                None => "not running; resume with `scalequest run -f FILE`".into(),
            };
            as_text(name, &runner, &status, &active)
        }
    })
}

/// Returns the status that follows from the record alone, with the conditions of the `last` one.
fn projected(
    record: &RunRecord,
    last: Option<StatusFile>,
) -> Result<SynthesisRunStatus, CommandError> {
    let run = SynthesisRun::new(&record.name, record.spec.clone());
    let valid = validate(&run, Environment::Local).map_err(CommandError::InvalidInput)?;
    let next = plan(&valid, record, &Observations::default(), now_millis());
    Ok(project(&StatusInput {
        run: &valid,
        record,
        plan: &next,
        progress: &[],
        degradations: &[],
        waiting: None,
        previous: &last.unwrap_or_default().status.conditions,
        generation: None,
        now_millis: now_millis(),
    }))
}

/// The run's directory: `dir` itself, or the one run, or the named one, in the workspace `dir`.
fn find_run(dir: &Path, run: Option<&str>) -> Result<PathBuf, CommandError> {
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
    // A workspace that cannot be read holds no run that can be shown.
    let runs = runs(&workspace).unwrap_or_default();
    let error = |argument, problem: String| {
        let message = format!("{name} holds {problem}");
        Err(CommandError::input(argument, message))
    };
    match (run, runs.as_slice()) {
        (_, []) => {
            let problem = "no run: name a run's workspace, or <workspace>/runs/<run>";
            error("DIR", problem.into())
        }
        (Some(run), known) if known.iter().any(|known| known == run) => {
            Ok(run_directory(&workspace, run))
        }
        (Some(run), known) => {
            let known = known.join(", ");
            error("--run", format!("no run `{run}`; it holds: {known}"))
        }
        (None, [only]) => Ok(run_directory(&workspace, only)),
        (None, several) => {
            let several = several.join(", ");
            let problem = format!("several runs: choose one with --run: {several}");
            error("DIR", problem)
        }
    }
}

fn as_text(name: &str, runner: &str, status: &SynthesisRunStatus, active: &[Event]) -> String {
    let phase = status.phase.as_deref().unwrap_or_default();
    let mut out = match phase {
        "Complete" => format!("run {name}: {phase}\n"),
        _ => format!("run {name}: {phase}, {runner}\n"),
    };
    let _ = writeln!(out, "{}", numbers(status));
    if let Some(estimate) = &status.estimate {
        let _ = writeln!(
            out,
            "estimate  {} questions, {} hours of workers, yield {}{}",
            format_number(estimate.questions),
            estimate.gpu_hours,
            estimate.yield_ratio,
            if_known(", cost ", estimate.cost.as_ref(), "")
        );
    }
    if let Some(dataset) = &status.dataset {
        let rows = format_number(dataset.rows);
        let _ = writeln!(out, "dataset   {} ({rows} pairs)", dataset.uri);
    }
    let heading = ["stage", "generator", "wave", "state", "shards", ""];
    let mut rows = vec![heading.map(String::from).to_vec()];
    rows.extend(status.stages.iter().map(|stage| row(stage, active)));
    let _ = write!(out, "\n{}", text::table(&rows, &[2, 4]));
    out
}

fn row(stage: &StageStatus, active: &[Event]) -> Vec<String> {
    let shards = &stage.shards;
    // The runner's own file says more of what is under way than the status.
    let activity = active.iter().find_map(|event| match event {
        Event::StageProgressed { name, progress } if *name == stage.id() => {
            Some(progress_sentence(progress))
        }
        _ => None,
    });
    vec![
        stage.name.to_string(),
        stage.generator.clone().unwrap_or_default(),
        stage.wave.map(|wave| wave.to_string()).unwrap_or_default(),
        stage.state.clone(),
        match shards.total {
            0 => String::new(),
            total => format!("{}/{total}", shards.succeeded),
        },
        activity.unwrap_or_default(),
    ]
}
