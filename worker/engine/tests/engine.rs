//! The serving backend against the reference, and its promise: a row's result depends on that row alone.

mod tiny;

use proptest::prelude::*;
use scalequest_engine::inference::{BatchLimits, Engine, KeyValueCache, Scorer, Segment};
use scalequest_engine::model::config::SlidingWindow;
use scalequest_engine::model::{Architecture, Decoder, Head, ModelConfig};
use scalequest_engine::ops::cpu::{self, DenseRows, PackedMatrix};
use scalequest_engine::ops::{Dtype, reference};
use std::ops::ControlFlow;
use tiny::{config, numbers, reference_logits};

/// A model of the family `choice`; Mistral's layers, or one of them, get this window.
fn some_config(choice: u64, window: usize) -> ModelConfig {
    let mut config = config(Architecture::ALL[(choice % 4) as usize]);
    if config.sliding_window.is_some() {
        let layers = [0..2, 0..1, 1..2];
        config.sliding_window =
            SlidingWindow::in_layers(window, layers[(choice / 4 % 3) as usize].clone());
    }
    config
}

fn close(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| (a - b).abs() <= tolerance * (1.0 + b.abs()))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Computes a sequence in the given chunks and returns the logits of every chunk's last token.
fn compute_chunks(engine: &Engine, chunks: &[&[u32]], cache: &mut KeyValueCache) -> Vec<Vec<f32>> {
    let mut compute = |tokens: &&[u32]| {
        let hidden = engine
            .last_hidden(&mut [Segment { tokens, cache }])
            .expect("hidden states");
        engine.head(&hidden).0[..engine.head_width()].to_vec()
    };
    chunks.iter().map(&mut compute).collect()
}

fn tokens(seed: u64, count: usize) -> Vec<u32> {
    let mut random = numbers(seed);
    (0..count)
        .map(|_| ((random() + 1.0) * 149.9) as u32)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn packed_linear_matches_the_reference(
        rows in 1usize..40, outputs in 1usize..70, inputs in 1usize..600, seed: u64, biased: bool,
    ) {
        let mut random = numbers(seed);
        let mut some = |count: usize| -> Vec<f32> { (0..count).map(|_| random()).collect() };
        let (x, w, b) = (some(rows * inputs), some(outputs * inputs), some(outputs));
        let bias = biased.then_some(&b[..]);
        for dtype in Dtype::ALL {
            let (packed, largest) = PackedMatrix::pack(&DenseRows::new(&w, inputs), dtype);
            // A scale of integers is rounded up to half precision, and so is the largest number that it reaches; a
            // small scale is rounded to the step of half precision's subnormal numbers.
            let expected = w.iter().fold(0.0, |largest, w| f32::max(largest, w.abs()));
            let subnormal = 127.0 * 2f32.powi(-24);
            prop_assert!(largest >= expected && largest <= expected * 1.001 + subnormal);
            let y = linear(&x, &packed, bias);
            for (place, y) in y.iter().enumerate() {
                let (row, output) = (place / outputs, place % outputs);
                let (x, w) = (&x[row * inputs..][..inputs], &w[output * inputs..][..inputs]);
                let exact: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let expected = exact + f64::from(bias.map_or(0.0, |bias| bias[output]));
                let bound = rounding(dtype, x, w) + 1e-6;
                prop_assert!((f64::from(*y) - expected).abs() <= bound, "{dtype:?}: {y}, {expected} +- {bound}");
            }
            let mut row = vec![0.0; inputs];
            packed.copy_row(outputs - 1, &mut row);
            let step = match dtype {
                Dtype::F32 => 0.0,
                Dtype::Bf16 => 1.0 / 512.0,
                Dtype::Int8 => 1.01 / 254.0,
            };
            for (found, expected) in row.iter().zip(&w[(outputs - 1) * inputs..]) {
                prop_assert!((found - expected).abs() <= step);
            }
            // Alone, and on one thread, a row has the same bits as in the batch on several.
            let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            let last = rows - 1;
            let single = alone.install(|| linear(&x[last * inputs..], &packed, bias));
            prop_assert_eq!(bits(&single), bits(&y[last * outputs..]));
        }
    }

    #[test]
    fn batching_changes_no_bits(
        lengths in prop::collection::vec(1usize..90, 1..6), cut in 1usize..90, shared in 0usize..90, seed: u64,
        threads in 1usize..4, dtype in prop::sample::select(&Dtype::ALL), window in 1usize..150,
    ) {
        let config = some_config(seed, window);
        let engine = Engine::from_decoder(&tiny::decoder(&config, 7), dtype).unwrap();
        let beginning = tokens(seed ^ 1, shared);
        let rows: Vec<Vec<u32>> = lengths
            .iter()
            .enumerate()
            .map(|(row, length)| [&beginning[..], &tokens(seed.wrapping_add(row as u64), *length)].concat())
            .collect();
        let mut first = engine.new_cache();
        if shared > 0 {
            compute_chunks(&engine, &[&beginning], &mut first);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (logits, stride) = pool.install(|| {
            let mut caches: Vec<_> = rows.iter().map(|_| first.fork(shared)).collect();
            let mut segments: Vec<Segment<'_>> = rows
                .iter()
                .zip(&mut caches)
                .map(|(tokens, cache)| Segment { tokens: &tokens[shared..], cache })
                .collect();
            engine.head(&engine.last_hidden(&mut segments).unwrap())
        });
        for (row, logits) in rows.iter().zip(logits.chunks_exact(stride)) {
            let chunks: Vec<&[u32]> = row.chunks(cut).collect();
            let in_chunks = compute_chunks(&engine, &chunks, &mut engine.new_cache()).pop().unwrap();
            prop_assert_eq!(bits(&in_chunks), bits(&logits[..engine.head_width()]));
        }
    }
}

/// The linear layer's results without what pads them.
fn linear(x: &[f32], weight: &PackedMatrix, bias: Option<&[f32]>) -> Vec<f32> {
    let rows = x.len() / weight.inputs();
    let mut y = vec![f32::NAN; rows * weight.stride()];
    let map = cpu::Projection {
        weight,
        bias,
        y: &mut y,
    };
    cpu::linear(x, &mut [map], &mut cpu::PackedInputs::default());
    y.chunks_exact(weight.stride())
        .flat_map(|row| &row[..weight.outputs()])
        .copied()
        .collect()
}

/// How far a dot product may be from the exact one, from how its numbers are held: every factor is off by half
/// a step, and a sum in f32 loses a unit of roundoff a term.
fn rounding(dtype: Dtype, x: &[f32], w: &[f32]) -> f64 {
    let products: f64 = x.iter().zip(w).map(|(x, w)| f64::from((x * w).abs())).sum();
    let sums = products * x.len() as f64 * 2f64.powi(-24);
    let steps = match dtype {
        Dtype::F32 => 0.0,
        // Eight bits of significand: a unit roundoff of 2^-8, of each factor.
        Dtype::Bf16 => products * ((1.0 + 2f64.powi(-8)).powi(2) - 1.0),
        Dtype::Int8 => x
            .chunks(32)
            .zip(w.chunks(32))
            .map(|(x, w)| {
                let half = |block: &[f32]| {
                    let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                    f64::from(largest) / 254.0
                };
                // A weight's scale is rounded up to half precision.
                let (x_half, w_half) = (half(x) * 1.001, half(w) * (1.001 + 2f64.powi(-10)));
                let sum = |block: &[f32]| block.iter().map(|x| f64::from(x.abs())).sum::<f64>();
                sum(x) * w_half + sum(w) * x_half + x.len() as f64 * x_half * w_half
            })
            .sum(),
    };
    steps + sums
}

#[test]
fn serving_matches_the_reference() {
    // Windows that lie within a block of keys, end with one, and span several.
    for (choice, window) in [
        (0, 1),
        (1, 1),
        (2, 1),
        (2, 20),
        (6, 64),
        (10, 65),
        (2, 100),
        (3, 1),
    ] {
        let config = some_config(choice, window);
        let decoder = tiny::decoder(&config, 3);
        let engine = Engine::from_decoder(&decoder, Dtype::F32).expect("an engine");
        let sequence = tokens(11, 150);
        let one_by_one: Vec<&[u32]> = sequence.chunks(1).collect();
        let served = compute_chunks(&engine, &one_by_one, &mut engine.new_cache());
        for (place, (served, expected)) in served
            .iter()
            .zip(reference_logits(&decoder, &sequence))
            .enumerate()
        {
            assert!(
                close(served, &expected, 1e-4),
                "{:?} with a window of {window} at {place}",
                config.architecture
            );
        }
    }
}

#[test]
fn forked_kv_cache_is_independent() {
    let engine = Engine::from_decoder(&tiny::decoder(&config(Architecture::Llama), 5), Dtype::F32)
        .expect("an engine");
    let (first, second) = (tokens(1, 100), tokens(2, 30));
    let mut cache = engine.new_cache();
    compute_chunks(&engine, &[&first], &mut cache);
    let mut fork = cache.fork(70);
    let forked = compute_chunks(&engine, &[&second], &mut fork);
    let whole = [&first[..70], &second[..]].concat();
    assert_eq!(
        forked,
        compute_chunks(&engine, &[&whole], &mut engine.new_cache())
    );
    // What the fork wrote did not reach the cache that it came from.
    let on = compute_chunks(&engine, &[&second], &mut cache);
    let whole = [&first[..], &second[..]].concat();
    assert_eq!(
        on,
        compute_chunks(&engine, &[&whole], &mut engine.new_cache())
    );
}

#[test]
fn scores_match_reference_in_any_batch() {
    for (architecture, head) in [
        (Architecture::Qwen2, Head::Scalar),
        (Architecture::Qwen2, Head::TwoLayerScalar),
        (Architecture::Mistral, Head::Scalar),
    ] {
        scores_are_the_references(ModelConfig {
            head,
            ..config(architecture)
        });
    }
}

fn scores_are_the_references(config: ModelConfig) {
    let decoder = tiny::decoder(&config, 9);
    let engine = Engine::from_decoder(&decoder, Dtype::F32).expect("an engine");
    let question = tokens(1, 40);
    let mut sequences: Vec<Vec<u32>> = (0..7)
        .map(|row| [&question[..], &tokens(100 + row, 5 + 9 * row as usize)].concat())
        .collect();
    sequences.extend((0..4).map(|row| tokens(200 + row, 3 + 20 * row as usize)));
    let scorer = Scorer::new(
        &engine,
        BatchLimits {
            step_tokens: 120,
            ..BatchLimits::scoring()
        },
    );
    let mut watch = |_| ControlFlow::Continue(());
    let together = scorer.scores(&sequences, &mut watch).expect("scores");
    for (sequence, score) in sequences.iter().zip(&together) {
        let alone = scorer
            .scores(std::slice::from_ref(sequence), &mut watch)
            .expect("a score");
        assert_eq!(alone[0].to_bits(), score.to_bits());
        let expected = reference_logits(&decoder, sequence).pop().expect("a row")[0];
        assert!((expected - score).abs() < 1e-4, "{expected} and {score}");
    }
}

#[test]
fn log_probabilities_match_the_reference() {
    let decoder: Decoder = tiny::decoder(&config(Architecture::Llama), 4);
    let engine = Engine::from_decoder(&decoder, Dtype::F32).expect("an engine");
    let sequence = tokens(5, 100);
    let scorer = Scorer::new(&engine, BatchLimits::scoring());
    let from = 9;
    let found = scorer.log_probabilities(&[(sequence.clone(), from)], &mut |_| {
        ControlFlow::Continue(())
    });
    let logits = tiny::ids(&sequence); // the reference once more, in one piece
    let positions: Vec<u32> = (0..100).collect();
    let hidden = decoder
        .hidden(&logits, &tiny::ids(&positions), &tiny::ids(&[0; 100]))
        .unwrap();
    let logits = decoder.logits(&hidden).unwrap().squeeze(0).unwrap();
    let targets = candle_core::Tensor::new(&sequence[from..], logits.device()).unwrap();
    let expected = reference::token_log_probabilities(
        &logits.narrow(0, from - 1, 100 - from).unwrap(),
        &targets,
    )
    .unwrap();
    let expected = expected.sum_all().unwrap().to_scalar::<f32>().unwrap();
    assert!((found.expect("a sum")[0] - f64::from(expected)).abs() < 1e-2);
}

#[test]
fn corrupted_weight_is_found_by_layer() {
    let config = config(Architecture::Llama);
    let mut parameters = tiny::parameters(&config, 1);
    let name = "model.layers.1.mlp.down_proj.weight";
    let damaged = parameters[name].affine(f64::NAN, 0.0).expect("a tensor");
    parameters.insert(name.to_owned(), damaged);
    let engine = Engine::from_decoder(&Decoder::new(config, parameters).unwrap(), Dtype::F32)
        .expect("an engine");
    let error = engine.last_hidden(&mut [Segment {
        tokens: &[1, 2],
        cache: &mut engine.new_cache(),
    }]);
    assert_eq!(
        error.expect_err("not finite").to_string(),
        "layer 1 gives a value that is not finite for row 0; the model's weights are damaged"
    );
}
