//! Puts the sealed stages of a run in the order in which the dataset tells of them: by generator what made it a generator,
//! by wave what became of its questions. It reads no rows.

use std::collections::BTreeSet;

use scalequest_crds::protocol::manifest::Seal;
use scalequest_crds::protocol::task::{StageTask, TaskInput};
use scalequest_crds::v1alpha1::Stage;

use super::error::PublishError;

/// A sealed stage with its place in the run.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// Stage, key, generator and wave.
    pub input: &'a TaskInput,
    /// What it made.
    pub seal: &'a Seal,
}

impl Sealed<'_> {
    /// Rows of a table; 0 where there is no such table.
    pub fn rows(&self, table: &str) -> i64 {
        self.seal.rows.get(table).copied().unwrap_or(0)
    }
}

/// What made a generator, in the order of the run.
#[derive(Clone, Debug)]
pub struct GeneratorStages<'a> {
    /// The generator.
    pub name: &'a str,
    /// Those of Qft, Sample, Rewrite, Qpo that the run has.
    pub stages: Vec<Sealed<'a>>,
}

impl<'a> GeneratorStages<'a> {
    /// The sealed stage, where the run has it.
    pub fn get(&self, stage: Stage) -> Option<Sealed<'a>> {
        self.stages
            .iter()
            .copied()
            .find(|sealed| sealed.input.stage == stage)
    }

    /// The digest of the trained generator: of its last training stage.
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
    /// Generate (one for each generator) to Verify.
    pub stages: Vec<Sealed<'a>>,
}

impl<'a> WaveStages<'a> {
    /// The sealed outputs of a stage.
    pub fn of(&self, stage: Stage) -> impl Iterator<Item = Sealed<'a>> {
        self.stages
            .iter()
            .copied()
            .filter(move |sealed| sealed.input.stage == stage)
    }
}

/// All sealed stages of a run.
#[derive(Clone, Debug, Default)]
pub struct Arranged<'a> {
    /// By generator, in the order of the run.
    pub generators: Vec<GeneratorStages<'a>>,
    /// Label and Scorer, where difficulty is rated.
    pub scorer: Vec<Sealed<'a>>,
    /// Finished waves, ascending.
    pub waves: Vec<WaveStages<'a>>,
    /// Questions generated in waves that were not finished: they are no part of the dataset.
    pub unfinished: i64,
}

impl<'a> Arranged<'a> {
    /// The per-wave stages that the run has, in order.
    pub fn wave_stages(&self) -> BTreeSet<Stage> {
        self.waves
            .iter()
            .flat_map(|wave| &wave.stages)
            .map(|sealed| sealed.input.stage)
            .collect()
    }

    /// All stages that made the dataset, in the order of the run.
    pub fn sealed(&self) -> impl Iterator<Item = Sealed<'a>> {
        let made = self
            .generators
            .iter()
            .flat_map(|generator| &generator.stages);
        let waves = self.waves.iter().flat_map(|wave| &wave.stages);
        made.chain(&self.scorer).chain(waves).copied()
    }

    /// The arithmetic bodies that took part, sorted; stages without arithmetic do not count.
    pub fn bodies(&self) -> BTreeSet<&'a str> {
        bodies_of(self.sealed())
    }
}

/// The arithmetic bodies of some stages, sorted, without `none`.
pub fn bodies_of<'a>(sealed: impl Iterator<Item = Sealed<'a>>) -> BTreeSet<&'a str> {
    sealed
        .flat_map(|sealed| &sealed.seal.bodies)
        .map(String::as_str)
        .filter(|body| *body != "none")
        .collect()
}

/// Puts `seals`, which belong to the task's inputs one by one, in order.
///
/// # Errors
/// Where seals and inputs do not belong together, or an input lacks its generator or wave.
pub fn arrange<'a>(task: &'a StageTask, seals: &'a [Seal]) -> Result<Arranged<'a>, PublishError> {
    if task.inputs.len() != seals.len() {
        return Err(PublishError::Task(format!(
            "{} inputs but {} seals",
            task.inputs.len(),
            seals.len()
        )));
    }
    let mut arranged = Arranged::default();
    let mut waves: Vec<WaveStages<'a>> = Vec::new();
    for (input, seal) in task.inputs.iter().zip(seals) {
        if (input.stage, &input.key) != (seal.stage, &seal.key) || input.digest != seal.digest {
            return Err(PublishError::Task(format!(
                "input {} {} is not what its seal says ({} {})",
                input.stage, input.key, seal.stage, seal.key
            )));
        }
        let sealed = Sealed { input, seal };
        match input.stage {
            Stage::Qft | Stage::Sample | Stage::Rewrite | Stage::Qpo => {
                let name = input
                    .generator
                    .as_deref()
                    .ok_or_else(|| lacks(input, "generator"))?;
                match arranged
                    .generators
                    .iter_mut()
                    .find(|known| known.name == name)
                {
                    Some(known) => known.stages.push(sealed),
                    None => arranged.generators.push(GeneratorStages {
                        name,
                        stages: vec![sealed],
                    }),
                }
            }
            Stage::Label | Stage::Scorer => arranged.scorer.push(sealed),
            Stage::Publish => {
                return Err(PublishError::Task(
                    "a publication is no input of a publication".into(),
                ));
            }
            _ => {
                let wave = input.wave.ok_or_else(|| lacks(input, "wave"))?;
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
        .partition(|wave| wave.of(Stage::Verify).next().is_some());
    arranged.waves = finished;
    arranged.unfinished = open
        .iter()
        .flat_map(|wave| wave.of(Stage::Generate))
        .map(|sealed| sealed.rows("rows") + sealed.rows("rejects"))
        .sum();
    Ok(arranged)
}

fn lacks(input: &TaskInput, what: &str) -> PublishError {
    PublishError::Task(format!("input {} {} has no {what}", input.stage, input.key))
}
