//! The stages of a run and their order. Each place in a run is a [`Position`]; a stage that is off has none.

use scalequest_crds::v1alpha1::Stage;

use crate::record::{RunRecord, WaveRecord};
use crate::validate::Method;
use crate::validate::method::GeneratorMethod;

/// A stage's place in a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The stage.
    pub stage: Stage,
    /// The generator, if per generator.
    pub generator: Option<String>,
    /// The wave, if per wave.
    pub wave: Option<i32>,
}

impl Position {
    fn once(stage: Stage) -> Position {
        Position {
            stage,
            generator: None,
            wave: None,
        }
    }

    fn of(stage: Stage, generator: &str) -> Position {
        Position {
            stage,
            generator: Some(generator.into()),
            wave: None,
        }
    }

    fn in_wave(stage: Stage, wave: i32) -> Position {
        Position {
            stage,
            generator: None,
            wave: Some(wave),
        }
    }
}

impl std::fmt::Display for Position {
    /// `generate qwen, wave 3`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.stage)?;
        if let Some(generator) = &self.generator {
            write!(f, " {generator}")?;
        }
        if let Some(wave) = self.wave {
            write!(f, ", wave {wave}")?;
        }
        Ok(())
    }
}

/// The stages before the first wave: each generator's training, then difficulty's. Chains are independent of each other.
pub fn setup(method: &Method) -> Vec<Position> {
    let mut positions = Vec::new();
    for generator in method
        .generators
        .iter()
        .filter(|generator| generator.weight > 0)
    {
        let trained = |stage| Position::of(stage, &generator.name);
        if generator.qft.is_some() {
            positions.push(trained(Stage::Qft));
        }
        if generator.qpo.is_some() {
            positions.extend([Stage::Sample, Stage::Rewrite, Stage::Qpo].map(trained));
        }
    }
    if method.difficulty.is_some() {
        positions.extend([Stage::Label, Stage::Scorer].map(Position::once));
    }
    positions
}

/// The stages of a wave, in order.
pub fn wave_stages(method: &Method, wave: &WaveRecord) -> Vec<Position> {
    let number = wave.wave;
    let mut positions: Vec<Position> = asked(method, wave)
        .map(|(generator, _)| Position {
            stage: Stage::Generate,
            generator: Some(generator.name.clone()),
            wave: Some(number),
        })
        .collect();
    positions.push(Position::in_wave(Stage::Filter, number));
    if method.judge.is_some() {
        positions.push(Position::in_wave(Stage::Judge, number));
    }
    if method.difficulty.is_some() {
        positions.push(Position::in_wave(Stage::Rate, number));
    }
    positions.extend(
        [Stage::Respond, Stage::Reward, Stage::Verify]
            .map(|stage| Position::in_wave(stage, number)),
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
pub fn published(method: &Method, record: &RunRecord) -> Vec<Position> {
    let is_sealed = |position: &Position| {
        record
            .sealed(position.stage, position.generator.as_deref(), position.wave)
            .is_some()
    };
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
        Stage::Scorer => Some(Stage::Label),
        Stage::Judge => Some(Stage::Filter),
        Stage::Rate if method.judge.is_some() => Some(Stage::Judge),
        Stage::Rate => Some(Stage::Filter),
        Stage::Respond if method.difficulty.is_some() => Some(Stage::Rate),
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
