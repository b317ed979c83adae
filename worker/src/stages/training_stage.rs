//! The frame of the stages that train a model: resumes from the last checkpoint, saves new ones to the workspace, and commits
//! the trained model in the Hugging Face layout with a log of its steps. It knows no loss.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::report::Counts;
use scalequest_crds::protocol::task::Training;
use scalequest_crds::v1alpha1;
use scalequest_engine::model::decoder::save;
use scalequest_engine::model::{ChatTemplate, ModelConfig, Parameters, Tokenizer};
use scalequest_engine::ops::device::{self, training_backend_name};
use scalequest_engine::training::optimizer::AdamWSettings;
use scalequest_engine::training::settings::{Lora, TrainingSettings, Tuning};
use scalequest_engine::training::{
    Objective, Plan, TrainableModel, TrainingCallback, TrainingError, TrainingOutcome,
    TrainingProgress, TrainingSummary, train,
};
use serde_json::{Map, Value, json};

use super::StageError;
use super::draw_keys::training_key;
use super::scratch_dir::ScratchDir;
use super::shard::{Shard, StageResult};
use crate::storage::checkpoint::Checkpoint as StoredCheckpoint;
use crate::storage::commit::ShardOutput;
use crate::storage::store::Content;

/// The name of a checkpoint's only part.
const STATE_FILE: &str = "training.safetensors";

/// The log of the training's steps, in JSON lines, committed with the model.
const LOG_FILE: &str = "training_log.jsonl";

/// Loads a model's config and its parameters by checkpoint key.
pub type LoadParameters = Box<dyn Fn() -> Result<(ModelConfig, Parameters), StageError>>;

/// The model from which training starts.
pub struct InitialModel {
    /// Loads its config and parameters when they are needed, so that they are in memory only once.
    pub load: LoadParameters,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template, if it has one.
    pub template: Option<ChatTemplate>,
}

/// What is committed with the model.
pub struct SideOutput {
    /// The table `rows`: the training examples, encoded.
    pub rows: Vec<u8>,
    /// Rows in it.
    pub count: i64,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Trains `initial` by an objective that `objective` creates, and commits the trained model.
///
/// # Errors
/// A setting is impossible, the loss is not a number, the workspace fails, or the task is cancelled (a checkpoint is saved).
pub fn run_training_stage<O: Objective>(
    shard: &Shard<'_>,
    initial: InitialModel,
    objective: impl Fn() -> Result<O, StageError>,
    settings: &Training,
    side_output: SideOutput,
) -> Result<StageResult, StageError> {
    let scratch = ScratchDir::new()?;
    let stored = StoredCheckpoint::new(&shard.dir, &shard.range);
    let (mut current, engine_settings) = (objective()?, engine_settings(settings));
    let metrics = current.metrics();
    let mut trained = load_trainable(shard, &initial, settings)?;
    let state = match stored.load()? {
        Some(saved) => saved.file(STATE_FILE, scratch.path())?,
        None => None,
    };
    let run = |model: &TrainableModel, objective: &mut O, resume: Option<&Path>| {
        let purpose = training_key(&shard.task.id);
        let optimizer = AdamWSettings::default();
        let plan = Plan {
            settings: &engine_settings,
            seed: shard.task.seed,
            purpose: &purpose,
            identity: &shard.task.key,
            optimizer,
            scratch: scratch.path(),
            resume,
        };
        train(
            model,
            objective,
            &plan,
            &mut ShardCallback {
                shard,
                stored: &stored,
            },
        )
    };
    let ended = match run(&trained, &mut current, state.as_deref()) {
        // An unusable checkpoint costs time, but does not fail the training.
        Err(TrainingError::Checkpoint { path, reason }) if state.is_some() => {
            tracing::warn!(path = %path.display(), reason, "a training checkpoint is unusable, training restarts");
            stored.remove()?;
            current = objective()?;
            drop(trained);
            trained = load_trainable(shard, &initial, settings)?;
            run(&trained, &mut current, None)?
        }
        ended => ended?,
    };
    match ended {
        TrainingOutcome::Stopped { .. } => Err(StageError::Stopped),
        TrainingOutcome::Finished(summary) => {
            let result = commit(
                shard,
                &initial,
                &trained,
                &scratch,
                &summary,
                metrics,
                side_output,
            )?;
            stored.remove()?;
            Ok(result)
        }
    }
}

fn load_trainable(
    shard: &Shard<'_>,
    initial: &InitialModel,
    settings: &Training,
) -> Result<TrainableModel, StageError> {
    shard.reporter.set_activity("load model");
    let device = device::from_environment().map_err(|error| match error.is_permanent() {
        true => StageError::Permanent(error.to_string()),
        false => StageError::Unexpected(error.to_string()),
    })?;
    let (config, parameters) = (initial.load)()?;
    let parameters = device::place(parameters, &device).map_err(TrainingError::from)?;
    Ok(TrainableModel::new(
        config,
        parameters,
        tuning(settings)?,
        shard.task.seed,
    )?)
}

/// Returns the task's settings as the engine's. Negative values become zero, which the engine rejects.
fn engine_settings(settings: &Training) -> TrainingSettings {
    TrainingSettings {
        epochs: usize::try_from(settings.epochs).unwrap_or(0),
        batch_size: usize::try_from(settings.batch_size).unwrap_or(0),
        learning_rate: settings.learning_rate,
        warmup_ratio: settings.warmup_ratio,
        checkpoint_steps: u64::try_from(settings.checkpoint_steps).unwrap_or(0),
    }
}

fn tuning(settings: &Training) -> Result<Tuning, TrainingError> {
    match (settings.tuning, &settings.lora) {
        (v1alpha1::Tuning::Full, _) => Ok(Tuning::Full),
        (v1alpha1::Tuning::Lora, Some(lora)) => Ok(Tuning::Lora(Lora {
            rank: usize::try_from(lora.rank).unwrap_or(0),
            alpha: lora.alpha,
        })),
        (v1alpha1::Tuning::Lora, None) => Err(TrainingError::Setting {
            field: "lora",
            value: "absent".into(),
            reason: "tuning Lora needs a rank and an alpha".into(),
        }),
    }
}

fn commit(
    shard: &Shard<'_>,
    initial: &InitialModel,
    trained: &TrainableModel,
    scratch: &ScratchDir,
    summary: &TrainingSummary,
    metrics: &[&str],
    side_output: SideOutput,
) -> Result<StageResult, StageError> {
    shard.reporter.set_activity("save model");
    let folder = scratch.create_dir("model")?;
    save(
        &folder,
        trained.decoder().config(),
        &trained.merged_parameters()?,
        &initial.tokenizer,
        initial.template.as_ref(),
    )?;
    write_log(&folder.join(LOG_FILE), summary, metrics)?;
    let counts = Counts {
        rows_in: shard.range.end - shard.range.start,
        rows_out: side_output.count,
        tokens_in: i64::try_from(summary.tokens).unwrap_or(i64::MAX),
        ..Counts::default()
    };
    let mut output = ShardOutput::new(training_backend_name(trained.decoder().device()))
        .table("rows", side_output.rows)
        .table("rejects", Vec::new())
        .counts(counts);
    for file in files(&folder)? {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        output = output.file(&name, file);
    }
    let mut result = StageResult::committed(shard.dir.commit(&shard.range, &output)?);
    result.warnings = side_output.warnings;
    Ok(result)
}

fn write_log(path: &Path, summary: &TrainingSummary, metrics: &[&str]) -> Result<(), StageError> {
    let mut lines = String::new();
    for (record, step) in summary.steps.iter().zip(1..) {
        let mut line = Map::new();
        line.insert("step".into(), json!(step));
        line.insert("loss".into(), json!(record.loss));
        line.insert("learningRate".into(), json!(record.learning_rate));
        line.insert("gradientNorm".into(), json!(record.gradient_norm));
        metrics
            .iter()
            .zip(&record.metrics)
            .for_each(|(name, value)| {
                line.insert((*name).into(), json!(value));
            });
        lines.push_str(&Value::Object(line).to_string());
        lines.push('\n');
    }
    std::fs::write(path, lines).map_err(|error| {
        StageError::retryable(&error, format!("cannot write {}: {error}", path.display()))
    })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, StageError> {
    let entries = std::fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
    });
    let mut files = entries.map_err(|error| {
        StageError::retryable(&error, format!("cannot read {}: {error}", folder.display()))
    })?;
    files.sort();
    Ok(files)
}

/// Reports the progress of a training and saves its checkpoints.
struct ShardCallback<'a> {
    shard: &'a Shard<'a>,
    stored: &'a StoredCheckpoint,
}

impl TrainingCallback for ShardCallback<'_> {
    fn progress(&mut self, progress: &TrainingProgress<'_>) {
        self.shard.reporter.report(Progress {
            activity: progress.activity.into(),
            done: i64::try_from(progress.step).unwrap_or(i64::MAX),
            total: i64::try_from(progress.steps).unwrap_or(i64::MAX),
            tokens: i64::try_from(progress.tokens).unwrap_or(i64::MAX),
            loss: progress.last.map(|step| step.loss),
        });
    }

    fn should_stop(&mut self) -> bool {
        self.shard.cancellation.is_cancelled()
    }

    fn save_checkpoint(
        &mut self,
        checkpoint: &Path,
        _: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let parts = BTreeMap::from([(STATE_FILE.to_owned(), Content::File(checkpoint.to_owned()))]);
        Ok(self.stored.save(&parts)?)
    }
}
