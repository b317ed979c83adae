//! How many rows and tokens each stage of a run will see, by the shares that each filter keeps.

use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::task::Training;
use scalequest_crds::v1alpha1::{Sampling, Stage};

use super::measurements::Measurements;
use super::{Assumptions, EstimateInput};
use crate::plan::forecast::waves;
use crate::plan::size::share;
use crate::validate::{Method, ValidRun};

/// The work of one stage with one model.
#[derive(Clone, Debug, PartialEq)]
pub struct StageWork {
    /// The stage.
    pub stage: Stage,
    /// The generator, if per generator.
    pub generator: Option<String>,
    /// The model, by its name in the spec.
    pub model: String,
    /// Rows of work.
    pub rows: i64,
    /// Lines that are cut into shards, wave by wave; one entry for a stage outside the waves. Of Label they are all seed questions,
    /// though only those with an answer are work.
    pub rows_per_wave: Vec<i64>,
    /// Prompt or scored tokens.
    pub prefill_tokens: f64,
    /// Those of them that our engine computes once for several rows, which begin alike.
    pub cached_tokens: f64,
    /// Tokens made.
    pub decode_tokens: f64,
    /// Tokens learnt from, all passes.
    pub train_tokens: f64,
    /// Mean tokens of a sequence while it is decoded.
    pub sequence_tokens: f64,
    /// Texts generated for a row.
    pub samples: f64,
    /// Most tokens of such a text.
    pub max_tokens: f64,
    /// Steps of a training, and those after which it keeps a checkpoint.
    pub steps: (f64, f64),
}

impl StageWork {
    /// Rows of a stage outside the waves whose tokens are not known yet.
    fn new(stage: Stage, generator: Option<&str>, model: &str, rows: i64) -> StageWork {
        StageWork {
            stage,
            generator: generator.map(String::from),
            model: model.into(),
            rows,
            rows_per_wave: vec![rows],
            prefill_tokens: 0.0,
            cached_tokens: 0.0,
            decode_tokens: 0.0,
            train_tokens: 0.0,
            sequence_tokens: 0.0,
            samples: 1.0,
            max_tokens: 0.0,
            steps: (0.0, 0.0),
        }
    }
}

/// The shares that the steps of the funnel keep, 1 for what a run leaves out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassRates {
    /// Of sampled questions: those whose rewrite makes a pair.
    pub rewrite: f64,
    /// Of questions: those that the rule-based filters leave.
    pub filter: f64,
    /// Of those: what the judge leaves.
    pub judge: f64,
    /// Of those: what difficulty sampling leaves.
    pub difficulty: f64,
    /// Of those: what is accepted.
    pub verified: f64,
}

impl PassRates {
    /// The shares for a method. A stated yield decides what is not stated itself: the judge's share where there is a judge, then that of
    /// verification.
    pub fn of(method: &Method, a: &Assumptions) -> PassRates {
        let mut kept = PassRates {
            rewrite: a.rewrite_kept,
            filter: a.filter_kept.unwrap_or(match method.filter.languages {
                Some(_) => a.language_kept,
                None => 1.0,
            }),
            judge: method.judge.as_ref().map_or(1.0, |_| a.judge_kept),
            difficulty: method
                .difficulty
                .as_ref()
                .map_or(1.0, |_| a.difficulty_kept),
            verified: a.verified,
        };
        if let Some(wanted) = a.yield_ratio {
            if method.judge.is_some() && !a.judge_is_stated {
                kept.judge = (kept.judge * wanted / kept.yield_ratio()).min(1.0);
            }
            kept.verified = (kept.verified * wanted / kept.yield_ratio()).min(1.0);
        }
        kept
    }

    /// Accepted pairs per question.
    pub fn yield_ratio(&self) -> f64 {
        self.filter * self.judge * self.difficulty * self.verified
    }
}

/// The work of every stage that needs a model, in run order, and the questions of each wave.
pub fn work(run: &ValidRun, input: &EstimateInput<'_>) -> (Vec<StageWork>, Vec<i64>) {
    let method = run.method();
    let a = input.assumptions;
    let kept = PassRates::of(method, a);
    let done = input.measurements.map(|measured| measured.waves.as_slice());
    let limits = run.limits();
    let waves = waves(
        limits.target,
        limits.max_waves,
        done.unwrap_or_default(),
        kept.yield_ratio(),
    );
    let funnel = Funnel {
        method,
        a,
        kept,
        measurements: input.measurements.filter(|_| !a.tokens_are_stated),
    };
    let mut stages = funnel.setup_stages(input.preflight);
    stages.extend(funnel.wave_stages(&waves));
    (stages, waves)
}

struct Funnel<'a> {
    method: &'a Method,
    a: &'a Assumptions,
    kept: PassRates,
    measurements: Option<&'a Measurements>,
}

impl Funnel<'_> {
    /// What comes before the waves.
    fn setup_stages(&self, preflight: Option<&PreflightReport>) -> Vec<StageWork> {
        let a = self.a;
        let files = preflight.map(|preflight| &preflight.seed_questions);
        let seeds = files.map_or(a.seed_questions, |files| {
            files.iter().map(|file| file.rows).sum()
        });
        let answered = files.map_or(a.seed_answers.unwrap_or(seeds), |files| {
            files.iter().map(|file| file.with_answers).sum()
        });
        let mut stages = Vec::new();
        for generator in self.method.generators.iter().filter(|each| each.weight > 0) {
            let of = |stage, model: &str, rows| {
                StageWork::new(stage, Some(&generator.name), model, rows)
            };
            if let Some(training) = &generator.qft {
                let qft = of(Stage::Qft, &generator.model, seeds);
                stages.push(self.train(qft, a.question_tokens, training));
            }
            if let Some(qpo) = &generator.qpo {
                let question = mean_tokens(a.question_tokens, &generator.sampling);
                let pairs = (qpo.pairs as f64 * self.kept.rewrite).round() as i64;
                let sample = of(Stage::Sample, &generator.model, qpo.pairs);
                let rewrite = of(Stage::Rewrite, &qpo.rewriter, qpo.pairs);
                let train = of(Stage::Qpo, &generator.model, pairs);
                stages.extend([
                    self.decode(
                        sample,
                        a.prompt_tokens,
                        a.question_tokens,
                        1,
                        &generator.sampling,
                    ),
                    self.decode(
                        rewrite,
                        a.prompt_tokens + question,
                        a.question_tokens,
                        1,
                        &qpo.rewriting,
                    ),
                    self.train(train, 2.0 * question, &qpo.training),
                ]);
            }
        }
        if let Some(difficulty) = &self.method.difficulty {
            let label = StageWork {
                rows_per_wave: vec![seeds],
                ..StageWork::new(Stage::Label, None, &difficulty.solver, answered)
            };
            let scorer = StageWork::new(Stage::TrainScorer, None, &difficulty.base, answered);
            let prompt = a.prompt_tokens + a.question_tokens;
            stages.extend([
                self.decode(
                    label,
                    prompt,
                    a.response_tokens,
                    difficulty.samples,
                    &difficulty.sampling,
                ),
                self.train(scorer, a.question_tokens, &difficulty.training),
            ]);
        }
        stages
    }

    /// What is done in every wave.
    fn wave_stages(&self, waves: &[i64]) -> Vec<StageWork> {
        let (method, a) = (self.method, self.a);
        let questions: i64 = waves.iter().sum();
        let mut stages = Vec::new();
        let weights = method.weights();
        let shares = share(questions, &weights);
        for (index, generator) in method.generators.iter().enumerate() {
            if shares[index] == 0 {
                continue;
            }
            let (name, model) = (Some(generator.name.as_str()), &generator.model);
            let in_wave = |wave: &i64| share(*wave, &weights)[index];
            let generate = StageWork {
                rows_per_wave: waves.iter().map(in_wave).collect(),
                ..StageWork::new(Stage::Generate, name, model, shares[index])
            };
            stages.push(self.decode(
                generate,
                a.prompt_tokens,
                a.question_tokens,
                1,
                &generator.sampling,
            ));
        }
        let left = |stage, model: &str, share: f64| {
            let of = |questions: i64| (questions as f64 * share) as i64;
            StageWork {
                rows_per_wave: waves.iter().map(|wave| of(*wave)).collect(),
                ..StageWork::new(stage, None, model, of(questions))
            }
        };
        let prompt = a.prompt_tokens + a.question_tokens;
        let mut share = self.kept.filter;
        if let Some(judge) = &method.judge {
            let work = left(Stage::Judge, &judge.model, share);
            stages.push(self.decode(work, prompt, a.judgement_tokens, 1, &judge.sampling));
            share *= self.kept.judge;
        }
        if let Some(difficulty) = &method.difficulty {
            let work = left(Stage::Score, &difficulty.base, share);
            stages.push(self.prefill(work, a.question_tokens));
            share *= self.kept.difficulty;
        }
        let respond = left(Stage::Respond, &method.responder, share);
        stages.push(self.decode(
            respond,
            prompt,
            a.response_tokens,
            method.samples,
            &method.sampling,
        ));
        let samples = f64::from(method.samples);
        let response = mean_tokens(a.response_tokens, &method.sampling);
        let reward = left(Stage::Reward, &method.reward, share);
        let mut reward = self.prefill(reward, samples * (prompt + response));
        // The responses to a question are scored one after the other, and begin with it.
        let again = (samples - 1.0) * prompt * reward.rows as f64;
        reward.cached_tokens = again.min(reward.prefill_tokens);
        stages.push(reward);
        stages
    }

    /// Tokens read and made by row, if they were measured: they go before what is assumed.
    fn measured(&self, work: &StageWork) -> Option<(f64, f64)> {
        let generator = work.generator.as_deref();
        self.measurements?.tokens_per_row(work.stage, generator)
    }

    /// Each row of `work` reads `read` tokens.
    fn prefill(&self, work: StageWork, read: f64) -> StageWork {
        let read = self.measured(&work).map_or(read, |measured| measured.0);
        StageWork {
            prefill_tokens: work.rows.max(0) as f64 * read,
            sequence_tokens: read,
            ..work
        }
    }

    /// Each row of `work` reads a prompt of `read` tokens and makes `samples` texts of `mean` tokens, or of fewer if `sampling` limits them.
    fn decode(
        &self,
        work: StageWork,
        read: f64,
        mean: f64,
        samples: i32,
        sampling: &Sampling,
    ) -> StageWork {
        let rows = work.rows.max(0) as f64;
        let samples = f64::from(samples).max(1.0);
        let assumed = (read, samples * mean_tokens(mean, sampling));
        let (read, made) = self.measured(&work).unwrap_or(assumed);
        // Every question is asked for in the same words; of the words around a question about half come before it.
        let shared = match work.stage {
            Stage::Sample | Stage::Generate => read,
            _ => (read - self.a.question_tokens).max(0.0) / 2.0,
        };
        StageWork {
            prefill_tokens: rows * read,
            cached_tokens: rows * shared,
            decode_tokens: rows * made,
            sequence_tokens: read + made / samples / 2.0,
            samples,
            max_tokens: sampling.max_new_tokens.map_or(f64::INFINITY, f64::from),
            ..work
        }
    }

    /// Each row of `work` is trained on in every epoch.
    fn train(&self, work: StageWork, tokens: f64, training: &Training) -> StageWork {
        let rows = work.rows.max(0) as f64;
        let epochs = f64::from(training.epochs);
        let measured = self.measured(&work);
        let train_tokens = rows * measured.map_or(tokens * epochs, |measured| measured.0);
        // Only QFT packs questions into rows, which it fills almost.
        let sequences = match work.stage {
            Stage::Qft => {
                train_tokens / epochs.max(1.0) / (0.95 * f64::from(training.max_length.max(1)))
            }
            _ => rows,
        };
        let steps = (sequences / f64::from(training.batch_size.max(1))).ceil() * epochs;
        let kept = (steps - 1.0).max(0.0) / f64::from(training.checkpoint_steps.max(1));
        StageWork {
            train_tokens,
            steps: (steps, kept.floor()),
            ..work
        }
    }
}

/// Mean tokens of a text, never above its limit.
fn mean_tokens(mean: f64, sampling: &Sampling) -> f64 {
    let limit = sampling.max_new_tokens;
    limit.map_or(mean, |limit| mean.min(f64::from(limit)))
}
