//! The report of a worker when it ends: at most [`REPORT_MAX_BYTES`] bytes of JSON, since in a cluster it is the termination message of
//! the pod.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cause::Cause;
use super::shard_set::ShardSet;
use crate::v1alpha1::{RejectReason, Stage};

/// Largest report in bytes.
pub const REPORT_MAX_BYTES: usize = 2048;

/// Counts of a shard or a seal. They only ever add up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counts {
    /// Rows read.
    pub rows_in: i64,
    /// Rows accepted.
    pub rows_out: i64,
    /// Rows dropped, by reason. `rows_in = rows_out + sum(dropped)` for every stage from Filter to Verify; for Generate `rows_in` is
    /// the number of questions sampled.
    pub dropped: BTreeMap<RejectReason, i64>,
    /// Prompt tokens.
    pub tokens_in: i64,
    /// Generated tokens.
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

    /// Returns the sum of all dropped rows.
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
    /// Returns an empty histogram of `bins` equal bins over `low..high`.
    pub fn new(name: &str, low: f64, high: f64, bins: usize) -> Self {
        Histogram {
            name: name.into(),
            low,
            high,
            bins: vec![0; bins.clamp(1, 20)],
        }
    }

    /// Counts `value`; a NaN is skipped.
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

/// How the task of a worker ended.
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
    /// All shards are committed; the stage is sealed.
    Sealed {
        /// The seal's digest.
        digest: String,
        /// Rows by table.
        rows: BTreeMap<String, i64>,
    },
    /// Sealing found shards missing or corrupt; they must be run (again).
    Missing {
        /// The missing shards, or the first of them if a report cannot list all.
        shards: ShardSet,
        /// How many are missing in total.
        total: i64,
    },
    /// An object of an earlier stage is corrupt or gone. That stage must be sealed again, which finds the shards to recompute.
    InputCorrupted {
        /// The stage that wrote it.
        stage: Stage,
        /// Its content key.
        key: String,
        /// What is wrong with which object.
        message: String,
    },
    /// Stopped on request, progress saved.
    Stopped,
    /// A transient failure: something outside of the task and its rows.
    Transient {
        /// What.
        cause: Cause,
        /// What failed, with field, file or object, and what to do.
        message: String,
    },
    /// The task or the shard failed.
    Failed {
        /// What failed, with field, file or object, and what to do.
        message: String,
    },
}

/// The report of a worker when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// The content key of the task.
    pub key: String,
    /// The shard; absent for a seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<i64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Its counts (for a seal those of the whole stage).
    #[serde(default)]
    pub counts: Counts,
    /// Distributions; dropped first if the report would be too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histograms: Vec<Histogram>,
    /// Compute backends of a sealed stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<String>,
    /// Wall time of the worker in milliseconds.
    pub worker_millis: i64,
    /// Wall time with an accelerator allocated, in milliseconds; 0 on a CPU.
    #[serde(default)]
    pub gpu_millis: i64,
    /// Problems that need attention but did not stop the work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl StageReport {
    /// Returns the report as JSON of at most [`REPORT_MAX_BYTES`] bytes. If it would be longer, warnings are dropped first, then histograms,
    /// then the end of an error message.
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
                    Outcome::Failed { message }
                    | Outcome::Transient { message, .. }
                    | Outcome::InputCorrupted { message, .. }
                        if message.chars().count() > 16 =>
                    {
                        let keep = message.chars().count() * 3 / 4;
                        *message = message.chars().take(keep).chain("…".chars()).collect();
                    }
                    Outcome::Missing { shards, .. } if !shards.is_empty() => {
                        shards.truncate(shards.ranges().len() / 2);
                    }
                    _ => return json,
                }
            }
        }
    }
}
