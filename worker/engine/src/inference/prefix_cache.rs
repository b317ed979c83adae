//! The prefix cache: KV caches of the latest prompts. A sequence that begins with the same tokens starts from a fork of such a cache
//! (automatic prefix caching). Sharing saves prefill and changes no result, because a token's keys and values depend on the tokens before
//! it only.

use std::collections::VecDeque;

use super::{Engine, KeyValueCache};

/// The shortest prefix worth sharing, in tokens.
const MIN_SHARED_TOKENS: usize = 8;
/// How many prompts the cache holds.
const CAPACITY: usize = 4;

/// The prefix cache of one call: the latest prompts and their KV caches.
#[derive(Default)]
pub(super) struct PrefixCache {
    prompts: VecDeque<(Vec<u32>, KeyValueCache)>,
}

impl PrefixCache {
    /// Returns a KV cache of the longest known prefix of `tokens`, at most all but the last token.
    pub(super) fn lookup(&self, engine: &Engine, tokens: &[u32]) -> KeyValueCache {
        let known = |prompt: &[u32]| common_prefix(prompt, tokens).min(tokens.len() - 1);
        let best = self.prompts.iter().max_by_key(|(prompt, _)| known(prompt));
        match best {
            Some((prompt, cache)) if known(prompt) >= MIN_SHARED_TOKENS => {
                cache.fork(known(prompt))
            }
            _ => engine.new_cache(),
        }
    }

    /// Inserts a prompt whose tokens are all in `cache`, and evicts the oldest one if there are too many.
    pub(super) fn insert(&mut self, prompt: &[u32], cache: &KeyValueCache) {
        debug_assert_eq!(prompt.len(), cache.len());
        self.prompts.retain(|(known, _)| !prompt.starts_with(known));
        self.prompts.push_back((prompt.to_vec(), cache.clone()));
        if self.prompts.len() > CAPACITY {
            self.prompts.pop_front();
        }
    }
}

/// Whether `tokens` would gain from waiting until `other` is computed: it shares a longer prefix with it than the `known` tokens.
pub(super) fn gains_by_waiting(other: &[u32], tokens: &[u32], known: usize) -> bool {
    let shared = common_prefix(other, tokens).min(tokens.len() - 1);
    shared >= MIN_SHARED_TOKENS && shared > known
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
