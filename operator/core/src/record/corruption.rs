//! Corruption of sealed outputs: which ones are to be computed again, and how often each was corrupt. Results of Jobs that started before the
//! corruption was found are ignored; attempts tell them apart.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::RunRecord;

/// A sealed output that was found corrupt or missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CorruptionRecord {
    /// Content key of its stage.
    pub key: String,
    /// How often it was found corrupt.
    pub times: i32,
    /// Whether its stage is not sealed again yet.
    pub open: bool,
    /// The first attempt of the stage that counts.
    pub from_attempt: i32,
}

impl RunRecord {
    /// Marks the output of the stage `key` as corrupt; `next_attempt`: the first attempt that counts from now on. Returns how often it was
    /// found corrupt, or `None` if the run has no such sealed stage.
    pub fn mark_corrupted(&mut self, key: &str, next_attempt: i32) -> Option<i32> {
        if !self.is_sealed(key) {
            return None;
        }
        let corruption = self.entry(key);
        if !corruption.open {
            corruption.open = true;
            corruption.times += 1;
            corruption.from_attempt = corruption.from_attempt.max(next_attempt);
        }
        Some(corruption.times)
    }

    /// Ignores the attempts at the stage `key` before `next_attempt`.
    pub fn restart_from(&mut self, key: &str, next_attempt: i32) {
        let corruption = self.entry(key);
        corruption.from_attempt = corruption.from_attempt.max(next_attempt);
    }

    fn entry(&mut self, key: &str) -> &mut CorruptionRecord {
        let at = self.corruptions.iter().position(|known| known.key == key);
        let at = at.unwrap_or_else(|| {
            self.corruptions.push(CorruptionRecord {
                key: key.into(),
                ..CorruptionRecord::default()
            });
            self.corruptions.len() - 1
        });
        &mut self.corruptions[at]
    }

    /// Marks the stage `key` as sealed again. Returns whether it was corrupt.
    pub fn mark_repaired(&mut self, key: &str) -> bool {
        let open = self
            .corruptions
            .iter_mut()
            .find(|known| known.key == key && known.open);
        let was_open = open.map(|corruption| corruption.open = false).is_some();
        // Attempts of a sealed stage have no meaning any more.
        self.corruptions
            .retain(|known| known.key != key || known.times > 0);
        was_open
    }

    /// Returns the content keys of corrupt outputs that are not sealed again yet.
    pub fn corrupted(&self) -> BTreeSet<String> {
        let open = self.corruptions.iter().filter(|corruption| corruption.open);
        open.map(|corruption| corruption.key.clone()).collect()
    }

    /// Returns the first attempt of the stage `key` that counts.
    pub fn first_attempt(&self, key: &str) -> i32 {
        let mut known = self.corruptions.iter();
        let known = known.find(|corruption| corruption.key == key);
        known.map_or(0, |corruption| corruption.from_attempt)
    }
}
