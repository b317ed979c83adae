//! The status file of a run for `scalequest status`, written every second or so. Nothing is decided from it.

use std::fs;
use std::path::Path;

use scalequest_crds::v1alpha1::status::SynthesisRunStatus;
use serde::{Deserialize, Serialize};

use super::progress::Event;

/// Name of the file within a run's directory.
const STATUS_FILE: &str = "status.json";

/// The status that a runner wrote last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusFile {
    /// The runner's process.
    pub pid: u32,
    /// When this was written, in milliseconds since 1970.
    pub at_millis: i64,
    /// The status then.
    pub status: SynthesisRunStatus,
    /// How far the stages under way were: the [`Event::StageProgressed`] of each.
    pub active: Vec<Event>,
}

impl StatusFile {
    /// Writes the file. A reader sees the old or the new one.
    pub fn write(&self, directory: &Path) {
        let temporary = directory.join("status.tmp");
        // For display only: if it cannot be written, the record cannot either, which is an error.
        let _ = serde_json::to_vec(self).map(|json| {
            fs::write(&temporary, json)
                .and_then(|()| fs::rename(&temporary, directory.join(STATUS_FILE)))
        });
    }

    /// Reads the file; `None` if there is none that can be read.
    pub fn read(directory: &Path) -> Option<StatusFile> {
        serde_json::from_slice(&fs::read(directory.join(STATUS_FILE)).ok()?).ok()
    }
}
