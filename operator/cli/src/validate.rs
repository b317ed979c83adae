//! `scalequest validate`: everything that is wrong with a spec, at once.

use scalequest_crds::protocol::exit_codes;
use tokio::runtime::Builder;

use super::arguments::ValidateArguments;
use super::runtime::runtime;
use super::{CliError, run::accept_error, spec_file, text};
use scalequest_core::validate::{Environment, validate as validate_spec};
use scalequest_runner::accept::{Options, PreflightResult, preflight_only};

/// Checks the run in a file, and what it refers to.
pub fn validate(arguments: &ValidateArguments) -> Result<i32, CliError> {
    let run = spec_file::read(&arguments.spec.file)?;
    let (valid, found) = if arguments.spec_only {
        (
            validate_spec(&run, Environment::Local).map_err(CliError::InvalidInput)?,
            None,
        )
    } else {
        let runtime = runtime(Builder::new_current_thread())?;
        let result = runtime.block_on(preflight_only(&run, Options::default()));
        let PreflightResult { run, found, .. } = result.map_err(accept_error)?;
        (run, Some(found))
    };
    let notes: Vec<String> = valid
        .notes()
        .iter()
        .chain(found.iter().flat_map(|found| &found.warnings))
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
    text::print(&format!(
        "{}run `{}` is valid{checked}\n",
        notes.concat(),
        valid.name()
    ))?;
    Ok(exit_codes::run::DONE)
}
