//! The method of a run with nothing left open: what each stage is to do, read once from a resolved spec, so that planning needs
//! neither options nor recipes.

use scalequest_crds::protocol::task::Training;
use scalequest_crds::v1alpha1::{
    AnswerFormat, Benchmark, Difficulty, Domain, Generator, Lora, Model, Sampling, SeedQuestions,
    Solvability, SynthesisRunSpec, Tuning,
};

/// Steps between a training stage's checkpoints.
const CHECKPOINT_STEPS: i32 = 20;

/// Longest row, in tokens, on which the difficulty scorer is trained.
const SCORER_MAX_LENGTH: i32 = 1024;

/// Warm-up of the difficulty scorer's training, as in QFT.
const SCORER_WARMUP: f64 = 0.03;

/// What the stages of a run are to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// Which prompts.
    pub domain: Domain,
    /// Seed of every random draw.
    pub seed: i64,
    /// The models, as declared.
    pub models: Vec<Model>,
    /// Files of seed questions, as declared, with their field names filled in.
    pub seed_questions: Vec<SeedQuestions>,
    /// The generators, in order.
    pub generators: Vec<GeneratorMethod>,
    /// Rule-based filters.
    pub filter: FilterMethod,
    /// The judge, unless off.
    pub judge: Option<JudgeMethod>,
    /// Difficulty sampling, unless off.
    pub difficulty: Option<DifficultyMethod>,
    /// Who answers.
    pub responder: String,
    /// Responses per question.
    pub samples: i32,
    /// How they are drawn.
    pub sampling: Sampling,
    /// The form of final answers.
    pub answer_format: AnswerFormat,
    /// The reward model.
    pub reward: String,
    /// Final answers that must agree.
    pub at_least: i32,
}

impl Method {
    /// Returns the model that is declared as `name`.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }

    /// Returns the share of each generator, in order.
    pub fn weights(&self) -> Vec<i64> {
        let generators = self.generators.iter();
        generators.map(|each| i64::from(each.weight)).collect()
    }
}

/// A generator.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorMethod {
    /// Its name.
    pub name: String,
    /// The model it starts from.
    pub model: String,
    /// Its share, relative to the others'.
    pub weight: i32,
    /// System prompt before every question.
    pub system_prompt: Option<String>,
    /// Question fine-tuning; absent with `epochs: 0`.
    pub qft: Option<Training>,
    /// Question preference optimisation; absent with `pairs: 0`.
    pub qpo: Option<QpoMethod>,
    /// How questions are drawn.
    pub sampling: Sampling,
}

/// Question preference optimisation.
#[derive(Clone, Debug, PartialEq)]
pub struct QpoMethod {
    /// Questions to sample and rewrite.
    pub pairs: i64,
    /// Who rewrites.
    pub rewriter: String,
    /// How the rewriter draws.
    pub rewriting: Sampling,
    /// DPO's beta.
    pub beta: f64,
    /// Training settings.
    pub training: Training,
}

/// Rule-based filters.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterMethod {
    /// Languages to keep; absent: all.
    pub languages: Option<Vec<String>>,
    /// Words in a shared n-gram, and the benchmarks; absent: off.
    pub contamination: Option<(i32, Vec<Benchmark>)>,
    /// Similarity of near duplicates; absent: off.
    pub duplicates: Option<f64>,
}

/// The solvability judge.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeMethod {
    /// The model.
    pub model: String,
    /// How it draws.
    pub sampling: Sampling,
}

/// Difficulty sampling.
#[derive(Clone, Debug, PartialEq)]
pub struct DifficultyMethod {
    /// Model on which the scorer is trained.
    pub base: String,
    /// Model whose fail rates are the labels.
    pub solver: String,
    /// Responses per seed question.
    pub samples: i32,
    /// How the solver draws.
    pub sampling: Sampling,
    /// Generators whose questions may be dropped.
    pub generators: Vec<String>,
    /// Predicted fail rate below which a question is dropped.
    pub minimum: f64,
    /// The scorer's training.
    pub training: Training,
}

/// Reads the method from a resolved spec; `None` if a value is absent for which the recipe has no default, which no recipe lacks.
pub(super) fn read(spec: &SynthesisRunSpec) -> Option<Method> {
    let filters = spec.filters.clone().unwrap_or_default();
    let judge = |on: Solvability| {
        Some(JudgeMethod {
            model: on.model?,
            sampling: on.sampling?,
        })
    };
    let agreement = spec
        .verification
        .as_ref()
        .and_then(|v| v.agreement.as_ref());
    Some(Method {
        domain: spec.domain?,
        seed: spec.seed,
        models: spec.models.clone(),
        seed_questions: spec.seed_questions.clone(),
        generators: spec
            .generators
            .iter()
            .map(generator)
            .collect::<Option<_>>()?,
        filter: FilterMethod {
            languages: filters.language.map(|on| on.keep.unwrap_or_default()),
            contamination: required(filters.contamination, |on| Some((on.ngram?, on.benchmarks)))?,
            duplicates: required(filters.duplicates, |on| on.similarity)?,
        },
        judge: required(filters.solvability, judge)?,
        difficulty: required(filters.difficulty, difficulty)?,
        responder: spec.responses.model.clone(),
        samples: spec.responses.samples?,
        sampling: spec.responses.sampling.clone()?,
        answer_format: spec.responses.answer_format?,
        reward: spec.reward.as_ref()?.model.clone()?,
        at_least: agreement.map_or(1, |agreement| agreement.at_least),
    })
}

/// Reads what is on: `None` if it lacks a value, `Some(None)` if it is off.
fn required<T, U>(on: Option<T>, read: impl Fn(T) -> Option<U>) -> Option<Option<U>> {
    match on {
        Some(on) => read(on).map(Some),
        None => Some(None),
    }
}

fn generator(each: &Generator) -> Option<GeneratorMethod> {
    let (qft, qpo) = (each.qft.clone()?, each.qpo.clone()?);
    let epochs = qft.epochs?;
    let qft = Training {
        epochs,
        learning_rate: qft.learning_rate?,
        warmup_ratio: qft.warmup_ratio?,
        max_length: qft.max_length?,
        batch_size: qft.batch_size?,
        tuning: qft.tuning?,
        lora: adapters(qft.tuning, qft.lora),
        checkpoint_steps: CHECKPOINT_STEPS,
    };
    let pairs = qpo.pairs?;
    let qpo = QpoMethod {
        pairs,
        rewriter: qpo.rewriter?,
        rewriting: qpo.rewriting?,
        beta: qpo.beta?,
        training: Training {
            epochs: qpo.epochs?,
            learning_rate: qpo.learning_rate?,
            warmup_ratio: qpo.warmup_ratio?,
            max_length: qpo.max_length?,
            batch_size: qpo.batch_size?,
            tuning: qpo.tuning?,
            lora: adapters(qpo.tuning, qpo.lora),
            checkpoint_steps: CHECKPOINT_STEPS,
        },
    };
    Some(GeneratorMethod {
        name: each.name.clone(),
        model: each.model.clone(),
        weight: each.weight?,
        system_prompt: each.system_prompt.clone(),
        qft: (epochs > 0).then_some(qft),
        qpo: (pairs != 0).then_some(qpo),
        sampling: each.sampling.clone()?,
    })
}

fn adapters(tuning: Option<Tuning>, lora: Option<Lora>) -> Option<Lora> {
    lora.filter(|_| tuning == Some(Tuning::Lora))
}

fn difficulty(on: Difficulty) -> Option<DifficultyMethod> {
    Some(DifficultyMethod {
        base: on.base,
        solver: on.solver,
        samples: on.samples?,
        sampling: on.sampling?,
        generators: on.generators?,
        minimum: on.minimum?,
        training: Training {
            epochs: on.epochs?,
            learning_rate: on.learning_rate?,
            warmup_ratio: SCORER_WARMUP,
            max_length: SCORER_MAX_LENGTH,
            batch_size: on.batch_size?,
            tuning: Tuning::Full,
            lora: None,
            checkpoint_steps: CHECKPOINT_STEPS,
        },
    })
}
