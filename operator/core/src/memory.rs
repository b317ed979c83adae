//! How much memory a stage's worker takes, from the facts of its models. Pure: it must not know what is available.

use std::collections::BTreeMap;

use scalequest_crds::protocol::preflight::{FieldError, ModelFacts};
use scalequest_crds::v1alpha1::{Model, Sampling, Stage, SynthesisRunSpec, Tuning};

use crate::format_bytes::format_bytes;

/// Bytes that a worker takes beside its model: program, rows, tokenizer, buffers.
pub const BASE_BYTES: i64 = 192 << 20;

/// Tokens around what a model makes or scores: template, instructions, question.
const PROMPT_TOKENS: i64 = 256;

/// Bytes that a parameter takes in the machine's memory while it is trained on a GPU: weights on their way, and the optimizer's gradient and two
/// moments, which stay on the CPU.
const HOST_BYTES_PER_TRAINED_PARAMETER: i64 = 20;

/// What computes on the machine's GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuUse {
    /// Training: the worker is built for GPUs.
    pub training: bool,
    /// The servers that stages start for themselves.
    pub servers: bool,
}

/// Bytes of memory that a worker of a stage takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageMemory {
    /// Of the machine's own.
    pub host: i64,
    /// Of a GPU; `None` if it computes on the CPU.
    pub gpu: Option<i64>,
}

/// The use of a model. The frozen reference of QPO takes no memory of its own: it is read off the model before the first step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ModelUse {
    Train(Tuning),
    /// With so many tokens of each text under way, at most.
    Serve(i64),
}

/// The model that `stage` holds in memory, by the (resolved) spec, and its use; none for stages without one, or whose part is not filled.
fn stage_model<'a>(
    stage: Stage,
    generator: Option<&str>,
    spec: &'a SynthesisRunSpec,
) -> Option<(&'a Model, ModelUse)> {
    let mut generators = spec.generators.iter();
    let own = generators.find(|each| Some(each.name.as_str()) == generator);
    let qft = || own?.qft.as_ref();
    let qpo = || own?.qpo.as_ref();
    let filters = spec.filters.as_ref();
    let serve = |sampling: Option<&Sampling>| {
        let made = sampling.and_then(|sampling| sampling.max_new_tokens);
        ModelUse::Serve(PROMPT_TOKENS + i64::from(made.unwrap_or(0)))
    };
    let model_use = match stage {
        Stage::Qft => ModelUse::Train(qft().and_then(|qft| qft.tuning).unwrap_or_default()),
        Stage::Qpo => ModelUse::Train(qpo().and_then(|qpo| qpo.tuning).unwrap_or_default()),
        Stage::TrainScorer => ModelUse::Train(Tuning::Full),
        Stage::Sample | Stage::Generate => serve(own?.sampling.as_ref()),
        Stage::Rewrite => serve(qpo()?.rewriting.as_ref()),
        Stage::Label => serve(filters?.difficulty.as_ref()?.sampling.as_ref()),
        Stage::Judge => serve(filters?.solvability.as_ref()?.sampling.as_ref()),
        Stage::Score => serve(None),
        // A response is read by the reward model, and not made; it takes as much.
        Stage::Respond | Stage::Reward => serve(spec.responses.sampling.as_ref()),
        Stage::Filter | Stage::Verify | Stage::Publish => return None,
    };
    Some((spec.model_of(stage, generator)?, model_use))
}

/// Returns what a worker of `stage` takes of memory. A model of which nothing is known (an endpoint) takes none here.
pub fn stage_memory(
    stage: Stage,
    generator: Option<&str>,
    spec: &SynthesisRunSpec,
    facts: &[ModelFacts],
    on: GpuUse,
) -> StageMemory {
    let Some((model, model_use)) = stage_model(stage, generator, spec) else {
        return StageMemory {
            host: BASE_BYTES,
            gpu: None,
        };
    };
    let facts = facts.iter().find(|facts| facts.name == model.name);
    let all = BASE_BYTES + facts.map_or(0, |facts| bytes(model_use, facts));
    let (is_on_gpu, host) = match model_use {
        ModelUse::Train(_) if on.training => {
            let parameters = facts.map_or(0, |facts| facts.parameters);
            let trained = parameters.saturating_mul(HOST_BYTES_PER_TRAINED_PARAMETER);
            (true, all.min(BASE_BYTES + trained))
        }
        ModelUse::Train(_) => (false, all),
        ModelUse::Serve(_) => (on.servers && model.own_server().is_some(), all),
    };
    StageMemory {
        host,
        gpu: is_on_gpu.then_some(all),
    }
}

fn bytes(model_use: ModelUse, facts: &ModelFacts) -> i64 {
    match model_use {
        ModelUse::Serve(tokens) => {
            facts.serving_bytes + facts.context_token_bytes * tokens.min(facts.context_length)
        }
        ModelUse::Train(Tuning::Full) => facts.training_bytes,
        // Adapters need no gradients and no optimizer state for the model's own weights, a third of what a full training holds.
        ModelUse::Train(Tuning::Lora) => facts.serving_bytes.max(facts.training_bytes / 3),
    }
}

/// Checks that every model fits in each stage into `memory`, the bytes of the machine's own that workers may take, and into `gpu`, the
/// bytes of the largest GPU, in use or not, if there is one; returns those that do not, with the numbers.
pub fn check_memory(
    spec: &SynthesisRunSpec,
    facts: &[ModelFacts],
    memory: i64,
    gpu: Option<i64>,
    on: GpuUse,
) -> Vec<FieldError> {
    let takes = |stage, name: Option<&str>| stage_memory(stage, name, spec, facts, on);
    let host = |stage, name: Option<&str>| Some(takes(stage, name).host);
    let mut errors = models_over(spec, memory, host, |stage, needed| {
        format!(
            "takes {} of memory in stage {stage}, and {} are available: free some, choose a smaller model{}, or set --memory if you know better",
            format_bytes(needed),
            format_bytes(memory),
            lora(stage),
        )
    });
    if let Some(memory) = gpu {
        let gpu = |stage, name: Option<&str>| takes(stage, name).gpu;
        errors.extend(models_over(spec, memory, gpu, |stage, needed| {
            format!(
                "takes {} of a GPU's memory in stage {stage}, and the largest has {}: choose a smaller model{}, or set --gpus 0 to do without GPUs",
                format_bytes(needed),
                format_bytes(memory),
                lora(stage),
            )
        }));
    }
    errors
}

fn lora(stage: Stage) -> &'static str {
    match stage.makes_a_model() && stage != Stage::TrainScorer {
        true => ", set tuning: Lora",
        false => "",
    }
}

/// An error for every model that needs more than `available` in some stage, by the stage in which it needs most.
fn models_over(
    spec: &SynthesisRunSpec,
    available: i64,
    bytes_of: impl Fn(Stage, Option<&str>) -> Option<i64>,
    describe: impl Fn(Stage, i64) -> String,
) -> Vec<FieldError> {
    // A stage that no generator owns has its model whatever the name.
    let names = spec.generators.iter().map(|each| Some(each.name.as_str()));
    let stages = Stage::ALL.into_iter();
    let each = stages.flat_map(|stage| names.clone().map(move |name| (stage, name)));
    let mut most: BTreeMap<usize, (i64, Stage)> = BTreeMap::new();
    for (stage, name) in each {
        let place = stage_model(stage, name, spec)
            .and_then(|(used, _)| spec.models.iter().position(|each| each.name == used.name));
        let (Some(place), Some(needed)) = (place, bytes_of(stage, name)) else {
            continue;
        };
        let known = most.entry(place).or_insert((needed, stage));
        if known.0 < needed {
            *known = (needed, stage);
        }
    }
    most.into_iter()
        .filter(|(_, (needed, _))| *needed > available)
        .map(|(place, (needed, stage))| {
            let (name, problem) = (&spec.models[place].name, describe(stage, needed));
            FieldError {
                field: format!("spec.models[{place}]"),
                message: format!("model `{name}` {problem}"),
            }
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
    fn memory_follows_model_and_use() {
        let table = [
            (Stage::Qft, Some("g"), 6 * GIB),
            // 256 tokens around the question, and the question's 256.
            (Stage::Sample, Some("g"), GIB + GIB / 2),
            (Stage::Rewrite, Some("g"), 4 * GIB + GIB / 4),
            // Adapters: a third of 6 GiB. The reference takes nothing.
            (Stage::Qpo, Some("g"), 2 * GIB),
            (Stage::Filter, None, 0),
            (Stage::Judge, None, 4 * GIB + GIB / 4),
            (Stage::Score, None, 0),
            // No text is longer than the model's context.
            (Stage::Respond, None, 5 * GIB),
            (Stage::Reward, None, 2 * GIB),
        ];
        for (stage, generator, expected) in table {
            assert_eq!(
                stage_memory(stage, generator, &spec(), &facts(), GpuUse::default()).host
                    - BASE_BYTES,
                expected,
                "{stage}"
            );
        }
    }

    #[test]
    fn oversized_model_is_reported_once() {
        let check = |gib| check_memory(&spec(), &facts(), gib * GIB, None, GpuUse::default());
        assert!(check(8).is_empty());
        let errors = check(2);
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert_eq!(errors[0].field, "spec.models[0]");
        assert!(
            errors[0]
                .message
                .contains("6.2 GiB of memory in stage qft, and 2.0 GiB are available"),
            "{}",
            errors[0].message
        );
        assert!(
            errors[1].message.contains("`large` takes 5.2 GiB"),
            "{}",
            errors[1].message
        );
    }

    #[test]
    fn gpu_training_splits_memory() {
        let on = GpuUse {
            training: true,
            servers: true,
        };
        let mut facts = facts();
        facts[0].parameters = GIB / 20;
        let gpu = |stage, name, on| stage_memory(stage, name, &spec(), &facts, on).gpu;
        assert_eq!(gpu(Stage::Qft, Some("g"), on), Some(BASE_BYTES + 6 * GIB));
        assert_eq!(gpu(Stage::Qft, Some("g"), GpuUse::default()), None);
        assert_eq!(
            gpu(Stage::Generate, Some("g"), on),
            None,
            "our engine serves on the CPU"
        );
        assert_eq!(gpu(Stage::Filter, None, on), None);
        let host =
            |stage, name, on| stage_memory(stage, name, &spec(), &facts, on).host - BASE_BYTES;
        assert_eq!(host(Stage::Qft, Some("g"), on) / (1 << 20), 1023);
        assert_eq!(host(Stage::Qft, Some("g"), GpuUse::default()), 6 * GIB);
        assert_eq!(host(Stage::Judge, None, on), 4 * GIB + GIB / 4);
    }

    #[test]
    fn model_too_large_for_gpus() {
        let mut facts = facts();
        facts[0].parameters = GIB / 20;
        let on = GpuUse {
            training: true,
            servers: true,
        };
        let check = |gpu| check_memory(&spec(), &facts, 64 * GIB, Some(gpu * GIB), on);
        assert!(check(8).is_empty());
        let errors = check(4);
        assert_eq!(errors.len(), 1, "{errors:?}");
        let message = &errors[0].message;
        for words in [
            "`small` takes 6.2 GiB of a GPU's memory in stage qft",
            "the largest has 4.0 GiB",
            "tuning: Lora",
            "--gpus 0",
        ] {
            assert!(message.contains(words), "{words}: {message}");
        }
    }

    #[test]
    fn model_server_gets_gpu() {
        let mut spec = spec();
        spec.models[1].engine = serde_json::from_value(
            serde_json::json!({"type": "Server", "server": {"command": ["serve"]}}),
        )
        .unwrap();
        let on = GpuUse {
            training: false,
            servers: true,
        };
        let gpu = |stage, name| stage_memory(stage, name, &spec, &facts(), on).gpu;
        assert_eq!(gpu(Stage::Respond, None), Some(BASE_BYTES + 5 * GIB));
        assert_eq!(gpu(Stage::Qft, Some("g")), None);
    }
}
