//! How much memory a stage's worker takes, from the facts of its models. Pure: it must not know what is available.

use scalequest_crds::protocol::preflight::{FieldError, ModelFacts};
use scalequest_crds::v1alpha1::{Sampling, Stage, SynthesisRunSpec, Tuning};

use super::machine::format_bytes;

/// What a worker takes beside its model: program, rows, tokenizer, buffers.
const BASE_BYTES: i64 = 192 << 20;

/// Tokens around what a model makes or scores: template, instructions, question.
const PROMPT_TOKENS: i64 = 256;

/// The model of a stage, and its use. The frozen reference of QPO takes no memory of its own: it is read off the model before
/// the first step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct StageModel<'a> {
    model: &'a str,
    model_use: ModelUse,
}

/// The use of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ModelUse {
    Train(Tuning),
    /// With so many tokens of each text under way, at most.
    Serve(i64),
}

/// The model that `stage` holds in memory, by the (resolved) spec; none for stages without one, or whose part is not filled.
fn stage_model<'a>(
    stage: Stage,
    generator: Option<&str>,
    spec: &'a SynthesisRunSpec,
) -> Option<StageModel<'a>> {
    let model = spec.model_of(stage, generator)?.name.as_str();
    let own = spec
        .generators
        .iter()
        .find(|each| Some(each.name.as_str()) == generator);
    let qpo = || own?.qpo.as_ref();
    let filters = spec.filters.as_ref();
    let serve = |sampling: Option<&Sampling>| {
        let made = sampling.and_then(|sampling| sampling.max_new_tokens);
        ModelUse::Serve(PROMPT_TOKENS + i64::from(made.unwrap_or(0)))
    };
    let model_use = match stage {
        Stage::Qft => ModelUse::Train(
            own?.qft
                .as_ref()
                .and_then(|qft| qft.tuning)
                .unwrap_or_default(),
        ),
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
    Some(StageModel { model, model_use })
}

fn bytes(part: &StageModel<'_>, facts: &ModelFacts) -> i64 {
    match part.model_use {
        ModelUse::Serve(tokens) => {
            facts.serving_bytes + facts.context_token_bytes * tokens.min(facts.context_length)
        }
        ModelUse::Train(Tuning::Full) => facts.training_bytes,
        // Adapters need no gradients and no optimizer state for the model's own weights, a third of what a full training holds.
        ModelUse::Train(Tuning::Lora) => facts.serving_bytes.max(facts.training_bytes / 3),
    }
}

/// Bytes of memory that a worker of `stage` takes. A model of which nothing is known (an endpoint) takes none here.
pub fn stage_memory(
    stage: Stage,
    generator: Option<&str>,
    spec: &SynthesisRunSpec,
    facts: &[ModelFacts],
) -> i64 {
    let part = stage_model(stage, generator, spec);
    let model = part.and_then(|part| {
        Some(bytes(
            &part,
            facts.iter().find(|facts| facts.name == part.model)?,
        ))
    });
    BASE_BYTES + model.unwrap_or(0)
}

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

/// Bytes of memory that a worker of `stage` takes on a GPU; none where it computes on the CPU.
pub fn stage_gpu_memory(
    stage: Stage,
    generator: Option<&str>,
    spec: &SynthesisRunSpec,
    facts: &[ModelFacts],
    on: GpuUse,
) -> Option<i64> {
    let part = stage_model(stage, generator, spec)?;
    let is_on = match part.model_use {
        ModelUse::Train(_) => on.training,
        ModelUse::Serve(_) => on.servers && spec.model_of(stage, generator)?.own_server().is_some(),
    };
    is_on.then(|| stage_memory(stage, generator, spec, facts))
}

/// Bytes of the machine's own memory that a worker of `stage` takes.
pub fn stage_host_memory(
    stage: Stage,
    generator: Option<&str>,
    spec: &SynthesisRunSpec,
    facts: &[ModelFacts],
    on: GpuUse,
) -> i64 {
    let all = stage_memory(stage, generator, spec, facts);
    let trained = stage_model(stage, generator, spec)
        .filter(|part| on.training && matches!(part.model_use, ModelUse::Train(_)))
        .and_then(|part| facts.iter().find(|facts| facts.name == part.model));
    trained.map_or(all, |facts| {
        all.min(
            BASE_BYTES
                + facts
                    .parameters
                    .saturating_mul(HOST_BYTES_PER_TRAINED_PARAMETER),
        )
    })
}

/// Memory that workers may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvailableMemory {
    /// Bytes of the machine's own.
    pub memory: i64,
    /// Bytes that the largest GPU has, in use or not, where there are GPUs.
    pub gpu: Option<i64>,
    /// What computes there.
    pub on: GpuUse,
}

/// Checks that every model fits into the available memory in each stage; returns those that do not, with the numbers.
pub fn check_memory(
    spec: &SynthesisRunSpec,
    facts: &[ModelFacts],
    available: AvailableMemory,
) -> Vec<FieldError> {
    let on = available.on;
    let host = |stage, name: Option<&str>| Some(stage_host_memory(stage, name, spec, facts, on));
    let mut errors = models_over(spec, available.memory, host, |stage, needed| {
        format!(
            "takes {} of memory in stage {stage}, and {} are available: free some, choose a smaller model{}, or set --memory if you know better",
            format_bytes(needed),
            format_bytes(available.memory),
            lora(stage),
        )
    });
    if let Some(memory) = available.gpu {
        let gpu = |stage, name: Option<&str>| stage_gpu_memory(stage, name, spec, facts, on);
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
        let Some(part) = stage_model(stage, name, spec) else {
            continue;
        };
        let Some(position) = spec
            .models
            .iter()
            .position(|model| model.name == part.model)
        else {
            continue;
        };
        let Some(needed) = bytes_of(stage, name) else {
            continue;
        };
        match worst.iter_mut().find(|(known, ..)| *known == position) {
            Some(entry) if entry.1 < needed => *entry = (position, needed, stage),
            Some(_) => {}
            None => worst.push((position, needed, stage)),
        }
    }
    let models_over = worst
        .into_iter()
        .filter(|(_, needed, _)| *needed > available);
    models_over
        .map(|(position, needed, stage)| FieldError {
            field: format!("spec.models[{position}]"),
            message: format!(
                "model `{}` {}",
                spec.models[position].name,
                describe(stage, needed)
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
                stage_memory(stage, generator, &spec(), &facts()) - BASE_BYTES,
                expected,
                "{stage}"
            );
        }
    }

    #[test]
    fn oversized_model_is_reported_once() {
        let available = |gib: i64| AvailableMemory {
            memory: gib * GIB,
            gpu: None,
            on: GpuUse::default(),
        };
        assert!(check_memory(&spec(), &facts(), available(8)).is_empty());
        let errors = check_memory(&spec(), &facts(), available(2));
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
        let gpu = |stage, name, on| stage_gpu_memory(stage, name, &spec(), &facts, on);
        assert_eq!(gpu(Stage::Qft, Some("g"), on), Some(BASE_BYTES + 6 * GIB));
        assert_eq!(gpu(Stage::Qft, Some("g"), GpuUse::default()), None);
        assert_eq!(
            gpu(Stage::Generate, Some("g"), on),
            None,
            "our engine serves on the CPU"
        );
        assert_eq!(gpu(Stage::Filter, None, on), None);
        let host =
            |stage, name, on| stage_host_memory(stage, name, &spec(), &facts, on) - BASE_BYTES;
        assert_eq!(host(Stage::Qft, Some("g"), on) / (1 << 20), 1023);
        assert_eq!(host(Stage::Qft, Some("g"), GpuUse::default()), 6 * GIB);
        assert_eq!(host(Stage::Judge, None, on), 4 * GIB + GIB / 4);
    }

    #[test]
    fn model_too_large_for_gpus() {
        let mut facts = facts();
        facts[0].parameters = GIB / 20;
        let available = |gpu: i64| AvailableMemory {
            memory: 64 * GIB,
            gpu: Some(gpu * GIB),
            on: GpuUse {
                training: true,
                servers: true,
            },
        };
        assert!(check_memory(&spec(), &facts, available(8)).is_empty());
        let errors = check_memory(&spec(), &facts, available(4));
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
        let gpu = |stage, name| stage_gpu_memory(stage, name, &spec, &facts(), on);
        assert_eq!(gpu(Stage::Respond, None), Some(BASE_BYTES + 5 * GIB));
        assert_eq!(gpu(Stage::Qft, Some("g")), None);
    }
}
