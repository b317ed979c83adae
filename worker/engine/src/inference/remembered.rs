//! Caches of sequences computed lately: whoever begins with the same tokens goes on from there. Sharing
//! saves work and changes no result, because a token's keys and values depend on the tokens before it only.

use std::collections::VecDeque;

use super::{Engine, KeyValueCache};

/// The shortest beginning worth sharing, in tokens.
const WORTHWHILE: usize = 8;
/// How many sequences are remembered.
const KEPT: usize = 4;

/// The latest sequences and their caches.
#[derive(Default)]
pub(super) struct Remembered {
    sequences: VecDeque<(Vec<u32>, KeyValueCache)>,
}

impl Remembered {
    /// A cache of as many of the first tokens as are known, at most all but one.
    pub(super) fn begin(&self, engine: &Engine, tokens: &[u32]) -> KeyValueCache {
        let known = |sequence: &[u32]| common(sequence, tokens).min(tokens.len() - 1);
        let best = self
            .sequences
            .iter()
            .max_by_key(|(sequence, _)| known(sequence));
        match best {
            Some((sequence, cache)) if known(sequence) >= WORTHWHILE => cache.fork(known(sequence)),
            _ => engine.new_cache(),
        }
    }

    /// Keeps a sequence whose tokens are all in `cache`.
    pub(super) fn keep(&mut self, tokens: &[u32], cache: &KeyValueCache) {
        debug_assert_eq!(tokens.len(), cache.len());
        self.sequences
            .retain(|(sequence, _)| !tokens.starts_with(sequence));
        self.sequences.push_back((tokens.to_vec(), cache.clone()));
        if self.sequences.len() > KEPT {
            self.sequences.pop_front();
        }
    }
}

/// Whether `tokens` would gain from waiting until `other` is computed: it shares more with it than is known.
pub(super) fn better_after(other: &[u32], tokens: &[u32], known: usize) -> bool {
    let shared = common(other, tokens).min(tokens.len() - 1);
    shared >= WORTHWHILE && shared > known
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
