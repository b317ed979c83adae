//! Answers that an endpoint was paid for, kept in the stage's directory as soon as they come, so that no later attempt at the shard pays
//! again, be it after a kill or after the shard itself was damaged: nobody could draw the same answers a second time. A piece that is
//! damaged costs money, never rows.

use std::collections::BTreeMap;

use scalequest_crds::digest::sha256_hex;
use serde::{Deserialize, Serialize};

use crate::openai::Reply;
use crate::stages::StageError;
use crate::stages::shard::Shard;
use crate::storage::envelope;

/// A row's id, and the number of the answer within it.
pub type PaidKey = (i64, i32);

/// The answers to a shard's questions so far.
#[derive(Debug, Default)]
pub struct Paid {
    replies: BTreeMap<PaidKey, Reply>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Piece {
    key: String,
    replies: Vec<(PaidKey, Reply)>,
}

impl Paid {
    /// What earlier attempts at the shard were answered.
    ///
    /// # Errors
    /// The workspace cannot be read.
    pub fn load(shard: &Shard<'_>) -> Result<Self, StageError> {
        let mut paid = Paid::default();
        for entry in shard.store.list(&folder(shard))? {
            let Some(bytes) = shard.store.get_if_present(&entry.path)? else {
                continue;
            };
            match envelope::open::<Piece>(&bytes) {
                Ok(piece) if piece.key == shard.task.key => {
                    // Of two answers to a question, by two workers on one shard, the first in the order of names counts.
                    for (key, reply) in piece.replies {
                        paid.replies.entry(key).or_insert(reply);
                    }
                }
                Ok(_) => {}
                Err(problem) => tracing::warn!(
                    path = entry.path,
                    "kept answers are damaged and are asked for again: {problem}"
                ),
            }
        }
        Ok(paid)
    }

    /// The reply to the question with this key.
    pub fn reply(&self, key: PaidKey) -> Option<&Reply> {
        self.replies.get(&key)
    }

    /// Keeps answers, in one piece.
    ///
    /// # Errors
    /// The workspace cannot be written.
    pub fn keep<'r>(
        &mut self,
        shard: &Shard<'_>,
        answered: impl Iterator<Item = (PaidKey, &'r Reply)>,
    ) -> Result<(), StageError> {
        let replies: Vec<(PaidKey, Reply)> =
            answered.map(|(key, reply)| (key, reply.clone())).collect();
        if replies.is_empty() {
            return Ok(());
        }
        let piece = Piece {
            key: shard.task.key.clone(),
            replies,
        };
        let bytes = envelope::wrap(&piece);
        // Named by its content, so that two workers on one shard do not overwrite each other.
        let name = &sha256_hex(&bytes)[..32];
        shard
            .store
            .put(&format!("{}/{name}.json", folder(shard)), bytes)?;
        self.replies.extend(piece.replies);
        Ok(())
    }
}

/// Where the answers to a shard's questions lie.
fn folder(shard: &Shard<'_>) -> String {
    shard.dir.path(&format!(
        "answers/rows-{:012}-{:012}",
        shard.range.start, shard.range.end
    ))
}
