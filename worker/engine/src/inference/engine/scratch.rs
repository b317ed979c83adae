//! Memory for activations that one step leaves to the next, so that a step in the steady state allocates none.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::ops::cpu::PackedInputs;

/// Buffers that are not in use.
#[derive(Default)]
pub(super) struct Scratch {
    spare: Mutex<Vec<Vec<f32>>>,
    packed_inputs: Mutex<Vec<PackedInputs>>,
}

impl Scratch {
    /// A buffer of `length` numbers, which are left over from an earlier use.
    pub(super) fn take(&self, length: usize) -> Buffer<'_> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is long enough, or else the longest, which grows.
        let best = (0..spare.len()).min_by_key(|index| {
            let found = spare[*index].len();
            if found >= length {
                (0, found)
            } else {
                (1, usize::MAX - found)
            }
        });
        let mut values = best.map_or_else(Vec::new, |index| spare.swap_remove(index));
        if values.len() < length {
            values.resize(length, 0.0);
        }
        Buffer {
            values,
            length,
            home: self,
        }
    }

    /// Lends `work` memory in which inputs of linear layers are packed.
    pub(super) fn with_packed_inputs<T>(&self, work: impl FnOnce(&mut PackedInputs) -> T) -> T {
        let places = || {
            self.packed_inputs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let mut packed_inputs = places().pop().unwrap_or_default();
        let done = work(&mut packed_inputs);
        places().push(packed_inputs);
        done
    }
}

/// Numbers on loan; dropped, they go back.
pub struct Buffer<'s> {
    values: Vec<f32>,
    length: usize,
    home: &'s Scratch,
}

impl Deref for Buffer<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.length]
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.length]
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        if let Ok(mut spare) = self.home.spare.lock() {
            spare.push(values);
        }
    }
}
