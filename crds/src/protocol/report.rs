//! What a worker says when it ends: at most [`REPORT_MAX_BYTES`] bytes of JSON, since in a cluster it is the pod's
//! termination message.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::v1alpha1::{RejectReason, Stage};

/// Largest report in bytes.
pub const REPORT_MAX_BYTES: usize = 2048;

/// What a shard or a seal counted. All numbers only ever add up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counts {
    /// Rows taken in.
    pub rows_in: i64,
    /// Rows kept.
    pub rows_out: i64,
    /// Rows dropped, by reason. `rows_in = rows_out + sum(dropped)` for every stage from Filter to Verify; for Generate `rows_in` is
    /// the number of questions drawn.
    pub dropped: BTreeMap<RejectReason, i64>,
    /// Prompt tokens read.
    pub tokens_in: i64,
    /// Tokens made.
    pub tokens_out: i64,
}

impl Counts {
    /// Adds `other`.
    pub fn add(&mut self, other: &Counts) {
        let Counts {
            rows_in,
            rows_out,
            dropped,
            tokens_in,
            tokens_out,
        } = other;
        self.rows_in += rows_in;
        self.rows_out += rows_out;
        self.tokens_in += tokens_in;
        self.tokens_out += tokens_out;
        for (reason, count) in dropped {
            *self.dropped.entry(*reason).or_default() += count;
        }
    }

    /// Sum of all dropped rows.
    pub fn dropped_total(&self) -> i64 {
        self.dropped.values().sum()
    }
}

/// A small distribution over equal bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Histogram {
    /// What was measured: `reward`, `difficulty`, `questionTokens`, `responseTokens`, `loss`.
    pub name: String,
    /// Lower border of the first bin.
    pub low: f64,
    /// Upper border of the last bin; values outside count in the border bins.
    pub high: f64,
    /// Counts; at most 20 bins.
    pub bins: Vec<i64>,
}

impl Histogram {
    /// An empty histogram of `bins` equal bins over `low..high`.
    pub fn new(name: &str, low: f64, high: f64, bins: usize) -> Self {
        Histogram {
            name: name.into(),
            low,
            high,
            bins: vec![0; bins.clamp(1, 20)],
        }
    }

    /// Counts `value`; a value that is not a number is passed over.
    pub fn record(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let last = self.bins.len() - 1;
        let position = (value - self.low) / (self.high - self.low) * self.bins.len() as f64;
        self.bins[(position.max(0.0) as usize).min(last)] += 1;
    }

    /// Adds the counts of `other`, which must have the same bins; otherwise nothing happens.
    pub fn add(&mut self, other: &Histogram) {
        if self.name == other.name
            && self.bins.len() == other.bins.len()
            && self.low == other.low
            && self.high == other.high
        {
            self.bins
                .iter_mut()
                .zip(&other.bins)
                .for_each(|(a, b)| *a += b);
        }
    }
}

/// How a worker's task ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Outcome {
    /// The shard is committed.
    Done {
        /// Whether it had been committed before and nothing was computed.
        reused: bool,
    },
    /// All shards are there; the stage is sealed.
    Sealed {
        /// The seal's digest.
        digest: String,
        /// Rows by table.
        rows: BTreeMap<String, i64>,
    },
    /// Sealing found shards missing or damaged; they are to be run (again).
    Missing {
        /// Shard indices: at most the first 100.
        shards: Vec<i64>,
        /// How many are missing in all.
        total: i64,
    },
    /// An earlier stage's object is damaged or gone: that stage is to be sealed again, which finds what to make again.
    InputDamaged {
        /// The stage that made it.
        stage: Stage,
        /// Its content key.
        key: String,
        /// What is wrong with which object.
        message: String,
    },
    /// Stopped on request, progress saved.
    Stopped,
    /// It did not work.
    Failed {
        /// For a person: what failed, naming field, file or object, and what to do.
        message: String,
    },
}

/// What a worker says when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// The content key it worked for.
    pub key: String,
    /// The shard; absent for a seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<i64>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was counted (the whole stage's for a seal).
    #[serde(default)]
    pub counts: Counts,
    /// Distributions; dropped first where the report would be too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histograms: Vec<Histogram>,
    /// Arithmetic bodies of a sealed stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bodies: Vec<String>,
    /// Wall time of the worker in milliseconds.
    pub worker_millis: i64,
    /// Wall time with an accelerator held, in milliseconds; 0 on a CPU.
    #[serde(default)]
    pub gpu_millis: i64,
    /// Things a person should know that did not stop the work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl StageReport {
    /// The report as JSON of at most [`REPORT_MAX_BYTES`] bytes: warnings, then histograms, then the end of an error
    /// message are given up where it would be longer.
    pub fn to_bounded_json(&self) -> String {
        let mut report = self.clone();
        loop {
            let json = serde_json::to_string(&report).unwrap_or_default();
            if json.len() <= REPORT_MAX_BYTES {
                return json;
            }
            if !report.warnings.is_empty() {
                report.warnings.pop();
            } else if !report.histograms.is_empty() {
                report.histograms.pop();
            } else {
                match &mut report.outcome {
                    Outcome::Failed { message } | Outcome::InputDamaged { message, .. }
                        if message.chars().count() > 16 =>
                    {
                        let keep = message.chars().count() * 3 / 4;
                        *message = message.chars().take(keep).chain("…".chars()).collect();
                    }
                    Outcome::Missing { shards, .. } if !shards.is_empty() => {
                        shards.truncate(shards.len() / 2)
                    }
                    _ => return json,
                }
            }
        }
    }
}
