//! Shows the status where it differs from what is shown, and tells what changed as events, after that write.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use scalequest_crds::v1alpha1::conditions::PROGRESSING;
use scalequest_crds::v1alpha1::{SynthesisRun, SynthesisRunStatus};
use serde_json::json;

use super::ApplyError;
use super::events::{events, is_told_once};
use crate::api_requests::status_code;
use crate::clock::now_millis;
use crate::context::Context;
use crate::decide::Step;
use crate::observe::expected::Versions;
use crate::observe::version;
use crate::resources::FIELD_MANAGER;
use scalequest_core::status::conditions::Trouble;

/// Shows the status; how long to wait before showing more of it.
pub(super) async fn show(
    context: &Context,
    run: &SynthesisRun,
    step: &Step,
    refusals: &[Trouble],
) -> Result<Duration, ApplyError> {
    let uid = run.uid().unwrap_or_default();
    let before = run.status.clone().unwrap_or_default();
    let Some(status) = step.shown.status(run, refusals, now_millis()) else {
        return Ok(Duration::MAX);
    };
    if still(&before) == still(&status) {
        return Ok(Duration::MAX);
    }
    let is_small = is_same(&before.conditions, &status.conditions);
    if let Some(left) = context.paces.wait(&uid).filter(|_| is_small) {
        return Ok(left);
    }
    let (name, namespace) = (run.name_any(), run.namespace().unwrap_or_default());
    let api: Api<SynthesisRun> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({
        "apiVersion": SynthesisRun::api_version(&()),
        "kind": SynthesisRun::kind(&()),
        "metadata": {"name": name, "uid": uid},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patched = context
        .timed(
            "patch",
            "synthesisruns",
            api.patch_status(&name, &params, &Patch::Apply(&patch)),
        )
        .await;
    match patched {
        Ok(patched) => {
            match step.shown.is_at_rest() {
                true => context.paces.forget(&uid),
                false => context.paces.note(&uid, Instant::now()),
            }
            let written = Versions {
                run: version(patched.resource_version().as_deref()),
                ..Versions::default()
            };
            context.observed.expected.raise(&uid, written);
        }
        // Deleted meanwhile, or another run of that name by now.
        Err(error) if matches!(status_code(&error), 404 | 409) => {
            return Err(ApplyError::Behind(name));
        }
        Err(error) => return Err(ApplyError::of("show the status of", &name, error)),
    }
    for event in events(&before, &status) {
        let recorder = context.recorder(is_told_once(&event));
        let told = recorder.publish(&event, &run.object_ref(&())).await;
        if let Err(error) = told {
            tracing::warn!(run = name, namespace, %error, "an event cannot be written");
        }
    }
    Ok(Duration::MAX)
}

/// Whether conditions say the same, but for what a run that goes on is doing.
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

/// The status without what moves by itself.
fn still(status: &SynthesisRunStatus) -> SynthesisRunStatus {
    let mut still = status.clone();
    if let Some(progress) = &mut still.progress {
        progress.eta = None;
        progress.eta_seconds = None;
    }
    still
}
