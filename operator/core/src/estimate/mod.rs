//! What a run will take before anything has run: a cost model of parameters, tokens and the device's throughput. It is an order of
//! magnitude with its assumptions in the open ([`Assumptions`]), for `scalequest plan`; what an earlier run has measured
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

pub mod paper;

pub mod profile;

mod sizes;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::v1alpha1::Stage;

use crate::validate::ValidRun;
pub use assume::{Overrides, assume};
pub use device::{Device, Throughput, devices, processors};
pub use funnel::{StageWork, work};
pub use measurements::Measurements;
pub use profile::{MachineProfile, ProfileMatch};
pub use sizes::{ModelSize, model_sizes};

/// What the model assumes. Token counts are means; those of generated texts are never above the stage's `maxNewTokens`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumptions {
    /// Tokens in a question.
    pub question_tokens: f64,
    /// Tokens in a mathematics or code response.
    pub response_tokens: f64,
    /// Tokens of a judge's reasoning and verdict.
    pub judgement_tokens: f64,
    /// Tokens in a prompt around a question: instructions and template.
    pub prompt_tokens: f64,
    /// Share of sampled questions whose rewrite makes a preference pair. Not in the paper.
    pub rewrite_kept: f64,
    /// Share of questions that a language filter keeps (paper: 20.1% dropped).
    pub language_kept: f64,
    /// Share of questions that all rule-based filters together keep, where it is known.
    pub filter_kept: Option<f64>,
    /// Share of questions that the judge keeps (paper: 19.4% of all dropped, of those that the language filter left).
    pub judge_kept: f64,
    /// Share of questions that difficulty sampling keeps (paper: 9.2% of all dropped).
    pub difficulty_kept: f64,
    /// Share of answered questions with a final answer on which enough responses agree. Not in the paper.
    pub verified: f64,
    /// Accepted pairs per question, where it is stated: it goes before what of the shares is not stated.
    pub yield_ratio: Option<f64>,
    /// Whether the judge's share is stated.
    pub judge_is_stated: bool,
    /// Whether any number of tokens is stated, which then goes before what a run has measured.
    pub tokens_are_stated: bool,
    /// Share of peak FLOP/s reached in prefill and scoring.
    pub prefill_efficiency: f64,
    /// Share of peak FLOP/s that bounds decoding.
    pub decode_efficiency: f64,
    /// Share of peak bandwidth reached in decoding.
    pub bandwidth_efficiency: f64,
    /// Share of peak FLOP/s reached in training.
    pub train_efficiency: f64,
    /// Sequences that share one reading of the weights, on average.
    pub batch: f64,
    /// Bytes of attention cache for a token of a model of 7e9 parameters; grows with the parameters' two thirds.
    pub cache_bytes: f64,
    /// Seed questions, where no file was looked at (paper: about 15,000).
    pub seed_questions: i64,
    /// Those of them with an answer, from which difficulty is learnt; all if `None`.
    pub seed_answers: Option<i64>,
}

impl Default for Assumptions {
    fn default() -> Self {
        Assumptions {
            question_tokens: 80.0,
            response_tokens: 450.0,
            judgement_tokens: 350.0,
            prompt_tokens: 60.0,
            rewrite_kept: 1.0,
            language_kept: 0.799,
            filter_kept: None,
            judge_kept: 0.757,
            difficulty_kept: 0.848,
            verified: 0.9,
            yield_ratio: None,
            judge_is_stated: false,
            tokens_are_stated: false,
            prefill_efficiency: 0.4,
            decode_efficiency: 0.25,
            bandwidth_efficiency: 0.5,
            train_efficiency: 0.35,
            batch: 64.0,
            cache_bytes: 128.0 * 1024.0,
            seed_questions: 15_000,
            seed_answers: None,
        }
    }
}

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
    let a = input.assumptions;
    let (work, waves) = work(run, input);
    let stages: Vec<StageEstimate> = work
        .into_iter()
        .map(|work| {
            let size = models.get(&work.model);
            let parameters = size.map_or(0.0, |size| size.parameters as f64);
            let seconds = match machine {
                Machine::Device(device) => seconds(&work, parameters, device, a),
                Machine::Profiled(profile) => {
                    let model = run
                        .method()
                        .models
                        .iter()
                        .find(|each| each.name == work.model);
                    profile.seconds(&work, parameters, model.map(|model| model.dtype()))
                }
            };
            StageEstimate {
                work,
                hours: seconds / 3600.0,
            }
        })
        .collect();
    let hours: f64 = stages.iter().map(|stage| stage.hours).sum();
    let cost = run
        .limits()
        .price_per_gpu_hour
        .and_then(|price| Some((Decimal::from_f64(hours)? * price).round_dp(2)));
    CostEstimate {
        stages,
        questions: waves.iter().sum(),
        waves,
        yield_ratio: funnel::PassRates::of(run.method(), a).yield_ratio(),
        hours,
        cost,
        models: models.into_iter().collect(),
    }
}

/// Seconds that one device needs for `work` with a model of `parameters` parameters.
pub fn seconds(
    work: &StageWork,
    parameters: f64,
    device: &Device,
    assumptions: &Assumptions,
) -> f64 {
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
        Throughput::Datasheet { flops, bandwidth } => (
            2.0 * parameters / (assumptions.prefill_efficiency * flops),
            decode_seconds(
                work,
                parameters,
                (flops, bandwidth, device.memory),
                assumptions,
            ),
            parameters / (assumptions.train_efficiency * flops),
        ),
    };
    work.prefill_tokens * prefill_seconds
        + work.decode_tokens * decode_seconds
        + work.train_tokens * passes * train_seconds
}

/// Seconds that an accelerator of so many FLOP/s, bytes/s and bytes needs to make a token.
fn decode_seconds(
    work: &StageWork,
    parameters: f64,
    (flops, bandwidth, memory): (f64, f64, f64),
    assumptions: &Assumptions,
) -> f64 {
    let weights = 2.0 * parameters;
    let cache = assumptions.cache_bytes * (parameters / 7e9).powf(2.0 / 3.0) * work.sequence_tokens;
    let room = ((0.9 * memory - weights) / cache.max(1.0)).max(1.0);
    let batch = assumptions.batch.min(room).max(1.0);
    let by_bandwidth = (weights / batch + cache) / (assumptions.bandwidth_efficiency * bandwidth);
    let by_arithmetic = 2.0 * parameters / (assumptions.decode_efficiency * flops);
    by_bandwidth.max(by_arithmetic)
}

#[cfg(test)]
mod tests;
