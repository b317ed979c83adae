//! One look at a run: what is there, what follows, and doing it. The table of contents of this folder.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use scalequest_crds::v1alpha1::SynthesisRun;

use super::apply::{ApplyError, apply};
use super::context::Context;
use super::decide::{Scene, decide};
use super::observe::heard::{EVERY, are_at_work, heard};
use super::observe::pod::SeenPod;
use super::observe::words::words;
use super::settings::MANAGED_BY;
use crate::clock::now_millis;

/// Pause while a cache is behind the operator's own writes.
const BEHIND: Duration = Duration::from_millis(500);

/// Looks at `run` and does what follows.
///
/// # Errors
/// A request failed; the next look makes up for it.
pub async fn reconcile(
    run: Arc<SynthesisRun>,
    context: Arc<Context>,
) -> Result<Action, ApplyError> {
    let _at_work = context.metrics.look();
    let uid = run.uid().unwrap_or_default();
    if run.spec.managed_by.as_deref().unwrap_or(MANAGED_BY) != MANAGED_BY {
        return Ok(Action::await_change());
    }
    if run.metadata.deletion_timestamp.is_some() {
        context.forget(&uid);
        return Ok(Action::await_change());
    }
    let (namespace, now_millis) = (run.namespace().unwrap_or_default(), now_millis());
    let Some(mut belongings) = context.observed.of_run(&run, now_millis) else {
        return Ok(Action::requeue(BEHIND));
    };
    belongings.words = words(
        &context.client,
        &context.metrics,
        &namespace,
        &belongings,
        now_millis,
    )
    .await;
    let is_shown_soon = context.paces.wait(&uid).is_none();
    if is_shown_soon {
        belongings.heard = heard(&context.asker, &belongings, now_millis).await;
    }
    let step = decide(&Scene {
        run: &run,
        belongings: &belongings,
        settings: &context.settings,
        now_millis,
    });
    let mut look_again = apply(&context, &run, &step).await?;
    if are_at_work(&belongings) {
        look_again = look_again.min(EVERY);
    }
    context.succeeded(&uid);
    // Reports of many runs take memory.
    let is_collectable = |pod: &SeenPod| step.collectable.contains(&pod.job);
    context.observed.pods.forget(&uid, is_collectable);
    Ok(Action::requeue(look_again))
}
