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
    let generate = asked(method, wave).map(|(generator, _)| StageId {
        wave: Some(wave.wave),
        ..StageId::of_generator(Stage::Generate, &generator.name)
    });
    let shared = shared_stages(method).map(|stage| StageId::in_wave(stage, wave.wave));
    generate.chain(shared).collect()
}

/// The stages of a wave that follow Generate, in order: each reads the rows of the one before it.
fn shared_stages(method: &Method) -> impl Iterator<Item = Stage> {
    [
        Some(Stage::Filter),
        method.judge.as_ref().map(|_| Stage::Judge),
        method.difficulty.as_ref().map(|_| Stage::Score),
        Some(Stage::Respond),
        Some(Stage::Reward),
        Some(Stage::Verify),
    ]
    .into_iter()
    .flatten()
}

/// The stages of the setup and of `waves`, in run order.
pub fn stages<'a>(
    method: &Method,
    waves: impl IntoIterator<Item = &'a WaveRecord>,
) -> Vec<StageId> {
    let mut stages = setup(method);
    for wave in waves {
        stages.extend(wave_stages(method, wave));
    }
    stages
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
    let over = record.waves.iter().filter(|wave| wave.end.is_some());
    let mut published = stages(method, over);
    published.retain(|id| id.wave.is_some() || record.sealed(id).is_some());
    published
}

/// The stage whose rows `stage` reads, within a wave or before the first one.
pub fn before(method: &Method, stage: Stage) -> Option<Stage> {
    match stage {
        Stage::Rewrite => Some(Stage::Sample),
        Stage::Qpo => Some(Stage::Rewrite),
        Stage::TrainScorer => Some(Stage::Label),
        _ => {
            let stages: Vec<Stage> = shared_stages(method).collect();
            let index = stages.iter().position(|each| *each == stage)?;
            Some(stages[index.checked_sub(1)?])
        }
    }
}
