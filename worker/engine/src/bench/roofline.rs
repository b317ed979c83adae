//! The roofline: the machine's memory bandwidth, and its peak of operations on numbers that are in registers.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::ops::Dtype;
use crate::ops::cpu::{
    DenseRows, PackedInputs, PackedMatrix, PackedType, Projection, linear, saturate,
};

/// The machine's roofline, all threads together.
#[derive(Clone, Copy, Debug)]
pub struct Roofline {
    /// Bytes read from memory in a second.
    pub bytes: f64,
    /// Operations in a second on operands that stay in the nearest cache, a multiplication and an addition being two.
    pub operations: f64,
}

/// Measures the roofline for a dtype, in about half a second.
pub fn roofline(dtype: Dtype) -> Roofline {
    Roofline {
        bytes: bytes(),
        operations: operations(dtype),
    }
}

fn bytes() -> f64 {
    let values = vec![1u64; 48 << 20];
    let pass = || {
        let start = Instant::now();
        let sums = values.par_chunks(1 << 17).map(|values| {
            values
                .iter()
                .fold(0u64, |sum, value| sum.wrapping_add(*value))
        });
        black_box(sums.reduce(|| 0, u64::wrapping_add));
        size_of_val(&values[..]) as f64 / start.elapsed().as_secs_f64()
    };
    (0..4).map(|_| pass()).fold(0.0, f64::max)
}

/// Every thread multiplies operands of its own that stay in its caches.
fn operations(dtype: Dtype) -> f64 {
    let pass = || {
        let start = Instant::now();
        let done: f64 = rayon::broadcast(|_| match dtype {
            Dtype::F32 => saturate(PackedType::F32, 2_000),
            Dtype::Bf16 => saturate(PackedType::Bf16, 2_000),
            Dtype::Int8 => integers(),
        })
        .iter()
        .sum();
        done / start.elapsed().as_secs_f64()
    };
    (0..4).map(|_| pass()).fold(0.0, f64::max)
}

/// Products of 8-bit integers with all that belongs to them, such as the rounding of activations: a little below the peak.
fn integers() -> f64 {
    let (rows, inputs, outputs, repeats) = (64, 1024, 96, 1_000);
    let Ok(alone) = rayon::ThreadPoolBuilder::new().num_threads(1).build() else {
        return 0.0;
    };
    let values = vec![0.5; inputs * outputs];
    let (weight, _) = PackedMatrix::pack(&DenseRows::new(&values, inputs), Dtype::Int8);
    let (x, mut y) = (vec![0.5; rows * inputs], vec![0.0; rows * weight.stride()]);
    let mut packed_inputs = PackedInputs::default();
    alone.install(|| {
        for _ in 0..repeats {
            let map = Projection {
                weight: &weight,
                bias: None,
                y: &mut y,
            };
            linear(black_box(&x), &mut [map], &mut packed_inputs);
        }
    });
    black_box(y[0]);
    2.0 * (rows * inputs * outputs * repeats) as f64
}
