//! The provenance of a wave's rows: the models by digest, and the compute backends.

use std::collections::BTreeMap;
use std::sync::Arc;

use scalequest_crds::protocol::task::{Publication, PublishedModel};
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};

use super::stage_index::{StageIndex, WaveStages, compute_backends_of};
use super::table::pairs::Provenance;

/// Returns the provenance of a wave's rows, by generator.
pub fn provenance_by_generator<'a>(
    seed: i64,
    publication: &Publication,
    run: &SynthesisRun,
    stage_index: &StageIndex<'a>,
    wave: &WaveStages<'a>,
) -> BTreeMap<&'a str, Arc<Provenance>> {
    let digest_if = |predicate: &dyn Fn(&PublishedModel) -> bool| {
        publication
            .models
            .iter()
            .find(|model| predicate(model))
            .map(|model| model.digest.clone())
    };
    let digest_of_role =
        |role: &str| digest_if(&|model| model.roles.iter().any(|other| other == role));
    let digest_of_generator = |name: &str| {
        let trained = stage_index
            .generators
            .iter()
            .find(|generator| generator.name == name);
        trained
            .and_then(|generator| generator.digest())
            .map(String::from)
            .or_else(|| {
                let untrained = run
                    .spec
                    .generators
                    .iter()
                    .find(|generator| generator.name == name)?;
                digest_if(&|model| model.name == untrained.model)
            })
    };
    let provenance = |name: &'a str| {
        let own = wave
            .by_stage(Stage::Generate)
            .filter(|sealed| sealed.input.id.generator.as_deref() == Some(name));
        let later = wave
            .stages
            .iter()
            .copied()
            .filter(|sealed| sealed.input.id.stage > Stage::Generate);
        let compute_backends: Vec<_> = compute_backends_of(own.chain(later)).into_iter().collect();
        let provenance = Provenance {
            seed,
            generator_digest: digest_of_generator(name),
            responder_digest: digest_of_role("responder"),
            reward_digest: digest_of_role("reward"),
            compute_backends: compute_backends.join("+"),
        };
        (name, Arc::new(provenance))
    };
    wave.by_stage(Stage::Generate)
        .filter_map(|sealed| sealed.input.id.generator.as_deref())
        .map(provenance)
        .collect()
}
