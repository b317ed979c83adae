//! How many rows and tokens each stage of a run will see, by the assumed shares that each filter keeps.

use scalequest_crds::Stage;
use scalequest_crds::inspection::Inspection;
use scalequest_crds::run::Sampling;

use super::Assumptions;
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
    /// Prompt or scored tokens.
    pub tokens_read: f64,
    /// Tokens made.
    pub tokens_made: f64,
    /// Tokens learnt from, all passes.
    pub tokens_learnt: f64,
    /// Mean tokens of a sequence while it is being made.
    pub sequence_tokens: f64,
}

/// Questions that a run will generate for `target` accepted pairs, and the yield assumed.
pub fn questions(method: &Method, target: i64, assumptions: &Assumptions) -> (i64, f64) {
    let ratio = [
        if method.filter.languages.is_some() {
            assumptions.language_kept
        } else {
            1.0
        },
        if method.judge.is_some() {
            assumptions.judge_kept
        } else {
            1.0
        },
        if method.difficulty.is_some() {
            assumptions.difficulty_kept
        } else {
            1.0
        },
        assumptions.verified,
    ]
    .iter()
    .product::<f64>();
    ((target as f64 / ratio).ceil() as i64, ratio)
}

/// The work of every stage that needs a model, in run order.
pub fn work(
    run: &ValidRun,
    inspection: Option<&Inspection>,
    assumptions: &Assumptions,
) -> Vec<StageWork> {
    let method = run.method();
    let a = assumptions;
    let files = inspection.map(|inspection| &inspection.seed_questions);
    let seeds = files.map_or(a.seed_questions, |files| {
        files.iter().map(|file| file.rows).sum()
    });
    let mut stages = Vec::new();
    for generator in method
        .generators
        .iter()
        .filter(|generator| generator.weight > 0)
    {
        let of = |stage, model: &str, rows| Rows {
            stage,
            generator: Some(generator.name.clone()),
            model: model.into(),
            rows,
        };
        if let Some(training) = &generator.qft {
            stages.push(
                of(Stage::Qft, &generator.model, seeds)
                    .learn(a.question_tokens * f64::from(training.epochs)),
            );
        }
        if let Some(qpo) = &generator.qpo {
            let question = made(a.question_tokens, &generator.sampling);
            stages.push(
                of(Stage::Sample, &generator.model, qpo.pairs).make(a.prompt_tokens, question),
            );
            stages.push(of(Stage::Rewrite, &qpo.rewriter, qpo.pairs).make(
                a.prompt_tokens + question,
                made(a.question_tokens, &qpo.rewriting),
            ));
            stages.push(
                of(Stage::Qpo, &generator.model, qpo.pairs)
                    .learn(2.0 * question * f64::from(qpo.training.epochs)),
            );
        }
    }
    let once = |stage, model: &str, rows| Rows {
        stage,
        generator: None,
        model: model.into(),
        rows,
    };
    if let Some(difficulty) = &method.difficulty {
        let samples = f64::from(difficulty.samples);
        let response = made(a.response_tokens, &difficulty.sampling);
        stages.push(
            once(Stage::Label, &difficulty.solver, seeds)
                .make(a.prompt_tokens + a.question_tokens, samples * response)
                .of_samples(samples),
        );
        stages.push(
            once(Stage::Scorer, &difficulty.base, seeds)
                .learn(a.question_tokens * f64::from(difficulty.training.epochs)),
        );
    }
    let (questions, _) = questions(method, run.limits().target, a);
    let weights: Vec<i64> = method
        .generators
        .iter()
        .map(|generator| i64::from(generator.weight))
        .collect();
    for (generator, rows) in method
        .generators
        .iter()
        .zip(share(questions, &weights))
        .filter(|(_, rows)| *rows > 0)
    {
        let asked = Rows {
            stage: Stage::Generate,
            generator: Some(generator.name.clone()),
            model: generator.model.clone(),
            rows,
        };
        stages.push(asked.make(
            a.prompt_tokens,
            made(a.question_tokens, &generator.sampling),
        ));
    }
    let mut left = questions as f64;
    if method.filter.languages.is_some() {
        left *= a.language_kept;
    }
    if let Some(judge) = &method.judge {
        stages.push(once(Stage::Judge, &judge.model, left as i64).make(
            a.prompt_tokens + a.question_tokens,
            made(a.judgement_tokens, &judge.sampling),
        ));
        left *= a.judge_kept;
    }
    if let Some(difficulty) = &method.difficulty {
        stages.push(once(Stage::Rate, &difficulty.base, left as i64).read(a.question_tokens));
        left *= a.difficulty_kept;
    }
    let samples = f64::from(method.samples);
    let response = made(a.response_tokens, &method.sampling);
    let prompt = a.prompt_tokens + a.question_tokens;
    stages.push(
        once(Stage::Respond, &method.responder, left as i64)
            .make(prompt, samples * response)
            .of_samples(samples),
    );
    stages
        .push(once(Stage::Reward, &method.reward, left as i64).read(samples * (prompt + response)));
    stages
}

/// Mean tokens of a text, never above its limit.
fn made(mean: f64, sampling: &Sampling) -> f64 {
    sampling
        .max_new_tokens
        .map_or(mean, |limit| mean.min(f64::from(limit)))
}

/// Rows of a stage whose tokens are still to be said.
struct Rows {
    stage: Stage,
    generator: Option<String>,
    model: String,
    rows: i64,
}

impl Rows {
    fn with(self, read: f64, made: f64, learnt: f64) -> StageWork {
        let Rows {
            stage,
            generator,
            model,
            rows,
        } = self;
        let all = rows.max(0) as f64;
        StageWork {
            stage,
            generator,
            model,
            rows,
            tokens_read: all * read,
            tokens_made: all * made,
            tokens_learnt: all * learnt,
            sequence_tokens: read + made / 2.0,
        }
    }

    fn read(self, read: f64) -> StageWork {
        self.with(read, 0.0, 0.0)
    }

    fn make(self, read: f64, made: f64) -> StageWork {
        self.with(read, made, 0.0)
    }

    fn learn(self, learnt: f64) -> StageWork {
        self.with(0.0, 0.0, learnt)
    }
}

impl StageWork {
    /// The tokens made are those of `samples` sequences that share one prompt.
    fn of_samples(mut self, samples: f64) -> StageWork {
        let rows = (self.rows.max(1)) as f64;
        self.sequence_tokens =
            self.tokens_read / rows + self.tokens_made / rows / samples.max(1.0) / 2.0;
        self
    }
}
