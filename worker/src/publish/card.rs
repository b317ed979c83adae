//! The dataset card, `README.md`: a YAML header as the hub reads it, then what a person needs to decide whether to use the
//! dataset. It states only what was counted or what the spec says, and the same content gives the same card.

use scalequest_crds::v1alpha1::{Domain, Recipe};
use serde::Serialize;
use serde_json::json;

use super::document::render as render_document;
use super::facts::Samples;
use super::license::license_of;
use super::merge::Outcome;
use super::output::MARK;
use super::settings::settings_of;
use super::story::Story;
use super::table::pairs::chosen_response;
use super::table::{DATA, DIRECTORIES};
use super::words::{excerpt, fence};

/// Characters of the example that the card shows.
const EXAMPLE_LENGTH: usize = 1200;

#[derive(Serialize)]
struct Config {
    name: &'static str,
    default: bool,
    rows: i64,
    about: &'static str,
    files: Vec<String>,
}

#[derive(Serialize)]
struct Example {
    fence: String,
    question: String,
    response: String,
}

/// The card as Markdown.
///
/// # Errors
/// The template engine's; never for what the rows hold.
pub fn render(story: &Story<'_>) -> Result<String, minijinja::Error> {
    let spec = &story.run.spec;
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
        "name": story.publication.name,
        "target": story.publication.target,
        "license": license_of(&story.publication.models),
        "models": story.publication.models,
        "languages": languages,
        "benchmarks": benchmarks,
        "programming": programming,
        "size": size_category(story.manifest.funnel.accepted),
        "configs": DIRECTORIES.map(|directory| config(story, directory)),
        "complete": story.is_complete(),
        "outcome": story.outcome(),
        "notes": story.notes(),
        "funnel": story.manifest.funnel,
        "rejected": story.manifest.funnel.rejected_total(),
        "steps": story.steps(),
        "yields": story.yields(),
        "pairs": story.pair_yields(),
        "settings": settings_of(story.run),
        "reproducible": story.is_reproducible(),
        "bodies": story.manifest.bodies,
        "agreement": spec.verification.as_ref().and_then(|v| v.agreement.as_ref()).map(|a| a.at_least),
        "samples": spec.responses.samples,
        "example": example(&story.facts.accepted_samples),
        "digest": story.manifest.digest,
        "created_by": story.manifest.created_by,
    });
    render_document("card.md", include_str!("card.md.jinja"), &context)
}

fn config(story: &Story<'_>, directory: &'static str) -> Config {
    let files = story
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
        rows: story.manifest.rows.get(directory).copied().unwrap_or(0),
        about: match directory {
            "data" => {
                "accepted pairs: question, response, `messages` in chat form, every score, where each comes from"
            }
            "responses" => {
                "all responses to every question that was answered, with their scores, kept or not"
            }
            "rejects" => "every rejected question with the stage that rejected it and why",
            "preferences" => {
                "question pairs of QPO: `chosen` is the rewrite, `rejected` the original"
            }
            "preference_rejects" => {
                "questions sampled for such pairs that gave none, and why; no part of the funnel"
            }
            _ => {
                "the seed questions from which each generator learnt to ask (QFT); their licence is their own"
            }
        },
        files: files.collect(),
    }
}

fn example(samples: &Samples) -> Option<Example> {
    let Some(Outcome::Accepted(row)) = samples.rows().first().copied() else {
        return None;
    };
    let question = excerpt(&row.answered.question.question, EXAMPLE_LENGTH);
    let response = excerpt(&chosen_response(row)?.text, EXAMPLE_LENGTH);
    Some(Example {
        fence: fence(&format!("{question}\n{response}")),
        question,
        response,
    })
}

/// The hub's size category for a number of rows.
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
    fn sizes_are_the_hubs() {
        assert_eq!(
            [0, 999, 1_000, 99_999, 1_000_000].map(size_category),
            ["n<1K", "n<1K", "1K<n<10K", "10K<n<100K", "1M<n<10M"]
        );
    }
}
