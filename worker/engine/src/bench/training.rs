//! What training a model takes: a few real steps of question fine-tuning in full, on arbitrary tokens. It writes into a folder of its
//! own, which goes with it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::peak::available_bytes;
use crate::model::decoder::save;
use crate::model::{Checkpoint, ModelError, Tokenizer};
use crate::ops::TrainingBackend;
use crate::ops::device::{self, DeviceError};
use crate::ops::fused::Gradients;
use crate::training::micro_batches::MICRO_BATCH_TOKENS;
use crate::training::optimizer::{
    AdamW, AdamWSettings, LARGEST_GRADIENT_NORM, clipping, global_norm,
};
use crate::training::rng::KeyedRng;
use crate::training::settings::Tuning;
use crate::training::{Example, Objective, SftObjective, TrainableModel, TrainingError, gradient};

/// Rows and their tokens in the steps that are measured: what a token takes and what a step takes beside are told apart by the two. The
/// larger one is a whole micro-batch.
const STEPS: [(usize, usize); 2] = [(1, 32), (2, MICRO_BATCH_TOKENS / 2)];

/// For how long steps are repeated, of which the shortest counts.
const WARM_UP: Duration = Duration::from_secs(30);

/// Training could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum TrainingBenchError {
    /// There is not enough memory: bytes needed and available.
    #[error("training it in full takes {:.1} GiB of memory, {:.1} GiB are available", gib(*needed), gib(*available))]
    Memory {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// The model cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A step failed.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// The device that the environment asks for cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A file could not be written.
    #[error("cannot write to {path}: {source}; set TMPDIR to a folder with room")]
    Folder {
        /// Where.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// A model loaded to measure its training in full.
pub struct TrainingBench {
    model: TrainableModel,
    optimizer: AdamW,
    gradients: Gradients,
    tokenizer: Tokenizer,
    /// Seconds that loading took.
    pub load_seconds: f64,
}

impl TrainingBench {
    /// Loads the model in `path`.
    ///
    /// # Errors
    /// There is not the memory for it, or the model cannot be trained.
    pub fn load(path: &Path) -> Result<Self, TrainingBenchError> {
        let checkpoint = Checkpoint::open(path)?;
        let config = checkpoint.config();
        let needed = config.training_bytes(
            TrainingBackend::largest(),
            config.parameter_count(),
            MICRO_BATCH_TOKENS,
            STEPS[1].1,
        );
        if let Some(available) = available_bytes().filter(|available| *available < needed) {
            return Err(TrainingBenchError::Memory { needed, available });
        }
        let start = Instant::now();
        checkpoint.digest()?;
        let tokenizer = checkpoint.tokenizer()?;
        let device = device::from_environment()?;
        let parameters =
            device::place(checkpoint.parameters()?, &device).map_err(TrainingError::from)?;
        let model = TrainableModel::new(config.clone(), parameters, Tuning::Full, 0)?;
        Ok(TrainingBench {
            model,
            optimizer: AdamW::new(AdamWSettings::default()),
            gradients: Gradients::default(),
            tokenizer,
            load_seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Seconds of one step on so many rows of so many tokens, of which those from `loss_start` on are in the loss. At a learning rate of 0 the
    /// model stays as it is and the work is the same.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn step(
        &mut self,
        (rows, tokens): (usize, usize),
        loss_start: usize,
    ) -> Result<f64, TrainingError> {
        let vocabulary = self.model.decoder().config().vocab_size;
        let example = |row: usize| Example {
            tokens: (0..tokens)
                .map(|place| ((row * 7_919 + place * 104_729 + 11) % vocabulary) as u32)
                .collect(),
            loss_start,
        };
        let objective = SftObjective::new((0..rows).map(example).collect(), tokens)?;
        let batch = objective.units(&mut KeyedRng::new(0, "bench", 0));
        let start = Instant::now();
        let gradients = &mut self.gradients;
        let found = gradient(&self.model, &objective, &batch, gradients, &mut || false)?;
        if let Some(found) = found {
            let scale = clipping(global_norm(&found.values)?, LARGEST_GRADIENT_NORM);
            let variables = self.model.variables();
            self.optimizer.apply(variables, &found.values, 0.0, scale)?;
            found.reuse(&self.model, gradients);
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

/// How fast a model is trained in full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingRates {
    /// Seconds to check and load the model.
    pub load_seconds: f64,
    /// Seconds a token, forward and backward.
    pub token_seconds: f64,
    /// Seconds that a step takes beside its tokens: the optimizer's.
    pub step_seconds: f64,
    /// Seconds to write the trained model, and to read it once for its digest.
    pub save_seconds: f64,
}

/// Measures the training of the model in `path`, in full.
///
/// # Errors
/// There is not the memory for it, or the model cannot be trained.
pub fn measure_training(path: &Path) -> Result<TrainingRates, TrainingBenchError> {
    let mut training = TrainingBench::load(path)?;
    // The first half is read only, as the prompt before a short question: the quickstart's is 24 of 54 tokens.
    let mut step = |(rows, tokens)| training.step((rows, tokens), tokens / 2);
    // The first steps make the moments and find the memory of all that follow: half a dozen of them may take half as long again.
    let begun = Instant::now();
    let mut long = f64::INFINITY;
    while long.is_infinite() || begun.elapsed() < WARM_UP {
        long = step(STEPS[1])?.min(long);
    }
    let short = step(STEPS[0])?;
    let [few, many] = STEPS.map(|(rows, tokens)| (rows * tokens) as f64);
    // On a machine with other work a short step may come out longer than a long one.
    let token_seconds = (long - short).max(0.1 * long) / (many - few);

    let start = Instant::now();
    let folder = tempfile::tempdir().map_err(|source| TrainingBenchError::Folder {
        path: std::env::temp_dir().display().to_string(),
        source,
    })?;
    save(
        folder.path(),
        training.model.decoder().config(),
        &training.model.merged_parameters()?,
        &training.tokenizer,
        None,
    )?;
    Checkpoint::open(folder.path())?.digest()?;
    Ok(TrainingRates {
        load_seconds: training.load_seconds,
        token_seconds,
        step_seconds: (short - token_seconds * few).max(0.0),
        save_seconds: start.elapsed().as_secs_f64(),
    })
}
