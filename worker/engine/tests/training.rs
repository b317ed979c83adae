//! Training against PyTorch, on the fixtures of `tests/reference`: losses, gradient norms, margins and one clipped AdamW
//! step. Tolerance: 1e-4 relative to 1 + |value| for losses and weights, 1e-3 relative for gradient norms.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use scalequest_engine::model::Checkpoint;
use scalequest_engine::ops::TrainingBackend;
use scalequest_engine::ops::cpu::PackedType;
use scalequest_engine::ops::fused::Gradients;
use scalequest_engine::training::optimizer::{
    AdamW, AdamWSettings, LARGEST_GRADIENT_NORM, clipping, global_norm,
};
use scalequest_engine::training::settings::{Lora, TrainingSettings, Tuning};
use scalequest_engine::training::{
    DpoObjective, Example, Gradient, Objective, Plan, PreferencePair, RegressionObjective,
    SftObjective, Target, TrainableModel, TrainingCallback, TrainingProgress, evaluate, gradient,
    train,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Facts {
    prefix: Vec<u32>,
    questions: Vec<Vec<u32>>,
    adamw: Option<AdamWFacts>,
    question_modelling: Option<LossFacts>,
    preference: Option<LossFacts>,
    regression: Option<LossFacts>,
}

#[derive(Deserialize)]
struct AdamWFacts {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
}

#[derive(Deserialize)]
struct LossFacts {
    loss: f64,
    gradient_norms: BTreeMap<String, f64>,
    global_norm: Option<f64>,
    beta: Option<f64>,
    #[serde(default)]
    pairs: Vec<(usize, usize)>,
    #[serde(default)]
    reference: Vec<f64>,
    margin: Option<f64>,
    #[serde(default)]
    targets: Vec<f32>,
}

fn directory(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/reference/fixtures")
        .join(case)
}

fn facts(case: &str) -> Facts {
    let text = std::fs::read(directory(case).join("training.json")).expect("a fixture");
    serde_json::from_slice(&text).expect("training.json")
}

/// With products of f32, so that PyTorch's f32 can be met closely.
fn model(case: &str) -> TrainableModel {
    model_with(case, PackedType::F32)
}

fn model_with(case: &str, packed_type: PackedType) -> TrainableModel {
    let checkpoint = Checkpoint::open(&directory(case)).expect("a model");
    let parameters = checkpoint.parameters().expect("parameters");
    TrainableModel::new(checkpoint.config().clone(), parameters, Tuning::Full, 0)
        .expect("a trainable model")
        .with_backend(TrainingBackend::Fused(packed_type))
}

impl Facts {
    /// The questions, their last token being the end.
    fn examples(&self) -> Vec<Example> {
        let example = |question: &Vec<u32>| Example {
            tokens: [&self.prefix[..], question].concat(),
            loss_start: self.prefix.len(),
        };
        self.questions.iter().map(example).collect()
    }

    fn pairs(&self, pairs: &[(usize, usize)]) -> Vec<PreferencePair> {
        let examples = self.examples();
        let pair = |&(chosen, rejected): &(usize, usize)| PreferencePair {
            chosen: examples[chosen].clone(),
            rejected: examples[rejected].clone(),
        };
        pairs.iter().map(pair).collect()
    }
}

/// The gradient over everything the objective has, in its own order.
fn gradient_of<O: Objective>(model: &TrainableModel, objective: &O) -> Gradient {
    let units = objective.units(&mut scalequest_engine::training::rng::KeyedRng::new(
        0,
        "reference",
        0,
    ));
    gradient(
        model,
        objective,
        &units,
        &mut Gradients::default(),
        &mut || false,
    )
    .expect("a gradient")
    .expect("not stopped")
}

fn assert_near(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: {found}, expected {expected}"
    );
}

fn assert_gradient(found: &Gradient, expected: &LossFacts) {
    assert_near(
        "loss",
        found.loss,
        expected.loss,
        1e-4 * (1.0 + expected.loss.abs()),
    );
    assert_eq!(found.values.len(), expected.gradient_norms.len());
    for (name, expected) in &expected.gradient_norms {
        let value = BTreeMap::from([(name.clone(), found.values[name].clone())]);
        assert_near(
            name,
            global_norm(&value).expect("a norm"),
            *expected,
            1e-3 * expected + 1e-6,
        );
    }
}

#[test]
fn qft_matches_pytorch() {
    for case in ["qwen2_tied", "llama_untied"] {
        let (facts, model) = (facts(case), model(case));
        let expected = facts.question_modelling.as_ref().expect("facts");
        // Rows that hold one, two or all three questions: packing changes nothing.
        for max_length in [12, 20, 64] {
            let objective = SftObjective::new(facts.examples(), max_length).expect("an objective");
            assert_gradient(&gradient_of(&model, &objective), expected);
        }
        let objective = SftObjective::new(facts.examples(), 64).expect("an objective");
        let found = gradient_of(&model, &objective);
        let norm = global_norm(&found.values).expect("a norm");
        let global = expected.global_norm.expect("a norm");
        assert_near("global norm", norm, global, 1e-3 * global);
        assert!(norm > LARGEST_GRADIENT_NORM, "the step is to be clipped");

        let AdamWFacts {
            lr,
            betas: [beta1, beta2],
            eps,
            weight_decay,
        } = facts.adamw.expect("settings");
        let mut optimizer = AdamW::new(AdamWSettings {
            beta1,
            beta2,
            epsilon: eps,
            weight_decay,
        });
        let scale = clipping(norm, LARGEST_GRADIENT_NORM);
        optimizer
            .apply(model.variables(), &found.values, lr, scale)
            .expect("a step");
        let after = candle_core::safetensors::load(
            directory(case).join("trained.safetensors"),
            &Device::Cpu,
        );
        for (name, expected) in after.expect("weights") {
            let name = name.trim_start_matches("after.");
            let flat = |tensor: &Tensor| {
                tensor
                    .flatten_all()
                    .and_then(|flat| flat.to_vec1::<f32>())
                    .expect("f32")
            };
            let found = flat(model.variables()[name].as_tensor());
            for (found, expected) in found.into_iter().zip(flat(&expected)) {
                let tolerance = 1e-4 * (1.0 + f64::from(expected.abs()));
                assert_near(name, found.into(), expected.into(), tolerance);
            }
        }
    }
}

/// What products of bf16 change, whose operands keep 8 bits: each is off by 2^-9 of itself at most. A path through these models of two layers
/// has some twenty products one after the other; were all errors alike they would come to a twentieth, and they are not.
#[test]
fn bf16_gemm_keeps_gradient_directions() {
    for case in ["qwen2_tied", "llama_untied"] {
        let facts = facts(case);
        let objective = SftObjective::new(facts.examples(), 64).expect("an objective");
        let [exact, rounded] = [PackedType::F32, PackedType::Bf16]
            .map(|packed_type| gradient_of(&model_with(case, packed_type), &objective));
        assert_near("loss", rounded.loss, exact.loss, exact.loss / 256.0);
        for (name, exact) in &exact.values {
            let norm = |gradient: Tensor| {
                let value = BTreeMap::from([(name.clone(), gradient)]);
                global_norm(&value).expect("a norm")
            };
            let difference = (&rounded.values[name] - exact).expect("the same shape");
            let error = norm(difference) / norm(exact.clone());
            assert!(error < 0.05, "{name}: {error}");
            assert!(error > 0.0, "{name} was computed in f32");
        }
    }
}

#[test]
fn dpo_matches_pytorch() {
    for case in ["qwen2_tied", "llama_untied"] {
        let (facts, model) = (facts(case), model(case));
        let expected = facts.preference.as_ref().expect("facts");
        let pairs = facts.pairs(&expected.pairs);
        let objective =
            DpoObjective::new(pairs, expected.beta.expect("beta"), 64).expect("an objective");
        let objective = objective
            .with_reference(model.decoder())
            .expect("a reference");
        let wanted = expected
            .pairs
            .iter()
            .flat_map(|&(chosen, rejected)| [chosen, rejected]);
        for (found, index) in objective.state().iter().zip(wanted) {
            let expected = expected.reference[index];
            assert_near(
                "reference",
                f64::from(*found),
                expected,
                1e-4 * (1.0 + expected.abs()),
            );
        }
        let before = gradient_of(&model, &objective);
        assert_near(
            "loss at the start",
            before.loss,
            std::f64::consts::LN_2,
            1e-6,
        );

        let after = candle_core::safetensors::load(
            directory(case).join("trained.safetensors"),
            &Device::Cpu,
        );
        for (name, value) in after.expect("weights") {
            model.variables()[name.trim_start_matches("after.")]
                .set(&value)
                .expect("the same shape");
        }
        let found = gradient_of(&model, &objective);
        assert_gradient(&found, expected);
        assert_near(
            "margin",
            found.metrics[0],
            expected.margin.expect("a margin"),
            1e-4,
        );
    }
}

#[test]
fn regression_matches_pytorch() {
    let (facts, model) = (facts("qwen2_scalar"), model("qwen2_scalar"));
    let expected = facts.regression.as_ref().expect("facts");
    let targets = facts.examples().into_iter().zip(&expected.targets);
    let targets = targets
        .map(|(example, &value)| Target {
            tokens: example.tokens,
            value,
        })
        .collect();
    let objective = RegressionObjective::new(targets, 64).expect("an objective");
    assert_gradient(&gradient_of(&model, &objective), expected);
    let evaluation = evaluate(&objective, model.decoder()).expect("an evaluation");
    assert_near(
        "evaluated loss",
        evaluation.loss,
        expected.loss,
        1e-4 * (1.0 + expected.loss),
    );
}

/// The real small model, where it is: in `SCALEQUEST_MODELS`, or `models/` under the repository's root.
fn smollm2() -> Option<Checkpoint> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory =
        std::env::var_os("SCALEQUEST_MODELS").map_or(root.join("models"), PathBuf::from);
    let path = directory.join("smollm2-135m-instruct.q4_1.gguf");
    if !path.exists() {
        eprintln!(
            "skipped: {} is absent; fetch it, or set SCALEQUEST_MODELS to where it is",
            path.display()
        );
        return None;
    }
    Some(Checkpoint::open(&path).expect("a readable model"))
}

struct Quiet;

impl TrainingCallback for Quiet {
    fn progress(&mut self, _: &TrainingProgress<'_>) {}

    fn should_stop(&mut self) -> bool {
        false
    }

    fn save_checkpoint(
        &mut self,
        _: &Path,
        _: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

#[test]
fn qft_lowers_held_out_loss() {
    let Some(checkpoint) = smollm2() else { return };
    let tokenizer = checkpoint.tokenizer().expect("a tokenizer");
    let template = checkpoint.chat_template(&tokenizer).expect("a template");
    let prefix = template.question_prefix(None).expect("a prefix");
    let prefix_tokens = tokenizer.encode(&prefix.text).expect("tokens");
    let read = |name: &str, count: usize| -> Vec<Example> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples/seeds")
            .join(name);
        let text = std::fs::read_to_string(file).expect("the example's questions");
        let examples = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let question = line["question"].as_str().expect("a question");
            let tokens = tokenizer.encode_plain(question).expect("tokens");
            Example::question(&prefix_tokens, &tokens, prefix.end_token)
        });
        examples
            .step_by(5)
            .filter(|example| example.tokens.len() <= 96)
            .take(count)
            .collect()
    };
    let held_out = SftObjective::new(read("held-out.jsonl", 6), 128).expect("held-out questions");
    let mut objective = SftObjective::new(read("questions.jsonl", 18), 128).expect("questions");

    let parameters = checkpoint.parameters().expect("parameters");
    let lora = Lora {
        rank: 8,
        alpha: 16.0,
    };
    let config = checkpoint.config().clone();
    let model =
        TrainableModel::new(config, parameters, Tuning::Lora(lora), 1).expect("a trainable model");
    let before = evaluate(&held_out, model.decoder())
        .expect("an evaluation")
        .loss;
    let settings = TrainingSettings {
        epochs: 1,
        learning_rate: 1e-3,
        warmup_ratio: 0.1,
        batch_size: 3,
        checkpoint_steps: 0,
    };
    let scratch = tempfile::tempdir().expect("a directory");
    let optimizer = AdamWSettings::default();
    let plan = Plan {
        settings: &settings,
        seed: 1,
        purpose: "test",
        identity: "test",
        optimizer,
        scratch: scratch.path(),
        resume: None,
    };
    train(&model, &mut objective, &plan, &mut Quiet).expect("a training");
    let after = evaluate(&held_out, model.decoder())
        .expect("an evaluation")
        .loss;
    eprintln!("held-out question loss of SmolLM2: {before:.3} before, {after:.3} after");
    assert!(after < before - 0.1, "{before} before, {after} after");
}
