//! Which stages of a run need not give the same bytes again: those that ran on something other than the built-in CPU backends,
//! such as a server, an endpoint or a GPU.

use std::collections::{BTreeMap, BTreeSet};

use scalequest_crds::v1alpha1::Stage;

use super::stage_index::SealedStage;

/// Whether a compute backend gives the same bytes on every machine: the built-in ones for serving (`cpu-`) and training (`fused-`)
/// on a CPU do.
fn is_reproducible(backend: &str) -> bool {
    backend == "none"
        || ["cpu-", "fused-"]
            .iter()
            .any(|prefix| backend.starts_with(prefix))
}

/// Returns a note that names every other backend with its stages, in the order of the run; `None` if all are reproducible.
pub fn irreproducible_note<'a>(sealed: impl Iterator<Item = SealedStage<'a>>) -> Option<String> {
    let mut stages: BTreeMap<&str, BTreeSet<(Stage, Option<&str>)>> = BTreeMap::new();
    for SealedStage { input, seal } in sealed {
        for backend in seal.backends.iter().filter(|name| !is_reproducible(name)) {
            let stage = (input.id.stage, input.id.generator.as_deref());
            stages.entry(backend).or_default().insert(stage);
        }
    }
    let by = |(backend, stages): (&str, BTreeSet<(Stage, Option<&str>)>)| {
        let names = stages
            .into_iter()
            .map(|(stage, generator)| match generator {
                Some(generator) => format!("{} {generator}", stage.slug()),
                None => stage.slug().to_owned(),
            });
        format!("{} by {backend}", names.collect::<Vec<_>>().join(", "))
    };
    let computed: Vec<_> = stages.into_iter().map(by).collect();
    (!computed.is_empty()).then(|| {
        format!(
            "Running the spec again need not give the same bytes: not computed by the built-in engine on a CPU, but {}.",
            computed.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::is_reproducible;
    use scalequest_engine::ops::Dtype;
    use scalequest_engine::ops::device::training_backend_name;

    #[test]
    fn only_cpu_backends_are_reproducible() {
        for dtype in Dtype::ALL {
            assert!(is_reproducible(dtype.backend_name()));
        }
        assert!(is_reproducible(training_backend_name(&Device::Cpu)));
        assert!(is_reproducible("fused-f32") && is_reproducible("none"));
        for other in [
            "reference-f32-cuda",
            "server:llama-server",
            "endpoint:cpu-bf16",
            "",
        ] {
            assert!(!is_reproducible(other), "{other}");
        }
    }
}
