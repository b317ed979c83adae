//! Patches the status if it differs, and emits the difference as events after that write.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::Event;
use kube::{Api, Resource, ResourceExt};
use scalequest_core::status::conditions::status_of;
use scalequest_crds::v1alpha1::conditions::{ACCEPTED, PROGRESSING};
use scalequest_crds::v1alpha1::{SynthesisRun, SynthesisRunStatus};
use serde_json::{Value, json};

use super::ApplyError;
use super::events::{events, is_one_shot, preflight_events};
use crate::clock::now_millis;
use crate::context::Context;
use crate::decide::waits::of_rejections;
use crate::decide::{StatusUpdate, undecodable};
use crate::observe::expectations::Versions;
use crate::observe::version;
use crate::resources::FIELD_MANAGER;
use crate::watched_run::{UndecodableRun, WatchedRun};

/// Patches the status. Returns how long a throttled update has to wait, the maximum if none does.
pub(super) async fn patch(
    context: &Context,
    run: &SynthesisRun,
    update: &StatusUpdate,
    rejections: &[String],
) -> Result<Duration, ApplyError> {
    let uid = run.uid().unwrap_or_default();
    let before = run.status.clone().unwrap_or_default();
    let (patience, now_millis) = (&context.settings.patience, now_millis());
    let rejected = of_rejections(rejections, &before.conditions, patience, now_millis);
    let Some(status) = update.status(run, &rejected, now_millis) else {
        return Ok(Duration::MAX);
    };
    if still(&before) == still(&status) {
        return Ok(Duration::MAX);
    }
    let is_progress_only = is_same(&before.conditions, &status.conditions);
    let wait = context.status_throttle.wait(&uid);
    if let Some(left) = wait.filter(|_| is_progress_only) {
        return Ok(left);
    }
    write(context, &run.metadata, &json!(status)).await?;
    match update.is_idle() {
        true => context.status_throttle.forget(&uid),
        false => context.status_throttle.note(&uid, Instant::now()),
    }
    let mut emitted = events(&before, &status);
    let was_accepted = status_of(&before.conditions, ACCEPTED) == Some("True");
    if let StatusUpdate::Accepted(accepted) = update
        && !was_accepted
    {
        let warnings = &accepted.record.preflight.warnings;
        emitted.extend(preflight_events(
            accepted.run.notes().iter().chain(warnings),
        ));
    }
    emit(context, run, &emitted).await;
    Ok(Duration::MAX)
}

/// Patches conditions and phase of a run that does not decode; the rest of its status stays as it is.
///
/// # Errors
/// The request failed or was rejected.
pub async fn patch_undecodable(
    context: &Context,
    run: &UndecodableRun,
    object: &WatchedRun,
    is_accepted: bool,
) -> Result<(), ApplyError> {
    let after = undecodable::status(run, is_accepted, now_millis());
    let before = SynthesisRunStatus {
        conditions: run.conditions(),
        ..SynthesisRunStatus::default()
    };
    if before.conditions == after.conditions {
        return Ok(());
    }
    let mut status = run.status.clone();
    if !status.is_object() {
        status = json!({});
    }
    status["conditions"] = json!(after.conditions);
    status["phase"] = json!(after.phase);
    status["observedGeneration"] = json!(after.observed_generation);
    write(context, &run.metadata, &status).await?;
    emit(context, object, &events(&before, &after)).await;
    Ok(())
}

/// Writes the whole status of a run.
async fn write(context: &Context, run: &ObjectMeta, status: &Value) -> Result<(), ApplyError> {
    let name = run.name.as_deref().unwrap_or_default();
    let namespace = run.namespace.as_deref().unwrap_or_default();
    let api: Api<WatchedRun> = Api::namespaced(context.client.clone(), namespace);
    let status_patch = json!({
        "apiVersion": WatchedRun::api_version(&()),
        "kind": WatchedRun::kind(&()),
        "metadata": {"name": name, "uid": run.uid},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&status_patch);
    let request = api.patch_status(name, &params, &patch);
    let patched = context
        .metrics
        .timed("patch", "synthesisruns", request)
        .await;
    let patched = patched.map_err(|error| ApplyError::of("patch the status of", name, error))?;
    let written = Versions {
        run: version(patched.resource_version().as_deref()),
        ..Versions::default()
    };
    let uid = run.uid.as_deref().unwrap_or_default();
    context.caches.expectations.expect(uid, written);
    Ok(())
}

async fn emit(context: &Context, run: &impl Resource<DynamicType = ()>, events: &[Event]) {
    for event in events {
        let recorder = context.recorder(is_one_shot(event));
        if let Err(error) = recorder.publish(event, &run.object_ref(&())).await {
            let (name, namespace) = (run.name_any(), run.namespace().unwrap_or_default());
            tracing::warn!(run = name, namespace, %error, "cannot emit an event");
        }
    }
}

/// Whether conditions are equal, except for the current activity of a progressing run.
fn is_same(before: &[Condition], after: &[Condition]) -> bool {
    let still = |condition: &Condition| match condition.type_ == PROGRESSING {
        true => Condition {
            reason: String::new(),
            message: String::new(),
            ..condition.clone()
        },
        false => condition.clone(),
    };
    before.iter().map(still).eq(after.iter().map(still))
}

/// Returns the status without the estimated time left, which changes by itself.
fn still(status: &SynthesisRunStatus) -> SynthesisRunStatus {
    let mut still = status.clone();
    if let Some(progress) = &mut still.progress {
        progress.eta = None;
        progress.eta_seconds = None;
    }
    still
}
