//! Does what was decided, in order: the record is saved, what is in the way goes, Jobs are made and resized, the status is shown, events are
//! told. Every write is one that may be made twice: objects have names that follow from their work, the record and every deletion name the
//! very object or version that they mean.

mod act;

pub mod error;

pub mod events;

mod save;

mod show;

use std::time::Duration;

use scalequest_crds::v1alpha1::SynthesisRun;

use super::context::Context;
use super::decide::Step;
pub use error::ApplyError;

/// Does what `step` says for `run`; how long to wait before looking again.
///
/// # Errors
/// A request failed: what was not done is done by the next attempt.
pub async fn apply(
    context: &Context,
    run: &SynthesisRun,
    step: &Step,
) -> Result<Duration, ApplyError> {
    let mut refusals = Vec::new();
    if let Some(save) = &step.save {
        save::save(context, run, save, &mut refusals).await?;
    }
    // What is not on record is not done.
    if refusals.is_empty() {
        for unwanted in &step.delete {
            act::delete(context, run, unwanted, &mut refusals).await?;
        }
        for creation in &step.create {
            act::create(context, run, creation, &mut refusals).await?;
        }
        for resize in &step.resize {
            act::resize(context, run, resize, &mut refusals).await?;
        }
    }
    let shown = show::show(context, run, step, &refusals).await?;
    if step.remove_run {
        act::remove_run(context, run).await?;
    }
    match refusals.into_iter().next() {
        Some(refusal) => Err(ApplyError::Refused(refusal.message)),
        None => Ok(step.look_again.min(shown)),
    }
}
