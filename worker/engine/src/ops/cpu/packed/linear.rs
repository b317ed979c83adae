//! Linear layers (projections) of one input, on all threads at once.

use rayon::prelude::*;

use super::{PackedMatrix, Panels};
use crate::ops::Dtype;
use crate::ops::cpu::kernel::int8::{self, BLOCK, QuantisedPanels, QuantisedRows, WORDS};
use crate::ops::cpu::kernel::{Columns, multiply_columns, panels_at_once};
use crate::ops::cpu::packed_type::PackedType;
use crate::ops::cpu::{add, elementwise};

/// Below this many numbers a pass over rows is not worth sharing out.
const SHARED: usize = 1 << 14;

/// One projection: its weights, its bias, and where its results go.
pub struct Projection<'a> {
    /// The weights.
    pub weight: &'a PackedMatrix,
    /// A number for every output.
    pub bias: Option<&'a [f32]>,
    /// Results: (rows, [`PackedMatrix::stride`]), of which the first `outputs` columns of each row count.
    pub y: &'a mut [f32],
}

/// Rows of activations packed for the GEMM with packed weights. Its memory is reused.
#[derive(Debug, Default)]
pub struct PackedInputs {
    words: Vec<u32>,
    scales: Vec<f32>,
    offsets: Vec<i32>,
}

impl PackedInputs {
    /// Packs rows of `x`, `inputs` long each; returns how many.
    fn fill(&mut self, x: &[f32], inputs: usize, dtype: Dtype) -> usize {
        assert!(x.len().is_multiple_of(inputs), "whole rows");
        let rows = x.len() / inputs;
        let blocks = inputs.div_ceil(BLOCK);
        let words = match dtype {
            Dtype::F32 => PackedType::F32.words(inputs),
            Dtype::Bf16 => PackedType::Bf16.words(inputs),
            Dtype::Int8 => blocks * WORDS,
        };
        grow(&mut self.words, rows * words);
        let at_once = (SHARED / inputs).max(1);
        let work = self.words[..rows * words].par_chunks_mut(at_once * words);
        let work = work.zip(x.par_chunks(at_once * inputs));
        let packed_type = match dtype {
            Dtype::F32 => PackedType::F32,
            Dtype::Bf16 => PackedType::Bf16,
            Dtype::Int8 => {
                grow(&mut self.scales, rows * blocks);
                grow(&mut self.offsets, rows * blocks);
                let scales = self.scales[..rows * blocks].par_chunks_mut(at_once * blocks);
                let offsets = self.offsets[..rows * blocks].par_chunks_mut(at_once * blocks);
                work.zip(scales.zip(offsets))
                    .for_each(|((rows, x), (scales, offsets))| {
                        let rows = rows.chunks_exact_mut(words).zip(x.chunks_exact(inputs));
                        let blocks = scales
                            .chunks_exact_mut(blocks)
                            .zip(offsets.chunks_exact_mut(blocks));
                        for ((words, x), (scales, offsets)) in rows.zip(blocks) {
                            elementwise::quantise(x, words, scales, offsets);
                        }
                    });
                return rows;
            }
        };
        work.for_each(|(rows, x)| {
            for (words, x) in rows.chunks_exact_mut(words).zip(x.chunks_exact(inputs)) {
                packed_type.pack_row(x, words);
            }
        });
        rows
    }
}

fn grow<T: Copy + Default>(values: &mut Vec<T>, count: usize) {
    if values.len() < count {
        values.resize(count, T::default());
    }
}

/// `x W^T + b` for rows of `x` and every projection; all take inputs of one width in one dtype.
///
/// # Panics
/// `x` is not whole rows, the projections differ in inputs or dtype, or a bias or result does not fit.
pub fn linear(x: &[f32], projections: &mut [Projection<'_>], packed_inputs: &mut PackedInputs) {
    let Some(first) = projections.first() else {
        return;
    };
    let (inputs, dtype) = (first.weight.inputs, first.weight.dtype());
    let rows = packed_inputs.fill(x, inputs, dtype);
    if rows == 0 {
        return;
    }
    let outputs: Vec<(&PackedMatrix, Columns)> = projections
        .iter_mut()
        .map(|map| {
            assert!(map.weight.inputs == inputs && map.weight.dtype() == dtype);
            assert!(
                map.y.len() >= rows * map.weight.stride(),
                "room for results"
            );
            (map.weight, Columns::of(map.y, map.weight.stride()))
        })
        .collect();
    let total: usize = outputs.iter().map(|(weight, _)| weight.panel_count()).sum();
    let threads = rayon::current_num_threads();
    // Pieces for every thread several times over, so that none waits long, of whole tiles: what is left over of one runs at half the rate.
    let piece = total
        .div_ceil(8 * threads)
        .next_multiple_of(panels_at_once(rows));
    let packed_inputs = &*packed_inputs;
    let work = |start: usize| {
        let mut before = 0;
        for (weight, y) in &outputs {
            let panels = weight.panel_count();
            let own = start.max(before)..(start + piece).min(before + panels);
            if !own.is_empty() {
                // SAFETY: pieces are disjoint columns of results, which outlive them.
                #[allow(unsafe_code)]
                unsafe {
                    columns(
                        rows,
                        packed_inputs,
                        weight,
                        own.start - before,
                        own.len(),
                        *y,
                    );
                }
            }
            before += panels;
        }
    };
    if threads == 1 {
        (0..total).step_by(piece).for_each(work);
    } else {
        (0..total).into_par_iter().step_by(piece).for_each(work);
    }
    for map in projections {
        let Some(bias) = map.bias else { continue };
        assert_eq!(bias.len(), map.weight.outputs, "a bias for every output");
        let stride = map.weight.stride();
        map.y[..rows * stride]
            .par_chunks_mut(stride)
            .with_min_len((SHARED / stride).max(1))
            .for_each(|row| add(&mut row[..bias.len()], bias));
    }
}

/// Some panels' columns of one map's results.
///
/// # Safety
/// As for the kernels: nobody else writes these columns meanwhile.
#[allow(unsafe_code)]
unsafe fn columns(
    rows: usize,
    packed_inputs: &PackedInputs,
    weight: &PackedMatrix,
    first: usize,
    panels: usize,
    y: Columns,
) {
    // SAFETY: the caller's.
    unsafe {
        match &weight.panels {
            Panels::Numbers(packed_type, lanes) => {
                let k = packed_type.words(weight.inputs);
                multiply_columns(
                    *packed_type,
                    rows,
                    k,
                    &packed_inputs.words,
                    lanes,
                    first,
                    panels,
                    y,
                );
            }
            Panels::Blocks(lanes, scales) => {
                let x = QuantisedRows {
                    words: &packed_inputs.words,
                    scales: &packed_inputs.scales,
                    offsets: &packed_inputs.offsets,
                };
                let w = QuantisedPanels {
                    words: lanes,
                    scales,
                };
                let blocks = weight.inputs.div_ceil(BLOCK);
                int8::multiply_columns(rows, blocks, x, w, first, panels, y);
            }
        }
    }
}
