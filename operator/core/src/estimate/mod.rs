//! What a run will take before anything has run: a cost model of parameters, tokens and the device's throughput. It is an order of
//! magnitude with its assumptions in the open ([`Assumptions`] and the constants below), for `scalequest plan`; what an earlier run has measured
//! ([`Measurements`]) takes their place, and so do the throughput profiles of a machine ([`MachineProfile`]). It knows no file.
//!
//! For a model of `P` parameters on a device of `F` FLOP/s and `B` bytes/s, with efficiencies `e`:
//! prefill of a token takes `2 P / (e_prefill F)` seconds; decoding a token takes the larger of `2 P / (e_decode F)` and
//! `(2 P / n + K) / (e_bandwidth B)`, if `n` sequences share one reading of the weights (2 bytes a parameter) and `K` is the bytes of a
//! sequence's KV cache; training on a token takes `6 P / (e_train F)` (forward 2, backward 4), and `2 P` more if a frozen reference
//! reads it too (DPO). If the throughput of whole stages was measured (processors), that takes the place of `e F`, and of bandwidth.
//! The profile of a machine and model knows more: what starting and loading take, and a step of any batch ([`profile`]).

pub mod assume;

pub mod batches;

pub mod device;

pub mod funnel;

pub mod measurements;

pub mod profile;

mod sizes;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::v1alpha1::{Model, Stage};

use crate::validate::ValidRun;
pub use assume::Assumptions;
pub use device::{Device, Throughput, devices, paper_cost, processors};
pub use funnel::{PassRates, StageWork, work};
pub use measurements::Measurements;
pub use profile::{MachineProfile, ProfileMatch};
pub use sizes::{ModelSize, model_sizes};

/// Share of peak FLOP/s reached in prefill and scoring.
const PREFILL_EFFICIENCY: f64 = 0.4;

/// Share of peak FLOP/s that bounds decoding.
const DECODE_EFFICIENCY: f64 = 0.25;

/// Share of peak bandwidth reached in decoding.
const BANDWIDTH_EFFICIENCY: f64 = 0.5;

/// Share of peak FLOP/s reached in training.
const TRAIN_EFFICIENCY: f64 = 0.35;

/// Sequences that share one reading of the weights, on average.
const BATCH: f64 = 64.0;

/// Bytes of attention cache for a token of a model of 7e9 parameters; grows with the parameters' two thirds.
const CACHE_BYTES: f64 = 128.0 * 1024.0;

/// What one stage will take, over all generators and waves.
#[derive(Clone, Debug, PartialEq)]
pub struct StageEstimate {
    /// What is to be done.
    pub work: StageWork,
    /// Hours of one device.
    pub hours: f64,
}

/// What is known of a run before it is estimated.
#[derive(Clone, Copy, Debug)]
pub struct EstimateInput<'a> {
    /// What its models and files are, where they were looked at.
    pub preflight: Option<&'a PreflightReport>,
    /// What is assumed.
    pub assumptions: &'a Assumptions,
    /// What an earlier run of it has measured.
    pub measurements: Option<&'a Measurements>,
}

/// What the work is done on.
#[derive(Clone, Debug)]
pub enum Machine<'a> {
    /// A device that we know.
    Device(&'a Device),
    /// A machine by its throughput profiles.
    Profiled(&'a MachineProfile),
}

impl Machine<'_> {
    /// What an hour of it is called.
    pub fn hour(&self) -> &'static str {
        match self {
            Machine::Device(device) => device.hour(),
            Machine::Profiled(_) => "machine-hour",
        }
    }
}

/// What a run will take.
#[derive(Clone, Debug, PartialEq)]
pub struct CostEstimate {
    /// The stages, in run order; those without a model are not counted.
    pub stages: Vec<StageEstimate>,
    /// Questions to generate.
    pub questions: i64,
    /// Questions of each wave.
    pub waves: Vec<i64>,
    /// Accepted pairs per question.
    pub yield_ratio: f64,
    /// Device hours in all.
    pub hours: f64,
    /// Money, where the budget names a price.
    pub cost: Option<Decimal>,
    /// The models' sizes, with those that were guessed from names marked.
    pub models: Vec<(String, ModelSize)>,
}

/// What `run` will take on `machine`.
pub fn estimate(run: &ValidRun, input: &EstimateInput<'_>, machine: &Machine<'_>) -> CostEstimate {
    let mut models = model_sizes(run.method(), input.preflight);
    if let Machine::Profiled(profile) = machine {
        profile.correct(&mut models);
    }
    let (work, waves) = work(run, input);
    let mut stages = Vec::with_capacity(work.len());
    for work in work {
        let size = models.get(&work.model);
        let parameters = size.map_or(0.0, |size| size.parameters as f64);
        let seconds = match machine {
            Machine::Device(device) => seconds(&work, parameters, device),
            Machine::Profiled(profile) => {
                let model = run.method().model(&work.model);
                profile.seconds(&work, parameters, model.map(Model::dtype))
            }
        };
        let hours = seconds / 3600.0;
        stages.push(StageEstimate { work, hours });
    }
    let hours: f64 = stages.iter().map(|stage| stage.hours).sum();
    let cost = run
        .limits()
        .price_per_gpu_hour
        .and_then(|price| Some((Decimal::from_f64(hours)? * price).round_dp(2)));
    CostEstimate {
        stages,
        questions: waves.iter().sum(),
        waves,
        yield_ratio: PassRates::of(run.method(), input.assumptions).yield_ratio(),
        hours,
        cost,
        models: models.into_iter().collect(),
    }
}

/// Seconds that one device needs for `work` with a model of `parameters` parameters.
pub fn seconds(work: &StageWork, parameters: f64, device: &Device) -> f64 {
    let passes = if work.stage == Stage::Qpo { 8.0 } else { 6.0 };
    let (prefill_seconds, decode_seconds, train_seconds) = match device.throughput {
        Throughput::Measured {
            prefill,
            decode,
            train,
        } => (
            2.0 * parameters / prefill,
            2.0 * parameters / decode,
            parameters / train,
        ),
        Throughput::Datasheet { flops, bandwidth } => {
            let weights = 2.0 * parameters;
            let cache = CACHE_BYTES * (parameters / 7e9).powf(2.0 / 3.0) * work.sequence_tokens;
            let room = ((0.9 * device.memory - weights) / cache.max(1.0)).max(1.0);
            let batch = BATCH.min(room).max(1.0);
            let by_bandwidth = (weights / batch + cache) / (BANDWIDTH_EFFICIENCY * bandwidth);
            let by_arithmetic = 2.0 * parameters / (DECODE_EFFICIENCY * flops);
            (
                2.0 * parameters / (PREFILL_EFFICIENCY * flops),
                by_bandwidth.max(by_arithmetic),
                parameters / (TRAIN_EFFICIENCY * flops),
            )
        }
    };
    work.prefill_tokens * prefill_seconds
        + work.decode_tokens * decode_seconds
        + work.train_tokens * passes * train_seconds
}

#[cfg(test)]
mod tests;
