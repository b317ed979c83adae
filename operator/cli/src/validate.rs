//! `scalequest validate`: everything that is wrong with a spec, at once.

use scalequest_core::validate::{Environment, validate as validate_spec};
use scalequest_runner::accept::preflight_only;
use tokio::runtime::Builder;

use super::arguments::ValidateArguments;
use super::{CommandError, runtime, spec_file};

/// Checks the run in a file, and what it refers to; returns what was checked, for people.
pub fn validate(arguments: &ValidateArguments) -> Result<String, CommandError> {
    let run = spec_file::read(&arguments.spec.file)?;
    let (valid, found) = if arguments.spec_only {
        let valid = validate_spec(&run, Environment::Local).map_err(CommandError::InvalidInput)?;
        (valid, None)
    } else {
        let runtime = runtime(Builder::new_current_thread())?;
        let (valid, found) = runtime.block_on(preflight_only(&run))?;
        (valid, Some(found))
    };
    let warnings = found.iter().flat_map(|found| &found.warnings);
    let notes: String = valid
        .notes()
        .iter()
        .chain(warnings)
        .map(|note| format!("note: {note}\n"))
        .collect();
    let checked = match &found {
        Some(found) => format!(
            "; checked {} models, {} files of questions",
            found.models.len(),
            found.seed_questions.len() + found.benchmarks.len()
        ),
        None => "; models and files were not checked".into(),
    };
    Ok(format!("{notes}run `{}` is valid{checked}\n", valid.name()))
}
