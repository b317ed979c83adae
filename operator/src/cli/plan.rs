//! `scalequest plan`: what would run, in which order, and what it is expected to take.

use std::collections::BTreeSet;
use std::fmt::Write;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use scalequest_crds::exit;
use scalequest_crds::run::{Engine, EngineType, SeedQuestions, SynthesisRun, SynthesisRunSpec};
use serde_json::json;

use super::arguments::{OutputFormat, PlanArguments};
use super::{Refusal, spec_file, text};
use crate::estimate::paper::PAPER_COST;
use crate::estimate::{
    Assumptions, CostEstimate, Device, StageEstimate, devices, estimate, processors,
};
use crate::plan::size::pilot;
use crate::validate::nearest::nearest;
use crate::validate::{Environment, ValidRun, validate};

/// Prints the plan of the run in a file.
pub fn plan(arguments: &PlanArguments) -> Result<i32, Refusal> {
    let mut run = spec_file::read(&arguments.spec.file)?;
    forget_servers(&mut run);
    let local = validate(&run, Environment::Local);
    let device = match &arguments.device {
        Some(name) => device(name)?,
        // A spec that says how its pods are placed is meant for a cluster, though this machine could do it too.
        None => match processors().filter(|_| local.is_ok() && run.spec.pods.is_empty()) {
            Some(processors) => processors,
            None => device("a100-40g")?,
        },
    };
    let valid = local.or_else(|faults| {
        validate(&run, Environment::Cluster).map_err(|_| Refusal::BadInput(faults))
    })?;
    let elsewhere = served_elsewhere(&valid);
    let mut cost = estimate(&valid, None, device, &assumptions(&valid));
    leave_out(&elsewhere, &valid, &mut cost);
    let answer = match arguments.output {
        OutputFormat::Json => format!("{:#}\n", as_json(&valid, &cost)),
        OutputFormat::Text => as_text(&valid, &cost, &elsewhere),
    };
    text::print(&answer)?;
    Ok(exit::run::DONE)
}

/// The usual assumptions, with the seed questions counted where all their files lie on this machine.
fn assumptions(run: &ValidRun) -> Assumptions {
    let lines = |file: &SeedQuestions| {
        let text = std::fs::read_to_string(file.path.as_ref()?).ok()?;
        let count = text.lines().filter(|line| !line.trim().is_empty()).count();
        i64::try_from(count).ok()
    };
    let usual = Assumptions::default();
    let counted: Option<i64> = run.spec().seed_questions.iter().map(lines).sum();
    Assumptions {
        seed_questions: counted.unwrap_or(usual.seed_questions),
        ..usual
    }
}

/// Takes the engines of type Server out of the spec, since the work is the same whatever does it.
fn forget_servers(run: &mut SynthesisRun) {
    let is_server = |engine: &mut Engine| engine.kind == EngineType::Server;
    for model in &mut run.spec.models {
        model.engine.take_if(is_server);
    }
}

/// The names of the models that an endpoint serves: their work takes no hours of ours.
fn served_elsewhere(run: &ValidRun) -> BTreeSet<String> {
    let models = run.spec().models.iter();
    let served = models.filter(|model| model.served().is_some());
    served.map(|model| model.name.clone()).collect()
}

/// Takes what is done elsewhere out of hours and cost.
fn leave_out(elsewhere: &BTreeSet<String>, run: &ValidRun, cost: &mut CostEstimate) {
    for stage in &mut cost.stages {
        if elsewhere.contains(&stage.work.model) {
            stage.hours = 0.0;
        }
    }
    cost.hours = cost.stages.iter().map(|stage| stage.hours).sum();
    let spec = run.spec();
    let tokens: Option<Decimal> = cost.stages.iter().map(|stage| paid(spec, stage)).sum();
    let price = run.limits().price_per_gpu_hour;
    let hours = price.and_then(|price| Some(Decimal::from_f64(cost.hours)? * price));
    let priced = price.is_some() || spec.has_token_prices();
    let sum = hours.unwrap_or_default() + tokens.unwrap_or_default();
    cost.cost = priced.then(|| sum.round_dp(2));
}

/// What an endpoint is paid for the tokens of a stage. A prompt is paid for with each of its answers.
fn paid(spec: &SynthesisRunSpec, stage: &StageEstimate) -> Option<Decimal> {
    let work = &stage.work;
    let Some(prices) = spec.token_prices(work.stage, work.generator.as_deref()) else {
        return Some(Decimal::ZERO);
    };
    let price = |text: &str| text.parse::<Decimal>().unwrap_or_default();
    let read = Decimal::from_f64(work.tokens_read)? * price(&prices.input_per_million);
    let made = Decimal::from_f64(work.tokens_made)? * price(&prices.output_per_million);
    Some((read + made) / Decimal::from(1_000_000))
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

fn as_text(run: &ValidRun, cost: &CostEstimate, elsewhere: &BTreeSet<String>) -> String {
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
    ]
    .map(String::from)
    .to_vec();
    let heading = [heading, vec![format!("{}s", cost.device.hour())]].concat();
    let mut rows = vec![heading];
    rows.extend(cost.stages.iter().map(|stage| row(stage, elsewhere)));
    let mut total = vec!["total".to_string()];
    total.extend(std::iter::repeat_n(String::new(), 5));
    total.push(show_hours(cost.hours));
    rows.push(total);
    out.push_str(&text::table(&rows, &[3, 4, 5, 6]));
    let _ = writeln!(
        out,
        "\nfilter (after generate), verify (after reward) and publish (at the end) run on CPUs and take little and are not counted."
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

fn row(stage: &StageEstimate, elsewhere: &BTreeSet<String>) -> Vec<String> {
    let StageEstimate { work, hours } = stage;
    vec![
        work.stage.to_string(),
        work.generator.clone().unwrap_or_default(),
        work.model.clone(),
        text::number(work.rows),
        tokens(work.tokens_read + work.tokens_learnt),
        tokens(work.tokens_made),
        match elsewhere.contains(&work.model) {
            true => "endpoint".into(),
            false => show_hours(*hours),
        },
    ]
}

/// Hours with as many places as tell something.
fn show_hours(hours: f64) -> String {
    match hours {
        h if h >= 10.0 => format!("{h:.1}"),
        h if h >= 0.1 => format!("{h:.2}"),
        h => format!("{h:.3}"),
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
