//! The stages of a run in their order, as [`StageId`]s. A stage that is off has none.

use scalequest_crds::v1alpha1::{Stage, StageId};

use crate::record::{RunRecord, WaveRecord};
use crate::validate::Method;
use crate::validate::method::GeneratorMethod;

/// The stages before the first wave: each generator's training, then difficulty's. Chains are independent of each other.
pub fn setup(method: &Method) -> Vec<StageId> {
    let mut positions = Vec::new();
    for generator in method
        .generators
        .iter()
        .filter(|generator| generator.weight > 0)
    {
        let trained = |stage| StageId::of_generator(stage, &generator.name);
        if generator.qft.is_some() {
            positions.push(trained(Stage::Qft));
        }
        if generator.qpo.is_some() {
            positions.extend([Stage::Sample, Stage::Rewrite, Stage::Qpo].map(trained));
        }
    }
    if method.difficulty.is_some() {
        positions.extend([Stage::Label, Stage::TrainScorer].map(StageId::once));
    }
    positions
}

/// The stages of a wave, in order.
pub fn wave_stages(method: &Method, wave: &WaveRecord) -> Vec<StageId> {
    let number = wave.wave;
    let mut positions: Vec<StageId> = asked(method, wave)
        .map(|(generator, _)| StageId {
            wave: Some(number),
            ..StageId::of_generator(Stage::Generate, &generator.name)
        })
        .collect();
    positions.push(StageId::in_wave(Stage::Filter, number));
    if method.judge.is_some() {
        positions.push(StageId::in_wave(Stage::Judge, number));
    }
    if method.difficulty.is_some() {
        positions.push(StageId::in_wave(Stage::Score, number));
    }
    positions.extend(
        [Stage::Respond, Stage::Reward, Stage::Verify].map(|stage| StageId::in_wave(stage, number)),
    );
    positions
}

/// The generators that are asked for questions in `wave`, each with its number of questions.
pub fn asked<'a>(
    method: &'a Method,
    wave: &'a WaveRecord,
) -> impl Iterator<Item = (&'a GeneratorMethod, i64)> {
    method
        .generators
        .iter()
        .zip(wave.questions.iter().copied())
        .filter(|(_, questions)| *questions > 0)
}

/// What a publication holds: sealed stages of the setup and all stages of waves that are over, in run order.
pub fn published(method: &Method, record: &RunRecord) -> Vec<StageId> {
    let is_sealed = |position: &StageId| record.sealed(position).is_some();
    let over = record.waves.iter().filter(|wave| wave.end.is_some());
    setup(method)
        .into_iter()
        .filter(is_sealed)
        .chain(over.flat_map(|wave| wave_stages(method, wave)))
        .collect()
}

/// The stage whose rows `stage` reads within a wave.
pub fn before(method: &Method, stage: Stage) -> Option<Stage> {
    match stage {
        Stage::Rewrite => Some(Stage::Sample),
        Stage::Qpo => Some(Stage::Rewrite),
        Stage::TrainScorer => Some(Stage::Label),
        Stage::Judge => Some(Stage::Filter),
        Stage::Score if method.judge.is_some() => Some(Stage::Judge),
        Stage::Score => Some(Stage::Filter),
        Stage::Respond if method.difficulty.is_some() => Some(Stage::Score),
        Stage::Respond if method.judge.is_some() => Some(Stage::Judge),
        Stage::Respond => Some(Stage::Filter),
        Stage::Reward => Some(Stage::Respond),
        Stage::Verify => Some(Stage::Reward),
        Stage::Qft
        | Stage::Sample
        | Stage::Label
        | Stage::Generate
        | Stage::Filter
        | Stage::Publish => None,
    }
}
