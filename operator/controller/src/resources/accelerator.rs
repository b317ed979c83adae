//! Accelerators of stages and pods: the one test for images, budgets and usage.

use k8s_openapi::api::core::v1::PodSpec;
use scalequest_crds::v1alpha1::{Stage, SynthesisRunSpec};

use super::pod_settings;

/// Whether a stage's pods request an accelerator.
pub fn stage_holds_accelerator(spec: &SynthesisRunSpec, stage: Stage) -> bool {
    let resources = pod_settings(spec, stage).and_then(|pods| pods.resources.as_ref());
    resources.is_some_and(|resources| {
        let mut named = resources.limits.keys().chain(resources.requests.keys());
        named.any(|name| is_accelerator(name))
    })
}

/// Whether any container of a pod holds an accelerator.
pub fn pod_holds_accelerator(pod: &PodSpec) -> bool {
    let containers = pod.init_containers.iter().flatten().chain(&pod.containers);
    let resources = containers.filter_map(|container| container.resources.as_ref());
    resources
        .filter_map(|resources| resources.limits.as_ref())
        .flat_map(|limits| limits.keys())
        .any(|name| is_accelerator(name))
}

/// Whether a resource is an accelerator: `nvidia.com/gpu`, `nvidia.com/mig-…`, `amd.com/gpu`.
fn is_accelerator(resource: &str) -> bool {
    let name = resource.split('/').nth(1).unwrap_or_default();
    name == "gpu" || name.starts_with("mig-")
}
