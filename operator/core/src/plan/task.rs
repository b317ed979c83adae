//! Builds the task of a stage from the record: its inputs, its rows of work and its parameters. A stage whose inputs are not all sealed
//! and intact has no task yet.

use scalequest_crds::protocol::content_key::task_key;
use scalequest_crds::protocol::task::{
    ContaminationParams, DuplicateParams, ModelUse, StageParams, StageTask, TASK_VERSION, TaskInput,
};
use scalequest_crds::v1alpha1::{Stage, StageId};

use super::chain::{asked, before};
use super::{Observations, models, shard};
use crate::record::RunRecord;
use crate::validate::ValidRun;
use crate::validate::method::GeneratorMethod;

/// The task at `position`; none while an input or a model is missing or damaged.
pub(super) fn build(
    run: &ValidRun,
    record: &RunRecord,
    observed: &Observations,
    position: &StageId,
) -> Option<StageTask> {
    let builder = Builder {
        run,
        record,
        observed,
    };
    let inputs = builder.inputs(position)?;
    let (rows, mut params) = builder.work(position, &inputs)?;
    if let Some(model) = params.model_mut() {
        model.server = models::server(run, position);
    }
    let inputs = inputs.into_iter().map(|(input, _)| input).collect();
    Some(finish(run, record, position, inputs, rows, params))
}

/// Puts a task together; key and shard size are those on record where the stage was planned before.
pub(super) fn finish(
    run: &ValidRun,
    record: &RunRecord,
    position: &StageId,
    inputs: Vec<TaskInput>,
    rows: i64,
    params: StageParams,
) -> StageTask {
    let mut task = StageTask {
        version: TASK_VERSION,
        run: run.name().into(),
        id: position.clone(),
        key: String::new(),
        seed: run.method().seed,
        rows,
        shard_rows: shard::rows_per_shard(record, position.stage, rows),
        inputs,
        workspace: run.workspace().into(),
        params,
    };
    task.key = task_key(&task);
    let known = record.stages.iter().find(|stage| stage.id == task.id);
    if task.id.stage == Stage::Publish {
        return task;
    }
    if let Some(known) = known {
        task.key = known.key.clone();
        task.shard_rows = known.shard_rows;
    } else if let Some(sealed) = record.sealed(&task.id) {
        task.key = sealed.key;
        task.shard_rows = sealed.shard_rows;
    }
    task
}

struct Builder<'a> {
    run: &'a ValidRun,
    record: &'a RunRecord,
    observed: &'a Observations,
}

impl Builder<'_> {
    /// The sealed stage at a position, with its rows, unless it is damaged.
    fn input(&self, position: StageId) -> Option<(TaskInput, i64)> {
        let sealed = self.record.sealed(&position)?;
        if self.observed.corrupted.contains(&sealed.key) {
            return None;
        }
        let input = TaskInput {
            id: position,
            key: sealed.key,
            digest: sealed.digest,
        };
        Some((input, sealed.rows))
    }

    fn inputs(&self, position: &StageId) -> Option<Vec<(TaskInput, i64)>> {
        let method = self.run.method();
        if position.stage == Stage::Filter {
            let number = position.wave?;
            let wave = self.record.waves.iter().find(|wave| wave.wave == number)?;
            let generated = asked(method, wave).map(|(generator, _)| {
                self.input(StageId {
                    wave: position.wave,
                    ..StageId::of_generator(Stage::Generate, &generator.name)
                })
            });
            let earlier = self
                .record
                .waves
                .iter()
                .filter(|wave| wave.wave < number)
                .map(|wave| self.input(StageId::in_wave(Stage::Filter, wave.wave)));
            return generated.chain(earlier).collect();
        }
        match before(method, position.stage) {
            None => Some(Vec::new()),
            Some(stage) => Some(vec![self.input(StageId {
                stage,
                ..position.clone()
            })?]),
        }
    }

    /// Rows of work and parameters of the stage at `position`.
    fn work(&self, position: &StageId, inputs: &[(TaskInput, i64)]) -> Option<(i64, StageParams)> {
        let method = self.run.method();
        let domain = method.domain;
        let before = inputs.first().map_or(0, |(_, rows)| *rows);
        let generator = || {
            method
                .generators
                .iter()
                .find(|each| Some(&each.name) == position.generator.as_ref())
        };
        let declared = |name: &str| models::declared(self.run, self.record, name);
        let seeds = || models::seed_questions(self.run, self.record);
        let seed_rows = || {
            self.record
                .preflight
                .seed_questions
                .iter()
                .map(|file| file.rows)
                .sum()
        };
        Some(match position.stage {
            Stage::Qft => {
                let generator = generator()?;
                let params = StageParams::Qft {
                    model: declared(&generator.model)?.to_train(),
                    system_prompt: generator.system_prompt.clone(),
                    seed_questions: seeds(),
                    training: generator.qft.clone()?,
                };
                (seed_rows(), params)
            }
            Stage::Sample => {
                let generator = generator()?;
                let params = StageParams::Sample {
                    model: self.fine_tuned(generator)?,
                    system_prompt: generator.system_prompt.clone(),
                    sampling: generator.sampling.clone(),
                };
                (generator.qpo.as_ref()?.pairs, params)
            }
            Stage::Rewrite => {
                let qpo = generator()?.qpo.as_ref()?;
                (
                    before,
                    StageParams::Rewrite {
                        model: declared(&qpo.rewriter)?,
                        sampling: qpo.rewriting.clone(),
                        domain,
                    },
                )
            }
            Stage::Qpo => {
                let generator = generator()?;
                let qpo = generator.qpo.as_ref()?;
                let params = StageParams::Qpo {
                    model: self.fine_tuned(generator)?.to_train(),
                    system_prompt: generator.system_prompt.clone(),
                    beta: qpo.beta,
                    training: qpo.training.clone(),
                };
                (before, params)
            }
            Stage::Label => {
                let difficulty = method.difficulty.as_ref()?;
                let params = StageParams::Label {
                    model: declared(&difficulty.solver)?,
                    seed_questions: seeds(),
                    samples: difficulty.samples,
                    sampling: difficulty.sampling.clone(),
                    answer_format: method.answer_format,
                    domain,
                };
                (seed_rows(), params)
            }
            Stage::TrainScorer => {
                let difficulty = method.difficulty.as_ref()?;
                (
                    before,
                    StageParams::TrainScorer {
                        model: declared(&difficulty.base)?.to_train(),
                        training: difficulty.training.clone(),
                    },
                )
            }
            Stage::Generate => {
                let generator = generator()?;
                let wave = self
                    .record
                    .waves
                    .iter()
                    .find(|wave| Some(wave.wave) == position.wave)?;
                let index = method
                    .generators
                    .iter()
                    .position(|each| each.name == generator.name)?;
                let params = StageParams::Generate {
                    model: self.trained_generator(generator)?,
                    system_prompt: generator.system_prompt.clone(),
                    sampling: generator.sampling.clone(),
                    first_id: wave.first_id + wave.questions.iter().take(index).sum::<i64>(),
                };
                (*wave.questions.get(index)?, params)
            }
            Stage::Filter => {
                let generated = inputs
                    .iter()
                    .filter(|(input, _)| input.id.stage == Stage::Generate)
                    .map(|(_, rows)| rows)
                    .sum();
                (generated, self.filter())
            }
            Stage::Judge => {
                let judge = method.judge.as_ref()?;
                (
                    before,
                    StageParams::Judge {
                        model: declared(&judge.model)?,
                        sampling: judge.sampling.clone(),
                        domain,
                    },
                )
            }
            Stage::Score => {
                let difficulty = method.difficulty.as_ref()?;
                let id = StageId::once(Stage::TrainScorer);
                let (scorer, _) = self.input(id.clone())?;
                let model = self.record.sealed(&id).map(|sealed| {
                    let base = &difficulty.base;
                    models::trained(self.run, base, base, Stage::TrainScorer, sealed)
                })?;
                debug_assert_eq!(scorer.digest, model.digest);
                (
                    before,
                    StageParams::Score {
                        model,
                        minimum: difficulty.minimum,
                        generators: difficulty.generators.clone(),
                    },
                )
            }
            Stage::Respond => {
                let params = StageParams::Respond {
                    model: declared(&method.responder)?,
                    samples: method.samples,
                    sampling: method.sampling.clone(),
                    answer_format: method.answer_format,
                    domain,
                };
                (before, params)
            }
            Stage::Reward => (
                before,
                StageParams::Reward {
                    model: declared(&method.reward)?,
                    domain,
                    pooled: models::is_pooled(self.run, self.record, &method.reward),
                },
            ),
            Stage::Verify => (
                before,
                StageParams::Verify {
                    at_least: method.at_least,
                    answer_format: method.answer_format,
                },
            ),
            Stage::Publish => return None,
        })
    }

    fn filter(&self) -> StageParams {
        let filter = &self.run.method().filter;
        StageParams::Filter {
            languages: filter.languages.clone(),
            contamination: filter.contamination.as_ref().map(|(ngram, benchmarks)| {
                ContaminationParams {
                    ngram: *ngram,
                    benchmarks: models::benchmarks(benchmarks, self.record),
                }
            }),
            duplicates: filter
                .duplicates
                .map(|similarity| DuplicateParams { similarity }),
        }
    }

    /// The generator after QFT, or as declared where QFT is off.
    fn fine_tuned(&self, generator: &GeneratorMethod) -> Option<ModelUse> {
        match generator.qft {
            Some(_) => self.trained(Stage::Qft, generator),
            None => models::declared(self.run, self.record, &generator.model),
        }
    }

    /// The generator after all its training.
    fn trained_generator(&self, generator: &GeneratorMethod) -> Option<ModelUse> {
        match generator.qpo {
            Some(_) => self.trained(Stage::Qpo, generator),
            None => self.fine_tuned(generator),
        }
    }

    fn trained(&self, stage: Stage, generator: &GeneratorMethod) -> Option<ModelUse> {
        let (name, base) = (&generator.name, &generator.model);
        let id = StageId::of_generator(stage, name);
        self.input(id.clone())?;
        self.record
            .sealed(&id)
            .map(|sealed| models::trained(self.run, base, name, stage, sealed))
    }
}
