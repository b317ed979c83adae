//! An index of a run's sealed stages: by generator the stages that trained it, by wave the stages that processed its questions.
//! It reads no rows.

use std::collections::BTreeSet;

use scalequest_crds::protocol::manifest::Seal;
use scalequest_crds::protocol::task::{StageTask, TaskInput};
use scalequest_crds::v1alpha1::Stage;

use super::error::PublishError;

/// A sealed stage with its position in the run.
#[derive(Clone, Copy, Debug)]
pub struct SealedStage<'a> {
    /// Stage, key, generator and wave.
    pub input: &'a TaskInput,
    /// Its seal.
    pub seal: &'a Seal,
}

impl SealedStage<'_> {
    /// Returns the rows of a table; 0 if there is no such table.
    pub fn rows(&self, table: &str) -> i64 {
        self.seal.rows.get(table).copied().unwrap_or(0)
    }
}

/// The stages that trained a generator, in the order of the run.
#[derive(Clone, Debug)]
pub struct GeneratorStages<'a> {
    /// The generator.
    pub name: &'a str,
    /// Those of Qft, Sample, Rewrite, Qpo that the run has.
    pub stages: Vec<SealedStage<'a>>,
}

impl<'a> GeneratorStages<'a> {
    /// Returns the sealed stage, if the run has it.
    pub fn get(&self, stage: Stage) -> Option<SealedStage<'a>> {
        self.stages
            .iter()
            .copied()
            .find(|sealed| sealed.input.id.stage == stage)
    }

    /// Returns the digest of the trained generator: that of its last training stage.
    pub fn digest(&self) -> Option<&'a str> {
        self.get(Stage::Qpo)
            .or(self.get(Stage::Qft))
            .map(|sealed| sealed.input.digest.as_str())
    }
}

/// A finished wave.
#[derive(Clone, Debug)]
pub struct WaveStages<'a> {
    /// Its number, from 1.
    pub wave: i32,
    /// The stages from Generate (one for each generator) to Verify.
    pub stages: Vec<SealedStage<'a>>,
}

impl<'a> WaveStages<'a> {
    /// Returns the sealed outputs of a stage.
    pub fn by_stage(&self, stage: Stage) -> impl Iterator<Item = SealedStage<'a>> {
        self.stages
            .iter()
            .copied()
            .filter(move |sealed| sealed.input.id.stage == stage)
    }
}

/// An index of all sealed stages of a run.
#[derive(Clone, Debug, Default)]
pub struct StageIndex<'a> {
    /// By generator, in the order of the run.
    pub generators: Vec<GeneratorStages<'a>>,
    /// Label and Scorer, if difficulty is scored.
    pub scorer: Vec<SealedStage<'a>>,
    /// Finished waves, ascending.
    pub waves: Vec<WaveStages<'a>>,
    /// Questions generated in unfinished waves, which are not part of the dataset.
    pub unfinished: i64,
}

impl<'a> StageIndex<'a> {
    /// Indexes `seals`, which correspond to the task's inputs one by one.
    ///
    /// # Errors
    /// Seals and inputs do not correspond, or an input lacks its generator or wave.
    pub fn new(task: &'a StageTask, seals: &'a [Seal]) -> Result<Self, PublishError> {
        if task.inputs.len() != seals.len() {
            return Err(PublishError::Task(format!(
                "{} inputs but {} seals",
                task.inputs.len(),
                seals.len()
            )));
        }
        let mut index = StageIndex::default();
        let mut waves: Vec<WaveStages<'a>> = Vec::new();
        for (input, seal) in task.inputs.iter().zip(seals) {
            if (input.id.stage, &input.key) != (seal.stage, &seal.key)
                || input.digest != seal.digest
            {
                return Err(PublishError::Task(format!(
                    "input {} {} does not match its seal ({} {})",
                    input.id.stage, input.key, seal.stage, seal.key
                )));
            }
            let sealed = SealedStage { input, seal };
            match input.id.stage {
                Stage::Qft | Stage::Sample | Stage::Rewrite | Stage::Qpo => {
                    let name = input
                        .id
                        .generator
                        .as_deref()
                        .ok_or_else(|| lacks(input, "generator"))?;
                    match index.generators.iter_mut().find(|known| known.name == name) {
                        Some(known) => known.stages.push(sealed),
                        None => index.generators.push(GeneratorStages {
                            name,
                            stages: vec![sealed],
                        }),
                    }
                }
                Stage::Label | Stage::TrainScorer => index.scorer.push(sealed),
                Stage::Publish => {
                    return Err(PublishError::Task(
                        "a publication cannot be an input of a publication".into(),
                    ));
                }
                _ => {
                    let wave = input.id.wave.ok_or_else(|| lacks(input, "wave"))?;
                    match waves.iter_mut().find(|known| known.wave == wave) {
                        Some(known) => known.stages.push(sealed),
                        None => waves.push(WaveStages {
                            wave,
                            stages: vec![sealed],
                        }),
                    }
                }
            }
        }
        waves.sort_by_key(|wave| wave.wave);
        let (finished, open): (Vec<_>, Vec<_>) = waves
            .into_iter()
            .partition(|wave| wave.by_stage(Stage::Verify).next().is_some());
        index.waves = finished;
        index.unfinished = open
            .iter()
            .flat_map(|wave| wave.by_stage(Stage::Generate))
            .map(|sealed| sealed.rows("rows") + sealed.rows("rejects"))
            .sum();
        Ok(index)
    }

    /// Returns the per-wave stages that the run has, in order.
    pub fn wave_stages(&self) -> BTreeSet<Stage> {
        self.waves
            .iter()
            .flat_map(|wave| &wave.stages)
            .map(|sealed| sealed.input.id.stage)
            .collect()
    }

    /// Returns all stages that made the dataset, in the order of the run.
    pub fn sealed(&self) -> impl Iterator<Item = SealedStage<'a>> {
        let training = self
            .generators
            .iter()
            .flat_map(|generator| &generator.stages);
        let waves = self.waves.iter().flat_map(|wave| &wave.stages);
        training.chain(&self.scorer).chain(waves).copied()
    }

    /// Returns the compute backends of all stages, sorted, without `none`.
    pub fn compute_backends(&self) -> BTreeSet<&'a str> {
        compute_backends_of(self.sealed())
    }
}

/// Returns the compute backends of some stages, sorted, without `none`.
pub fn compute_backends_of<'a>(sealed: impl Iterator<Item = SealedStage<'a>>) -> BTreeSet<&'a str> {
    sealed
        .flat_map(|sealed| &sealed.seal.backends)
        .map(String::as_str)
        .filter(|backend| *backend != "none")
        .collect()
}

fn lacks(input: &TaskInput, what: &str) -> PublishError {
    PublishError::Task(format!(
        "input {} {} has no {what}",
        input.id.stage, input.key
    ))
}
