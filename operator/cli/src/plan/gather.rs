//! What can be known of a run before it is planned: its seed questions, an earlier run of it, what a person states, and the rates of this
//! machine. It reads files and starts nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use scalequest_core::estimate::profile::{MachineProfile, ModelIdentity, ProfileFile};
use scalequest_core::estimate::{Assumptions, Measurements, model_sizes};
use scalequest_core::record::RECORD_FILE;
use scalequest_core::validate::ValidRun;
use scalequest_crds::protocol::preflight::{FieldError, PreflightReport};
use scalequest_crds::protocol::profile::{ModelProfile, PROFILE_MAX_BYTES};
use scalequest_crds::v1alpha1::{Model, SeedQuestions};
use scalequest_runner::locations::{run_directory, state_directory};
use scalequest_runner::record_file::{self, Loaded};

use super::super::CommandError;
use super::super::arguments::PlanArguments;
use super::super::spec_file::read_at_most;

/// What is known.
pub struct PlanInputs {
    /// What is assumed, with what was measured and stated in its place.
    pub assumptions: Assumptions,
    /// The earlier run.
    pub measurements: Option<Measurements>,
    /// What its preflight found.
    pub preflight: Option<PreflightReport>,
    /// Rates of this machine.
    pub profile: Option<MachineProfile>,
    /// Where all that comes from, a sentence each.
    pub sources: Vec<String>,
}

/// Gathers what is known of `run`.
///
/// # Errors
/// What the person stated makes no sense, or a profile cannot be used.
pub fn gather(run: &ValidRun, arguments: &PlanArguments) -> Result<PlanInputs, CommandError> {
    let mut sources = Vec::new();
    let mut assumptions = counted(run);
    let (preflight, measured) = earlier(run, &mut sources);
    if let Some(measured) = &measured {
        let names = measured.replace(&mut assumptions, run.method().samples);
        if !names.is_empty() {
            sources.push(format!("measured by that run: {}", names.join(", ")));
        }
    }
    let mut stated = Vec::new();
    for text in &arguments.assume {
        stated.extend(
            assumptions
                .state(text)
                .map_err(CommandError::InvalidInput)?,
        );
    }
    if !stated.is_empty() {
        sources.push(format!("stated by --assume: {}", stated.join(", ")));
    }
    let files = profiles(&arguments.profile)?;
    let known = known(run, preflight.as_ref());
    Ok(PlanInputs {
        assumptions,
        measurements: measured,
        preflight,
        profile: (!files.is_empty()).then(|| MachineProfile::new(files, &known)),
        sources,
    })
}

/// The usual assumptions, with the seed questions counted where all their files lie on this machine.
fn counted(run: &ValidRun) -> Assumptions {
    let lines = |file: &SeedQuestions| {
        let text = std::fs::read_to_string(file.path.as_ref()?).ok()?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let answer = file.answer_field.as_deref();
        let has_answer = |line: &&str| {
            let value = serde_json::from_str::<serde_json::Value>(line).ok();
            answer.is_some_and(|field| value.is_some_and(|value| !value[field].is_null()))
        };
        let (all, answered) = (lines.clone().count(), lines.filter(has_answer).count());
        Some((i64::try_from(all).ok()?, i64::try_from(answered).ok()?))
    };
    let usual = Assumptions::default();
    let counted: Option<Vec<_>> = run.method().seed_questions.iter().map(lines).collect();
    let Some(counted) = counted else {
        return usual;
    };
    Assumptions {
        seed_questions: counted.iter().map(|(all, _)| all).sum(),
        seed_answers: Some(counted.iter().map(|(_, answered)| answered).sum()),
        ..usual
    }
}

/// What the record of an earlier or half-finished run of the same name says, where it is of the same spec.
fn earlier(
    run: &ValidRun,
    sources: &mut Vec<String>,
) -> (Option<PreflightReport>, Option<Measurements>) {
    let directory = run_directory(&state_directory(&run.spec().workspace), run.name());
    let place = directory.join(RECORD_FILE);
    let loaded = record_file::load(&directory).unwrap_or_else(|problem| {
        sources.push(format!("an earlier run is not used: {problem}"));
        Loaded::default()
    });
    let Some(record) = loaded.record else {
        return (None, None);
    };
    let measured = match Measurements::of(&record, run) {
        Ok(measured) => measured,
        Err(fields) => {
            sources.push(format!(
                "the earlier run in {} is of another spec and not used: {fields}",
                place.display()
            ));
            return (None, None);
        }
    };
    if let Some(Measurements { waves, .. }) = &measured {
        sources.push(format!(
            "an earlier run of this spec: {} ({} of {} waves over, {} of {} questions accepted)",
            place.display(),
            waves.iter().filter(|wave| wave.end.is_some()).count(),
            waves.len(),
            record.accepted(),
            record.generated()
        ));
    }
    let has_models = !record.preflight.models.is_empty();
    (has_models.then_some(record.preflight), measured)
}

/// The profiles that `--profile` names, or everything that is wrong with them.
fn profiles(paths: &[PathBuf]) -> Result<Vec<ProfileFile>, CommandError> {
    let mut errors = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        match read(path) {
            Ok(profile) => files.push(ProfileFile { name, profile }),
            Err(problem) => errors.push(FieldError {
                field: format!("--profile {name}"),
                message: format!(
                    "{problem}; make it with scalequest-worker bench --model PATH --save {name}"
                ),
            }),
        }
    }
    CommandError::check(errors)?;
    Ok(files)
}

fn read(path: &Path) -> Result<ModelProfile, String> {
    let bytes = File::open(path)
        .and_then(|file| read_at_most(file, PROFILE_MAX_BYTES + 1))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > PROFILE_MAX_BYTES {
        return Err(format!(
            "is no profile: it is larger than {PROFILE_MAX_BYTES} bytes"
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is no profile: it is no text")?;
    ModelProfile::from_json(&text).map_err(|problem| format!("is no profile: {problem}"))
}

/// What the profile of each model can be found by.
fn known(run: &ValidRun, preflight: Option<&PreflightReport>) -> BTreeMap<String, ModelIdentity> {
    let facts = |name: &str| preflight?.model(name);
    let path = |model: &Model| {
        let path = model.source.as_ref()?.path.as_ref()?;
        Some(Path::new(path).canonicalize().ok()?.display().to_string())
    };
    let sizes = model_sizes(run.method(), preflight);
    let identity = |model: &Model| ModelIdentity {
        digest: facts(&model.name).map(|facts| facts.digest.clone()),
        path: path(model),
        parameters: sizes.get(&model.name).map_or(0, |size| size.parameters),
    };
    let models = run.method().models.iter();
    models
        .map(|model| (model.name.clone(), identity(model)))
        .collect()
}
