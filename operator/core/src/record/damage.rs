//! Sealed outputs that were found damaged or gone: which ones are open, and how often each was. What was started for a stage before its
//! damage was found says nothing of it any more; rounds tell the two apart.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::RunRecord;

/// A sealed output that was found damaged or gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DamageRecord {
    /// Content key of its stage.
    pub key: String,
    /// How often it was found so.
    pub times: i32,
    /// Whether it is still to be sealed again.
    pub open: bool,
    /// The round from which on the stage's Jobs count.
    pub from_round: i32,
}

impl RunRecord {
    /// Notes that the output of the stage `key` is damaged; `next_round`: the first round after what was started for it so far. How
    /// often it was found so, or none where the run has no such stage.
    pub fn damage(&mut self, key: &str, next_round: i32) -> Option<i32> {
        let is_ours = self
            .stages
            .iter()
            .any(|stage| stage.key == key && stage.seal.is_some());
        if !is_ours {
            return None;
        }
        let damage = self.entry(key);
        if !damage.open {
            damage.open = true;
            damage.times += 1;
            damage.from_round = damage.from_round.max(next_round);
        }
        Some(damage.times)
    }

    /// Notes that what was started for the stage `key` before the round `next_round` says nothing of it any more.
    pub fn begin_again(&mut self, key: &str, next_round: i32) {
        let damage = self.entry(key);
        damage.from_round = damage.from_round.max(next_round);
    }

    fn entry(&mut self, key: &str) -> &mut DamageRecord {
        let at = self.damages.iter().position(|known| known.key == key);
        let at = at.unwrap_or_else(|| {
            self.damages.push(DamageRecord {
                key: key.into(),
                times: 0,
                open: false,
                from_round: 0,
            });
            self.damages.len() - 1
        });
        &mut self.damages[at]
    }

    /// Notes that the stage `key` is sealed again; whether it was damaged.
    pub fn mended(&mut self, key: &str) -> bool {
        let open = self
            .damages
            .iter_mut()
            .find(|known| known.key == key && known.open);
        let was_open = open.map(|damage| damage.open = false).is_some();
        // Rounds of a sealed stage tell nothing any more.
        self.damages
            .retain(|known| known.key != key || known.times > 0);
        was_open
    }

    /// Content keys of outputs that are damaged and not sealed again yet.
    pub fn damaged(&self) -> BTreeSet<String> {
        let open = self.damages.iter().filter(|damage| damage.open);
        open.map(|damage| damage.key.clone()).collect()
    }

    /// The round from which on the Jobs of the stage `key` count.
    pub fn first_round(&self, key: &str) -> i32 {
        let known = self.damages.iter().find(|damage| damage.key == key);
        known.map_or(0, |damage| damage.from_round)
    }
}
