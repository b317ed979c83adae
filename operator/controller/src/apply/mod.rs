//! Applies the decided actions in a fixed order: save the record, delete obsolete Jobs, create and resize Jobs, patch the status, emit events.
//! Every write is idempotent: names of objects are deterministic, a save names the record's resource version, a deletion names a uid.

mod jobs;

pub mod error;

pub mod events;

mod record;

mod status;

use std::time::Duration;

use scalequest_crds::v1alpha1::SynthesisRun;

use super::context::Context;
use super::decide::Actions;
pub use error::ApplyError;

/// Applies `actions` to `run`. Returns after which time to requeue it.
///
/// # Errors
/// A request failed or was rejected; the next reconcile does the rest.
pub async fn apply(
    context: &Context,
    run: &SynthesisRun,
    actions: &Actions,
) -> Result<Duration, ApplyError> {
    let mut rejections = Vec::new();
    if let Some(save) = &actions.save {
        record::save(context, run, save, &mut rejections).await?;
    }
    // Nothing follows from a record that is not persisted.
    if rejections.is_empty() {
        for deletion in &actions.delete {
            jobs::delete(context, run, deletion, &mut rejections).await?;
        }
        for creation in &actions.create {
            jobs::create(context, run, creation, &mut rejections).await?;
        }
        for resize in &actions.resize {
            jobs::resize(context, run, resize, &mut rejections).await?;
        }
    }
    let throttled = status::patch(context, run, actions, &rejections).await?;
    if actions.delete_run {
        jobs::delete_run(context, run).await?;
    }
    match rejections.into_iter().next() {
        Some(rejection) => Err(ApplyError::Rejected(rejection.message)),
        None => Ok(actions.requeue_after.min(throttled)),
    }
}
