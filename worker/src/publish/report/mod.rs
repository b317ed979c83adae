//! `report.html`: the dataset at a glance, in one file that needs nothing else. Numbers are the card's; time and cost stand
//! here alone, since they differ between executions. Every text from a row is escaped by the template engine.

mod plot;

use std::collections::BTreeMap;

use scalequest_crds::protocol::rows::{QuestionRow, ResponseRow};
use scalequest_crds::protocol::task::StageCost;
use scalequest_crds::v1alpha1::{Stage, SynthesisRunSpec};
use serde::Serialize;
use serde_json::json;

use super::curves::Curve;
use super::document::render as render_document;
use super::merge::Outcome;
use super::output::MARK;
use super::settings::settings_of;
use super::story::Story;
use super::table::pairs::chosen_response;
use super::table::rejects::{reason_name, reason_words};
use super::words::{excerpt, real};
use plot::{HistogramPlot, Labels, histogram, line};

/// Characters of a question or response that the report shows.
const TEXT_LENGTH: usize = 2000;
/// Characters of a reject's detail that the report shows.
const DETAIL_LENGTH: usize = 500;

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
struct Rejected {
    reason: &'static str,
    words: &'static str,
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

/// The report as HTML.
///
/// # Errors
/// The template engine's; never for what the rows hold.
pub fn render(story: &Story<'_>, curves: &[Curve]) -> Result<String, minijinja::Error> {
    let funnel = &story.manifest.funnel;
    let budget = story.run.spec.budget.clone().unwrap_or_default();
    let price = budget
        .price_per_gpu_hour
        .as_deref()
        .and_then(|price| price.parse::<f64>().ok());
    let total_millis: i64 = story
        .publication
        .costs
        .iter()
        .map(|cost| cost.worker_millis)
        .sum();
    let costs = costs_by_stage(&story.publication.costs, &story.run.spec, price);
    let has_money = price.is_some() || story.run.spec.has_token_prices();
    let total: f64 = costs.iter().map(|cost| cost.amount).sum();
    let shown = |amount: f64| has_money.then(|| show_money(amount, total));
    let costs: Vec<Cost> = costs
        .into_iter()
        .map(|cost| Cost {
            money: shown(cost.amount),
            ..cost
        })
        .collect();
    let context = json!({
        "style": include_str!("report.css"),
        "mark": MARK,
        "name": story.publication.name,
        "target": story.publication.target,
        "complete": story.is_complete(),
        "outcome": story.outcome(),
        "notes": story.notes(),
        "funnel": funnel,
        "rejected": funnel.rejected_total(),
        "steps": story.steps(),
        "yields": story.yields(),
        "pairs": story.pair_yields(),
        "responses": story.manifest.rows.get("responses").copied().unwrap_or(0),
        "histograms": histograms(story),
        "curves": curves.iter().filter_map(line).collect::<Vec<_>>(),
        "accepted_samples": story.facts.accepted_samples.rows().into_iter().map(sample).collect::<Vec<_>>(),
        "rejected_samples": rejected_samples(story),
        "costs": costs,
        "total_millis": total_millis,
        "total_money": shown(total),
        "currency": budget.currency.unwrap_or_else(|| "USD".into()),
        "models": story.publication.models,
        "settings": settings_of(story.run),
        "spec": story.publication.resolved_spec,
        "bodies": story.manifest.bodies,
        "files": story.manifest.files,
        "digest": story.manifest.digest,
        "created_by": story.manifest.created_by,
    });
    render_document("report.html", include_str!("report.html.jinja"), &context)
}

fn histograms(story: &Story<'_>) -> Vec<HistogramPlot> {
    let facts = story.facts;
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
            &facts.reward,
        ),
        (
            labels(
                "agreement",
                "Agreement",
                "responses with the same final answer",
                "accepted",
                "rejected",
            ),
            &facts.agreement,
        ),
        (
            labels(
                "difficulty",
                "Difficulty",
                "predicted fail rate",
                "accepted",
                "rejected",
            ),
            &facts.difficulty,
        ),
        (
            labels(
                "question-length",
                "Question length",
                "tokens",
                "accepted",
                "rejected",
            ),
            &facts.question_tokens,
        ),
        (
            labels(
                "response-length",
                "Response length",
                "tokens",
                "chosen",
                "not chosen",
            ),
            &facts.response_tokens,
        ),
    ];
    plots
        .into_iter()
        .filter_map(|(labels, distribution)| histogram(labels, distribution))
        .collect()
}

fn rejected_samples(story: &Story<'_>) -> Vec<Rejected> {
    let rejected = |(reason, samples): (&_, &super::facts::Samples)| Rejected {
        reason: reason_name(*reason),
        words: reason_words(*reason),
        count: story
            .manifest
            .funnel
            .rejected
            .get(reason)
            .copied()
            .unwrap_or(0),
        samples: samples.rows().into_iter().map(sample).collect(),
    };
    story.facts.rejected_samples.iter().map(rejected).collect()
}

fn sample(outcome: &Outcome) -> Sample {
    let QuestionRow {
        id,
        generator,
        wave,
        question,
        difficulty,
        ..
    } = outcome.question().clone();
    let shown = |response: &ResponseRow, chosen: bool| SampleResponse {
        text: excerpt(&response.text, TEXT_LENGTH),
        reward: response.reward.map(real),
        final_answer: response
            .final_answer
            .clone()
            .map(|answer| excerpt(&answer, 200)),
        chosen,
    };
    let (stage, detail, responses, agreement) = match outcome {
        Outcome::Accepted(row) => (
            None,
            None,
            chosen_response(row)
                .into_iter()
                .map(|response| shown(response, true))
                .collect(),
            Some(row.agreement),
        ),
        Outcome::Rejected(row) => {
            let detail = row
                .detail
                .as_deref()
                .map(|detail| excerpt(detail, DETAIL_LENGTH));
            let responses = row
                .responses
                .iter()
                .map(|response| shown(response, false))
                .collect();
            (Some(row.stage.slug()), detail, responses, None)
        }
    };
    let question = excerpt(&question, TEXT_LENGTH);
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

/// Time, tokens and money by stage, in the order of a run, over generators and waves: hours at `price`, tokens at their endpoints' prices.
fn costs_by_stage(costs: &[StageCost], spec: &SynthesisRunSpec, price: Option<f64>) -> Vec<Cost> {
    let mut by_stage: BTreeMap<Stage, Cost> = BTreeMap::new();
    for cost in costs {
        let sum = by_stage.entry(cost.stage).or_default();
        sum.stage = cost.stage.slug();
        sum.millis += cost.worker_millis;
        sum.tokens_in += cost.tokens_in;
        sum.tokens_out += cost.tokens_out;
        sum.amount += price.unwrap_or(0.0) * cost.worker_millis as f64 / 3_600_000.0;
        if let Some(prices) = spec.token_prices(cost.stage, cost.generator.as_deref()) {
            let [read, made] = [&prices.input_per_million, &prices.output_per_million]
                .map(|text| text.parse().unwrap_or(0.0));
            sum.amount += (read * cost.tokens_in as f64 + made * cost.tokens_out as f64) / 1e6;
        }
    }
    by_stage.into_values().collect()
}

/// An amount, with the decimals that do the whole sum justice.
fn show_money(amount: f64, total: f64) -> String {
    format!("{amount:.*}", if total < 1.0 { 4 } else { 2 })
}
