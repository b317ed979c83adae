//! Where the rows of a wave come from: the models by digest, and the arithmetic that took part.

use std::collections::BTreeMap;
use std::sync::Arc;

use scalequest_crds::protocol::task::{Publication, PublishedModel};
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};

use super::arrange::{Arranged, WaveStages, bodies_of};
use super::table::pairs::Origin;

/// The origin of a wave's rows, by generator.
pub fn origins_of<'a>(
    seed: i64,
    publication: &Publication,
    run: &SynthesisRun,
    arranged: &Arranged<'a>,
    wave: &WaveStages<'a>,
) -> BTreeMap<&'a str, Arc<Origin>> {
    let digest_where = |is_meant: &dyn Fn(&PublishedModel) -> bool| {
        publication
            .models
            .iter()
            .find(|model| is_meant(model))
            .map(|model| model.digest.clone())
    };
    let digest_of_role =
        |role: &str| digest_where(&|model| model.roles.iter().any(|played| played == role));
    let digest_of_generator = |name: &str| {
        let trained = arranged
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
                digest_where(&|model| model.name == untrained.model)
            })
    };
    let origin = |name: &'a str| {
        let own = wave
            .of(Stage::Generate)
            .filter(|sealed| sealed.input.generator.as_deref() == Some(name));
        let later = wave
            .stages
            .iter()
            .copied()
            .filter(|sealed| sealed.input.stage > Stage::Generate);
        let bodies: Vec<_> = bodies_of(own.chain(later)).into_iter().collect();
        let origin = Origin {
            seed,
            generator_digest: digest_of_generator(name),
            responder_digest: digest_of_role("responder"),
            reward_digest: digest_of_role("reward"),
            body: bodies.join("+"),
        };
        (name, Arc::new(origin))
    };
    wave.of(Stage::Generate)
        .filter_map(|sealed| sealed.input.generator.as_deref())
        .map(origin)
        .collect()
}
