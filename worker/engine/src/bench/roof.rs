//! What the machine can do at best: bytes read from memory, and operations on numbers that are in registers.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::ops::Arithmetic;
use crate::ops::cpu::{DenseRows, Element, Map, PackedMatrix, Prepared, linear, saturate};

/// The machine's limits, all threads together.
#[derive(Clone, Copy, Debug)]
pub struct Roof {
    /// Bytes read from memory in a second.
    pub bytes: f64,
    /// Operations in a second on operands that stay in the nearest cache, a multiplication and an addition being two.
    pub operations: f64,
}

/// Measures the limits for an arithmetic, in about half a second.
pub fn roof(arithmetic: Arithmetic) -> Roof {
    Roof {
        bytes: bytes(),
        operations: operations(arithmetic),
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
fn operations(arithmetic: Arithmetic) -> f64 {
    let pass = || {
        let start = Instant::now();
        let done: f64 = rayon::broadcast(|_| match arithmetic {
            Arithmetic::F32 => saturate(Element::F32, 2_000),
            Arithmetic::Bf16 => saturate(Element::Bf16, 2_000),
            Arithmetic::Int8 => integers(),
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
    let (weight, _) = PackedMatrix::pack(&DenseRows::new(&values, inputs), Arithmetic::Int8);
    let (x, mut y) = (vec![0.5; rows * inputs], vec![0.0; rows * weight.stride()]);
    let mut prepared = Prepared::default();
    alone.install(|| {
        for _ in 0..repeats {
            let map = Map {
                weight: &weight,
                bias: None,
                y: &mut y,
            };
            linear(black_box(&x), &mut [map], &mut prepared);
        }
    });
    black_box(y[0]);
    2.0 * (rows * inputs * outputs * repeats) as f64
}
