//! What a running run shows to `scalequest status`: a small file, written every second or so, that nothing is decided from.

use std::fs;
use std::path::Path;

use scalequest_crds::v1alpha1::status::SynthesisRunStatus;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of the file within a run's directory.
const LIVE: &str = "status.json";

/// What a runner last wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Live {
    /// The runner's process.
    pub pid: u32,
    /// When this was written, in milliseconds since 1970.
    pub at_millis: i64,
    /// The status then.
    pub status: SynthesisRunStatus,
    /// How far the stages under way were, as in the events of the log.
    pub active: Vec<Value>,
}

impl Live {
    /// Writes the file. A reader sees the old or the new one.
    pub fn write(&self, directory: &Path) {
        let aside = directory.join("status.tmp");
        // For display only: where it cannot be written, the record cannot either, and that is said.
        let _ = serde_json::to_vec(self).map(|json| {
            fs::write(&aside, json).and_then(|()| fs::rename(&aside, directory.join(LIVE)))
        });
    }

    /// Reads the file; none where there is none that can be read.
    pub fn read(directory: &Path) -> Option<Live> {
        serde_json::from_slice(&fs::read(directory.join(LIVE)).ok()?).ok()
    }
}
