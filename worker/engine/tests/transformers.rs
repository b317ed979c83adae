//! Logits, loss, gradients, scores and one optimizer step against transformers and PyTorch, on the fixtures of
//! `tests/reference`. Tolerance: 1e-4 relative to 1 + |value|, for sums in another order in f32.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use scalequest_engine::inference::{BatchLimits, Engine, Scorer, Segment};
use scalequest_engine::model::{Checkpoint, Decoder, Head};
use scalequest_engine::ops::Dtype;
use scalequest_engine::ops::reference::cross_entropy;
use serde::Deserialize;

const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    sequences: Vec<Vec<u32>>,
    loss: Option<f32>,
    #[serde(default)]
    gradient_norms: BTreeMap<String, f32>,
    adamw: Option<AdamW>,
    scores: Option<Vec<Vec<f32>>>,
}

#[derive(Deserialize)]
struct AdamW {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
}

struct Case {
    checkpoint: Checkpoint,
    expected: Expected,
    tensors: HashMap<String, Tensor>,
}

fn case(name: &str) -> Case {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/reference/fixtures")
        .join(name);
    let facts = std::fs::read(directory.join("expected.json")).expect("a fixture");
    let tensors = directory.join("expected.safetensors");
    Case {
        checkpoint: Checkpoint::open(&directory).expect("a model"),
        expected: serde_json::from_slice(&facts).expect("expected.json"),
        tensors: if tensors.exists() {
            candle_core::safetensors::load(tensors, &Device::Cpu).expect("tensors")
        } else {
            HashMap::new()
        },
    }
}

const LANGUAGE_MODELS: [&str; 7] = [
    "qwen2_tied",
    "llama_untied",
    "llama3_rope",
    "mistral_window",
    "qwen2_window",
    "llama_linear",
    "internlm2",
];

const SCORERS: [(&str, Head); 4] = [
    ("qwen2_scalar", Head::Scalar),
    ("llama_classes", Head::Classes(3)),
    ("internlm2_reward", Head::Scalar),
    ("qwen2_reward", Head::TwoLayerScalar),
];

fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
    let flat = |tensor: &Tensor| {
        tensor
            .flatten_all()
            .and_then(|flat| flat.to_vec1::<f32>())
            .expect("f32")
    };
    assert_eq!(found.dims(), expected.dims(), "{what}");
    for (place, (found, expected)) in flat(found).into_iter().zip(flat(expected)).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= TOLERANCE * (1.0 + expected.abs()),
            "{what} at {place}: {found}, expected {expected}"
        );
    }
}

/// Both sequences packed into one row: ids, positions, segments.
fn packed(sequences: &[Vec<u32>]) -> [Tensor; 3] {
    let row = |values: Vec<u32>| {
        Tensor::new(values, &Device::Cpu)
            .and_then(|row| row.unsqueeze(0))
            .expect("a row")
    };
    let positions = sequences
        .iter()
        .flat_map(|sequence| 0..sequence.len() as u32)
        .collect();
    let segments = sequences
        .iter()
        .zip(0..)
        .flat_map(|(sequence, index)| vec![index; sequence.len()])
        .collect();
    [row(sequences.concat()), row(positions), row(segments)]
}

fn packed_logits(decoder: &Decoder, sequences: &[Vec<u32>]) -> Tensor {
    let [ids, positions, segments] = packed(sequences);
    let hidden = decoder
        .hidden(&ids, &positions, &segments)
        .expect("hidden states");
    decoder
        .logits(&hidden)
        .and_then(|logits| logits.squeeze(0))
        .expect("logits")
}

/// The mean cross-entropy of every next token within its own sequence.
fn loss(decoder: &Decoder, sequences: &[Vec<u32>]) -> Tensor {
    let logits = packed_logits(decoder, sequences);
    let (mut targets, mut weights) = (Vec::new(), Vec::new());
    for sequence in sequences {
        targets.extend_from_slice(&sequence[1..]);
        targets.push(0);
        weights.extend(vec![1.0f32; sequence.len() - 1]);
        weights.push(0.0);
    }
    let targets = Tensor::new(targets, &Device::Cpu).expect("targets");
    let weights = Tensor::new(weights, &Device::Cpu).expect("weights");
    cross_entropy(&logits, &targets, &weights).expect("a loss")
}

fn trainable(checkpoint: &Checkpoint) -> (Decoder, BTreeMap<String, Var>) {
    let variables: BTreeMap<String, Var> = checkpoint
        .parameters()
        .expect("parameters")
        .into_iter()
        .map(|(name, tensor)| (name, Var::from_tensor(&tensor).expect("a variable")))
        .collect();
    let tensors = variables
        .iter()
        .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
        .collect();
    (
        Decoder::new(checkpoint.config().clone(), tensors).expect("a decoder"),
        variables,
    )
}

#[test]
fn packed_logits_match_transformers() {
    for name in LANGUAGE_MODELS {
        let Case {
            checkpoint,
            expected,
            tensors,
        } = case(name);
        let decoder = Decoder::load(&checkpoint).expect("a decoder");
        let logits = packed_logits(&decoder, &expected.sequences);
        let expected =
            Tensor::cat(&[&tensors["logits.0"], &tensors["logits.1"]], 0).expect("logits");
        assert_close(name, &logits, &expected);
    }
}

#[test]
fn serving_logits_match_transformers() {
    for name in LANGUAGE_MODELS {
        let Case {
            checkpoint,
            expected,
            tensors,
        } = case(name);
        let engine = Engine::load(&checkpoint, Dtype::F32).expect("an engine");
        for (index, tokens) in expected.sequences.iter().enumerate() {
            let hidden = engine.all_hidden(&mut [Segment {
                tokens,
                cache: &mut engine.new_cache(),
            }]);
            let (logits, stride) = engine.head(&hidden.expect("hidden states"));
            let logits =
                Tensor::from_slice(&logits, (tokens.len(), stride), &Device::Cpu).expect("logits");
            let logits = logits.narrow(1, 0, engine.head_width()).expect("logits");
            assert_close(name, &logits, &tensors[&format!("logits.{index}")]);
        }
    }
}

/// How far bf16 may move a model's numbers, as a share of their root mean square. A factor of a product is rounded by at most a unit
/// roundoff of 2^-8 of itself, and a product's result by both factors' together; on the way from the embedding to the head are
/// two products in attention, and four linear layers, a layer, and the head. Norms and sums in f32 carry errors on and add none.
fn bf16_share(layers: usize) -> f64 {
    (6 * layers + 1) as f64 * 2.0 * 2f64.powi(-8)
}

fn root_mean_square(values: impl Iterator<Item = f32> + Clone) -> f64 {
    let count = values.clone().count() as f64;
    (values.map(|x| f64::from(x).powi(2)).sum::<f64>() / count).sqrt()
}

#[test]
fn bf16_serving_is_near_transformers() {
    for name in LANGUAGE_MODELS {
        let Case {
            checkpoint,
            expected,
            tensors,
        } = case(name);
        let engine = Engine::load(&checkpoint, Dtype::Bf16).expect("an engine");
        let share = bf16_share(checkpoint.config().num_hidden_layers);
        for (index, tokens) in expected.sequences.iter().enumerate() {
            let hidden = engine.all_hidden(&mut [Segment {
                tokens,
                cache: &mut engine.new_cache(),
            }]);
            let (logits, stride) = engine.head(&hidden.expect("hidden states"));
            let exact = tensors[&format!("logits.{index}")]
                .to_vec2::<f32>()
                .expect("logits");
            for (place, (found, exact)) in logits.chunks_exact(stride).zip(&exact).enumerate() {
                let errors = found.iter().zip(exact).map(|(a, b)| a - b);
                let (error, size) = (
                    root_mean_square(errors),
                    root_mean_square(exact.iter().copied()),
                );
                assert!(
                    error <= share * size && error > 0.0,
                    "{name} at {place}: off by {error} of {size}, at most {share}"
                );
            }
        }
    }
}

#[test]
fn loss_and_gradients_match_pytorch() {
    for name in LANGUAGE_MODELS {
        let Case {
            checkpoint,
            expected,
            ..
        } = case(name);
        let (decoder, variables) = trainable(&checkpoint);
        let loss = loss(&decoder, &expected.sequences);
        let value = loss.to_scalar::<f32>().expect("a number");
        assert!(
            (value - expected.loss.expect("a loss")).abs() < TOLERANCE,
            "{name}: {value}"
        );
        let gradients = loss.backward().expect("gradients");
        assert!(
            variables.keys().eq(expected.gradient_norms.keys()),
            "{name}: the same parameters"
        );
        for (parameter, variable) in &variables {
            let gradient = gradients
                .get(variable)
                .unwrap_or_else(|| panic!("{name}: no gradient for {parameter}"));
            let norm = gradient
                .sqr()
                .and_then(|x| x.sum_all()?.sqrt()?.to_scalar::<f32>())
                .expect("a norm");
            let wanted = expected.gradient_norms[parameter];
            // The key biases' gradient is zero but for rounding: they shift all scores of a query alike.
            let is_zero = wanted < 1e-6;
            assert!(
                is_zero || norm > 0.0,
                "{name}: the gradient of {parameter} is zero"
            );
            assert!(
                (norm - wanted).abs() <= TOLERANCE * (1.0 + wanted),
                "{name}: {parameter}: {norm}, not {wanted}"
            );
        }
    }
}

#[test]
fn adamw_step_matches_pytorch() {
    for name in LANGUAGE_MODELS {
        let Case {
            checkpoint,
            expected,
            tensors,
        } = case(name);
        let Some(AdamW {
            lr,
            betas: [first, second],
            eps,
            weight_decay,
        }) = expected.adamw
        else {
            continue;
        };
        let (decoder, variables) = trainable(&checkpoint);
        let gradients = loss(&decoder, &expected.sequences)
            .backward()
            .expect("gradients");
        for (parameter, variable) in &variables {
            let gradient = gradients.get(variable).expect("a gradient");
            let step = || -> candle_core::Result<Tensor> {
                let mean = ((gradient * (1.0 - first))? / (1.0 - first))?;
                let square = ((gradient.sqr()? * (1.0 - second))? / (1.0 - second))?;
                let decayed = (variable.as_tensor() * (1.0 - lr * weight_decay))?;
                decayed - ((mean / (square.sqrt()? + eps)?)? * lr)?
            };
            // Where the gradient is nothing but rounding, its sign decides the first step.
            if expected.gradient_norms[parameter] < 1e-6 {
                continue;
            }
            let place = format!("{name}: {parameter}");
            assert_close(
                &place,
                &step().expect("a step"),
                &tensors[&format!("after.{parameter}")],
            );
        }
    }
}

#[test]
fn scores_match_transformers() {
    for (name, head) in SCORERS {
        let Case {
            checkpoint,
            expected,
            ..
        } = case(name);
        assert_eq!(checkpoint.config().head, head);
        let wanted = expected.scores.expect("scores");
        let decoder = Decoder::load(&checkpoint).expect("a decoder");
        let [ids, positions, segments] = packed(&expected.sequences);
        let hidden = decoder
            .hidden(&ids, &positions, &segments)
            .expect("hidden states");
        let (first, all) = (
            expected.sequences[0].len(),
            expected.sequences.concat().len(),
        );
        let scores = decoder
            .score(&hidden, &[(0, first - 1), (0, all - 1)])
            .expect("scores");
        assert_close(
            name,
            &scores,
            &Tensor::new(wanted.clone(), &Device::Cpu).expect("scores"),
        );

        let engine = Engine::load(&checkpoint, Dtype::F32).expect("an engine");
        let scorer = Scorer::new(&engine, BatchLimits::scoring());
        let served = scorer.head_outputs(&expected.sequences, &mut |_| ControlFlow::Continue(()));
        let served = Tensor::new(served.expect("scores"), &Device::Cpu).expect("scores");
        assert_close(
            name,
            &served,
            &Tensor::new(wanted, &Device::Cpu).expect("scores"),
        );
    }
}
