//! `scalequest validate`: everything that is wrong with a spec, at once.

use scalequest_crds::protocol::exit_codes;

use super::arguments::ValidateArguments;
use super::{Refusal, run::refusal, spec_file, text};
use scalequest_core::validate::{Environment, validate as validate_spec};
use scalequest_runner::accept::{Examined, Options, examine};

/// Checks the run in a file, and what it refers to.
pub fn validate(arguments: &ValidateArguments) -> Result<i32, Refusal> {
    let run = spec_file::read(&arguments.spec.file)?;
    let (valid, found) = if arguments.spec_only {
        (
            validate_spec(&run, Environment::Local).map_err(Refusal::BadInput)?,
            None,
        )
    } else {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Refusal::Failed(format!("cannot start: {error}")))?;
        let examined = runtime.block_on(examine(&run, Options::default()));
        let Examined { run, found, .. } = examined.map_err(refusal)?;
        (run, Some(found))
    };
    let notes: Vec<String> = valid
        .notes()
        .iter()
        .chain(found.iter().flat_map(|found| &found.warnings))
        .map(|note| format!("note: {note}\n"))
        .collect();
    let looked = match &found {
        Some(found) => format!(
            "; looked at {} models, {} files of questions",
            found.models.len(),
            found.seed_questions.len() + found.benchmarks.len()
        ),
        None => "; models and files were not looked at".into(),
    };
    text::print(&format!(
        "{}run `{}` is valid{looked}\n",
        notes.concat(),
        valid.name()
    ))?;
    Ok(exit_codes::run::DONE)
}
