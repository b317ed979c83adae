//! Progress of a running worker: JSON lines on its standard output, and in a cluster an HTTP endpoint of its pod. For display only, never
//! for a decision.

use serde::{Deserialize, Serialize};

/// The port of a pod at which its worker serves its progress.
pub const PORT: u16 = 8081;

/// The path there; the response is a [`Progress`].
pub const PATH: &str = "/progress";

/// Progress of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The current activity in a word or two: `load model`, `train`, `generate`, ...
    pub activity: String,
    /// Units done: rows, training steps, or the MiB of a model that is fetched.
    pub done: i64,
    /// Units in total; 0 if unknown.
    pub total: i64,
    /// Tokens generated or read so far.
    pub tokens: i64,
    /// Latest training loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}
