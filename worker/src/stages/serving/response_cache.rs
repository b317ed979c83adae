//! Replies of a paid endpoint, stored in the stage's directory as soon as they arrive. No later attempt at the shard pays for
//! them again, be it after a kill or after the shard was corrupted, and none could reproduce them. A corrupt file costs money,
//! never rows.

use std::collections::BTreeMap;

use scalequest_crds::digest::sha256_hex;
use serde::{Deserialize, Serialize};

use crate::openai::Reply;
use crate::stages::StageError;
use crate::stages::shard::Shard;
use crate::storage::envelope;

/// A row's id, and the index of the sample.
pub type RequestKey = (i64, i32);

/// The replies to a shard's requests so far.
#[derive(Debug, Default)]
pub struct ResponseCache {
    replies: BTreeMap<RequestKey, Reply>,
}

/// Replies that were stored together.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredReplies {
    key: String,
    replies: Vec<(RequestKey, Reply)>,
}

impl ResponseCache {
    /// Loads the replies of earlier attempts at the shard.
    ///
    /// # Errors
    /// The workspace cannot be read.
    pub fn load(shard: &Shard<'_>) -> Result<Self, StageError> {
        let mut cache = ResponseCache::default();
        for file in shard.store.list(&folder(shard))? {
            let Some(bytes) = shard.store.get_if_present(&file.path)? else {
                continue;
            };
            match envelope::open::<StoredReplies>(&bytes) {
                Ok(stored) if stored.key == shard.task.key => {
                    // If two workers on one shard got a reply to the same request, the first in the order of names is used.
                    for (key, reply) in stored.replies {
                        cache.replies.entry(key).or_insert(reply);
                    }
                }
                Ok(_) => {}
                Err(problem) => tracing::warn!(
                    path = file.path,
                    "stored replies are corrupt, their requests are sent again: {problem}"
                ),
            }
        }
        Ok(cache)
    }

    /// Returns the reply to the request with this key.
    pub fn get(&self, key: RequestKey) -> Option<&Reply> {
        self.replies.get(&key)
    }

    /// Stores replies, in one file.
    ///
    /// # Errors
    /// The workspace cannot be written.
    pub fn insert<'r>(
        &mut self,
        shard: &Shard<'_>,
        answered: impl Iterator<Item = (RequestKey, &'r Reply)>,
    ) -> Result<(), StageError> {
        let replies: Vec<(RequestKey, Reply)> =
            answered.map(|(key, reply)| (key, reply.clone())).collect();
        if replies.is_empty() {
            return Ok(());
        }
        let stored = StoredReplies {
            key: shard.task.key.clone(),
            replies,
        };
        let bytes = envelope::wrap(&stored);
        // Named by its content, so that two workers on one shard do not overwrite each other.
        let name = &sha256_hex(&bytes)[..32];
        shard
            .store
            .put(&format!("{}/{name}.json", folder(shard)), bytes)?;
        self.replies.extend(stored.replies);
        Ok(())
    }
}

/// Returns the folder of a shard's replies.
fn folder(shard: &Shard<'_>) -> String {
    shard.dir.path(&format!(
        "answers/rows-{:012}-{:012}",
        shard.range.start, shard.range.end
    ))
}
