//! The frame of the stages that train a model: goes on from the last checkpoint, keeps new ones in the workspace, and commits
//! the trained model in the Hugging Face layout with a log of its steps. It knows no loss.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::report::Counts;
use scalequest_crds::protocol::task::Training;
use scalequest_crds::v1alpha1;
use scalequest_engine::model::decoder::save;
use scalequest_engine::model::{ChatTemplate, ModelConfig, Parameters, Tokenizer};
use scalequest_engine::ops::device::{self, training_body_name};
use scalequest_engine::training::optimizer::AdamWSettings;
use scalequest_engine::training::settings::{Lora, TrainingSettings, Tuning};
use scalequest_engine::training::{
    Ended, Objective, Plan, Summary, Trainee, TrainingError, TrainingProgress, Watcher, train,
};
use serde_json::{Map, Value, json};

use super::draw_keys::draw_key;
use super::scratch::Scratch;
use super::shard::{Finished, Shard};
use super::{StageError, Stop};
use crate::storage::checkpoint::Checkpoint as SavedProgress;
use crate::storage::commit::ShardOutput;
use crate::storage::store::Content;

/// The name of a checkpoint's only part.
const STATE: &str = "training.safetensors";

/// The steps of the training, as JSON lines beside the model.
const LOG: &str = "training_log.jsonl";

/// Reads a model's shape and its parameters by checkpoint key.
pub type Load = Box<dyn Fn() -> Result<(ModelConfig, Parameters), StageError>>;

/// A model about to be trained.
pub struct Starting {
    /// Its shape and parameters by checkpoint key, read when they are wanted, so that they are in memory once.
    pub load: Load,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template, where it has one.
    pub template: Option<ChatTemplate>,
}

/// What is committed beside the model.
pub struct Beside {
    /// The table `rows`: what was learnt from.
    pub rows: Vec<u8>,
    /// Lines in it.
    pub count: i64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Trains `start` by what `objective` makes and commits the model.
///
/// # Errors
/// A setting is impossible, the loss is not a number, the workspace fails, or a stop was asked for (a checkpoint is kept).
pub fn run_training<O: Objective>(
    shard: &Shard<'_>,
    start: Starting,
    objective: impl Fn() -> Result<O, StageError>,
    settings: &Training,
    beside: Beside,
) -> Result<Finished, StageError> {
    let scratch = Scratch::new()?;
    let progress = SavedProgress::new(&shard.dir, &shard.range);
    let (mut made, engine) = (objective()?, engine_settings(settings));
    let measures = made.measures();
    let mut trained = trainee(shard, &start, settings)?;
    let state = match progress.load()? {
        Some(saved) => saved.file(STATE, scratch.path())?,
        None => None,
    };
    let run = |trainee: &Trainee, objective: &mut O, resume: Option<&Path>| {
        let purpose = [
            draw_key(shard.task.stage),
            shard.task.generator.as_deref().unwrap_or_default(),
        ]
        .join(" ");
        let optimizer = AdamWSettings::default();
        let plan = Plan {
            settings: &engine,
            seed: shard.task.seed,
            purpose: &purpose,
            identity: &shard.task.key,
            optimizer,
            scratch: scratch.path(),
            resume,
        };
        train(
            trainee,
            objective,
            &plan,
            &mut Watching {
                shard,
                stop: shard.stop,
                progress: &progress,
            },
        )
    };
    let ended = match run(&trained, &mut made, state.as_deref()) {
        // A checkpoint that cannot serve costs time, not the training.
        Err(TrainingError::Checkpoint { path, reason }) if state.is_some() => {
            tracing::warn!(path = %path.display(), reason, "a training checkpoint is unusable, training starts anew");
            progress.remove()?;
            made = objective()?;
            drop(trained);
            trained = trainee(shard, &start, settings)?;
            run(&trained, &mut made, None)?
        }
        ended => ended?,
    };
    match ended {
        Ended::Stopped { .. } => Err(StageError::Stopped),
        Ended::Finished(summary) => {
            let finished = commit(
                shard, &start, &trained, &scratch, &summary, measures, beside,
            )?;
            progress.remove()?;
            Ok(finished)
        }
    }
}

fn trainee(
    shard: &Shard<'_>,
    start: &Starting,
    settings: &Training,
) -> Result<Trainee, StageError> {
    shard.progressing.begin("load model");
    let device = device::from_environment().map_err(|error| match error.is_permanent() {
        true => StageError::Task(error.to_string()),
        false => StageError::World(error.to_string()),
    })?;
    let (config, parameters) = (start.load)()?;
    let parameters = device::place(parameters, &device).map_err(TrainingError::from)?;
    Ok(Trainee::new(
        config,
        parameters,
        tuning(settings)?,
        shard.task.seed,
    )?)
}

/// The task's settings as the engine has them. What is below zero counts as zero there, which the engine refuses.
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
    start: &Starting,
    trained: &Trainee,
    scratch: &Scratch,
    summary: &Summary,
    measures: &[&str],
    beside: Beside,
) -> Result<Finished, StageError> {
    shard.progressing.begin("save model");
    let folder = scratch.folder("model")?;
    save(
        &folder,
        trained.decoder().config(),
        &trained.merged_parameters()?,
        &start.tokenizer,
        start.template.as_ref(),
    )?;
    write_log(&folder.join(LOG), summary, measures)?;
    let counts = Counts {
        rows_in: shard.range.end - shard.range.start,
        rows_out: beside.count,
        tokens_in: i64::try_from(summary.tokens).unwrap_or(i64::MAX),
        ..Counts::default()
    };
    let mut output = ShardOutput::new(training_body_name(trained.decoder().device()))
        .table("rows", beside.rows)
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
    let mut finished = Finished::committed(shard.dir.commit(&shard.range, &output)?);
    finished.warnings = beside.warnings;
    Ok(finished)
}

fn write_log(path: &Path, summary: &Summary, measures: &[&str]) -> Result<(), StageError> {
    let mut lines = String::new();
    for (record, step) in summary.steps.iter().zip(1..) {
        let mut line = Map::new();
        line.insert("step".into(), json!(step));
        line.insert("loss".into(), json!(record.loss));
        line.insert("learningRate".into(), json!(record.learning_rate));
        line.insert("gradientNorm".into(), json!(record.gradient_norm));
        measures
            .iter()
            .zip(&record.measures)
            .for_each(|(name, value)| {
                line.insert((*name).into(), json!(value));
            });
        lines.push_str(&Value::Object(line).to_string());
        lines.push('\n');
    }
    std::fs::write(path, lines).map_err(|error| {
        StageError::world(&error, format!("cannot write {}: {error}", path.display()))
    })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, StageError> {
    let entries = std::fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
    });
    let mut files = entries
        .map_err(|error| StageError::World(format!("cannot read {}: {error}", folder.display())))?;
    files.sort();
    Ok(files)
}

struct Watching<'a> {
    shard: &'a Shard<'a>,
    stop: &'a Stop,
    progress: &'a SavedProgress,
}

impl Watcher for Watching<'_> {
    fn progress(&mut self, progress: &TrainingProgress<'_>) {
        self.shard.progressing.say(Progress {
            doing: progress.doing.into(),
            done: i64::try_from(progress.step).unwrap_or(i64::MAX),
            total: i64::try_from(progress.steps).unwrap_or(i64::MAX),
            tokens: i64::try_from(progress.tokens).unwrap_or(i64::MAX),
            loss: progress.last.map(|step| step.loss),
        });
    }

    fn should_stop(&mut self) -> bool {
        self.stop.is_asked()
    }

    fn keep(
        &mut self,
        checkpoint: &Path,
        _: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let parts = BTreeMap::from([(STATE.to_owned(), Content::File(checkpoint.to_owned()))]);
        Ok(self.progress.save(&parts)?)
    }
}
