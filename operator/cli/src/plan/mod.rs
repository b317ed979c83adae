//! `scalequest plan`: what would run, in which order, and what it is expected to take.

mod gather;

mod show;

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use scalequest_crds::protocol::exit_codes;
use scalequest_crds::v1alpha1::{Engine, EngineType, SynthesisRun, SynthesisRunSpec};

use super::arguments::{OutputFormat, PlanArguments};
use super::{CliError, spec_file, text};
use gather::gather;
use scalequest_core::estimate::{
    CostEstimate, Device, EstimateInput, Machine, StageEstimate, devices, estimate, processors,
};
use scalequest_core::nearest::nearest;
use scalequest_core::validate::{Environment, ValidRun, validate};
use show::PlanReport;

/// Prints the plan of the run in a file.
pub fn plan(arguments: &PlanArguments) -> Result<i32, CliError> {
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
    let valid = local.or_else(|errors| {
        validate(&run, Environment::Cluster).map_err(|_| CliError::InvalidInput(errors))
    })?;
    let elsewhere = served_elsewhere(&valid);
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
    leave_out(&elsewhere, &valid, &mut cost);
    let shown = PlanReport {
        run: &valid,
        cost: &cost,
        machine: &machine,
        sources: &known.sources,
        elsewhere: &elsewhere,
    };
    let answer = match arguments.output {
        OutputFormat::Json => format!("{:#}\n", shown.as_json()),
        OutputFormat::Text => shown.as_text(),
    };
    text::print(&answer)?;
    Ok(exit_codes::run::DONE)
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
    let read = Decimal::from_f64(work.prefill_tokens)? * price(&prices.input_per_million);
    let made = Decimal::from_f64(work.decode_tokens)? * price(&prices.output_per_million);
    Some((read + made) / Decimal::from(1_000_000))
}

fn device(name: &str) -> Result<&'static Device, CliError> {
    let names = || devices().iter().map(|device| device.name.as_str());
    devices()
        .iter()
        .find(|device| device.name == name)
        .ok_or_else(|| {
            let hint = nearest(name, names())
                .map(|near| format!("; did you mean {near}?"))
                .unwrap_or_default();
            CliError::input(
                "--device",
                format!(
                    "`{name}` is no device: the devices are {}{hint}",
                    names().collect::<Vec<_>>().join(", ")
                ),
            )
        })
}
