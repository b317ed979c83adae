//! First contact with a spec: everything that can be wrong is found before anything is written, then the run's directory is
//! made, locked, and the record begun or taken up. It starts no stage.

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
use super::inspect::{Look, Unseen, inspect};
use super::lock::{Lock, LockError};
use super::machine::{Machine, now_millis};
use super::memory::{Available, OnGpus, too_large};
use super::places::{check_places, run_directory, state_directory};
use super::program::{find_worker, is_built_for_gpus};
use super::progress::{Display, Event};
use super::record_file;
use super::stop::Stop;
use scalequest_core::plan::{Observations, plan};
use scalequest_core::record::{RunRecord, WorkerIdentity};
use scalequest_core::validate::{
    Environment, ValidRun, check_preflight, check_unfetched, validate,
};

/// Why a run was not taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What the person gave is wrong: all of it, at once.
    BadInput(Vec<FieldError>),
    /// Something outside does not work; for a person.
    World(String),
    /// A person stopped it.
    Interrupted,
}

/// Who takes up a run, as far as it may take long: models are fetched meanwhile.
pub struct Watcher<'a> {
    /// Whether to stop.
    pub stop: watch::Receiver<Stop>,
    /// Where it is shown how far a fetch is.
    pub display: &'a mut dyn Display,
}

/// What a person may set for one execution.
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
    /// Take finished stages on trust.
    pub trust: bool,
}

/// The GPUs that workers share, and what computes on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpus {
    /// The GPUs.
    pub all: Vec<Gpu>,
    /// What computes on them.
    pub on: OnGpus,
    /// Whether workers are told which one is theirs, or that none is: where there are some, and where a person says how many.
    pub told: bool,
}

impl Gpus {
    fn find(program: &Path, options: Options) -> Result<Gpus, Refused> {
        let all = gpus::find(options.gpus).map_err(|message| {
            Refused::BadInput(vec![FieldError {
                field: "--gpus".into(),
                message,
            }])
        })?;
        let some = !all.is_empty();
        let version = some.then(|| worker_version(program)).transpose()?;
        let on = OnGpus {
            training: version.is_some_and(|version| is_built_for_gpus(&version)),
            servers: some,
        };
        Ok(Gpus {
            told: some || options.gpus.is_some(),
            all,
            on,
        })
    }

    fn available(&self, machine: Machine) -> Available {
        Available {
            memory: machine.memory,
            gpu: self.all.iter().map(|gpu| gpu.memory).max(),
            on: self.on,
        }
    }
}

/// A run that is locked and may be driven.
#[derive(Debug)]
pub struct Session {
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
    /// Whether finished stages are taken on trust.
    pub trust: bool,
    /// The directory that holds `runs/` and `locks/`.
    pub state: PathBuf,
    /// The run's own directory.
    pub directory: PathBuf,
    /// What a person should know, no obstacle.
    pub warnings: Vec<String>,
    _lock: Lock,
}

/// A run that was looked at and may be accepted.
#[derive(Debug)]
pub struct Examined {
    /// The run.
    pub run: ValidRun,
    /// What its models and files are.
    pub found: PreflightReport,
}

/// Looks at `run` and at everything it refers to, as [`accept`] does for a run that is not known yet, and writes nothing. Models that would have
/// to be fetched first are not looked at.
///
/// # Errors
/// [`Refused`].
pub async fn examine(run: &SynthesisRun, options: Options) -> Result<Examined, Refused> {
    let valid = validate(run, Environment::Local).map_err(Refused::BadInput)?;
    let program = find_worker().map_err(Refused::World)?;
    let machine = Machine::measure(options.cores, options.memory);
    let gpus = Gpus::find(&program, options)?;
    let available = gpus.available(machine);
    let mut errors = check_places(valid.name(), &valid.spec().workspace, &valid.spec().output);
    let (_sender, stop) = watch::channel(Stop::No);
    let look = Look {
        cores: machine.cores,
        fetch: false,
        stop,
        progress: &mut |_| {},
    };
    let found = inspect_all(&program, run, &valid, available, None, look, &mut errors).await?;
    if errors.is_empty() {
        Ok(Examined { run: valid, found })
    } else {
        Err(Refused::BadInput(errors))
    }
}

/// Takes up `run`: checks everything, then locks the run and begins or loads its record.
///
/// # Errors
/// [`Refused`]; unless a record was there before, nothing is written then.
pub async fn accept(
    run: &SynthesisRun,
    options: Options,
    watcher: Watcher<'_>,
) -> Result<Session, Refused> {
    let valid = validate(run, Environment::Local).map_err(Refused::BadInput)?;
    let program = find_worker().map_err(Refused::World)?;
    let machine = Machine::measure(options.cores, options.memory);
    let gpus = Gpus::find(&program, options)?;
    let state = state_directory(&valid.spec().workspace);
    let directory = run_directory(&state, valid.name());
    let mut warnings: Vec<String> = valid.notes().iter().map(ToString::to_string).collect();

    // A run that exists is locked first: its record must not move while it is looked at.
    let mut lock = if directory.is_dir() {
        Some(take_lock(&directory, valid.name())?)
    } else {
        None
    };
    let loaded = record_file::load(&directory).map_err(Refused::World)?;
    warnings.extend(loaded.damage.clone());
    let mut known = loaded.record;
    if let Some(record) = &mut known {
        record.amend(&valid).map_err(Refused::BadInput)?;
    }

    let is_over = known.as_ref().is_some_and(|record| {
        plan(&valid, record, &Observations::default(), now_millis())
            .finished
            .is_some()
    });
    let mut errors = check_places(valid.name(), &valid.spec().workspace, &valid.spec().output);
    let found = match is_over {
        true => PreflightReport::default(),
        false => {
            let display = watcher.display;
            let look = Look {
                cores: machine.cores,
                fetch: true,
                stop: watcher.stop,
                progress: &mut |progress| display.show(&Event::Inspecting { progress }),
            };
            inspect_all(
                &program,
                run,
                &valid,
                gpus.available(machine),
                known.as_ref(),
                look,
                &mut errors,
            )
            .await?
        }
    };
    if !errors.is_empty() {
        return Err(Refused::BadInput(errors));
    }
    warnings.extend(found.warnings.iter().map(ToString::to_string));

    let world = |what: &Path, error: io::Error| {
        Refused::World(format!("cannot write {}: {error}", what.display()))
    };
    for name in ["tasks", "reports", "logs"] {
        let path = directory.join(name);
        fs::create_dir_all(&path).map_err(|error| world(&path, error))?;
    }
    let locks = state.join("locks");
    fs::create_dir_all(&locks).map_err(|error| world(&locks, error))?;
    let lock = match lock.take() {
        Some(lock) => lock,
        None => take_lock(&directory, valid.name())?,
    };
    if loaded.damage.is_some() {
        record_file::put_aside(&directory).map_err(|error| world(&directory, error))?;
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
    record_file::save(&directory, &record).map_err(|error| world(&directory, error))?;
    let limit = options.workers.unwrap_or(usize::MAX);
    Ok(Session {
        run: valid,
        record,
        resumed,
        program,
        machine,
        gpus,
        limit,
        trust: options.trust,
        state,
        directory,
        warnings,
        _lock: lock,
    })
}

/// Has everything looked at that the spec refers to; what is wrong goes to `errors`.
async fn inspect_all(
    program: &Path,
    run: &SynthesisRun,
    valid: &ValidRun,
    available: Available,
    known: Option<&RunRecord>,
    look: Look<'_>,
    errors: &mut Vec<FieldError>,
) -> Result<PreflightReport, Refused> {
    let mut resolved = SynthesisRun::new(valid.name(), valid.spec().clone());
    resolved.metadata = run.metadata.clone();
    let check = match look.fetch {
        true => check_preflight,
        false => check_unfetched,
    };
    let found = inspect(program, &resolved, look).await;
    let found = found.map_err(|unseen| match unseen {
        Unseen::Stopped => Refused::Interrupted,
        Unseen::Broken(message) => Refused::World(message),
    })?;
    errors.extend(check(valid, &found));
    errors.extend(too_large(valid.spec(), &found.models, available));
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

fn take_lock(directory: &Path, run: &str) -> Result<Lock, Refused> {
    Lock::take(&directory.join("lock"), &format!("run {run}")).map_err(|error| match error {
        LockError::Held { holder } => {
            Refused::World(format!("run `{run}` is being driven already, by {holder}: wait for it, or stop that process first (its work is kept)"))
        }
        error @ LockError::Io { .. } => Refused::World(error.to_string()),
    })
}

/// What the worker says of its version.
fn worker_version(program: &Path) -> Result<String, Refused> {
    let cannot = |error: io::Error| {
        Refused::World(format!(
            "cannot run {} --version: {error}",
            program.display()
        ))
    };
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(cannot)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().last();
    Ok(version.unwrap_or("unknown").to_string())
}

/// Which worker this is.
fn identify(program: &Path) -> Result<WorkerIdentity, Refused> {
    let version = worker_version(program)?;
    let digest = digest_file(program)
        .map_err(|error| Refused::World(format!("cannot read {}: {error}", program.display())))?;
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
