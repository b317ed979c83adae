//! Training learns what it says it learns, and every parameter takes part.

use candle_core::Tensor;

use crate::model::Architecture;
use crate::ops::Differentiable;
use crate::ops::cpu::Element;
use crate::ops::fused::Gradients;
use crate::training::draw::Draws;
use crate::training::fixtures::{
    Recorder, adapted, config, full, pairs, parameters, plan, questions, settings,
};
use crate::training::initial::with_scalar_head;
use crate::training::settings::{TrainingSettings, Tuning};
use crate::training::{
    Ended, Example, Objective, Preference, QuestionModelling, Regression, Summary, Target, Trainee,
    TrainingError, evaluate, gradient, train,
};

fn finish<O: Objective>(
    trainee: &Trainee,
    objective: &mut O,
    settings: &TrainingSettings,
) -> Summary {
    let scratch = tempfile::tempdir().unwrap();
    let mut watcher = Recorder::new(scratch.path(), usize::MAX);
    match train(
        trainee,
        objective,
        &plan(settings, scratch.path()),
        &mut watcher,
    )
    .unwrap()
    {
        Ended::Finished(summary) => summary,
        Ended::Stopped { step } => panic!("stopped at {step}"),
    }
}

fn assert_every_gradient_is_alive<O: Objective>(trainee: &Trainee, objective: &O) {
    let batch = objective.units(&mut Draws::keyed(1, "gradient", 0));
    let found = gradient(
        trainee,
        objective,
        &batch,
        &mut Gradients::default(),
        &mut || false,
    )
    .unwrap()
    .unwrap();
    assert_eq!(found.values.len(), trainee.variables().len());
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

fn scalar(architecture: Architecture) -> Trainee {
    let config = config(architecture);
    let parameters = parameters(&config);
    let (config, parameters) = with_scalar_head(config, parameters, 4).unwrap();
    Trainee::new(config, parameters, Tuning::Full, 0).unwrap()
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
fn every_trainable_parameter_has_a_gradient_that_is_not_zero() {
    for architecture in [Architecture::Qwen2, Architecture::Llama] {
        let trainee = full(architecture);
        assert_every_gradient_is_alive(
            &trainee,
            &QuestionModelling::new(questions(6), 24).unwrap(),
        );
        let preference = Preference::new(pairs(6), 0.1, 64)
            .unwrap()
            .with_reference(trainee.decoder())
            .unwrap();
        assert_every_gradient_is_alive(&trainee, &preference);
        assert_every_gradient_is_alive(
            &scalar(architecture),
            &Regression::new(targets(6), 64).unwrap(),
        );
    }
}

#[test]
fn every_adapter_has_a_gradient_once_b_is_off_zero() {
    for architecture in [Architecture::Qwen2, Architecture::Llama] {
        let trainee = adapted(architecture);
        for (name, variable) in trainee
            .variables()
            .iter()
            .filter(|(name, _)| name.ends_with("lora_B"))
        {
            let mut draws = Draws::keyed(6, name, 0);
            let values: Vec<f32> = (0..variable.elem_count())
                .map(|_| draws.normal() as f32 * 0.1)
                .collect();
            variable
                .set(&Tensor::from_vec(values, variable.dims(), variable.device()).unwrap())
                .unwrap();
        }
        assert_every_gradient_is_alive(
            &trainee,
            &QuestionModelling::new(questions(6), 24).unwrap(),
        );
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    // Rounding to bf16 makes steps of the slope.
    let trainee = full(Architecture::Qwen2).by(Differentiable::Fused(Element::F32));
    let preference = Preference::new(pairs(4), 0.5, 64)
        .unwrap()
        .with_reference(trainee.decoder())
        .unwrap();
    // Away from where the reference is, so that the margin is not zero.
    let norm = &trainee.variables()["model.norm.weight"];
    norm.set(&(norm.as_tensor() * 1.2).unwrap()).unwrap();
    let batch = preference.units(&mut Draws::keyed(1, "slope", 0));
    let found = gradient(
        &trainee,
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
        let (variable, slope) = (&trainee.variables()[name], &found.values[name]);
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
            let loss = evaluate(&preference, trainee.decoder()).unwrap().loss;
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
fn question_training_lowers_the_held_out_loss_and_learns_the_end() {
    for (trainee, rate) in [
        (full(Architecture::Llama), 1e-2),
        (adapted(Architecture::Qwen2), 3e-2),
    ] {
        let held_out = questions(60).split_off(48);
        let ends = held_out
            .iter()
            .map(|e| Example {
                learnt_from: e.tokens.len() - 1,
                ..e.clone()
            })
            .collect();
        let ends = QuestionModelling::new(ends, 24).unwrap();
        let held_out = QuestionModelling::new(held_out, 24).unwrap();
        let losses = || {
            [&held_out, &ends].map(|objective| evaluate(objective, trainee.decoder()).unwrap().loss)
        };
        let before = losses();
        let mut objective = QuestionModelling::new(questions(48), 24).unwrap();
        let settings = TrainingSettings {
            learning_rate: rate,
            epochs: 20,
            ..settings()
        };
        let summary = finish(&trainee, &mut objective, &settings);
        let after = losses();
        assert!(
            after[0] < 0.7 * before[0] && after[1] < 0.7 * before[1],
            "{before:?} before, {after:?} after"
        );
        assert!(summary.steps.last().unwrap().loss < summary.steps[0].loss);
    }
}

#[test]
fn preference_training_starts_at_ln_2_and_its_margin_grows() {
    for (trainee, rate) in [
        (full(Architecture::Qwen2), 2e-3),
        (adapted(Architecture::Llama), 1e-2),
    ] {
        let mut objective = Preference::new(pairs(32), 0.1, 64).unwrap();
        let settings = TrainingSettings {
            learning_rate: rate,
            epochs: 4,
            batch_size: 8,
            ..settings()
        };
        let summary = finish(&trainee, &mut objective, &settings);
        let (first, last) = (&summary.steps[0], summary.steps.last().unwrap());
        assert!(
            (first.loss - std::f64::consts::LN_2).abs() < 1e-6,
            "starts at {}",
            first.loss
        );
        assert!(first.measures[0].abs() < 1e-6);
        assert!(
            last.measures[0] > 0.1 && last.loss < first.loss,
            "ends at {last:?}"
        );
        let after = evaluate(&objective, trainee.decoder()).unwrap();
        assert!(after.measures[1] > 0.9, "accuracy {}", after.measures[1]);
    }
}

#[test]
fn regression_learns_a_number_from_the_last_token() {
    let trainee = scalar(Architecture::Llama);
    let held_out = Regression::new(targets(80).split_off(64), 64).unwrap();
    let before = evaluate(&held_out, trainee.decoder()).unwrap();
    let settings = TrainingSettings {
        epochs: 10,
        batch_size: 8,
        ..settings()
    };
    finish(
        &trainee,
        &mut Regression::new(targets(64), 64).unwrap(),
        &settings,
    );
    let after = evaluate(&held_out, trainee.decoder()).unwrap();
    assert!(
        after.loss < 0.3 * before.loss,
        "{before:?} before, {after:?} after"
    );
}

#[test]
fn a_loss_that_is_not_a_number_names_the_step() {
    let trainee = full(Architecture::Llama);
    let norm = &trainee.variables()["model.norm.weight"];
    norm.set(&(norm.as_tensor() * f64::NAN).unwrap()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut watcher = Recorder::new(scratch.path(), usize::MAX);
    let mut objective = QuestionModelling::new(questions(6), 24).unwrap();
    let error = train(
        &trainee,
        &mut objective,
        &plan(&settings(), scratch.path()),
        &mut watcher,
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
fn impossible_settings_are_refused_by_name() {
    let trainee = full(Architecture::Llama);
    let scratch = tempfile::tempdir().unwrap();
    let settings = TrainingSettings {
        batch_size: 0,
        ..settings()
    };
    let mut objective = QuestionModelling::new(questions(6), 24).unwrap();
    let mut watcher = Recorder::new(scratch.path(), usize::MAX);
    let error = train(
        &trainee,
        &mut objective,
        &plan(&settings, scratch.path()),
        &mut watcher,
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "`batchSize` is 0: expected 1 or more");
}
