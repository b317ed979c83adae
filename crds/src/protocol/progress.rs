//! What a running worker says on its standard output, a JSON object a line, and in a cluster to whoever asks its pod: for display only, never
//! for a decision.

use serde::{Deserialize, Serialize};

/// The port of a pod at which its worker answers how far it is.
pub const PORT: u16 = 8081;

/// The path there; the answer is a [`Progress`].
pub const PATH: &str = "/progress";

/// How far a shard is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is done now, in a word or two: `load model`, `train`, `generate`, ...
    pub doing: String,
    /// Units done: rows, training steps, or the MiB of a model that is fetched.
    pub done: i64,
    /// Units in all; 0 where unknown.
    pub total: i64,
    /// Tokens made or read so far.
    pub tokens: i64,
    /// Latest training loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}
