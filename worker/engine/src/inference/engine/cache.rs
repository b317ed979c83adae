//! The KV cache: keys and values of one sequence, in blocks that sequences with a common prefix share (paged, copy-on-write). Free blocks
//! are pooled for the next sequence.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ops::cpu::{AttentionShape, BLOCK_TOKENS, KeyValueBlock};

/// The pool of free blocks.
pub(super) struct BlockPool {
    shape: AttentionShape,
    spare: Mutex<Vec<KeyValueBlock>>,
}

impl BlockPool {
    pub(super) fn new(shape: AttentionShape) -> Arc<Self> {
        Arc::new(Self {
            shape,
            spare: Mutex::default(),
        })
    }

    pub(super) fn shape(&self) -> &AttentionShape {
        &self.shape
    }

    fn take(&self) -> KeyValueBlock {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match spare {
            Some(mut block) => {
                block.clear();
                block
            }
            None => KeyValueBlock::new(&self.shape),
        }
    }

    fn give(&self, block: KeyValueBlock) {
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(block);
    }
}

/// The KV cache of one sequence: the keys and values of its tokens so far.
#[derive(Clone)]
pub struct KeyValueCache {
    pool: Arc<BlockPool>,
    blocks: Vec<Arc<KeyValueBlock>>,
    length: usize,
}

impl KeyValueCache {
    pub(super) fn new(pool: Arc<BlockPool>) -> Self {
        Self {
            pool,
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
            pool: self.pool.clone(),
            blocks,
            length,
        }
    }

    /// Makes room for `count` more tokens and makes their blocks this sequence's own.
    pub(super) fn reserve(&mut self, count: usize) {
        if let Some(block) = self.blocks.get_mut(self.length / BLOCK_TOKENS)
            && Arc::get_mut(block).is_none()
        {
            let mut own = self.pool.take();
            own.copy_from(block);
            *block = Arc::new(own);
        }
        let blocks = (self.length + count).div_ceil(BLOCK_TOKENS);
        while self.blocks.len() < blocks {
            self.blocks.push(Arc::new(self.pool.take()));
        }
    }

    /// The blocks of reserved tokens, to write to, from that of the next token on.
    pub(super) fn reserved(&mut self) -> impl Iterator<Item = &mut KeyValueBlock> {
        self.blocks[self.length / BLOCK_TOKENS..]
            .iter_mut()
            .map(|block| Arc::get_mut(block).expect("reserved blocks are not shared"))
    }

    pub(super) fn blocks(&self) -> &[Arc<KeyValueBlock>] {
        &self.blocks
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.length += count;
    }
}

impl Drop for KeyValueCache {
    fn drop(&mut self) {
        for block in self.blocks.drain(..).filter_map(Arc::into_inner) {
            self.pool.give(block);
        }
    }
}
