//! How much memory a stage's worker takes, from the facts of its models. Pure: it must not know what is available.

use scalequest_crds::Stage;
use scalequest_crds::inspection::{Fault, ModelFacts};
use scalequest_crds::run::{Sampling, SynthesisRunSpec, Tuning};

use super::machine::show_bytes;

/// What a worker takes beside its model: program, rows, tokenizer, buffers.
const BASE: i64 = 192 << 20;

/// Tokens around what a model makes or scores: template, instructions, question.
const PROMPT_TOKENS: i64 = 256;

/// What a stage does with which model. The frozen reference of QPO takes no memory of its own: it is read off the model before
/// the first step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ModelPart<'a> {
    model: &'a str,
    does: Does,
}

/// What is done with a model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Train(Tuning),
    /// With so many tokens of each text under way, at most.
    Serve(i64),
}

/// The model that `stage` holds in memory, by the (resolved) spec; none for stages without one, or whose part is not filled.
fn model_part<'a>(
    stage: Stage,
    generator: Option<&str>,
    spec: &'a SynthesisRunSpec,
) -> Option<ModelPart<'a>> {
    let model = spec.model_of(stage, generator)?.name.as_str();
    let own = spec
        .generators
        .iter()
        .find(|each| Some(each.name.as_str()) == generator);
    let qpo = || own?.qpo.as_ref();
    let filters = spec.filters.as_ref();
    let serve = |sampling: Option<&Sampling>| {
        let made = sampling.and_then(|sampling| sampling.max_new_tokens);
        Does::Serve(PROMPT_TOKENS + i64::from(made.unwrap_or(0)))
    };
    let does = match stage {
        Stage::Qft => Does::Train(
            own?.qft
                .as_ref()
                .and_then(|qft| qft.tuning)
                .unwrap_or_default(),
        ),
        Stage::Qpo => Does::Train(qpo().and_then(|qpo| qpo.tuning).unwrap_or_default()),
        Stage::Scorer => Does::Train(Tuning::Full),
        Stage::Sample | Stage::Generate => serve(own?.sampling.as_ref()),
        Stage::Rewrite => serve(qpo()?.rewriting.as_ref()),
        Stage::Label => serve(filters?.difficulty.as_ref()?.sampling.as_ref()),
        Stage::Judge => serve(filters?.solvability.as_ref()?.sampling.as_ref()),
        Stage::Rate => serve(None),
        // A response is read by the reward model, and not made; it takes as much.
        Stage::Respond | Stage::Reward => serve(spec.responses.sampling.as_ref()),
        Stage::Filter | Stage::Verify | Stage::Publish => return None,
    };
    Some(ModelPart { model, does })
}

fn bytes(part: &ModelPart<'_>, facts: &ModelFacts) -> i64 {
    match part.does {
        Does::Serve(tokens) => {
            facts.serving_bytes + facts.context_token_bytes * tokens.min(facts.context_length)
        }
        Does::Train(Tuning::Full) => facts.training_bytes,
        // Adapters need no gradients and no optimizer state for the model's own weights, a third of what a full training holds.
        Does::Train(Tuning::Lora) => facts.serving_bytes.max(facts.training_bytes / 3),
    }
}

/// Bytes of memory that a worker of `stage` takes. A model of which nothing is known (an endpoint) takes none here.
pub fn stage_memory(
    stage: Stage,
    generator: Option<&str>,
    spec: &SynthesisRunSpec,
    facts: &[ModelFacts],
) -> i64 {
    let part = model_part(stage, generator, spec);
    let model = part.and_then(|part| {
        Some(bytes(
            &part,
            facts.iter().find(|facts| facts.name == part.model)?,
        ))
    });
    BASE + model.unwrap_or(0)
}

/// Every model that takes more memory than `available` in some stage, with the numbers.
pub fn too_large(spec: &SynthesisRunSpec, facts: &[ModelFacts], available: i64) -> Vec<Fault> {
    let generators = || {
        spec.generators
            .iter()
            .map(|generator| Some(generator.name.as_str()))
    };
    let stages = Stage::ALL.into_iter().flat_map(|stage| match stage {
        Stage::Qft | Stage::Sample | Stage::Rewrite | Stage::Qpo | Stage::Generate => {
            generators().map(|name| (stage, name)).collect::<Vec<_>>()
        }
        _ => vec![(stage, None)],
    });
    let mut worst: Vec<(usize, i64, Stage)> = Vec::new();
    for (stage, name) in stages {
        let Some(part) = model_part(stage, name, spec) else {
            continue;
        };
        let Some(position) = spec
            .models
            .iter()
            .position(|model| model.name == part.model)
        else {
            continue;
        };
        let needed = stage_memory(stage, name, spec, facts);
        match worst.iter_mut().find(|(known, ..)| *known == position) {
            Some(entry) if entry.1 < needed => *entry = (position, needed, stage),
            Some(_) => {}
            None => worst.push((position, needed, stage)),
        }
    }
    let over = worst
        .into_iter()
        .filter(|(_, needed, _)| *needed > available);
    over.map(|(position, needed, stage)| Fault {
        field: format!("spec.models[{position}]"),
        message: format!(
            "model `{}` takes {} of memory in stage {stage}, and {} are available: free some, choose a smaller model{}, or say --memory if you know better",
            spec.models[position].name,
            show_bytes(needed),
            show_bytes(available),
            if stage.makes_a_model() && stage != Stage::Scorer { ", set tuning: Lora" } else { "" },
        ),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: i64 = 1 << 30;

    fn spec() -> SynthesisRunSpec {
        serde_json::from_value(serde_json::json!({
            "recipe": "MathSimple", "target": {"examples": 1},
            "models": [{"name": "small", "source": {"path": "a"}}, {"name": "large", "source": {"path": "b"}}],
            "seedQuestions": [{"path": "q"}],
            "generators": [{"name": "g", "model": "small", "qft": {}, "qpo": {"rewriter": "large", "tuning": "Lora"}, "sampling": {"maxNewTokens": 256}}],
            "filters": {"solvability": {"model": "large"}},
            "responses": {"model": "large", "sampling": {"maxNewTokens": 4096}}, "reward": {"model": "small"},
            "workspace": {"path": "w"}, "output": {"path": "o"},
        }))
        .unwrap()
    }

    fn facts() -> Vec<ModelFacts> {
        let one = |name: &str, serving_bytes, training_bytes| ModelFacts {
            name: name.into(),
            digest: String::new(),
            architecture: "llama".into(),
            parameters: 0,
            serving_bytes,
            context_token_bytes: 1 << 20,
            training_bytes,
            context_length: 1024,
            has_chat_template: true,
            head: "languageModel".into(),
            license: None,
        };
        vec![one("small", GIB, 6 * GIB), one("large", 4 * GIB, 24 * GIB)]
    }

    #[test]
    fn a_stage_takes_the_memory_of_its_model_and_its_part() {
        let table = [
            (Stage::Qft, Some("g"), 6 * GIB),
            // 256 tokens around the question, and the question's 256.
            (Stage::Sample, Some("g"), GIB + GIB / 2),
            (Stage::Rewrite, Some("g"), 4 * GIB + GIB / 4),
            // Adapters: a third of 6 GiB. The reference takes nothing.
            (Stage::Qpo, Some("g"), 2 * GIB),
            (Stage::Filter, None, 0),
            (Stage::Judge, None, 4 * GIB + GIB / 4),
            (Stage::Rate, None, 0),
            // No text is longer than the model's context.
            (Stage::Respond, None, 5 * GIB),
            (Stage::Reward, None, 2 * GIB),
        ];
        for (stage, generator, expected) in table {
            assert_eq!(
                stage_memory(stage, generator, &spec(), &facts()) - BASE,
                expected,
                "{stage}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_said_once_a_model_with_the_numbers() {
        assert!(too_large(&spec(), &facts(), 8 * GIB).is_empty());
        let faults = too_large(&spec(), &facts(), 2 * GIB);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert_eq!(faults[0].field, "spec.models[0]");
        assert!(
            faults[0]
                .message
                .contains("6.2 GiB of memory in stage qft, and 2.0 GiB are available"),
            "{}",
            faults[0].message
        );
        assert!(
            faults[1].message.contains("`large` takes 5.2 GiB"),
            "{}",
            faults[1].message
        );
    }
}
