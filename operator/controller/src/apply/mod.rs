//! Applies the decided actions in a fixed order: save the record, delete obsolete Jobs, create and resize Jobs, patch the status, emit events.
//! Every write is idempotent: names of objects are deterministic, a save names the record's resource version, a deletion names a uid.

mod writer;

pub mod error;

pub mod events;

mod status;

use std::time::Duration;

use scalequest_crds::v1alpha1::SynthesisRun;

use super::context::Context;
use super::decide::{Actions, StatusUpdate};
use super::resources::Owner;
pub use error::ApplyError;
pub use status::patch_undecodable;
use writer::Writer;

/// Requeue interval of a run whose pods a dry run refused.
const DRY_RUN_INTERVAL: Duration = Duration::from_secs(60);

/// Applies `actions` to `run`. Returns after which time to requeue it.
///
/// # Errors
/// A request failed or was rejected; the next reconcile does the rest.
pub async fn apply(
    context: &Context,
    run: &SynthesisRun,
    actions: &Actions,
) -> Result<Duration, ApplyError> {
    let mut writer = Writer {
        context,
        owner: Owner::of(run),
        rejections: Vec::new(),
    };
    if let Some(save) = &actions.save {
        writer.save(save).await?;
    }
    // Nothing follows from a record that is not persisted.
    if writer.rejections.is_empty() {
        for job in &actions.delete {
            writer.delete(job).await?;
        }
        let errors = writer.dry_run(&actions.dry_run).await?;
        let is_refused = !errors.is_empty() || !writer.rejections.is_empty();
        if is_refused && !actions.dry_run.is_empty() {
            let status = StatusUpdate::refused(errors);
            status::patch(context, run, &status, &writer.rejections).await?;
            return Ok(DRY_RUN_INTERVAL);
        }
        for creation in &actions.create {
            writer.create(creation).await?;
        }
        for (job, parallelism) in &actions.resize {
            writer.resize(job, *parallelism).await?;
        }
    }
    let rejections = writer.rejections;
    let throttled = status::patch(context, run, &actions.status, &rejections).await?;
    if actions.delete_run {
        writer::delete_run(context, run).await?;
    }
    match rejections.into_iter().next() {
        Some(rejection) => Err(ApplyError::Rejected(rejection)),
        None => Ok(actions.requeue_after.min(throttled)),
    }
}
