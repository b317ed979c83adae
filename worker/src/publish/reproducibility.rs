//! Which stages of a run need not give the same bytes again: those that something other than the built-in CPU bodies computed,
//! such as a server, an endpoint or a GPU.

use std::collections::{BTreeMap, BTreeSet};

use scalequest_crds::v1alpha1::Stage;

use super::arrange::Sealed;

/// Whether a body gives the same bytes on every machine: the built-in ones for serving (`cpu-`) and training (`fused-`) on a CPU do.
fn is_reproducible(body: &str) -> bool {
    body == "none" || ["cpu-", "fused-"].iter().any(|own| body.starts_with(own))
}

/// Returns the note that names every other body with its stages, in the order of the run; `None` if all are reproducible.
pub fn irreproducible_note<'a>(sealed: impl Iterator<Item = Sealed<'a>>) -> Option<String> {
    let mut stages: BTreeMap<&str, BTreeSet<(Stage, Option<&str>)>> = BTreeMap::new();
    for Sealed { input, seal } in sealed {
        for body in seal.bodies.iter().filter(|body| !is_reproducible(body)) {
            let place = (input.stage, input.generator.as_deref());
            stages.entry(body).or_default().insert(place);
        }
    }
    let by = |(body, stages): (&str, BTreeSet<(Stage, Option<&str>)>)| {
        let names = stages
            .into_iter()
            .map(|(stage, generator)| match generator {
                Some(generator) => format!("{} {generator}", stage.slug()),
                None => stage.slug().to_owned(),
            });
        format!("{} by {body}", names.collect::<Vec<_>>().join(", "))
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
    fn the_engine_on_a_cpu_is_reproducible_and_nothing_else_is() {
        for arithmetic in Dtype::ALL {
            assert!(is_reproducible(arithmetic.backend_name()));
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
