//! The dataset card, `README.md`: a YAML header for the hub, then what a reader needs to decide whether to use the dataset. It
//! states only statistics and the spec, and the same content gives the same card.

use scalequest_crds::v1alpha1::{Domain, Recipe};
use serde::Serialize;
use serde_json::json;

use super::document::render as render_document;
use super::format::{excerpt, fence};
use super::license::license_of;
use super::merge::QuestionOutcome;
use super::output::MARK;
use super::report_model::ReportModel;
use super::settings::settings_of;
use super::stats::Samples;
use super::table::pairs::chosen_response;
use super::table::{DATA, DIRECTORIES};

/// Maximum characters of the example that the card shows.
const MAX_EXAMPLE_LENGTH: usize = 1200;

#[derive(Serialize)]
struct Config {
    name: &'static str,
    default: bool,
    rows: i64,
    description: &'static str,
    files: Vec<String>,
}

#[derive(Serialize)]
struct Example {
    fence: String,
    question: String,
    response: String,
}

/// Renders the card as Markdown.
///
/// # Errors
/// The template engine's; no content of a row causes an error.
pub fn render(model: &ReportModel<'_>) -> Result<String, minijinja::Error> {
    let spec = &model.run.spec;
    let filters = spec.filters.clone().unwrap_or_default();
    let languages = filters
        .language
        .as_ref()
        .map(|language| language.keep.clone().unwrap_or_else(|| vec!["en".into()]));
    let benchmarks = filters
        .contamination
        .as_ref()
        .map(|contamination| contamination.benchmarks.len());
    let programming = spec.domain.map_or(spec.recipe == Recipe::Code, |domain| {
        domain == Domain::Programming
    });
    let context = json!({
        "mark": MARK,
        "name": model.publication.name,
        "target": model.publication.target,
        "license": license_of(&model.publication.models),
        "models": model.publication.models,
        "languages": languages,
        "benchmarks": benchmarks,
        "programming": programming,
        "size": size_category(model.manifest.funnel.accepted),
        "configs": DIRECTORIES.map(|directory| config(model, directory)),
        "complete": model.is_complete(),
        "outcome": model.outcome(),
        "notes": model.notes(),
        "funnel": model.manifest.funnel,
        "rejected": model.manifest.funnel.rejected_total(),
        "steps": model.steps(),
        "yields": model.yields(),
        "pairs": model.pair_yields(),
        "settings": settings_of(model.run),
        "reproducible": model.is_reproducible(),
        "compute_backends": model.manifest.compute_backends,
        "agreement": spec.verification.as_ref().and_then(|v| v.agreement.as_ref()).map(|a| a.at_least),
        "samples": spec.responses.samples,
        "example": example(&model.stats.accepted_samples),
        "digest": model.manifest.digest,
        "created_by": model.manifest.created_by,
    });
    render_document("card.md", include_str!("card.md.jinja"), &context)
}

fn config(model: &ReportModel<'_>, directory: &'static str) -> Config {
    let files = model
        .manifest
        .files
        .iter()
        .filter(|file| file.table == directory)
        .map(|file| file.path.clone());
    Config {
        name: if directory == DATA {
            "default"
        } else {
            directory
        },
        default: directory == DATA,
        rows: model.manifest.rows.get(directory).copied().unwrap_or(0),
        description: match directory {
            "data" => {
                "accepted pairs: question, response, `messages` in chat form, every score, and their provenance"
            }
            "responses" => {
                "all responses to every question that was answered, with their scores, chosen or not"
            }
            "rejects" => "every rejected question with the stage that rejected it and why",
            "preferences" => {
                "question pairs of QPO: `chosen` is the rewrite, `rejected` the original"
            }
            "preference_rejects" => {
                "questions sampled for such pairs that gave none, and why; not part of the funnel"
            }
            _ => {
                "the seed questions on which each generator was fine-tuned (QFT), under their own licence"
            }
        },
        files: files.collect(),
    }
}

fn example(samples: &Samples) -> Option<Example> {
    let Some(QuestionOutcome::Accepted(row)) = samples.rows().first().copied() else {
        return None;
    };
    let question = excerpt(&row.answered.question.question, MAX_EXAMPLE_LENGTH);
    let response = excerpt(&chosen_response(row)?.text, MAX_EXAMPLE_LENGTH);
    Some(Example {
        fence: fence(&format!("{question}\n{response}")),
        question,
        response,
    })
}

/// Returns the hub's size category for a number of rows.
fn size_category(rows: i64) -> &'static str {
    const SIZES: [(i64, &str); 6] = [
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (1_000_000, "100K<n<1M"),
        (10_000_000, "1M<n<10M"),
        (100_000_000, "10M<n<100M"),
    ];
    SIZES
        .iter()
        .find(|(end, _)| rows < *end)
        .map_or("100M<n<1B", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_categories_match_the_hub() {
        assert_eq!(
            [0, 999, 1_000, 99_999, 1_000_000].map(size_category),
            ["n<1K", "n<1K", "1K<n<10K", "10K<n<100K", "1M<n<10M"]
        );
    }
}
