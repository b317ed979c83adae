//! Weights packed once, and the linear map on them.

use rayon::prelude::*;

use super::kernel::{Columns, multiply_columns};
use super::{LANES, Lanes, add};

/// A matrix (out, in) in panels of sixteen outputs: `[out / 16][in][16]`, the last panel filled with zeros.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    outputs: usize,
    inputs: usize,
    panels: Vec<Lanes>,
}

impl PackedMatrix {
    /// Packs matrices of the same width one below the other; each is row by row, `inputs` long.
    ///
    /// # Panics
    /// A part is not whole rows.
    pub fn pack(parts: &[&[f32]], inputs: usize) -> Self {
        assert!(
            inputs > 0 && parts.iter().all(|part| part.len() % inputs == 0),
            "parts are whole rows"
        );
        let rows: Vec<&[f32]> = parts
            .iter()
            .flat_map(|part| part.chunks_exact(inputs))
            .collect();
        let mut panels = vec![Lanes::ZERO; rows.len().div_ceil(LANES) * inputs];
        panels
            .par_chunks_mut(inputs)
            .zip(rows.par_chunks(LANES))
            .for_each(|(panel, rows)| {
                for (lane, row) in rows.iter().enumerate() {
                    for (place, value) in panel.iter_mut().zip(*row) {
                        place.0[lane] = *value;
                    }
                }
            });
        Self {
            outputs: rows.len(),
            inputs,
            panels,
        }
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Copies row `index` into `row`: the embedding of a token, from the matrix that is also the head.
    ///
    /// # Panics
    /// There is no such row.
    pub fn copy_row(&self, index: usize, row: &mut [f32]) {
        assert!(index < self.outputs, "row {index} of {}", self.outputs);
        let panel = &self.panels[index / LANES * self.inputs..][..self.inputs];
        for (value, place) in row.iter_mut().zip(panel) {
            *value = place.0[index % LANES];
        }
    }

    fn panel_count(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }
}

/// `x W^T + b` for rows of `x`: (rows, in) gives (rows, padded), of which the first `outputs` columns of each
/// row are the result; padded is `outputs` rounded up to whole panels. Returns the rows and their stride.
///
/// # Panics
/// `x` is not whole rows, or the bias does not fit.
pub fn linear(x: &[f32], weight: &PackedMatrix, bias: Option<&[f32]>) -> (Vec<f32>, usize) {
    assert_eq!(x.len() % weight.inputs, 0, "whole rows");
    let rows = x.len() / weight.inputs;
    let panels = weight.panel_count();
    let stride = panels * LANES;
    let mut y = vec![0.0; rows * stride];
    if rows == 0 {
        return (y, stride);
    }
    let columns = Columns::of(&mut y, stride);
    // Pieces for every thread several times over, so that none waits long; wide enough to run full tiles.
    let threads = rayon::current_num_threads();
    let piece = panels.div_ceil(4 * threads).next_multiple_of(8);
    let work = |first: usize| {
        let count = piece.min(panels - first);
        // SAFETY: pieces are disjoint columns of `y`, which outlives them.
        #[allow(unsafe_code)]
        unsafe {
            multiply_columns(
                rows,
                weight.inputs,
                x,
                &weight.panels,
                first,
                count,
                columns,
            );
        }
    };
    if threads == 1 {
        (0..panels).step_by(piece).for_each(work);
    } else {
        (0..panels).into_par_iter().step_by(piece).for_each(work);
    }
    if let Some(bias) = bias {
        assert_eq!(bias.len(), weight.outputs, "a bias for every output");
        y.chunks_exact_mut(stride)
            .for_each(|row| add(&mut row[..bias.len()], bias));
    }
    (y, stride)
}
