//! Tests of validation: what cannot work is refused with its path and what to do; what a place does not use is only noted.

use super::*;
use crate::parse::parse;

const RUN: &str = r#"apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {name: math}
spec:
  recipe: Math
  target: {examples: 100}
  models:
  - {name: qwen, source: {path: models/qwen}}
  - {name: judge, source: {path: models/judge.gguf}}
  seedQuestions: [{path: seeds.jsonl}]
  generators:
  - {name: g, model: qwen, weight: 60}
  - {name: h, model: qwen, weight: 40}
  responses: {model: judge}
  workspace: {path: work}
  output: {path: out}
"#;

fn check(text: &str, environment: Environment) -> Result<ValidRun, Vec<String>> {
    let run =
        parse(text).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    validate(&run, environment).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn edited(from: &str, to: &str) -> String {
    assert!(RUN.contains(from), "{from}");
    RUN.replacen(from, to, 1)
}

#[test]
fn spec_overrides_recipe_defaults() {
    let text = edited(
        "weight: 60}",
        "weight: 60, qft: {batchSize: 4, tuning: Lora}, sampling: {temperature: 0.9}}",
    );
    let run = check(&text, Environment::Local).unwrap();
    let generator = &run.method().generators[0];
    let qft = generator.qft.as_ref().unwrap();
    assert_eq!(
        (
            qft.batch_size,
            qft.learning_rate,
            qft.lora.as_ref().map(|lora| lora.rank)
        ),
        (4, 2e-5, Some(16))
    );
    assert_eq!(generator.sampling.temperature, Some(0.9));
    assert_eq!(generator.sampling.max_new_tokens, Some(512));
    assert_eq!(generator.qpo.as_ref().unwrap().rewriter, "judge");
    assert!(
        run.method().generators[1]
            .qft
            .as_ref()
            .unwrap()
            .lora
            .is_none()
    );
    assert_eq!(
        (
            run.method().judge.as_ref().unwrap().model.as_str(),
            run.method().reward.as_str(),
            run.method().at_least
        ),
        ("judge", "judge", 2)
    );
    assert_eq!(run.method().filter.languages, Some(vec!["en".to_string()]));
}

#[test]
fn resolve_is_idempotent() {
    for recipe in ["Math", "MathSimple", "Code", "LongCot"] {
        let run = check(
            &edited("recipe: Math", &format!("recipe: {recipe}")),
            Environment::Local,
        )
        .unwrap();
        let again = crate::recipe::resolve(run.spec()).unwrap();
        assert_eq!(&again, run.spec());
        let yaml =
            serde_saphyr::to_string(&scalequest_crds::v1alpha1::SynthesisRun::new("math", again))
                .unwrap();
        let reread = check(&yaml, Environment::Local).unwrap();
        assert_eq!(reread.method(), run.method());
    }
}

#[test]
fn absent_filters_are_off() {
    let run = check(
        &edited("  responses:", "  filters: {duplicates: {}}\n  responses:"),
        Environment::Local,
    )
    .unwrap();
    assert!(run.method().judge.is_none() && run.method().filter.languages.is_none());
    assert_eq!(run.method().filter.duplicates, Some(0.7));
}

#[test]
fn invalid_specs_name_field_and_fix() {
    let cases = [
        (
            "name: g, model: qwen",
            "name: g, model: qwem",
            "spec.generators[0].model: `qwem` is no model of this spec; did you mean qwen",
        ),
        (
            "responses: {model: judge}",
            "responses: {model: nobody}",
            "spec.responses.model: `nobody` is no model of this spec (there are: qwen, judge)",
        ),
        (
            "name: h, model",
            "name: g, model",
            "spec.generators[1].name: `g` is declared twice",
        ),
        (
            "- {name: judge,",
            "- {name: qwen,",
            "spec.models[1].name: `qwen` is declared twice",
        ),
        (
            "weight: 60}",
            "weight: 60, qpo: {rewriter: jduge}}",
            "spec.generators[0].qpo.rewriter: `jduge` is no model of this spec; did you mean judge",
        ),
        (
            "source: {path: models/qwen}",
            "source: {path: a, uri: \"s3://b/c\"}",
            "spec.models[0].source: sets path and uri: set exactly one",
        ),
        (
            "source: {path: models/qwen}",
            "source: {uri: \"ftp://b/c\"}",
            "spec.models[0].source.uri: `ftp://b/c` is no object store URI",
        ),
        (
            "source: {path: models/qwen}",
            "source: {hub: {repo: ../qwen, revision: 0123456789abcdef0123456789abcdef01234567}}",
            "spec.models[0].source.hub.repo: `../qwen` is no repository of the hub: write owner/name",
        ),
        (
            "source: {path: models/qwen}",
            "source: {hub: {repo: a/b, revision: 0123456789abcdef0123456789abcdef01234567, file: q4/x.gguf}}",
            "spec.models[0].source.hub.file: `q4/x.gguf` is no GGUF file",
        ),
        (
            "source: {path: models/qwen}",
            "source: {claim: {name: c}}",
            "spec.models[0].source.claim: exists in a cluster only",
        ),
        (
            ", source: {path: models/qwen}",
            "",
            "spec.models[0].source: is missing",
        ),
        (
            "source: {path: models/qwen}",
            "engine: {type: OpenAI, openAI: {baseUrl: \"http://x/v1\", model: x}}",
            "spec.generators[0].model: `qwen` is served by an endpoint",
        ),
        (
            "source: {path: models/judge.gguf}",
            "engine: {type: OpenAI, openAI: {baseUrl: \"http://key@x/v1\", model: x}}",
            "spec.models[1].engine.openAI.baseUrl: holds a user name or password",
        ),
        (
            "source: {path: models/judge.gguf}",
            "engine: {type: OpenAI, openAI: {baseUrl: \"localhost:8000/v1\", model: x}}",
            "spec.models[1].engine.openAI.baseUrl: is no http or https URL",
        ),
        (
            "source: {path: models/judge.gguf}",
            "source: {path: x}, engine: {type: OpenAI, openAI: {baseUrl: \"http://x/v1\", model: x}}",
            "spec.models[1].source: is set, but an endpoint serves the model",
        ),
        (
            "source: {path: models/judge.gguf}",
            "source: {path: x}, engine: {type: Server, server: {command: [x, \"{model}\"]}}",
            "spec.models[1].engine.server.command: does not hold {port}",
        ),
        (
            "path: models/judge.gguf}",
            "path: x}, engine: {type: Server}",
            "spec.models[1].engine.server: is missing: an engine of type Server needs it",
        ),
        (
            "path: models/judge.gguf}",
            "path: x}, engine: {type: Candle, server: {command: [x]}}",
            "spec.models[1].engine.server: is set, but the engine's type is Candle",
        ),
        (
            "workspace: {path: work}",
            "workspace: {}",
            "spec.workspace: names 0 places: set exactly one",
        ),
        (
            "workspace: {path: work}",
            "workspace: {claim: {name: c}}",
            "spec.workspace.claim: `c` is a persistent volume claim",
        ),
        (
            "workspace: {path: work}",
            "workspace: {uri: work}",
            "spec.workspace.uri: `work` is no object store URI",
        ),
        (
            "output: {path: out}",
            "output: {path: work/}",
            "spec.output: is the same place as spec.workspace",
        ),
        (
            "[{path: seeds.jsonl}]",
            "[{}]",
            "spec.seedQuestions[0]: names 0 files",
        ),
        (
            "target: {examples: 100}",
            "target: {examples: 100}\n  budget: {cost: \"5\"}",
            "spec.budget.cost: cannot be kept without a price",
        ),
        (
            "target: {examples: 100}",
            "target: {examples: 100}\n  budget: {cost: \"0\", pricePerGpuHour: \"1\"}",
            "spec.budget.cost: `0` is no amount of money",
        ),
        (
            "responses: {model: judge}",
            "responses: {model: judge, samples: 1}",
            "spec.verification.agreement.atLeast: 2 responses can never agree",
        ),
        (
            "responses: {model: judge}",
            "responses: {model: judge, sampling: {temperature: 0}}",
            "spec.responses.sampling.temperature: 0 draws the same",
        ),
        (
            "weight: 60}",
            "weight: 60, sampling: {temperature: 0}}",
            "spec.generators[0].sampling.temperature: 0 draws the same question",
        ),
        (
            "  responses:",
            "  filters: {contamination: {}}\n  responses:",
            "spec.filters.contamination.benchmarks: is empty",
        ),
        (
            "  responses:",
            "  filters: {difficulty: {base: qwen, solver: qwen}}\n  responses:",
            "spec.filters.difficulty: needs seed questions with known answers",
        ),
        (
            "  responses:",
            "  filters: {difficulty: {base: qwen, solver: qwen, generators: [gg]}}\n  responses:",
            "spec.filters.difficulty.generators[0]: `gg` is no generator of this spec; did you mean g",
        ),
        (
            "  responses:",
            "  filters: {language: {keep: [en, jp]}}\n  responses:",
            "spec.filters.language.keep[1]: `jp` is no language that the filter can distinguish; did you mean ja? (there are: bn Bengali, de German",
        ),
        (
            "output: {path: out}",
            "output: {path: out}\n  pods: [{name: a, stages: [Judge]}, {name: b, stages: [Judge]}]",
            "Judge is named by `a` and by `b`",
        ),
        (
            "output: {path: out}",
            "output: {path: out}\n  pods: [{name: a, stages: [Qft], resources: {limits: {nvidia.com/gpu: 2}}}]",
            "2 GPUs for Qft: a worker uses one",
        ),
    ];
    for (from, to, expected) in cases {
        let errors = check(&edited(from, to), Environment::Local).unwrap_err();
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{to}: {errors:#?}"
        );
    }
}

#[test]
fn cluster_fields_are_noted_locally() {
    let text = edited(
        "output: {path: out}",
        "output: {path: out}\n  queueName: research\n  stores: [{prefix: \"s3://\"}]\n  pods: [{name: a, stages: [Judge]}]",
    );
    let run = check(&text, Environment::Local).unwrap();
    let notes: Vec<&str> = run.notes().iter().map(|note| note.field.as_str()).collect();
    assert_eq!(notes, ["spec.stores[0]", "spec.queueName", "spec.pods"]);
}

/// A run in a cluster whose responder is served, with 2 GPUs for the stages called `stages`.
fn served(image: &str, stages: &str) -> Result<ValidRun, Vec<String>> {
    let text = format!(
        "
apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {{name: served}}
spec:
  recipe: MathSimple
  target: {{examples: 10}}
  models:
  - {{name: qwen, source: {{claim: {{name: models}}}}}}
  - {{name: r1, source: {{claim: {{name: models}}}}, engine: {{type: Server, server: {{{image}command: [serve, \"{{model}}\", \"{{port}}\"]}}}}}}
  seedQuestions: [{{claim: {{name: seeds, subPath: seeds.jsonl}}}}]
  generators: [{{name: qwen, model: qwen}}]
  responses: {{model: r1}}
  workspace: {{uri: s3://scratch/work}}
  output: {{uri: s3://data/out}}
  pods: [{{name: served, stages: [{stages}], resources: {{limits: {{nvidia.com/gpu: 2}}}}}}]
"
    );
    check(&text, Environment::Cluster)
}

#[test]
fn cluster_server_needs_an_image() {
    let errors = served("", "Respond").unwrap_err();
    assert!(
        errors.len() == 1 && errors[0].starts_with("spec.models[1].engine.server.image"),
        "{errors:?}"
    );
    served("image: \"vllm/vllm-openai:v1\", ", "Respond").unwrap();
    let errors = served("image: \"vllm/vllm-openai:v1\", ", "Respond, Generate").unwrap_err();
    assert!(
        errors.len() == 1 && errors[0].contains("2 GPUs for Generate"),
        "{errors:?}"
    );
}

#[test]
fn downloaded_models_note_their_cache() {
    let hub = "source: {hub: {repo: a/b, revision: 0123456789abcdef0123456789abcdef01234567, tokenSecret: {name: hub, key: token}}}";
    let fetched = edited("source: {path: models/qwen}", hub);
    let notes = |text: &str, environment| -> Vec<String> {
        let run = check(text, environment).unwrap();
        let notes = run.notes().iter();
        notes.map(|note| note.field.clone()).collect()
    };
    let with_cache = |text: &str| {
        text.replace(
            "output: {",
            "modelCache: {claim: {name: cache}}\n  output: {",
        )
    };
    assert_eq!(
        notes(&fetched, Environment::Local),
        ["spec.models[0].source.hub.tokenSecret"]
    );
    assert_eq!(
        notes(&with_cache(&fetched), Environment::Local),
        ["spec.models[0].source.hub.tokenSecret", "spec.modelCache"]
    );
    let claims = [
        ("path: models/judge.gguf", "claim: {name: models}"),
        ("path: seeds.jsonl", "uri: \"s3://seeds/seeds.jsonl\""),
        ("path: work", "uri: \"s3://work\""),
        ("path: out", "uri: \"s3://out\""),
    ];
    let in_cluster = |text: &str| {
        claims.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        })
    };
    let fetched = in_cluster(&fetched);
    assert_eq!(
        notes(&fetched, Environment::Cluster),
        ["spec.models[0].source.hub"]
    );
    let none: [&str; 0] = [];
    assert_eq!(notes(&with_cache(&fetched), Environment::Cluster), none);
    let unused = in_cluster(&with_cache(&edited(
        "source: {path: models/qwen}",
        "source: {claim: {name: models}}",
    )));
    assert_eq!(notes(&unused, Environment::Cluster), ["spec.modelCache"]);
    let outside = with_cache(&fetched).replace("{name: cache}", "{name: cache, subPath: ../x}");
    let errors = check(&outside, Environment::Cluster).unwrap_err();
    assert!(
        errors[0].starts_with("spec.modelCache.claim.subPath: `../x` leaves the claim"),
        "{errors:?}"
    );
}

#[test]
fn local_paths_are_invalid_in_clusters() {
    let errors = check(RUN, Environment::Cluster).unwrap_err();
    for field in [
        "spec.models[0].source.path",
        "spec.workspace.path",
        "spec.output.path",
        "spec.seedQuestions[0].path",
    ] {
        assert!(
            errors.iter().any(|error| error.starts_with(field)),
            "{field}: {errors:?}"
        );
    }
}

#[test]
fn edits_of_immutable_fields_fail() {
    let run = check(RUN, Environment::Local).unwrap();
    let mut record = crate::record::RunRecord::new(&run, Default::default(), Default::default(), 0);
    let cases = [
        (
            "recipe: Math",
            "recipe: Code",
            "spec.recipe: was `\"Math\"`",
        ),
        (
            "weight: 40",
            "weight: 41",
            "spec.generators[1].weight: was `40` when the run was accepted and cannot change to `41`",
        ),
        (
            "path: models/qwen",
            "path: models/other",
            "spec.models[0].source.path",
        ),
        (
            "examples: 100",
            "examples: 99",
            "spec.target.examples: 99 is less than 100",
        ),
        (
            "name: math}",
            "name: other}",
            "metadata.name: `other` is not `math`",
        ),
    ];
    for (from, to, expected) in cases {
        let other = check(&edited(from, to), Environment::Local).unwrap();
        let errors = record.amend(&other).unwrap_err();
        assert!(
            errors
                .iter()
                .any(|error| error.to_string().contains(expected)),
            "{to}: {errors:?}"
        );
    }
    assert_eq!(record.amend(&run), Ok(false));
    let grown = check(
        &edited("examples: 100", "examples: 200\n  , maxWaves: 9").replace("\n  ,", ","),
        Environment::Local,
    )
    .unwrap();
    assert_eq!(record.amend(&grown), Ok(true));
    assert_eq!(record.spec.target.examples, 200);
}
