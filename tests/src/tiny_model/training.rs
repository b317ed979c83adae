//! Trains the tiny models with the worker's own training: a chat model that has every role, and a reward model with
//! a scalar head made from it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use scalequest_crds::digest::hex;

use scalequest_engine::model::decoder::save;
use scalequest_engine::model::{
    Architecture, ChatMessage, ChatTemplate, Checkpoint, Head, ModelConfig, Tokenizer,
};
use scalequest_engine::training::initial::{initial_parameters, with_scalar_head};
use scalequest_engine::training::optimizer::AdamWSettings;
use scalequest_engine::training::rng::KeyedRng;
use scalequest_engine::training::settings::{TrainingSettings, Tuning};
use scalequest_engine::training::{
    Example, Objective, Plan, RegressionObjective, SftObjective, Target, TrainableModel,
    TrainingCallback, TrainingOutcome, TrainingProgress, train,
};
use sha2::{Digest, Sha256};

use super::tokenizer;
use super::training_data::{self, Exchange};

/// Seed of every draw in teaching and training.
pub const SEED: i64 = 20_241_018;
/// Exchanges of the chat model.
pub const EXCHANGES: u64 = 36_000;
/// Tokens of the longest exchange, and of a packed row.
const LONGEST: usize = 64;
/// Responses that the reward model learns from.
const REWARDED: u64 = 10_000;

/// Settings of the chat model's training.
fn chat_settings() -> TrainingSettings {
    TrainingSettings {
        epochs: 1,
        learning_rate: 3e-3,
        warmup_ratio: 0.05,
        batch_size: 24,
        checkpoint_steps: 0,
    }
}

/// Settings of the reward model's training.
fn reward_settings() -> TrainingSettings {
    TrainingSettings {
        learning_rate: 2e-3,
        batch_size: 32,
        ..chat_settings()
    }
}

/// Settings of both trainings' optimizer.
fn optimizer() -> AdamWSettings {
    AdamWSettings {
        beta2: 0.99,
        weight_decay: 0.01,
        ..AdamWSettings::default()
    }
}

/// The shape: Qwen2's, with about a million parameters.
pub fn config(vocab_size: usize) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Qwen2,
        head: Head::LanguageModel,
        vocab_size,
        hidden_size: 128,
        intermediate_size: 352,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 32,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 512,
        tie_word_embeddings: true,
        qkv_bias: true,
        output_bias: false,
        sliding_window: None,
        reward_token: None,
    }
}

/// Tokens of an exchange as an example.
pub fn example(
    exchange: &Exchange,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Example> {
    let prefix = match &exchange.prompt {
        Some(prompt) => template.render(&[ChatMessage::user(prompt.as_str())], true)?,
        None => template.question_prefix(None)?.text,
    };
    let end = tokenizer
        .token_id(tokenizer::END)
        .context("the tiny tokenizer lacks its end token")?;
    Ok(Example::question(
        &tokenizer.encode(&prefix)?,
        &tokenizer.encode(&exchange.reply)?,
        end,
    ))
}

/// Trains the chat model into `directory`, which exists and holds its tokenizer afterwards too.
///
/// # Errors
/// The training fails, or a file cannot be written.
pub fn train_chat(directory: &Path, scratch: &Path, say: &mut dyn FnMut(String)) -> Result<()> {
    let (json, vocab_size) = tokenizer::build()?;
    let file = directory.join("tokenizer.json");
    std::fs::write(&file, json.to_string())?;
    let tokenizer = Tokenizer::from_file(&file, &[tokenizer::END])?;
    let template = ChatTemplate::new(tokenizer::CHAT_TEMPLATE.into(), &tokenizer, directory)?;

    let examples = (0..EXCHANGES)
        .map(|index| example(&training_data::exchange(SEED, index), &tokenizer, &template));
    let mut objective = SftObjective::new(examples.collect::<Result<_>>()?, LONGEST)?;
    anyhow::ensure!(
        objective.truncated() == 0,
        "an exchange is longer than {LONGEST} tokens"
    );
    let config = config(vocab_size);
    let trainee = TrainableModel::new(
        config.clone(),
        initial_parameters(&config, SEED)?,
        Tuning::Full,
        SEED,
    )?;
    run(
        "chat",
        &trainee,
        &mut objective,
        &chat_settings(),
        scratch,
        say,
    )?;
    save(
        directory,
        &config,
        &trainee.merged_parameters()?,
        &tokenizer,
        Some(&template),
    )?;
    Ok(())
}

/// Trains the reward model from the chat model in `chat`: 1 for a right response, -1 for a wrong one.
///
/// # Errors
/// As [`train_chat`].
pub fn train_reward(
    chat: &Path,
    directory: &Path,
    scratch: &Path,
    say: &mut dyn FnMut(String),
) -> Result<()> {
    let checkpoint = Checkpoint::open(chat)?;
    let tokenizer = checkpoint.tokenizer()?;
    let template = checkpoint.chat_template(&tokenizer)?;
    let targets = (0..REWARDED).map(|index| {
        let (question, response, value) = judged_response(index);
        Ok(Target {
            tokens: rewarded(&question, &response, &tokenizer, &template)?,
            value,
        })
    });
    let mut objective = RegressionObjective::new(targets.collect::<Result<_>>()?, LONGEST)?;
    let (config, parameters) =
        with_scalar_head(checkpoint.config().clone(), checkpoint.parameters()?, SEED)?;
    let trainee = TrainableModel::new(config.clone(), parameters, Tuning::Full, SEED)?;
    run(
        "reward",
        &trainee,
        &mut objective,
        &reward_settings(),
        scratch,
        say,
    )?;
    save(
        directory,
        &config,
        &trainee.merged_parameters()?,
        &tokenizer,
        Some(&template),
    )?;
    Ok(())
}

/// What the reward model is taught: a question, a response, and 1 where it is right, -1 where it is wrong.
fn judged_response(index: u64) -> (String, String, f32) {
    let mut draws = KeyedRng::new(SEED, "rewarded", index);
    let problem = training_data::sound(&mut draws);
    let is_wrong = draws.below(2) == 0;
    let response = training_data::response(&problem, is_wrong, &mut draws);
    let is_right = training_data::is_right(&problem.truth(), &response);
    (problem.text(), response, if is_right { 1.0 } else { -1.0 })
}

/// Hash of everything that decides the models: what they are taught, word for word, with which tokens, their shape and
/// the settings of their trainings. The worker's arithmetic is not in: a change there that makes other bits makes no other skill.
///
/// # Errors
/// The tokenizer cannot be built.
pub fn training_hash() -> Result<String> {
    let (tokenizer, vocab_size) = tokenizer::build()?;
    let mut hash = Sha256::new();
    let mut add = |what: String| hash.update(what + "\n");
    add(tokenizer.to_string());
    add(tokenizer::CHAT_TEMPLATE.to_string());
    add(format!(
        "{SEED} {LONGEST} {:?} {:?} {:?} {:?}",
        config(vocab_size),
        chat_settings(),
        reward_settings(),
        optimizer()
    ));
    (0..EXCHANGES).for_each(|index| add(format!("{:?}", training_data::exchange(SEED, index))));
    (0..REWARDED).for_each(|index| add(format!("{:?}", judged_response(index))));
    Ok(hex(&hash.finalize()))
}

/// Tokens of a conversation as a scalar reward model reads it.
pub fn rewarded(
    question: &str,
    response: &str,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Vec<u32>> {
    let text = template.render(
        &[
            ChatMessage::user(question),
            ChatMessage::assistant(response),
        ],
        false,
    )?;
    Ok(tokenizer.encode(&text)?)
}

fn run<O: Objective>(
    name: &'static str,
    trainee: &TrainableModel,
    objective: &mut O,
    settings: &TrainingSettings,
    scratch: &Path,
    say: &mut dyn FnMut(String),
) -> Result<()> {
    let plan = Plan {
        settings,
        seed: SEED,
        purpose: name,
        identity: name,
        optimizer: optimizer(),
        scratch,
        resume: None,
    };
    match train(
        trainee,
        objective,
        &plan,
        &mut ProgressPrinter { name, say },
    )? {
        TrainingOutcome::Finished(_) => Ok(()),
        TrainingOutcome::Stopped { step } => {
            bail!("the {name} training stopped at step {step} without being asked to")
        }
    }
}

/// Says every hundredth step and keeps nothing.
struct ProgressPrinter<'a> {
    name: &'static str,
    say: &'a mut dyn FnMut(String),
}

impl TrainingCallback for ProgressPrinter<'_> {
    fn progress(&mut self, progress: &TrainingProgress<'_>) {
        if let Some(last) = progress
            .last
            .filter(|_| progress.step.is_multiple_of(50) || progress.step == progress.steps)
        {
            let TrainingProgress {
                step,
                steps,
                tokens,
                ..
            } = progress;
            (self.say)(format!(
                "{}: step {step} of {steps}, {tokens} tokens, loss {:.4}",
                self.name, last.loss
            ));
        }
    }

    fn should_stop(&mut self) -> bool {
        false
    }

    fn save_checkpoint(
        &mut self,
        _: &Path,
        _: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}
