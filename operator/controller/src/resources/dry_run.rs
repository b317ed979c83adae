//! Pods as a run will create them, for dry runs before its preflight: the API server says for each whether an admission plugin or policy, a
//! LimitRange, a quota, a missing service account or priority class refuses it. They are never persisted.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scalequest_crds::v1alpha1::{Stage, StageId};

use super::Common;
use super::pod::{PodWork, pod};
use super::volumes::TaskSource;
use crate::names::{JobIdentity, Purpose};

/// A pod of a dry run.
#[derive(Clone, Debug, PartialEq)]
pub struct DryRunPod {
    /// The field of the spec that describes it.
    pub field: String,
    /// The pod.
    pub pod: Pod,
}

/// Returns one pod of each kind that the run creates: the small one of preflights, seals and probes, and one of each entry of `spec.pods`.
pub fn dry_run_pods(common: Common<'_>) -> Vec<DryRunPod> {
    let small = (String::from("spec"), Purpose::Seal, Stage::Publish);
    let entries = common.spec.pods.iter().enumerate();
    let entries = entries.filter_map(|(index, pods)| {
        let stage = pods.stages.first()?;
        Some((format!("spec.pods[{index}]"), Purpose::Run, *stage))
    });
    let kinds = std::iter::once(small).chain(entries);
    kinds
        .map(|(field, purpose, stage)| DryRunPod {
            field,
            pod: dry_run_pod(common, purpose, stage),
        })
        .collect()
}

fn dry_run_pod(common: Common<'_>, purpose: Purpose, stage: Stage) -> Pod {
    let identity = JobIdentity {
        purpose,
        id: Some(StageId::once(stage)),
        key: String::new(),
        attempt: 0,
    };
    let work = PodWork {
        identity: &identity,
        task: TaskSource::Annotation(String::new()),
        arguments: Vec::new(),
        locations: BTreeSet::new(),
        server: None,
        fetches: false,
    };
    let owner = common.owner;
    Pod {
        metadata: ObjectMeta {
            name: Some(identity.job_name(&owner.name, &owner.uid)),
            namespace: Some(owner.namespace.clone()),
            labels: Some(identity.labels(&owner.name, &owner.uid)),
            ..ObjectMeta::default()
        },
        spec: Some(pod(common, work)),
        status: None,
    }
}
