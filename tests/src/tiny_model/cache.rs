//! Where the tiny models are kept: outside the tree, under a hash of everything that decides them, made by whoever
//! comes first while the others wait.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use scalequest_crds::digest::sha256_hex;

use super::{data, training};

/// The tiny models and their data, on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TinyModels {
    /// The chat model in the Hugging Face layout: generator, judge, rewriter, responder, verifier, and base of a scorer.
    pub chat: PathBuf,
    /// A reward model with a scalar head.
    pub reward: PathBuf,
    /// 400 seed questions with answers, JSON lines `question`, `answer`.
    pub seed_questions: PathBuf,
    /// 60 seed programming tasks with answers, JSON lines `question`, `answer`.
    pub seed_tasks: PathBuf,
    /// A benchmark that contaminates some questions, JSON lines `problem`.
    pub benchmark: PathBuf,
}

impl TinyModels {
    /// The models as [`write_models`] lays them out in a directory.
    pub fn in_directory(directory: &Path) -> Self {
        let at = |name: &str| directory.join(name);
        Self {
            chat: at("chat"),
            reward: at("reward"),
            seed_questions: at("seed-questions.jsonl"),
            seed_tasks: at("seed-tasks.jsonl"),
            benchmark: at("benchmark.jsonl"),
        }
    }
}

/// The tiny models: from the cache, or trained into it, which takes minutes.
///
/// The cache is `$SCALEQUEST_CACHE/tiny-models`, or `~/.cache/scalequest/tiny-models`.
///
/// # Errors
/// The cache cannot be written, or training fails.
pub fn models() -> Result<TinyModels> {
    let root = match std::env::var_os("SCALEQUEST_CACHE") {
        Some(root) => PathBuf::from(root),
        None => std::env::home_dir()
            .context("no home directory: set SCALEQUEST_CACHE to a directory for the tiny models")?
            .join(".cache/scalequest"),
    };
    let directory = root.join("tiny-models");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let key = key()?;
    let (place, lock) = (directory.join(&key), directory.join(format!("{key}.lock")));
    let lock = File::create(&lock).with_context(|| format!("cannot make {}", lock.display()))?;
    lock.lock().context("cannot lock the tiny model cache")?;
    if !place.is_dir() {
        let unfinished = directory.join(format!("{key}.unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        write_models(&unfinished, &mut |line| eprintln!("tiny model: {line}"))?;
        fs::rename(&unfinished, &place)?;
    }
    Ok(TinyModels::in_directory(&place))
}

/// Trains the models and writes them with their data into `directory`, which is made.
///
/// # Errors
/// As [`models`].
pub fn write_models(directory: &Path, say: &mut dyn FnMut(String)) -> Result<TinyModels> {
    let models = TinyModels::in_directory(directory);
    fs::create_dir_all(&models.chat)?;
    fs::create_dir_all(&models.reward)?;
    fs::write(&models.seed_questions, data::seed_questions(400))?;
    fs::write(&models.seed_tasks, data::seed_tasks(60))?;
    fs::write(&models.benchmark, data::benchmark())?;
    let scratch = tempfile::tempdir()?;
    training::train_chat(&models.chat, scratch.path(), say)?;
    training::train_reward(&models.chat, &models.reward, scratch.path(), say)?;
    Ok(models)
}

/// Sixteen hex digits of everything that decides the models and their data.
fn key() -> Result<String> {
    let data = [
        data::seed_questions(400),
        data::seed_tasks(60),
        data::benchmark(),
    ];
    let all = data.map(|text| sha256_hex(text.as_bytes())).concat() + &training::training_hash()?;
    Ok(sha256_hex(all.as_bytes())[..16].to_owned())
}
