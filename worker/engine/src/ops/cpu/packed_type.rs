//! The number types of packed operands: f32, or bf16 in pairs. A word is 32 bits, one f32 or two consecutive
//! bf16; kernels broadcast a word of a row and multiply it with a register of words, one a column.

use super::Lanes;
use super::bf16::bf16_bits;
use super::convert::{copy_bits, round_interleaved, round_pairs};

/// The number type of a packed operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedType {
    /// 32-bit floating point: one number a word.
    F32,
    /// bfloat16, the upper half of an f32: two numbers a word, the earlier one in the lower half.
    Bf16,
}

impl PackedType {
    /// Returns the words that `count` numbers take.
    pub(super) fn words(self, count: usize) -> usize {
        count.div_ceil(self.per_word())
    }

    /// Bytes that one number takes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Packs a row of numbers into words; an odd last number gets a zero beside it.
    pub(super) fn pack_row(self, x: &[f32], words: &mut [u32]) {
        match self {
            Self::F32 => copy_bits(x, words),
            Self::Bf16 => round_pairs(x, words),
        }
    }

    /// Numbers in one word.
    pub(super) fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }

    /// Packs one word of each of some columns: their numbers in row `first`, and for pairs those in row `second`, zeros where that is
    /// empty.
    pub(super) fn pack_across(self, first: &[f32], second: &[f32], words: &mut [u32]) {
        match self {
            Self::F32 => copy_bits(first, words),
            Self::Bf16 if second.is_empty() => {
                for (word, x) in words.iter_mut().zip(first) {
                    *word = bf16_bits(*x);
                }
            }
            Self::Bf16 => round_interleaved(first, second, words),
        }
    }

    /// Puts number `index` of column `lane` into a panel of words.
    #[inline(always)]
    pub(super) fn put(self, panel: &mut [Lanes], index: usize, lane: usize, value: f32) {
        match self {
            Self::F32 => panel[index].0[lane] = value.to_bits(),
            Self::Bf16 => {
                let word = &mut panel[index / 2].0[lane];
                let shift = 16 * (index % 2);
                *word = (*word & !(0xffff << shift)) | (bf16_bits(value) << shift);
            }
        }
    }

    /// Number `index` of column `lane` of a panel.
    #[inline(always)]
    pub(super) fn get(self, panel: &[Lanes], index: usize, lane: usize) -> f32 {
        match self {
            Self::F32 => f32::from_bits(panel[index].0[lane]),
            Self::Bf16 => {
                f32::from_bits((panel[index / 2].0[lane] >> (16 * (index % 2)) & 0xffff) << 16)
            }
        }
    }
}
