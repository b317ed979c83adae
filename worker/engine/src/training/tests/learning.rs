//! Training learns what it says it learns, and every parameter takes part.

use candle_core::Tensor;

use crate::model::Architecture;
use crate::ops::TrainingBackend;
use crate::ops::cpu::PackedType;
use crate::ops::fused::Gradients;
use crate::training::fixtures::{
    Recorder, adapted, config, full, pairs, parameters, plan, questions, settings,
};
use crate::training::initial::with_scalar_head;
use crate::training::rng::KeyedRng;
use crate::training::settings::{TrainingSettings, Tuning};
use crate::training::{
    DpoObjective, Example, Objective, RegressionObjective, SftObjective, Target, TrainableModel,
    TrainingError, TrainingOutcome, TrainingSummary, evaluate, gradient, train,
};

fn finish<O: Objective>(
    model: &TrainableModel,
    objective: &mut O,
    settings: &TrainingSettings,
) -> TrainingSummary {
    let scratch = tempfile::tempdir().unwrap();
    let mut callback = Recorder::new(scratch.path(), usize::MAX);
    match train(
        model,
        objective,
        &plan(settings, scratch.path()),
        &mut callback,
    )
    .unwrap()
    {
        TrainingOutcome::Finished(summary) => summary,
        TrainingOutcome::Stopped { step } => panic!("stopped at {step}"),
    }
}

fn assert_every_gradient_is_alive<O: Objective>(model: &TrainableModel, objective: &O) {
    let batch = objective.units(&mut KeyedRng::new(1, "gradient", 0));
    let found = gradient(
        model,
        objective,
        &batch,
        &mut Gradients::default(),
        &mut || false,
    )
    .unwrap()
    .unwrap();
    assert_eq!(found.values.len(), model.variables().len());
    for (name, value) in &found.values {
        let largest = value
            .abs()
            .unwrap()
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        assert!(largest > 0.0, "the gradient of `{name}` is zero");
    }
}

fn scalar(architecture: Architecture) -> TrainableModel {
    let config = config(architecture);
    let parameters = parameters(&config);
    let (config, parameters) = with_scalar_head(config, parameters, 4).unwrap();
    TrainableModel::new(config, parameters, Tuning::Full, 0).unwrap()
}

fn targets(count: usize) -> Vec<Target> {
    let tokens = questions(count).into_iter().map(|example| example.tokens);
    tokens
        .map(|tokens| Target {
            value: tokens[2] as f32 / 20.0,
            tokens,
        })
        .collect()
}

#[test]
fn every_parameter_has_a_gradient() {
    for architecture in [Architecture::Qwen2, Architecture::Llama] {
        let model = full(architecture);
        assert_every_gradient_is_alive(&model, &SftObjective::new(questions(6), 24).unwrap());
        let preference = DpoObjective::new(pairs(6), 0.1, 64)
            .unwrap()
            .with_reference(model.decoder())
            .unwrap();
        assert_every_gradient_is_alive(&model, &preference);
        assert_every_gradient_is_alive(
            &scalar(architecture),
            &RegressionObjective::new(targets(6), 64).unwrap(),
        );
    }
}

#[test]
fn every_adapter_has_a_gradient() {
    for architecture in [Architecture::Qwen2, Architecture::Llama] {
        let model = adapted(architecture);
        for (name, variable) in model
            .variables()
            .iter()
            .filter(|(name, _)| name.ends_with("lora_B"))
        {
            let mut rng = KeyedRng::new(6, name, 0);
            let values: Vec<f32> = (0..variable.elem_count())
                .map(|_| rng.normal() as f32 * 0.1)
                .collect();
            variable
                .set(&Tensor::from_vec(values, variable.dims(), variable.device()).unwrap())
                .unwrap();
        }
        assert_every_gradient_is_alive(&model, &SftObjective::new(questions(6), 24).unwrap());
    }
}

#[test]
fn gradient_is_the_slope() {
    // Rounding to bf16 makes steps of the slope.
    let model = full(Architecture::Qwen2).with_backend(TrainingBackend::Fused(PackedType::F32));
    let preference = DpoObjective::new(pairs(4), 0.5, 64)
        .unwrap()
        .with_reference(model.decoder())
        .unwrap();
    // Away from where the reference is, so that the margin is not zero.
    let norm = &model.variables()["model.norm.weight"];
    norm.set(&(norm.as_tensor() * 1.2).unwrap()).unwrap();
    let batch = preference.units(&mut KeyedRng::new(1, "slope", 0));
    let found = gradient(
        &model,
        &preference,
        &batch,
        &mut Gradients::default(),
        &mut || false,
    )
    .unwrap()
    .unwrap();
    for name in [
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.norm.weight",
    ] {
        let (variable, slope) = (&model.variables()[name], &found.values[name]);
        let start = variable.as_tensor().copy().unwrap();
        let length = slope
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
            .sqrt();
        let along = |distance: f64| {
            variable
                .set(&(&start + (slope * (distance / f64::from(length))).unwrap()).unwrap())
                .unwrap();
            let loss = evaluate(&preference, model.decoder()).unwrap().loss;
            variable.set(&start).unwrap();
            loss
        };
        let measured = (along(1e-2) - along(-1e-2)) / 2e-2;
        assert!(
            (measured / f64::from(length) - 1.0).abs() < 0.02,
            "{name}: {measured} measured, {length} computed"
        );
    }
}

#[test]
fn sft_lowers_the_held_out_loss() {
    for (model, rate) in [
        (full(Architecture::Llama), 1e-2),
        (adapted(Architecture::Qwen2), 3e-2),
    ] {
        let held_out = questions(60).split_off(48);
        let ends = held_out
            .iter()
            .map(|e| Example {
                loss_start: e.tokens.len() - 1,
                ..e.clone()
            })
            .collect();
        let ends = SftObjective::new(ends, 24).unwrap();
        let held_out = SftObjective::new(held_out, 24).unwrap();
        let losses = || {
            [&held_out, &ends].map(|objective| evaluate(objective, model.decoder()).unwrap().loss)
        };
        let before = losses();
        let mut objective = SftObjective::new(questions(48), 24).unwrap();
        let settings = TrainingSettings {
            learning_rate: rate,
            epochs: 20,
            ..settings()
        };
        let summary = finish(&model, &mut objective, &settings);
        let after = losses();
        assert!(
            after[0] < 0.7 * before[0] && after[1] < 0.7 * before[1],
            "{before:?} before, {after:?} after"
        );
        assert!(summary.steps.last().unwrap().loss < summary.steps[0].loss);
    }
}

#[test]
fn dpo_starts_at_ln_2() {
    for (model, rate) in [
        (full(Architecture::Qwen2), 2e-3),
        (adapted(Architecture::Llama), 1e-2),
    ] {
        let mut objective = DpoObjective::new(pairs(32), 0.1, 64).unwrap();
        let settings = TrainingSettings {
            learning_rate: rate,
            epochs: 4,
            batch_size: 8,
            ..settings()
        };
        let summary = finish(&model, &mut objective, &settings);
        let (first, last) = (&summary.steps[0], summary.steps.last().unwrap());
        assert!(
            (first.loss - std::f64::consts::LN_2).abs() < 1e-6,
            "starts at {}",
            first.loss
        );
        assert!(first.metrics[0].abs() < 1e-6);
        assert!(
            last.metrics[0] > 0.1 && last.loss < first.loss,
            "ends at {last:?}"
        );
        let after = evaluate(&objective, model.decoder()).unwrap();
        assert!(after.metrics[1] > 0.9, "accuracy {}", after.metrics[1]);
    }
}

#[test]
fn regression_learns_from_the_last_token() {
    let model = scalar(Architecture::Llama);
    let held_out = RegressionObjective::new(targets(80).split_off(64), 64).unwrap();
    let before = evaluate(&held_out, model.decoder()).unwrap();
    let settings = TrainingSettings {
        epochs: 10,
        batch_size: 8,
        ..settings()
    };
    finish(
        &model,
        &mut RegressionObjective::new(targets(64), 64).unwrap(),
        &settings,
    );
    let after = evaluate(&held_out, model.decoder()).unwrap();
    assert!(
        after.loss < 0.3 * before.loss,
        "{before:?} before, {after:?} after"
    );
}

#[test]
fn nan_loss_names_its_step() {
    let model = full(Architecture::Llama);
    let norm = &model.variables()["model.norm.weight"];
    norm.set(&(norm.as_tensor() * f64::NAN).unwrap()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut callback = Recorder::new(scratch.path(), usize::MAX);
    let mut objective = SftObjective::new(questions(6), 24).unwrap();
    let error = train(
        &model,
        &mut objective,
        &plan(&settings(), scratch.path()),
        &mut callback,
    )
    .unwrap_err();
    assert!(
        matches!(error, TrainingError::NotFinite { step: 1, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with("the loss is NaN at step 1 of "),
        "{error}"
    );
}

#[test]
fn invalid_settings_are_rejected() {
    let model = full(Architecture::Llama);
    let scratch = tempfile::tempdir().unwrap();
    let settings = TrainingSettings {
        batch_size: 0,
        ..settings()
    };
    let mut objective = SftObjective::new(questions(6), 24).unwrap();
    let mut callback = Recorder::new(scratch.path(), usize::MAX);
    let error = train(
        &model,
        &mut objective,
        &plan(&settings, scratch.path()),
        &mut callback,
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "`batchSize` is 0: expected 1 or more");
}
