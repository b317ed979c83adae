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
            let of =
                |stage, model: &str, rows| self.rows(stage, Some(&generator.name), model, rows);
            if let Some(training) = &generator.qft {
                stages.push(
                    of(Stage::Qft, &generator.model, seeds).train(a.question_tokens, training),
                );
            }
            if let Some(qpo) = &generator.qpo {
                let question = mean_tokens(a.question_tokens, &generator.sampling);
                let pairs = (qpo.pairs as f64 * self.kept.rewrite).round() as i64;
                stages.push(of(Stage::Sample, &generator.model, qpo.pairs).decode(
                    a.prompt_tokens,
                    question,
                    1.0,
                    &generator.sampling,
                ));
                stages.push(of(Stage::Rewrite, &qpo.rewriter, qpo.pairs).decode(
                    a.prompt_tokens + question,
                    mean_tokens(a.question_tokens, &qpo.rewriting),
                    1.0,
                    &qpo.rewriting,
                ));
                stages.push(
                    of(Stage::Qpo, &generator.model, pairs).train(2.0 * question, &qpo.training),
                );
            }
        }
        if let Some(difficulty) = &self.method.difficulty {
            let response = mean_tokens(a.response_tokens, &difficulty.sampling);
            let mut label = self
                .rows(Stage::Label, None, &difficulty.solver, answered)
                .decode(
                    a.prompt_tokens + a.question_tokens,
                    response,
                    f64::from(difficulty.samples),
                    &difficulty.sampling,
                );
            label.rows_per_wave = vec![seeds];
            stages.push(label);
            stages.push(
                self.rows(Stage::TrainScorer, None, &difficulty.base, answered)
                    .train(a.question_tokens, &difficulty.training),
            );
        }
        stages
    }

    /// What is done in every wave.
    fn wave_stages(&self, waves: &[i64]) -> Vec<StageWork> {
        let (method, a) = (self.method, self.a);
        let questions: i64 = waves.iter().sum();
        let mut stages = Vec::new();
        let weights: Vec<i64> = method
            .generators
            .iter()
            .map(|generator| i64::from(generator.weight))
            .collect();
        for (index, (generator, rows)) in method
            .generators
            .iter()
            .zip(share(questions, &weights))
            .enumerate()
            .filter(|(_, (_, rows))| *rows > 0)
        {
            let mut asked = self
                .rows(
                    Stage::Generate,
                    Some(&generator.name),
                    &generator.model,
                    rows,
                )
                .decode(
                    a.prompt_tokens,
                    mean_tokens(a.question_tokens, &generator.sampling),
                    1.0,
                    &generator.sampling,
                );
            asked.rows_per_wave = waves
                .iter()
                .map(|wave| share(*wave, &weights)[index])
                .collect();
            stages.push(asked);
        }
        let left = |stage, model: &str, share: f64| StageRows {
            rows_per_wave: waves
                .iter()
                .map(|wave| (*wave as f64 * share) as i64)
                .collect(),
            ..self.rows(stage, None, model, (questions as f64 * share) as i64)
        };
        let mut share = self.kept.filter;
        if let Some(judge) = &method.judge {
            stages.push(left(Stage::Judge, &judge.model, share).decode(
                a.prompt_tokens + a.question_tokens,
                mean_tokens(a.judgement_tokens, &judge.sampling),
                1.0,
                &judge.sampling,
            ));
            share *= self.kept.judge;
        }
        if let Some(difficulty) = &method.difficulty {
            stages.push(left(Stage::Score, &difficulty.base, share).prefill(a.question_tokens));
            share *= self.kept.difficulty;
        }
        let samples = f64::from(method.samples);
        let prompt = a.prompt_tokens + a.question_tokens;
        let response = mean_tokens(a.response_tokens, &method.sampling);
        stages.push(left(Stage::Respond, &method.responder, share).decode(
            prompt,
            response,
            samples,
            &method.sampling,
        ));
        let mut reward =
            left(Stage::Reward, &method.reward, share).prefill(samples * (prompt + response));
        // The responses to a question are scored one after the other, and begin with it.
        let again = (samples - 1.0) * prompt * reward.rows as f64;
        reward.cached_tokens = again.min(reward.prefill_tokens);
        stages.push(reward);
        stages
    }

    fn rows(&self, stage: Stage, generator: Option<&str>, model: &str, rows: i64) -> StageRows {
        let measured = |measured: &&Measurements| measured.tokens_per_row(stage, generator);
        StageRows {
            stage,
            generator: generator.map(String::from),
            model: model.into(),
            rows,
            rows_per_wave: vec![rows],
            question: self.a.question_tokens,
            measured: self.measurements.as_ref().and_then(measured),
        }
    }
}

/// Mean tokens of a text, never above its limit.
fn mean_tokens(mean: f64, sampling: &Sampling) -> f64 {
    sampling
        .max_new_tokens
        .map_or(mean, |limit| mean.min(f64::from(limit)))
}

/// Rows of a stage whose tokens are still to be said.
struct StageRows {
    stage: Stage,
    generator: Option<String>,
    model: String,
    rows: i64,
    rows_per_wave: Vec<i64>,
    /// Tokens in a question.
    question: f64,
    /// Tokens read and made by row, where they were measured: they go before what is assumed.
    measured: Option<(f64, f64)>,
}

impl StageRows {
    fn with(self, prefilled: f64, decoded: f64, trained: f64) -> StageWork {
        let all = self.rows.max(0) as f64;
        StageWork {
            stage: self.stage,
            generator: self.generator,
            model: self.model,
            rows: self.rows,
            rows_per_wave: self.rows_per_wave,
            prefill_tokens: all * prefilled,
            cached_tokens: 0.0,
            decode_tokens: all * decoded,
            train_tokens: all * trained,
            sequence_tokens: prefilled + decoded / 2.0,
            samples: 1.0,
            max_tokens: 0.0,
            steps: (0.0, 0.0),
        }
    }

    fn prefill(self, read: f64) -> StageWork {
        let read = self.measured.map_or(read, |measured| measured.0);
        self.with(read, 0.0, 0.0)
    }

    /// Each row reads a prompt and makes `samples` texts of `each` tokens.
    fn decode(self, read: f64, each: f64, samples: f64, sampling: &Sampling) -> StageWork {
        let samples = samples.max(1.0);
        let (read, made) = self.measured.unwrap_or((read, samples * each));
        let question = self.question;
        let mut work = self.with(read, made, 0.0);
        work.samples = samples;
        work.max_tokens = sampling.max_new_tokens.map_or(f64::INFINITY, f64::from);
        work.sequence_tokens = read + made / samples / 2.0;
        // Every question is asked for in the same words; of the words around a question about half come before it.
        let around = (read - question).max(0.0);
        let shared = match work.stage {
            Stage::Sample | Stage::Generate => read,
            _ => around / 2.0,
        };
        work.cached_tokens = shared * work.rows.max(0) as f64;
        work
    }

    /// Each row is trained on in every epoch.
    fn train(self, tokens: f64, training: &Training) -> StageWork {
        let epochs = f64::from(training.epochs);
        let trained = self.measured.map_or(tokens * epochs, |measured| measured.0);
        let mut work = self.with(0.0, 0.0, trained);
        // Only QFT packs questions into rows, which it fills almost.
        let sequences = match work.stage {
            Stage::Qft => {
                work.train_tokens / epochs.max(1.0) / (0.95 * f64::from(training.max_length.max(1)))
            }
            _ => work.rows.max(0) as f64,
        };
        let steps = (sequences / f64::from(training.batch_size.max(1))).ceil() * epochs;
        let kept = (steps - 1.0).max(0.0) / f64::from(training.checkpoint_steps.max(1));
        work.steps = (steps, kept.floor());
        work
    }
}
