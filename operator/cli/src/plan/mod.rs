//! `scalequest plan`: what would run, in which order, and what it is expected to take.

mod gather;

mod show;

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use scalequest_core::estimate::{
    CostEstimate, Device, EstimateInput, Machine, StageEstimate, devices, estimate, processors,
};
use scalequest_core::nearest::nearest;
use scalequest_core::validate::{Environment, ValidRun, validate};
use scalequest_crds::v1alpha1::{EngineType, SynthesisRunSpec};

use super::arguments::{OutputFormat, PlanArguments};
use super::{CommandError, spec_file};
use gather::gather;
use show::PlanReport;

/// Returns the plan of the run in a file, in the form that was asked for.
pub fn plan(arguments: &PlanArguments) -> Result<String, CommandError> {
    let mut run = spec_file::read(&arguments.spec.file)?;
    for model in &mut run.spec.models {
        // The work is the same whatever does it.
        model
            .engine
            .take_if(|engine| engine.kind == EngineType::Server);
    }
    let local = validate(&run, Environment::Local);
    let device = match &arguments.device {
        Some(name) => device(name)?,
        // A spec that says how its pods are placed is meant for a cluster, though this machine could do it too.
        None => match processors().filter(|_| local.is_ok() && run.spec.pods.is_empty()) {
            Some(processors) => processors,
            None => device("a100-40g")?,
        },
    };
    let valid = local.or_else(|errors| {
        validate(&run, Environment::Cluster).map_err(|_| CommandError::InvalidInput(errors))
    })?;
    let known = gather(&valid, arguments)?;
    let machine = match &known.profile {
        Some(profile) => Machine::Profiled(profile),
        None => Machine::Device(device),
    };
    let input = EstimateInput {
        preflight: known.preflight.as_ref(),
        assumptions: &known.assumptions,
        measurements: known.measurements.as_ref(),
    };
    let mut cost = estimate(&valid, &input, &machine);
    // The work of a model that an endpoint serves takes no hours of ours.
    let models = valid.spec().models.iter();
    let elsewhere = models
        .filter(|model| model.served().is_some())
        .map(|model| model.name.as_str())
        .collect();
    leave_out(&elsewhere, &valid, &mut cost);
    let shown = PlanReport {
        run: &valid,
        cost: &cost,
        machine: &machine,
        sources: &known.sources,
        elsewhere: &elsewhere,
    };
    Ok(match arguments.output {
        OutputFormat::Json => format!("{:#}\n", shown.as_json()),
        OutputFormat::Text => shown.as_text(),
    })
}

/// Takes what is done elsewhere out of hours and cost.
fn leave_out(elsewhere: &BTreeSet<&str>, run: &ValidRun, cost: &mut CostEstimate) {
    for stage in &mut cost.stages {
        if elsewhere.contains(stage.work.model.as_str()) {
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
    let read = Decimal::from_f64(work.prefill_tokens)? * price(&prices.input_per_million);
    let made = Decimal::from_f64(work.decode_tokens)? * price(&prices.output_per_million);
    Some((read + made) / Decimal::from(1_000_000))
}

fn device(name: &str) -> Result<&'static Device, CommandError> {
    if let Some(device) = devices().iter().find(|device| device.name == name) {
        return Ok(device);
    }
    let names: Vec<_> = devices()
        .iter()
        .map(|device| device.name.as_str())
        .collect();
    let hint = nearest(name, names.iter().copied())
        .map(|near| format!("; did you mean {near}?"))
        .unwrap_or_default();
    let message = format!(
        "`{name}` is no device: the devices are {}{hint}",
        names.join(", ")
    );
    Err(CommandError::input("--device", message))
}
