//! Acceptance of a spec: everything that can be wrong is found before anything is written, then the run's directory is
//! created and locked, and the record created or loaded. It starts no stage.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use scalequest_crds::digest::hex;
use scalequest_crds::protocol::preflight::{FieldError, PreflightReport};
use scalequest_crds::v1alpha1::SynthesisRun;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::gpus::{self, Gpu};
use super::locations::{check_locations, run_directory, state_directory};
use super::lock::{Lock, LockError};
use super::machine::{Machine, now_millis};
use super::memory::{AvailableMemory, GpuUse, check_memory};
use super::preflight::{PreflightError, PreflightOptions, run_preflight};
use super::program::{find_worker, is_built_for_gpus};
use super::progress::{Display, Event};
use super::record_file;
use super::shutdown::Shutdown;
use scalequest_core::plan::{Observations, plan};
use scalequest_core::record::{RunRecord, WorkerIdentity};
use scalequest_core::validate::{
    Environment, ValidRun, check_preflight, check_unfetched, validate,
};

/// Why a run was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// The input is invalid: all errors at once.
    InvalidInput(Vec<FieldError>),
    /// Something outside the run does not work; for users.
    Infrastructure(String),
    /// A user stopped it.
    Interrupted,
}

/// How a long acceptance, which may download models, is shown and stopped.
pub struct AcceptContext<'a> {
    /// Stops the acceptance.
    pub shutdown: watch::Receiver<Shutdown>,
    /// Shows the progress of downloads.
    pub display: &'a mut dyn Display,
}

/// Settings of one execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Most workers at once.
    pub workers: Option<usize>,
    /// Cores that they share.
    pub cores: Option<usize>,
    /// Bytes of memory that they share.
    pub memory: Option<i64>,
    /// GPUs that they share.
    pub gpus: Option<usize>,
    /// Whether finished stages are used without verification.
    pub skip_verification: bool,
}

/// The GPUs that workers share, and what computes on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpus {
    /// The GPUs.
    pub all: Vec<Gpu>,
    /// What computes on them.
    pub on: GpuUse,
    /// Whether each worker is assigned one, or none: if there are some, and if their number is set.
    pub are_assigned: bool,
}

impl Gpus {
    fn find(program: &Path, options: Options) -> Result<Gpus, AcceptError> {
        let all = gpus::find(options.gpus).map_err(|message| {
            AcceptError::InvalidInput(vec![FieldError {
                field: "--gpus".into(),
                message,
            }])
        })?;
        let some = !all.is_empty();
        let version = some.then(|| worker_version(program)).transpose()?;
        let on = GpuUse {
            training: version.is_some_and(|version| is_built_for_gpus(&version)),
            servers: some,
        };
        Ok(Gpus {
            are_assigned: some || options.gpus.is_some(),
            all,
            on,
        })
    }

    fn available(&self, machine: Machine) -> AvailableMemory {
        AvailableMemory {
            memory: machine.memory,
            gpu: self.all.iter().map(|gpu| gpu.memory).max(),
            on: self.on,
        }
    }
}

/// An accepted run, locked by this process.
#[derive(Debug)]
pub struct RunSession {
    /// The run.
    pub run: ValidRun,
    /// What is known of it.
    pub record: RunRecord,
    /// Whether a record was found.
    pub resumed: bool,
    /// The worker's program.
    pub program: PathBuf,
    /// What workers share.
    pub machine: Machine,
    /// The GPUs that they share.
    pub gpus: Gpus,
    /// Most workers at once.
    pub limit: usize,
    /// Whether finished stages are used without verification.
    pub skip_verification: bool,
    /// The directory that holds `runs/` and `locks/`.
    pub state: PathBuf,
    /// The run's own directory.
    pub directory: PathBuf,
    /// Warnings for users.
    pub warnings: Vec<String>,
    _lock: Lock,
}

/// A run that passed its preflight.
#[derive(Debug)]
pub struct PreflightResult {
    /// The run.
    pub run: ValidRun,
    /// What its models and files are.
    pub found: PreflightReport,
}

/// Checks `run` and everything that it refers to, as [`accept`] does for a new run, and writes nothing. Models that would have to be
/// downloaded first are not checked.
///
/// # Errors
/// [`AcceptError`].
pub async fn preflight_only(
    run: &SynthesisRun,
    options: Options,
) -> Result<PreflightResult, AcceptError> {
    let valid = validate(run, Environment::Local).map_err(AcceptError::InvalidInput)?;
    let program = find_worker().map_err(AcceptError::Infrastructure)?;
    let machine = Machine::measure(options.cores, options.memory);
    let gpus = Gpus::find(&program, options)?;
    let available = gpus.available(machine);
    let mut errors = check_locations(valid.name(), &valid.spec().workspace, &valid.spec().output);
    let (_sender, shutdown) = watch::channel(Shutdown::None);
    let options = PreflightOptions {
        cores: machine.cores,
        fetch: false,
        shutdown,
        progress: &mut |_| {},
    };
    let found =
        check_references(&program, run, &valid, available, None, options, &mut errors).await?;
    if errors.is_empty() {
        Ok(PreflightResult { run: valid, found })
    } else {
        Err(AcceptError::InvalidInput(errors))
    }
}

/// Accepts `run`: checks everything, then locks the run and creates or loads its record.
///
/// # Errors
/// [`AcceptError`]; unless a record was there before, nothing is written then.
pub async fn accept(
    run: &SynthesisRun,
    options: Options,
    context: AcceptContext<'_>,
) -> Result<RunSession, AcceptError> {
    let valid = validate(run, Environment::Local).map_err(AcceptError::InvalidInput)?;
    let program = find_worker().map_err(AcceptError::Infrastructure)?;
    let machine = Machine::measure(options.cores, options.memory);
    let gpus = Gpus::find(&program, options)?;
    let state = state_directory(&valid.spec().workspace);
    let directory = run_directory(&state, valid.name());
    let mut warnings: Vec<String> = valid.notes().iter().map(ToString::to_string).collect();

    // A run that exists is locked first: its record must not change meanwhile.
    let mut lock = if directory.is_dir() {
        Some(take_lock(&directory, valid.name())?)
    } else {
        None
    };
    let loaded = record_file::load(&directory).map_err(AcceptError::Infrastructure)?;
    warnings.extend(loaded.corruption.clone());
    let mut known = loaded.record;
    if let Some(record) = &mut known {
        record.amend(&valid).map_err(AcceptError::InvalidInput)?;
    }

    let is_finished = known.as_ref().is_some_and(|record| {
        plan(&valid, record, &Observations::default(), now_millis())
            .finished
            .is_some()
    });
    let mut errors = check_locations(valid.name(), &valid.spec().workspace, &valid.spec().output);
    let found = match is_finished {
        true => PreflightReport::default(),
        false => {
            let display = context.display;
            let options = PreflightOptions {
                cores: machine.cores,
                fetch: true,
                shutdown: context.shutdown,
                progress: &mut |progress| display.show(&Event::Preflight { progress }),
            };
            check_references(
                &program,
                run,
                &valid,
                gpus.available(machine),
                known.as_ref(),
                options,
                &mut errors,
            )
            .await?
        }
    };
    if !errors.is_empty() {
        return Err(AcceptError::InvalidInput(errors));
    }
    warnings.extend(found.warnings.iter().map(ToString::to_string));

    let write_error = |what: &Path, error: io::Error| {
        AcceptError::Infrastructure(format!("cannot write {}: {error}", what.display()))
    };
    for name in ["tasks", "reports", "logs"] {
        let path = directory.join(name);
        fs::create_dir_all(&path).map_err(|error| write_error(&path, error))?;
    }
    let locks = state.join("locks");
    fs::create_dir_all(&locks).map_err(|error| write_error(&locks, error))?;
    let lock = match lock.take() {
        Some(lock) => lock,
        None => take_lock(&directory, valid.name())?,
    };
    if loaded.corruption.is_some() {
        record_file::quarantine(&directory).map_err(|error| write_error(&directory, error))?;
    }
    let identity = identify(&program)?;
    let resumed = known.is_some();
    let record =
        known.unwrap_or_else(|| RunRecord::new(&valid, found, identity.clone(), now_millis()));
    if record.worker != identity {
        warnings.push(format!(
            "the worker is version {}, the run was accepted with version {} or another build of it: rows that are made from here on may differ",
            identity.version, record.worker.version
        ));
    }
    record_file::save(&directory, &record).map_err(|error| write_error(&directory, error))?;
    let limit = options.workers.unwrap_or(usize::MAX);
    Ok(RunSession {
        run: valid,
        record,
        resumed,
        program,
        machine,
        gpus,
        limit,
        skip_verification: options.skip_verification,
        state,
        directory,
        warnings,
        _lock: lock,
    })
}

/// Runs the preflight of everything that the spec refers to; what is wrong goes to `errors`.
async fn check_references(
    program: &Path,
    run: &SynthesisRun,
    valid: &ValidRun,
    available: AvailableMemory,
    known: Option<&RunRecord>,
    options: PreflightOptions<'_>,
    errors: &mut Vec<FieldError>,
) -> Result<PreflightReport, AcceptError> {
    let mut resolved = SynthesisRun::new(valid.name(), valid.spec().clone());
    resolved.metadata = run.metadata.clone();
    let check = match options.fetch {
        true => check_preflight,
        false => check_unfetched,
    };
    let found = run_preflight(program, &resolved, options).await;
    let found = found.map_err(|error| match error {
        PreflightError::Stopped => AcceptError::Interrupted,
        PreflightError::Failed(message) => AcceptError::Infrastructure(message),
    })?;
    errors.extend(check(valid, &found));
    errors.extend(check_memory(valid.spec(), &found.models, available));
    if let Some(record) = known {
        errors.extend(changed_since(&record.preflight, &found));
    }
    Ok(found)
}

/// Models and files that are no longer those with which the run was accepted.
fn changed_since(accepted: &PreflightReport, found: &PreflightReport) -> Vec<FieldError> {
    let advice = "put back what it was, or make a run of another name on the same workspace, which reuses what did not change";
    let message = |what: &str| format!("{what} has changed since the run was accepted: {advice}");
    let mut errors = Vec::new();
    for (index, model) in accepted.models.iter().enumerate() {
        if found
            .models
            .iter()
            .any(|now| now.name == model.name && now.digest != model.digest)
        {
            errors.push(FieldError {
                field: format!("spec.models[{index}]"),
                message: message(&format!("model `{}`", model.name)),
            });
        }
    }
    let files = [
        (
            "spec.seedQuestions",
            &accepted.seed_questions,
            &found.seed_questions,
        ),
        (
            "spec.filters.contamination.benchmarks",
            &accepted.benchmarks,
            &found.benchmarks,
        ),
    ];
    for (field, before, now) in files {
        for (index, (before, now)) in before.iter().zip(now).enumerate() {
            if before.digest != now.digest {
                errors.push(FieldError {
                    field: format!("{field}[{index}]"),
                    message: message(&now.location),
                });
            }
        }
    }
    errors
}

fn take_lock(directory: &Path, run: &str) -> Result<Lock, AcceptError> {
    Lock::take(&directory.join("lock"), &format!("run {run}")).map_err(|error| match error {
        LockError::Held { holder } => {
            AcceptError::Infrastructure(format!("run `{run}` is running already, in {holder}: wait for it, or stop that process first (its work is kept)"))
        }
        error @ LockError::Io { .. } => AcceptError::Infrastructure(error.to_string()),
    })
}

/// Returns the worker's version.
fn worker_version(program: &Path) -> Result<String, AcceptError> {
    let cannot = |error: io::Error| {
        AcceptError::Infrastructure(format!(
            "cannot run {} --version: {error}",
            program.display()
        ))
    };
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(cannot)?;
    let output_text = String::from_utf8_lossy(&output.stdout);
    let version = output_text.split_whitespace().last();
    Ok(version.unwrap_or("unknown").to_string())
}

/// Which worker this is.
fn identify(program: &Path) -> Result<WorkerIdentity, AcceptError> {
    let version = worker_version(program)?;
    let digest = digest_file(program).map_err(|error| {
        AcceptError::Infrastructure(format!("cannot read {}: {error}", program.display()))
    })?;
    Ok(WorkerIdentity {
        version,
        image: None,
        gpu_image: None,
        digest: Some(format!("sha256:{digest}")),
        gpu: false,
    })
}

/// SHA-256 of a file, in hex.
pub(super) fn digest_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}
