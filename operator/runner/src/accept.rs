//! Acceptance of a spec: everything that can be wrong is found before anything is written, then the run's directory is
//! created and locked, and the record created or loaded. It starts no stage.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use scalequest_core::plan::{Observations, plan};
use scalequest_core::record::{RunRecord, WorkerIdentity};
use scalequest_core::validate::{
    Environment, ValidRun, check_preflight, check_unfetched, validate,
};
use scalequest_crds::digest::hex;
use scalequest_crds::protocol::preflight::{FieldError, PreflightReport};
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::SynthesisRun;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::error::CommandError;
use super::gpus::{self, Gpu};
use super::locations::{check_locations, run_directory, state_directory};
use super::lock::{Lock, LockError};
use super::machine::{Machine, now_millis};
use super::options::Options;
use super::preflight::run_preflight;
use super::program::{find_worker, is_built_for_gpus};
use super::progress::{Display, Event};
use super::record_file;
use super::shutdown::Shutdown;
use scalequest_core::memory::{GpuUse, check_memory};

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
    fn find(program: &Path, most: Option<usize>) -> Result<Gpus, CommandError> {
        let all = gpus::find(most).map_err(|message| CommandError::input("--gpus", message))?;
        let servers = !all.is_empty();
        let on = GpuUse {
            training: servers && is_built_for_gpus(&worker_version(program)?),
            servers,
        };
        Ok(Gpus {
            are_assigned: servers || most.is_some(),
            all,
            on,
        })
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
    /// How it is executed.
    pub options: Options,
    /// The directory that holds `runs/` and `locks/`.
    pub state: PathBuf,
    /// The run's own directory.
    pub directory: PathBuf,
    /// Warnings for users.
    pub warnings: Vec<String>,
    _lock: Lock,
}

/// A valid run, and what this machine has for it.
struct Candidate {
    run: ValidRun,
    /// The run as it was given, with the resolved spec.
    resolved: SynthesisRun,
    program: PathBuf,
    machine: Machine,
    gpus: Gpus,
}

impl Candidate {
    fn new(run: &SynthesisRun, options: Options) -> Result<Candidate, CommandError> {
        let valid = validate(run, Environment::Local).map_err(CommandError::InvalidInput)?;
        let program = find_worker().map_err(CommandError::Failed)?;
        let mut resolved = SynthesisRun::new(valid.name(), valid.spec().clone());
        resolved.metadata = run.metadata.clone();
        Ok(Candidate {
            resolved,
            machine: Machine::measure(options.cores, options.memory),
            gpus: Gpus::find(&program, options.gpus)?,
            program,
            run: valid,
        })
    }

    fn check_locations(&self) -> Vec<FieldError> {
        let spec = self.run.spec();
        check_locations(self.run.name(), &spec.workspace, &spec.output)
    }

    /// Checks everything that the spec refers to, and that it is what it was when the run was `accepted` before.
    async fn preflight(
        &self,
        accepted: Option<&RunRecord>,
        fetch: bool,
        shutdown: &watch::Receiver<Shutdown>,
        progress: impl FnMut(Progress),
    ) -> Result<PreflightReport, CommandError> {
        let cores = self.machine.cores;
        let found = run_preflight(
            &self.program,
            cores,
            &self.resolved,
            fetch,
            shutdown,
            progress,
        )
        .await?;
        let mut errors = self.check_locations();
        errors.extend(match fetch {
            true => check_preflight(&self.run, &found),
            false => check_unfetched(&self.run, &found),
        });
        let gpu = self.gpus.all.iter().map(|gpu| gpu.memory).max();
        errors.extend(check_memory(
            self.run.spec(),
            &found.models,
            self.machine.memory,
            gpu,
            self.gpus.on,
        ));
        if let Some(record) = accepted {
            errors.extend(changed_since(&record.preflight, &found));
        }
        CommandError::check(errors)?;
        Ok(found)
    }
}

/// Checks `run` and everything that it refers to, as [`accept`] does for a new run, and writes nothing. Models that would have to be
/// downloaded first are not checked. Returns the run, and what its models and files are.
///
/// # Errors
/// [`CommandError`].
pub async fn preflight_only(
    run: &SynthesisRun,
) -> Result<(ValidRun, PreflightReport), CommandError> {
    let candidate = Candidate::new(run, Options::default())?;
    let (_sender, shutdown) = watch::channel(Shutdown::None);
    let found = candidate.preflight(None, false, &shutdown, |_| ()).await?;
    Ok((candidate.run, found))
}

/// Accepts `run`: checks everything, which may download models, then locks the run and creates or loads its record.
///
/// # Errors
/// [`CommandError`]; unless a record was there before, nothing is written then.
pub async fn accept(
    run: &SynthesisRun,
    options: Options,
    shutdown: watch::Receiver<Shutdown>,
    display: &mut dyn Display,
) -> Result<RunSession, CommandError> {
    let candidate = Candidate::new(run, options)?;
    let valid = &candidate.run;
    let state = state_directory(&valid.spec().workspace);
    let directory = run_directory(&state, valid.name());
    let mut warnings: Vec<String> = valid.notes().iter().map(ToString::to_string).collect();

    // A run that exists is locked first: its record must not change meanwhile.
    let is_known = directory.is_dir();
    let early_lock = is_known
        .then(|| take_lock(&directory, valid.name()))
        .transpose()?;
    let loaded = record_file::load(&directory).map_err(CommandError::Failed)?;
    warnings.extend(loaded.corruption.clone());
    let mut known = loaded.record;
    if let Some(record) = &mut known {
        record.amend(valid).map_err(CommandError::InvalidInput)?;
    }

    let is_finished = known.as_ref().is_some_and(|record| {
        let plan = plan(valid, record, &Observations::default(), now_millis());
        plan.finished.is_some()
    });
    let found = if is_finished {
        CommandError::check(candidate.check_locations())?;
        PreflightReport::default()
    } else {
        let progress = |progress| display.show(&Event::Preflight { progress });
        let preflight = candidate.preflight(known.as_ref(), true, &shutdown, progress);
        preflight.await?
    };
    warnings.extend(found.warnings.iter().map(ToString::to_string));

    let write_error = |what: &Path, error: io::Error| {
        CommandError::Failed(format!("cannot write {}: {error}", what.display()))
    };
    let own = ["tasks", "reports", "logs"].map(|name| directory.join(name));
    for path in own.iter().chain([&state.join("locks")]) {
        fs::create_dir_all(path).map_err(|error| write_error(path, error))?;
    }
    let lock = match early_lock {
        Some(lock) => lock,
        None => take_lock(&directory, valid.name())?,
    };
    if loaded.corruption.is_some() {
        record_file::quarantine(&directory).map_err(|error| write_error(&directory, error))?;
    }
    let identity = identify(&candidate.program)?;
    let resumed = known.is_some();
    let record =
        known.unwrap_or_else(|| RunRecord::new(valid, found, identity.clone(), now_millis()));
    if record.worker != identity {
        warnings.push(format!(
            "the worker is version {}, the run was accepted with version {} or another build of it: rows that are made from here on may differ",
            identity.version, record.worker.version
        ));
    }
    record_file::save(&directory, &record).map_err(|error| write_error(&directory, error))?;
    Ok(RunSession {
        run: candidate.run,
        record,
        resumed,
        program: candidate.program,
        machine: candidate.machine,
        gpus: candidate.gpus,
        options,
        state,
        directory,
        warnings,
        _lock: lock,
    })
}

/// Models and files that are no longer those with which the run was accepted.
fn changed_since(accepted: &PreflightReport, found: &PreflightReport) -> Vec<FieldError> {
    let advice = "put back what it was, or make a run of another name on the same workspace, which reuses what did not change";
    let mut errors = Vec::new();
    let mut error = |field: &str, index: usize, what: &str| {
        errors.push(FieldError {
            field: format!("{field}[{index}]"),
            message: format!("{what} has changed since the run was accepted: {advice}"),
        });
    };
    for (index, model) in accepted.models.iter().enumerate() {
        let mut now = found.models.iter();
        if now.any(|now| now.name == model.name && now.digest != model.digest) {
            error("spec.models", index, &format!("model `{}`", model.name));
        }
    }
    let seeds = (&accepted.seed_questions, &found.seed_questions);
    let benchmarks = (&accepted.benchmarks, &found.benchmarks);
    for (field, (before, now)) in [
        ("spec.seedQuestions", seeds),
        ("spec.filters.contamination.benchmarks", benchmarks),
    ] {
        for (index, (before, now)) in before.iter().zip(now).enumerate() {
            if before.digest != now.digest {
                error(field, index, &now.location);
            }
        }
    }
    errors
}

fn take_lock(directory: &Path, run: &str) -> Result<Lock, CommandError> {
    Lock::take(&directory.join("lock"), &format!("run {run}")).map_err(|error| {
        CommandError::Failed(match error {
            LockError::Held { holder } => format!("run `{run}` is running already, in {holder}: wait for it, or stop that process first (its work is kept)"),
            error @ LockError::Io { .. } => error.to_string(),
        })
    })
}

/// Returns the worker's version.
fn worker_version(program: &Path) -> Result<String, CommandError> {
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| {
        let program = program.display();
        CommandError::Failed(format!("cannot run {program} --version: {error}"))
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().last();
    Ok(version.unwrap_or("unknown").to_string())
}

/// Which worker this is.
fn identify(program: &Path) -> Result<WorkerIdentity, CommandError> {
    let digest = digest_file(program).map_err(|error| {
        CommandError::Failed(format!("cannot read {}: {error}", program.display()))
    })?;
    Ok(WorkerIdentity {
        version: worker_version(program)?,
        digest: Some(format!("sha256:{digest}")),
        ..WorkerIdentity::default()
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
