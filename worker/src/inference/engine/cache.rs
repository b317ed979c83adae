//! Keys and values of one sequence, in blocks that sequences with the same beginning share: a block is
//! copied when one of them first writes to it.

use std::sync::Arc;

use crate::ops::cpu::{AttentionShape, BLOCK_TOKENS, KeyValueBlock};

/// The keys and values of one sequence's tokens so far.
#[derive(Clone)]
pub struct KeyValueCache {
    shape: AttentionShape,
    blocks: Vec<Arc<KeyValueBlock>>,
    length: usize,
}

impl KeyValueCache {
    pub(super) fn new(shape: AttentionShape) -> Self {
        Self {
            shape,
            blocks: Vec::new(),
            length: 0,
        }
    }

    /// Tokens in the cache.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds no token.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// A cache of the first `length` tokens, sharing their blocks.
    pub fn fork(&self, length: usize) -> Self {
        let length = length.min(self.length);
        let blocks = self.blocks[..length.div_ceil(BLOCK_TOKENS)].to_vec();
        Self {
            shape: self.shape,
            blocks,
            length,
        }
    }

    /// Makes room for `count` more tokens and makes their blocks this sequence's own.
    pub(super) fn reserve(&mut self, count: usize) {
        let blocks = (self.length + count).div_ceil(BLOCK_TOKENS);
        if let Some(block) = self.blocks.get_mut(self.length / BLOCK_TOKENS) {
            Arc::make_mut(block);
        }
        while self.blocks.len() < blocks {
            self.blocks.push(Arc::new(KeyValueBlock::new(&self.shape)));
        }
    }

    /// The block of a reserved token, to write to.
    pub(super) fn block_mut(&mut self, position: usize) -> &mut KeyValueBlock {
        Arc::get_mut(&mut self.blocks[position / BLOCK_TOKENS])
            .expect("reserved blocks are not shared")
    }

    pub(super) fn blocks(&self) -> Vec<&KeyValueBlock> {
        self.blocks.iter().map(Arc::as_ref).collect()
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.length += count;
    }
}
