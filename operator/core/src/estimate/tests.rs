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

fn on(run: &ValidRun, device: &Device) -> CostEstimate {
    let assumptions = Assumptions::default();
    estimate(run, &input(&assumptions), &Machine::Device(device))
}

fn input(assumptions: &Assumptions) -> EstimateInput<'_> {
    EstimateInput {
        preflight: None,
        assumptions,
        measurements: None,
    }
}

fn hours(run: &ValidRun, device: &Device, stage: Stage) -> f64 {
    let estimate = on(run, device);
    estimate
        .stages
        .iter()
        .filter(|each| each.work.stage == stage)
        .map(|each| each.hours)
        .sum()
}

#[test]
fn million_examples_are_estimated_within_second() {
    let begun = std::time::Instant::now();
    let estimate = on(&run(|text| text), &devices()[0]);
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
fn estimate_is_near_the_papers_inference() {
    let run = run(|text| text);
    let ours = |stages: &[Stage]| {
        stages
            .iter()
            .map(|stage| hours(&run, &devices()[0], *stage))
            .sum::<f64>()
    };
    for phase in paper_cost()
        .iter()
        .filter(|phase| phase.stages.iter().all(|stage| *stage >= Stage::Generate))
    {
        let (ours, papers) = (ours(&phase.stages), phase.gpu_hours.unwrap());
        assert!(
            ours < 3.0 * papers && ours > papers / 3.0,
            "{}: {ours:.1} against {papers}",
            phase.phase
        );
    }
    let total = on(&run, &devices()[0]).hours;
    assert!(total > 522.9 / 2.0 && total < 522.9 * 2.0, "{total}");
    let papers: f64 = paper_cost()
        .iter()
        .filter_map(|phase| phase.gpu_hours)
        .sum();
    assert!((papers - 522.9).abs() < 0.11);
}

#[test]
fn estimate_scales_with_parameters() {
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
fn estimate_scales_with_samples_and_tokens() {
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
fn estimate_scales_with_device_rates() {
    let run = run(|text| text);
    let slow = &devices()[0];
    let Throughput::Datasheet { flops, bandwidth } = slow.throughput else {
        panic!("the paper's device is an accelerator")
    };
    let with = |flops, bandwidth| Device {
        throughput: Throughput::Datasheet { flops, bandwidth },
        ..slow.clone()
    };
    let (fast, wide) = (with(2.0 * flops, bandwidth), with(flops, 2.0 * bandwidth));
    assert!((hours(&run, slow, Stage::Qpo) / hours(&run, &fast, Stage::Qpo) - 2.0).abs() < 0.01);
    assert!(
        (hours(&run, slow, Stage::Reward) / hours(&run, &fast, Stage::Reward) - 2.0).abs() < 0.01
    );
    let made = hours(&run, slow, Stage::Respond) / hours(&run, &wide, Stage::Respond);
    assert!(made > 1.5 && made <= 2.0, "{made}");
}

#[test]
fn first_device_is_the_papers() {
    assert_eq!(
        devices()
            .iter()
            .map(|device| device.name.as_str())
            .collect::<Vec<_>>(),
        ["a100-40g", "h100", "h200", "cpu"]
    );
}

/// What the quickstart took, by its record (docs/cost.md): seconds of a stage, and its tokens read, made and learnt.
const QUICKSTART: [(Stage, f64, f64, [f64; 3]); 7] = [
    (Stage::Qft, 134.5e6, 298.9, [0.0, 0.0, 17_552.0]),
    (Stage::Rewrite, 494.0e6, 31.6, [3_788.0, 1_357.0, 0.0]),
    (Stage::Qpo, 134.5e6, 83.7, [0.0, 0.0, 2_662.0]),
    (Stage::Generate, 134.5e6, 14.9, [6_696.0, 7_425.0, 0.0]),
    (Stage::Judge, 494.0e6, 264.8, [35_742.0, 30_994.0, 0.0]),
    (Stage::Respond, 494.0e6, 256.2, [2_510.0, 29_831.0, 0.0]),
    (Stage::Reward, 494.0e6, 134.0, [42_019.0, 0.0, 0.0]),
];

#[test]
fn cpu_estimate_is_near_the_quickstart() {
    let cpu = processors().unwrap();
    assert_eq!(cpu.hour(), "worker-hour");
    let (mut ours, mut measured) = (0.0, 0.0);
    for (stage, parameters, took, [read, made, learnt]) in QUICKSTART {
        let work = StageWork {
            stage,
            generator: None,
            model: String::new(),
            rows: 1,
            rows_per_wave: vec![1],
            prefill_tokens: read,
            cached_tokens: 0.0,
            decode_tokens: made,
            train_tokens: learnt,
            sequence_tokens: 0.0,
            samples: 1.0,
            max_tokens: f64::INFINITY,
            steps: (1.0, 0.0),
        };
        let estimate = seconds(&work, parameters, cpu);
        assert!(
            estimate < 1.6 * took && estimate > took / 1.6,
            "{stage}: {estimate:.1} s, it took {took} s"
        );
        (ours, measured) = (ours + estimate, measured + took);
    }
    assert!((ours / measured - 1.0).abs() < 0.15, "{ours} of {measured}");
}
