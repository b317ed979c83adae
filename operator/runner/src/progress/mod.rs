//! Progress of a run for whoever watches it: one event type, three displays. It must not decide anything.

mod bars;

mod json;

mod lines;

pub mod sentence;

use std::io::IsTerminal;

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::report::Counts;
use scalequest_crds::v1alpha1::StageId;
use scalequest_crds::v1alpha1::status::SynthesisRunStatus;
use serde::{Deserialize, Serialize};

use bars::Bars;
use json::Json;
use lines::Lines;

/// How far a stage under way is: its finished shards, and what the running ones say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageProgress {
    /// What it does now.
    pub activity: String,
    /// Rows or steps done.
    pub done: i64,
    /// Rows or steps in all; 0 where unknown.
    pub total: i64,
    /// Tokens so far.
    pub tokens: i64,
    /// Rows or steps in a second, since the stage began.
    pub per_second: f64,
    /// Tokens in a second.
    pub tokens_per_second: f64,
    /// Seconds left at this rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// Latest training loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Shards that are committed.
    pub shards_done: i64,
    /// Shards in all.
    pub shards: i64,
}

impl StageProgress {
    /// Adds what one running worker says.
    pub fn add(&mut self, progress: &Progress) {
        self.activity.clone_from(&progress.activity);
        self.done += progress.done;
        self.tokens += progress.tokens;
        self.total = self.total.max(progress.total);
        self.loss = progress.loss.or(self.loss);
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "event",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// Preflight checks run, and download what they need.
    Preflight {
        /// How far a fetch is.
        #[serde(flatten)]
        progress: Progress,
    },
    /// The run loop starts.
    RunStarted {
        /// Its name.
        run: String,
        /// Whether a record of it was found.
        resumed: bool,
        /// Where the workspace is.
        workspace: String,
        /// Where the dataset goes.
        output: String,
        /// Cores that workers share.
        cores: usize,
        /// Bytes of memory that workers share.
        memory: i64,
        /// GPUs that workers share.
        gpus: usize,
    },
    /// Work on a stage begins.
    StageStarted {
        /// Which.
        #[serde(flatten)]
        name: StageId,
        /// Rows of work.
        rows: i64,
        /// Shards.
        shards: i64,
    },
    /// How far a stage is.
    StageProgressed {
        /// Which.
        #[serde(flatten)]
        name: StageId,
        /// How far.
        #[serde(flatten)]
        progress: StageProgress,
    },
    /// A stage is finished and its output checked.
    StageSealed {
        /// Which.
        #[serde(flatten)]
        name: StageId,
        /// Whether all of it was there already.
        reused: bool,
        /// What it counted.
        counts: Counts,
        /// Wall time of the stage.
        millis: i64,
    },
    /// An attempt failed; it is retried, or its shard is marked failed.
    AttemptFailed {
        /// Which stage.
        #[serde(flatten)]
        name: StageId,
        /// The shard; absent for a seal.
        #[serde(skip_serializing_if = "Option::is_none")]
        shard: Option<i64>,
        /// Which attempt, from 1.
        attempt: u32,
        /// Why.
        message: String,
        /// Seconds until the next attempt; absent where there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_seconds: Option<u64>,
        /// Where the whole log is.
        log: String,
    },
    /// A warning for users.
    Warning {
        /// What.
        message: String,
    },
    /// The status changed in a way worth a line.
    Status {
        /// All of it.
        status: Box<SynthesisRunStatus>,
    },
    /// The run is asked to stop.
    Stopping {
        /// Workers that save and end.
        workers: usize,
    },
    /// The run has ended, or is left for now.
    Ended {
        /// `complete`, `incomplete`, `failed` or `interrupted`.
        outcome: String,
        /// Why, and what to do.
        message: String,
        /// The report page, where there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        report: Option<String>,
        /// The last status.
        status: Box<SynthesisRunStatus>,
    },
}

/// A way of showing events.
pub trait Display {
    /// Shows `event`.
    fn show(&mut self, event: &Event);
}

/// The form of what is written to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: bars on a terminal, lines otherwise.
    #[default]
    Text,
    /// For machines: a JSON object a line.
    Json,
}

/// The display that fits: JSON where asked for, bars on a terminal, plain lines otherwise. A `chatty` log would tear bars
/// apart, so there are none then.
pub fn display(format: LogFormat, chatty: bool) -> Box<dyn Display> {
    match format {
        LogFormat::Json => Box::new(Json),
        LogFormat::Text if std::io::stderr().is_terminal() && !chatty => Box::new(Bars::default()),
        LogFormat::Text => Box::new(Lines::default()),
    }
}
