//! `report.html`: the dataset at a glance, in one self-contained file. Its numbers are the card's; only the report has time and
//! cost, which differ between executions. Every text from a row is escaped by the template engine.

mod plot;

use std::collections::BTreeMap;

use scalequest_crds::protocol::rows::{QuestionRow, ResponseRow};
use scalequest_crds::protocol::task::StageCost;
use scalequest_crds::v1alpha1::{Stage, SynthesisRunSpec};
use serde::Serialize;
use serde_json::json;

use super::curves::Curve;
use super::document::render as render_document;
use super::format::{excerpt, real};
use super::merge::QuestionOutcome;
use super::output::MARK;
use super::report_model::ReportModel;
use super::settings::settings_of;
use super::table::pairs::chosen_response;
use super::table::rejects::{reason_description, reason_name};
use plot::{HistogramPlot, Labels, histogram, line};

/// Maximum characters of a question or response that the report shows.
const MAX_TEXT_LENGTH: usize = 2000;
/// Maximum characters of a reject's detail that the report shows.
const MAX_DETAIL_LENGTH: usize = 500;

#[derive(Serialize)]
struct Sample {
    id: i64,
    generator: String,
    wave: i32,
    question: String,
    difficulty: Option<String>,
    stage: Option<&'static str>,
    detail: Option<String>,
    responses: Vec<SampleResponse>,
    agreement: Option<i32>,
}

#[derive(Serialize)]
struct SampleResponse {
    text: String,
    reward: Option<String>,
    final_answer: Option<String>,
    chosen: bool,
}

#[derive(Serialize)]
struct RejectedSamples {
    reason: &'static str,
    description: &'static str,
    count: i64,
    samples: Vec<Sample>,
}

#[derive(Default, Serialize)]
struct Cost {
    stage: &'static str,
    millis: i64,
    tokens_in: i64,
    tokens_out: i64,
    #[serde(skip)]
    amount: f64,
    money: Option<String>,
}

/// Renders the report as HTML.
///
/// # Errors
/// The template engine's; no content of a row causes an error.
pub fn render(model: &ReportModel<'_>, curves: &[Curve]) -> Result<String, minijinja::Error> {
    let funnel = &model.manifest.funnel;
    let budget = model.run.spec.budget.clone().unwrap_or_default();
    let price = budget
        .price_per_gpu_hour
        .as_deref()
        .and_then(|price| price.parse::<f64>().ok());
    let total_millis: i64 = model
        .publication
        .costs
        .iter()
        .map(|cost| cost.worker_millis)
        .sum();
    let costs = costs_by_stage(&model.publication.costs, &model.run.spec, price);
    let has_money = price.is_some() || model.run.spec.has_token_prices();
    let total: f64 = costs.iter().map(|cost| cost.amount).sum();
    let formatted = |amount: f64| has_money.then(|| format_money(amount, total));
    let costs: Vec<Cost> = costs
        .into_iter()
        .map(|cost| Cost {
            money: formatted(cost.amount),
            ..cost
        })
        .collect();
    let context = json!({
        "style": include_str!("report.css"),
        "mark": MARK,
        "name": model.publication.name,
        "target": model.publication.target,
        "complete": model.is_complete(),
        "outcome": model.outcome(),
        "notes": model.notes(),
        "funnel": funnel,
        "rejected": funnel.rejected_total(),
        "steps": model.steps(),
        "yields": model.yields(),
        "pairs": model.pair_yields(),
        "responses": model.manifest.rows.get("responses").copied().unwrap_or(0),
        "histograms": histograms(model),
        "curves": curves.iter().filter_map(line).collect::<Vec<_>>(),
        "accepted_samples": model.stats.accepted_samples.rows().into_iter().map(sample).collect::<Vec<_>>(),
        "rejected_samples": rejected_samples(model),
        "costs": costs,
        "total_millis": total_millis,
        "total_money": formatted(total),
        "currency": budget.currency.unwrap_or_else(|| "USD".into()),
        "models": model.publication.models,
        "settings": settings_of(model.run),
        "spec": model.publication.resolved_spec,
        "compute_backends": model.manifest.compute_backends,
        "files": model.manifest.files,
        "digest": model.manifest.digest,
        "created_by": model.manifest.created_by,
    });
    render_document("report.html", include_str!("report.html.jinja"), &context)
}

fn histograms(model: &ReportModel<'_>) -> Vec<HistogramPlot> {
    let stats = model.stats;
    let labels = |id, title, unit, accepted, other| Labels {
        id,
        title,
        unit,
        accepted,
        other,
    };
    let plots = [
        (
            labels(
                "reward",
                "Reward",
                "reward of a response",
                "chosen",
                "not chosen",
            ),
            &stats.reward,
        ),
        (
            labels(
                "agreement",
                "Agreement",
                "responses with the same final answer",
                "accepted",
                "rejected",
            ),
            &stats.agreement,
        ),
        (
            labels(
                "difficulty",
                "Difficulty",
                "predicted fail rate",
                "accepted",
                "rejected",
            ),
            &stats.difficulty,
        ),
        (
            labels(
                "question-length",
                "Question length",
                "tokens",
                "accepted",
                "rejected",
            ),
            &stats.question_tokens,
        ),
        (
            labels(
                "response-length",
                "Response length",
                "tokens",
                "chosen",
                "not chosen",
            ),
            &stats.response_tokens,
        ),
    ];
    plots
        .into_iter()
        .filter_map(|(labels, distribution)| histogram(labels, distribution))
        .collect()
}

fn rejected_samples(model: &ReportModel<'_>) -> Vec<RejectedSamples> {
    let rejected = |(reason, samples): (&_, &super::stats::Samples)| RejectedSamples {
        reason: reason_name(*reason),
        description: reason_description(*reason),
        count: model
            .manifest
            .funnel
            .rejected
            .get(reason)
            .copied()
            .unwrap_or(0),
        samples: samples.rows().into_iter().map(sample).collect(),
    };
    model.stats.rejected_samples.iter().map(rejected).collect()
}

fn sample(outcome: &QuestionOutcome) -> Sample {
    let QuestionRow {
        id,
        generator,
        wave,
        question,
        difficulty,
        ..
    } = outcome.question().clone();
    let sample_response = |response: &ResponseRow, chosen: bool| SampleResponse {
        text: excerpt(&response.text, MAX_TEXT_LENGTH),
        reward: response.reward.map(real),
        final_answer: response
            .final_answer
            .clone()
            .map(|answer| excerpt(&answer, 200)),
        chosen,
    };
    let (stage, detail, responses, agreement) = match outcome {
        QuestionOutcome::Accepted(row) => (
            None,
            None,
            chosen_response(row)
                .into_iter()
                .map(|response| sample_response(response, true))
                .collect(),
            Some(row.agreement),
        ),
        QuestionOutcome::Rejected(row) => {
            let detail = row
                .detail
                .as_deref()
                .map(|detail| excerpt(detail, MAX_DETAIL_LENGTH));
            let responses = row
                .responses
                .iter()
                .map(|response| sample_response(response, false))
                .collect();
            (Some(row.stage.slug()), detail, responses, None)
        }
    };
    let question = excerpt(&question, MAX_TEXT_LENGTH);
    Sample {
        id,
        generator,
        wave,
        question,
        difficulty: difficulty.map(real),
        stage,
        detail,
        responses,
        agreement,
    }
}

/// Sums time, tokens and money by stage over generators and waves, in the order of a run: hours at `price`, tokens at the prices of
/// their endpoints.
fn costs_by_stage(costs: &[StageCost], spec: &SynthesisRunSpec, price: Option<f64>) -> Vec<Cost> {
    let mut by_stage: BTreeMap<Stage, Cost> = BTreeMap::new();
    for cost in costs {
        let sum = by_stage.entry(cost.id.stage).or_default();
        sum.stage = cost.id.stage.slug();
        sum.millis += cost.worker_millis;
        sum.tokens_in += cost.tokens_in;
        sum.tokens_out += cost.tokens_out;
        sum.amount += price.unwrap_or(0.0) * cost.worker_millis as f64 / 3_600_000.0;
        if let Some(prices) = spec.token_prices(cost.id.stage, cost.id.generator.as_deref()) {
            let [input, output] = [&prices.input_per_million, &prices.output_per_million]
                .map(|text| text.parse().unwrap_or(0.0));
            sum.amount += (input * cost.tokens_in as f64 + output * cost.tokens_out as f64) / 1e6;
        }
    }
    by_stage.into_values().collect()
}

/// Formats an amount, with more decimals if the total is small.
fn format_money(amount: f64, total: f64) -> String {
    format!("{amount:.*}", if total < 1.0 { 4 } else { 2 })
}
