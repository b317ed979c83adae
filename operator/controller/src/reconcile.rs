//! Reconciles a run: observes its objects, decides the next actions and applies them. The table of contents of this crate.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;

use super::apply::{ApplyError, apply, patch_undecodable};
use super::context::Context;
use super::decide::{RESYNC_INTERVAL, ReconcileInput, decide};
use super::observe::OwnedObjects;
use super::observe::object_events::object_events;
use super::observe::pod::ObservedPod;
use super::observe::progress::{POLL_INTERVAL, has_running_workers, poll_progress};
use super::settings::MANAGED_BY;
use super::watched_run::WatchedRun;
use crate::clock::now_millis;

/// Requeue interval while a cache lacks the controller's own last writes.
const STALE_CACHE_REQUEUE: Duration = Duration::from_millis(500);

/// Reconciles `run` once.
///
/// # Errors
/// A request failed; the run is requeued with backoff.
pub async fn reconcile(run: Arc<WatchedRun>, context: Arc<Context>) -> Result<Action, ApplyError> {
    let _active = context.metrics.reconcile_started();
    let uid = run.uid().unwrap_or_default();
    if run.managed_by().unwrap_or(MANAGED_BY) != MANAGED_BY {
        return Ok(Action::await_change());
    }
    if run.meta().deletion_timestamp.is_some() {
        context.forget(&uid);
        return Ok(Action::await_change());
    }
    let now_millis = now_millis();
    let Some(owned) = context.caches.of_run(run.meta(), now_millis) else {
        return Ok(Action::requeue(STALE_CACHE_REQUEUE));
    };
    let requeue_after = match &*run {
        WatchedRun::Decoded(run) => reconcile_decoded(run, owned, &context, now_millis).await?,
        WatchedRun::Undecodable(undecodable) => {
            let is_accepted = owned.record().is_some();
            patch_undecodable(&context, undecodable, &run, is_accepted).await?;
            RESYNC_INTERVAL
        }
    };
    context.succeeded(&uid);
    Ok(Action::requeue(requeue_after))
}

/// Reconciles a run that decodes. Returns after which time to requeue it.
async fn reconcile_decoded(
    run: &SynthesisRun,
    mut owned: OwnedObjects,
    context: &Context,
    now_millis: i64,
) -> Result<Duration, ApplyError> {
    let uid = run.uid().unwrap_or_default();
    let namespace = run.namespace().unwrap_or_default();
    owned.events = object_events(
        &context.client,
        &context.metrics,
        &context.listed_events,
        (&uid, &namespace),
        &owned,
        now_millis,
    )
    .await;
    let is_status_due = context.status_throttle.wait(&uid).is_none();
    if is_status_due {
        owned.progress = poll_progress(&context.progress_client, &owned, now_millis).await;
    }
    let actions = decide(&ReconcileInput {
        run,
        owned: &owned,
        settings: &context.settings,
        now_millis,
    });
    let mut requeue_after = apply(context, run, &actions).await?;
    if has_running_workers(&owned) {
        requeue_after = requeue_after.min(POLL_INTERVAL);
    }
    // Reports of many runs take memory.
    let is_collectable = |pod: &ObservedPod| actions.collectable.contains(&pod.job);
    context.caches.pods.drop_values(&uid, is_collectable);
    Ok(requeue_after)
}
