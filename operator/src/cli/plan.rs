//! `scalequest plan`: what would run, in which order, and what it is expected to take.

use std::fmt::Write;

use scalequest_crds::exit;
use serde_json::json;

use super::arguments::{OutputFormat, PlanArguments};
use super::{Refusal, spec_file, text};
use crate::estimate::paper::PAPER_COST;
use crate::estimate::{Assumptions, CostEstimate, Device, StageEstimate, devices, estimate};
use crate::plan::size::pilot;
use crate::validate::nearest::nearest;
use crate::validate::{Environment, ValidRun, validate};

/// Prints the plan of the run in a file.
pub fn plan(arguments: &PlanArguments) -> Result<i32, Refusal> {
    let run = spec_file::read(&arguments.spec.file)?;
    let valid = validate(&run, Environment::Local).or_else(|faults| {
        validate(&run, Environment::Cluster).map_err(|_| Refusal::BadInput(faults))
    })?;
    let device = device(&arguments.device)?;
    let cost = estimate(&valid, None, device, &Assumptions::default());
    let answer = match arguments.output {
        OutputFormat::Json => format!("{:#}\n", as_json(&valid, &cost)),
        OutputFormat::Text => as_text(&valid, &cost),
    };
    text::print(&answer)?;
    Ok(exit::run::DONE)
}

fn device(name: &str) -> Result<&'static Device, Refusal> {
    let names = || devices().iter().map(|device| device.name.as_str());
    devices()
        .iter()
        .find(|device| device.name == name)
        .ok_or_else(|| {
            let hint = nearest(name, names())
                .map(|near| format!("; did you mean {near}?"))
                .unwrap_or_default();
            Refusal::input(
                "--device",
                format!(
                    "`{name}` is no device: the devices are {}{hint}",
                    names().collect::<Vec<_>>().join(", ")
                ),
            )
        })
}

fn as_text(run: &ValidRun, cost: &CostEstimate) -> String {
    let mut out = String::new();
    let limits = run.limits();
    let _ = writeln!(
        out,
        "run {}: {} pairs wanted, in {} waves at most",
        run.name(),
        text::number(limits.target),
        limits.max_waves
    );
    let _ = writeln!(
        out,
        "about {} questions at a yield of {:.3} (assumed); wave 1, the pilot, asks for {} and measures it\n",
        text::number(cost.questions),
        cost.yield_ratio,
        text::number(pilot(limits.target))
    );
    let heading = [
        "stage",
        "generator",
        "model",
        "rows",
        "tokens read",
        "tokens made",
        "GPU-hours",
    ]
    .map(String::from)
    .to_vec();
    let mut rows = vec![heading];
    rows.extend(cost.stages.iter().map(row));
    let mut total = vec!["total".to_string()];
    total.extend(std::iter::repeat_n(String::new(), 5));
    total.push(show_hours(cost.hours));
    rows.push(total);
    out.push_str(&text::table(&rows, &[3, 4, 5, 6]));
    let _ = writeln!(
        out,
        "\nfilter (after generate), verify (after reward) and publish (at the end) run on CPUs and are not counted."
    );
    let _ = writeln!(
        out,
        "device: {} ({}); another: --device NAME",
        cost.device.name, cost.device.description
    );
    if let Some(money) = &cost.cost {
        let _ = writeln!(out, "cost: {money} {}", limits.currency);
    }
    let guessed: Vec<_> = cost
        .models
        .iter()
        .filter(|(_, size)| size.guessed)
        .map(|(name, size)| format!("{name} {}", billions(size.parameters)))
        .collect();
    if !guessed.is_empty() {
        let _ = writeln!(
            out,
            "parameters, from the models' names: {}",
            guessed.join(", ")
        );
    }
    let _ = writeln!(
        out,
        "\nthe paper's own table, 8 x A100-40G, recipe Math at 1,000,000 pairs:"
    );
    let paper: Vec<Vec<String>> = PAPER_COST
        .iter()
        .map(|phase| {
            vec![
                format!("  {}", phase.phase),
                phase
                    .gpu_hours
                    .map_or("-".into(), |hours| format!("{hours:.1}")),
                format!("GPU-hours for {}", phase.samples),
            ]
        })
        .collect();
    out.push_str(&text::table(&paper, &[1]));
    out
}

fn row(stage: &StageEstimate) -> Vec<String> {
    let StageEstimate { work, hours } = stage;
    vec![
        work.stage.to_string(),
        work.generator.clone().unwrap_or_default(),
        work.model.clone(),
        text::number(work.rows),
        tokens(work.tokens_read + work.tokens_learnt),
        tokens(work.tokens_made),
        show_hours(*hours),
    ]
}

/// Hours with as many places as tell something.
fn show_hours(hours: f64) -> String {
    match hours {
        h if h >= 10.0 => format!("{h:.1}"),
        h if h >= 0.1 => format!("{h:.2}"),
        h => format!("{h:.4}"),
    }
}

/// Tokens for people: `1.2G`.
fn tokens(count: f64) -> String {
    match count {
        c if c < 0.5 => String::new(),
        c if c < 1e6 => format!("{:.0}K", (c / 1e3).max(1.0)),
        c if c < 1e9 => format!("{:.1}M", c / 1e6),
        c => format!("{:.1}G", c / 1e9),
    }
}

fn billions(parameters: i64) -> String {
    let parameters = parameters as f64;
    if parameters >= 1e9 {
        format!("{:.1}B", parameters / 1e9)
    } else {
        format!("{:.0}M", parameters / 1e6)
    }
}

fn as_json(run: &ValidRun, cost: &CostEstimate) -> serde_json::Value {
    let stages: Vec<_> = cost
        .stages
        .iter()
        .map(|StageEstimate { work, hours }| {
            json!({
                "stage": work.stage, "generator": work.generator, "model": work.model, "rows": work.rows, "tokensRead": work.tokens_read,
                "tokensMade": work.tokens_made, "tokensLearnt": work.tokens_learnt, "gpuHours": hours,
            })
        })
        .collect();
    let models: Vec<_> = cost.models.iter().map(|(name, size)| json!({"name": name, "parameters": size.parameters, "guessed": size.guessed})).collect();
    json!({
        "run": run.name(), "target": run.limits().target, "maxWaves": run.limits().max_waves, "questions": cost.questions, "yield": cost.yield_ratio,
        "pilot": pilot(run.limits().target), "device": cost.device.name, "stages": stages, "gpuHours": cost.hours,
        "cost": cost.cost.map(|money| money.to_string()), "models": models,
    })
}
