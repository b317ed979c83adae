//! Tests of the cost model: it scales with parameters, tokens, samples and device rates, and stays near the paper where it can be compared.

use super::*;
use crate::parse::parse;
use crate::validate::{Environment, validate};

fn run(edit: impl Fn(String) -> String) -> ValidRun {
    let text = r#"apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {name: math-1m}
spec:
  recipe: Math
  target: {examples: 1000000}
  budget: {pricePerGpuHour: "1.30"}
  models:
  - {name: qwen, source: {path: qwen2-math-7b}}
  - {name: deepseek, source: {path: deepseek-math-7b}}
  - {name: reward, source: {path: internlm2-7b-reward}}
  seedQuestions: [{path: seeds.jsonl, answerField: answer}]
  generators: [{name: qwen, model: qwen, weight: 60}, {name: deepseek, model: deepseek, weight: 40}]
  filters: {language: {}, duplicates: {}, solvability: {}, difficulty: {base: deepseek, solver: deepseek, generators: [deepseek]}}
  responses: {model: qwen}
  reward: {model: reward}
  workspace: {path: w}
  output: {path: o}
"#;
    validate(&parse(&edit(text.into())).unwrap(), Environment::Local).unwrap()
}

fn hours(run: &ValidRun, device: &Device, stage: Stage) -> f64 {
    let estimate = estimate(run, None, device, &Assumptions::default());
    estimate
        .stages
        .iter()
        .filter(|each| each.work.stage == stage)
        .map(|each| each.hours)
        .sum()
}

#[test]
fn a_million_examples_are_estimated_in_far_less_than_a_second() {
    let begun = std::time::Instant::now();
    let estimate = estimate(
        &run(|text| text),
        None,
        &devices()[0],
        &Assumptions::default(),
    );
    assert!(begun.elapsed().as_millis() < 1000);
    assert!(estimate.hours > 0.0 && estimate.cost.is_some());
    let total: f64 = estimate.stages.iter().map(|stage| stage.hours).sum();
    assert!((total - estimate.hours).abs() < 1e-6);
    assert!(
        estimate
            .models
            .iter()
            .all(|(_, size)| size.parameters == 7_000_000_000 && size.guessed)
    );
}

#[test]
fn it_is_within_a_factor_of_three_of_the_papers_inference_phases() {
    let run = run(|text| text);
    let ours = |stages: &[Stage]| {
        stages
            .iter()
            .map(|stage| hours(&run, &devices()[0], *stage))
            .sum::<f64>()
    };
    for phase in paper::PAPER_COST
        .iter()
        .filter(|phase| phase.stages.iter().all(|stage| *stage >= Stage::Generate))
    {
        let (ours, papers) = (ours(phase.stages), phase.gpu_hours.unwrap());
        assert!(
            ours < 3.0 * papers && ours > papers / 3.0,
            "{}: {ours:.1} against {papers}",
            phase.phase
        );
    }
    let total = estimate(&run, None, &devices()[0], &Assumptions::default()).hours;
    assert!(total > 522.9 / 2.0 && total < 522.9 * 2.0, "{total}");
    let papers: f64 = paper::PAPER_COST
        .iter()
        .filter_map(|phase| phase.gpu_hours)
        .sum();
    assert!((papers - 522.9).abs() < 0.11);
}

#[test]
fn it_scales_with_parameters() {
    let device = &devices()[0];
    let larger = run(|text| text.replace("qwen2-math-7b", "qwen2-math-14b"));
    for stage in [Stage::Respond, Stage::Judge] {
        let ratio = hours(&larger, device, stage) / hours(&run(|text| text), device, stage);
        assert!(ratio > 1.7 && ratio < 2.3, "{stage}: {ratio}");
    }
    let reward =
        hours(&larger, device, Stage::Reward) / hours(&run(|text| text), device, Stage::Reward);
    assert!((reward - 1.0).abs() < 1e-9);
}

#[test]
fn it_scales_with_samples_targets_and_tokens() {
    let device = &devices()[0];
    let plain = run(|text| text);
    let of = |edit: (&str, &str), stage| {
        hours(&run(|text| text.replace(edit.0, edit.1)), device, stage)
            / hours(&plain, device, stage)
    };
    let twice = of(
        (
            "responses: {model: qwen}",
            "responses: {model: qwen, samples: 10}",
        ),
        Stage::Respond,
    );
    assert!(twice > 1.8 && twice <= 2.0, "{twice}");
    assert!((of(("examples: 1000000", "examples: 2000000"), Stage::Reward) - 2.0).abs() < 0.01);
    let shorter = of(
        (
            "responses: {model: qwen}",
            "responses: {model: qwen, sampling: {maxNewTokens: 45}}",
        ),
        Stage::Respond,
    );
    assert!(shorter < 0.2, "{shorter}");
    assert!(
        (of(
            (
                "model: qwen, weight: 60",
                "model: qwen, weight: 60, qft: {epochs: 3}"
            ),
            Stage::Qft
        ) - 2.0)
            .abs()
            < 0.01
    );
}

#[test]
fn it_scales_with_the_rates_of_the_device() {
    let run = run(|text| text);
    let slow = &devices()[0];
    let fast = Device {
        flops: slow.flops * 2.0,
        ..slow.clone()
    };
    let wide = Device {
        bandwidth: slow.bandwidth * 2.0,
        ..slow.clone()
    };
    assert!((hours(&run, slow, Stage::Qpo) / hours(&run, &fast, Stage::Qpo) - 2.0).abs() < 0.01);
    assert!(
        (hours(&run, slow, Stage::Reward) / hours(&run, &fast, Stage::Reward) - 2.0).abs() < 0.01
    );
    let made = hours(&run, slow, Stage::Respond) / hours(&run, &wide, Stage::Respond);
    assert!(made > 1.5 && made <= 2.0, "{made}");
}

#[test]
fn the_known_devices_are_read_and_the_first_is_the_papers() {
    assert_eq!(
        devices()
            .iter()
            .map(|device| device.name.as_str())
            .collect::<Vec<_>>(),
        ["a100-40g", "h100", "h200"]
    );
}
