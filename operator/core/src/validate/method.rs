//! The method of a run with nothing left open: what each stage is to do, read once from a resolved spec, so that planning needs
//! neither options nor recipes.

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::protocol::task::Training;
use scalequest_crds::v1alpha1::{
    AnswerFormat, Benchmark, Domain, Lora, Model, Qft, Qpo, Sampling, SeedQuestions,
    SynthesisRunSpec, Tuning,
};

use crate::field_error::field_error;

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

/// Reads the method from a resolved spec; a value that should have been filled in and is not becomes an error.
pub(super) fn read(spec: &SynthesisRunSpec, errors: &mut Vec<FieldError>) -> Option<Method> {
    let mut missing = Missing(errors);
    let generators: Vec<GeneratorMethod> = spec
        .generators
        .iter()
        .enumerate()
        .filter_map(|(index, each)| generator(each, index, &mut missing))
        .collect();
    let filters = spec.filters.clone().unwrap_or_default();
    let judge = match &filters.solvability {
        Some(on) => Some(JudgeMethod {
            model: missing.get(on.model.clone(), "spec.filters.solvability.model")?,
            sampling: missing.get(on.sampling.clone(), "spec.filters.solvability.sampling")?,
        }),
        None => None,
    };
    let difficulty = match &filters.difficulty {
        Some(on) => {
            let at = |name: &str| format!("spec.filters.difficulty.{name}");
            Some(DifficultyMethod {
                base: on.base.clone(),
                solver: on.solver.clone(),
                samples: missing.get(on.samples, at("samples"))?,
                sampling: missing.get(on.sampling.clone(), at("sampling"))?,
                generators: missing.get(on.generators.clone(), at("generators"))?,
                minimum: missing.get(on.minimum, at("minimum"))?,
                training: Training {
                    epochs: missing.get(on.epochs, at("epochs"))?,
                    learning_rate: missing.get(on.learning_rate, at("learningRate"))?,
                    warmup_ratio: SCORER_WARMUP,
                    max_length: SCORER_MAX_LENGTH,
                    batch_size: missing.get(on.batch_size, at("batchSize"))?,
                    tuning: Tuning::Full,
                    lora: None,
                    checkpoint_steps: CHECKPOINT_STEPS,
                },
            })
        }
        None => None,
    };
    let filter = FilterMethod {
        languages: filters.language.map(|on| on.keep.unwrap_or_default()),
        contamination: match filters.contamination {
            Some(on) => Some((
                missing.get(on.ngram, "spec.filters.contamination.ngram")?,
                on.benchmarks,
            )),
            None => None,
        },
        duplicates: match filters.duplicates {
            Some(on) => Some(missing.get(on.similarity, "spec.filters.duplicates.similarity")?),
            None => None,
        },
    };
    Some(Method {
        domain: missing.get(spec.domain, "spec.domain")?,
        seed: spec.seed,
        models: spec.models.clone(),
        seed_questions: spec.seed_questions.clone(),
        generators,
        filter,
        judge,
        difficulty,
        responder: spec.responses.model.clone(),
        samples: missing.get(spec.responses.samples, "spec.responses.samples")?,
        sampling: missing.get(spec.responses.sampling.clone(), "spec.responses.sampling")?,
        answer_format: missing.get(spec.responses.answer_format, "spec.responses.answerFormat")?,
        reward: missing.get(
            spec.reward.clone().and_then(|reward| reward.model),
            "spec.reward.model",
        )?,
        at_least: spec
            .verification
            .clone()
            .and_then(|v| v.agreement)
            .map_or(1, |agreement| agreement.at_least),
    })
}

/// Turns absent values into errors.
struct Missing<'a>(&'a mut Vec<FieldError>);

impl Missing<'_> {
    fn get<T>(&mut self, value: Option<T>, field: impl Into<String>) -> Option<T> {
        if value.is_none() {
            self.0.push(field_error(
                field,
                "is not set, and the recipe has no default for it: set it",
            ));
        }
        value
    }
}

fn generator(
    each: &scalequest_crds::v1alpha1::Generator,
    index: usize,
    missing: &mut Missing,
) -> Option<GeneratorMethod> {
    let at = |name: &str| format!("spec.generators[{index}].{name}");
    let qft = missing.get(each.qft.clone(), at("qft"))?;
    let qpo = missing.get(each.qpo.clone(), at("qpo"))?;
    let pairs = missing.get(qpo.pairs, at("qpo.pairs"))?;
    let training = qpo_training(&qpo, &at, missing)?;
    Some(GeneratorMethod {
        name: each.name.clone(),
        model: each.model.clone(),
        weight: missing.get(each.weight, at("weight"))?,
        system_prompt: each.system_prompt.clone(),
        qft: qft_training(&qft, &at, missing).filter(|training| training.epochs > 0),
        qpo: match pairs {
            0 => None,
            pairs => Some(QpoMethod {
                pairs,
                rewriter: missing.get(qpo.rewriter, at("qpo.rewriter"))?,
                rewriting: missing.get(qpo.rewriting, at("qpo.rewriting"))?,
                beta: missing.get(qpo.beta, at("qpo.beta"))?,
                training,
            }),
        },
        sampling: missing.get(each.sampling.clone(), at("sampling"))?,
    })
}

fn qft_training(
    qft: &Qft,
    at: &impl Fn(&str) -> String,
    missing: &mut Missing,
) -> Option<Training> {
    let tuning = missing.get(qft.tuning, at("qft.tuning"))?;
    Some(Training {
        epochs: missing.get(qft.epochs, at("qft.epochs"))?,
        learning_rate: missing.get(qft.learning_rate, at("qft.learningRate"))?,
        warmup_ratio: missing.get(qft.warmup_ratio, at("qft.warmupRatio"))?,
        max_length: missing.get(qft.max_length, at("qft.maxLength"))?,
        batch_size: missing.get(qft.batch_size, at("qft.batchSize"))?,
        tuning,
        lora: adapters(tuning, &qft.lora),
        checkpoint_steps: CHECKPOINT_STEPS,
    })
}

fn qpo_training(
    qpo: &Qpo,
    at: &impl Fn(&str) -> String,
    missing: &mut Missing,
) -> Option<Training> {
    let tuning = missing.get(qpo.tuning, at("qpo.tuning"))?;
    Some(Training {
        epochs: missing.get(qpo.epochs, at("qpo.epochs"))?,
        learning_rate: missing.get(qpo.learning_rate, at("qpo.learningRate"))?,
        warmup_ratio: missing.get(qpo.warmup_ratio, at("qpo.warmupRatio"))?,
        max_length: missing.get(qpo.max_length, at("qpo.maxLength"))?,
        batch_size: missing.get(qpo.batch_size, at("qpo.batchSize"))?,
        tuning,
        lora: adapters(tuning, &qpo.lora),
        checkpoint_steps: CHECKPOINT_STEPS,
    })
}

fn adapters(tuning: Tuning, lora: &Option<Lora>) -> Option<Lora> {
    lora.clone().filter(|_| tuning == Tuning::Lora)
}
