//! Builds the task of a stage from the record: its inputs, its rows of work and its parameters. A stage whose inputs are not all sealed
//! and intact has no task yet.

use scalequest_crds::protocol::content_key::task_key;
use scalequest_crds::protocol::task::{
    ContaminationParams, DuplicateParams, ModelUse, StageParams, StageTask, TASK_VERSION, TaskInput,
};
use scalequest_crds::v1alpha1::{Stage, StageId};

use super::chain::{asked, before};
use super::{Observations, models, size};
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
    let rows = builder.rows(position, &inputs)?;
    let mut params = builder.params(position)?;
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
        shard_rows: size::rows_per_shard(record, position.stage, rows),
        inputs,
        workspace: run.workspace().into(),
        params,
    };
    task.key = task_key(&task);
    let known = record.stages.iter().find(|stage| stage.id == task.id);
    if let Some(known) = known.filter(|_| task.id.stage != Stage::Publish) {
        task.key = known.key.clone();
        task.shard_rows = known.shard_rows;
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
        let output = self.record.output(&position);
        output.filter(|(input, _)| !self.observed.corrupted.contains(&input.key))
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

    fn generator(&self, position: &StageId) -> Option<&GeneratorMethod> {
        let mut generators = self.run.method().generators.iter();
        generators.find(|each| Some(&each.name) == position.generator.as_ref())
    }

    /// The id of the generator's first question in a wave, and the number of its questions.
    fn questions(&self, position: &StageId) -> Option<(i64, i64)> {
        let mut waves = self.record.waves.iter();
        let wave = waves.find(|wave| Some(wave.wave) == position.wave)?;
        let mut generators = self.run.method().generators.iter();
        let index = generators.position(|each| Some(&each.name) == position.generator.as_ref())?;
        let before: i64 = wave.questions.iter().take(index).sum();
        Some((wave.first_id + before, *wave.questions.get(index)?))
    }

    /// Rows of work of the stage at `position`.
    fn rows(&self, position: &StageId, inputs: &[(TaskInput, i64)]) -> Option<i64> {
        match position.stage {
            Stage::Qft | Stage::Label => {
                let files = self.record.preflight.seed_questions.iter();
                Some(files.map(|file| file.rows).sum())
            }
            Stage::Sample => Some(self.generator(position)?.qpo.as_ref()?.pairs),
            Stage::Generate => Some(self.questions(position)?.1),
            Stage::Filter => {
                let of_wave = |(input, _): &&(TaskInput, i64)| input.id.stage == Stage::Generate;
                Some(inputs.iter().filter(of_wave).map(|(_, rows)| rows).sum())
            }
            _ => Some(inputs.first().map_or(0, |(_, rows)| *rows)),
        }
    }

    /// Parameters of the stage at `position`.
    fn params(&self, position: &StageId) -> Option<StageParams> {
        let method = self.run.method();
        let domain = method.domain;
        let generator = || self.generator(position);
        let difficulty = || method.difficulty.as_ref();
        let declared = |name: &str| models::declared(self.run, self.record, name);
        let seeds = || models::seed_questions(self.run, self.record);
        Some(match position.stage {
            Stage::Qft => StageParams::Qft {
                model: declared(&generator()?.model)?.to_train(),
                system_prompt: generator()?.system_prompt.clone(),
                seed_questions: seeds(),
                training: generator()?.qft.clone()?,
            },
            Stage::Sample => StageParams::Sample {
                model: self.fine_tuned(generator()?)?,
                system_prompt: generator()?.system_prompt.clone(),
                sampling: generator()?.sampling.clone(),
            },
            Stage::Rewrite => {
                let qpo = generator()?.qpo.as_ref()?;
                StageParams::Rewrite {
                    model: declared(&qpo.rewriter)?,
                    sampling: qpo.rewriting.clone(),
                    domain,
                }
            }
            Stage::Qpo => {
                let qpo = generator()?.qpo.as_ref()?;
                StageParams::Qpo {
                    model: self.fine_tuned(generator()?)?.to_train(),
                    system_prompt: generator()?.system_prompt.clone(),
                    beta: qpo.beta,
                    training: qpo.training.clone(),
                }
            }
            Stage::Label => StageParams::Label {
                model: declared(&difficulty()?.solver)?,
                seed_questions: seeds(),
                samples: difficulty()?.samples,
                sampling: difficulty()?.sampling.clone(),
                answer_format: method.answer_format,
                domain,
            },
            Stage::TrainScorer => StageParams::TrainScorer {
                model: declared(&difficulty()?.base)?.to_train(),
                training: difficulty()?.training.clone(),
            },
            Stage::Generate => StageParams::Generate {
                model: self.trained_generator(generator()?)?,
                system_prompt: generator()?.system_prompt.clone(),
                sampling: generator()?.sampling.clone(),
                first_id: self.questions(position)?.0,
            },
            Stage::Filter => self.filter(),
            Stage::Judge => StageParams::Judge {
                model: declared(&method.judge.as_ref()?.model)?,
                sampling: method.judge.as_ref()?.sampling.clone(),
                domain,
            },
            Stage::Score => {
                let base = &difficulty()?.base;
                StageParams::Score {
                    model: self.trained(StageId::once(Stage::TrainScorer), base, base)?,
                    minimum: difficulty()?.minimum,
                    generators: difficulty()?.generators.clone(),
                }
            }
            Stage::Respond => StageParams::Respond {
                model: declared(&method.responder)?,
                samples: method.samples,
                sampling: method.sampling.clone(),
                answer_format: method.answer_format,
                domain,
            },
            Stage::Reward => StageParams::Reward {
                model: declared(&method.reward)?,
                domain,
                pooled: models::is_pooled(self.run, self.record, &method.reward),
            },
            Stage::Verify => StageParams::Verify {
                at_least: method.at_least,
                answer_format: method.answer_format,
            },
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

    /// The generator after QFT, or as declared if QFT is off.
    fn fine_tuned(&self, generator: &GeneratorMethod) -> Option<ModelUse> {
        match generator.qft {
            Some(_) => self.trained_by(Stage::Qft, generator),
            None => models::declared(self.run, self.record, &generator.model),
        }
    }

    /// The generator after all its training.
    fn trained_generator(&self, generator: &GeneratorMethod) -> Option<ModelUse> {
        match generator.qpo {
            Some(_) => self.trained_by(Stage::Qpo, generator),
            None => self.fine_tuned(generator),
        }
    }

    fn trained_by(&self, stage: Stage, generator: &GeneratorMethod) -> Option<ModelUse> {
        let GeneratorMethod { name, model, .. } = generator;
        self.trained(StageId::of_generator(stage, name), model, name)
    }

    /// The model `name` that the stage `id` trained from `base`.
    fn trained(&self, id: StageId, base: &str, name: &str) -> Option<ModelUse> {
        let (input, _) = self.input(id)?;
        Some(models::trained(self.run, base, name, input))
    }
}
