//! The table of bad inputs: whatever a person gets wrong is said by the real binary in one clear line that names the field, the
//! file or the object, and what to do; it exits with 2, and nothing is written.

use std::time::Duration;

use candle_core::Tensor;
use scalequest_tests::harness::broken_model::{BrokenModel, tiny_gguf, truncate, zeros};
use scalequest_tests::harness::processes::{signal, wait_until};
use scalequest_tests::harness::{TestEnv, TinyRun};
use serde_json::{Value, json};

/// A run that is right, and its directory, in which something will be wrong.
struct Setup {
    env: TestEnv,
    run: TinyRun,
    /// The text of run.yaml, where it is not the run's.
    text: Option<String>,
    /// What is added to the command line.
    flags: Vec<&'static str>,
}

impl Setup {
    fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.run = self.run.set(pointer, value);
        self
    }

    fn remove(mut self, pointer: &str) -> Self {
        self.run = self.run.remove(pointer);
        self
    }

    fn text(mut self, change: impl FnOnce(String) -> String) -> Self {
        self.text = Some(change(self.run.text()));
        self
    }

    fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags = flags.to_vec();
        self
    }

    fn seeds(self, content: &str) -> Self {
        self.env.write("mine.jsonl", content);
        self.set("/spec/seedQuestions/0/path", "mine.jsonl")
    }

    /// The chat model replaced by one that is broken, in the folder `broken`.
    fn model(self, break_it: impl FnOnce(BrokenModel) -> BrokenModel) -> Self {
        break_it(BrokenModel::copy(&self.env.path().join("broken")));
        self.set("/spec/models/0/source/path", "broken")
    }

    /// The chat model replaced by a tiny GGUF file.
    fn gguf(self, share: f64) -> Self {
        let path = self.env.path().join("tiny.gguf");
        tiny_gguf(&path);
        truncate(&path, share);
        self.set("/spec/models/0/source/path", "tiny.gguf")
    }
}

/// Asserts that `run` and `validate` refuse what `break_it` makes of a good run: with a line for each of `said` that holds all its
/// parts, exit code 2, and no file written.
#[track_caller]
fn refused(break_it: impl FnOnce(Setup) -> Setup, said: &[&[&str]]) {
    let setup = break_it(Setup {
        env: TestEnv::new(),
        run: TinyRun::full("bad"),
        text: None,
        flags: vec![],
    });
    let Setup {
        env,
        run,
        text,
        flags,
    } = setup;
    run.write(&env);
    if let Some(text) = text {
        env.write("run.yaml", text);
    }
    let before = env.snapshot();
    for command in ["run", "validate"] {
        if command == "validate" && !flags.is_empty() {
            continue;
        }
        let arguments: Vec<&str> = [command, "-f", "run.yaml"]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        let finished = env.scalequest(&arguments);
        assert_eq!(
            finished.code,
            Some(2),
            "{command}: {}{}",
            finished.stdout,
            finished.stderr
        );
        assert!(
            finished.stdout.is_empty(),
            "a refusal belongs on standard error: {}",
            finished.stdout
        );
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
        let finished = said
            .iter()
            .fold(finished, |finished, parts| finished.says(parts));
        assert!(
            finished.stderr.lines().all(|line| line.len() < 1200),
            "a line that nobody reads: {}",
            finished.stderr
        );
        let after: Vec<String> = env.snapshot().into_keys().collect();
        assert_eq!(
            after,
            before.keys().cloned().collect::<Vec<_>>(),
            "{command} wrote something"
        );
        assert!(!env.path().join("workspace").exists() && !env.path().join("dataset").exists());
    }
}

/// One test for each line of the table: what is wrong, and what is said.
macro_rules! table {
    ($($name:ident: $setup:ident => $change:expr, [$($said:expr),+ $(,)?];)*) => {
        $(#[test]
        fn $name() {
            refused(|$setup| $change, &[$(&$said),+]);
        })*
    };
}

// The spec itself.
table! {
    an_unknown_field_is_refused_with_the_nearest_name: setup =>
        setup.set("/spec/genrators", json!([])), [["spec.genrators", "unknown field", "did you mean generators"]];
    an_unknown_field_deep_inside_is_named_by_its_path: setup =>
        setup.set("/spec/generators/1/qpo/learnRate", 1), [["spec.generators[1].qpo.learnRate", "did you mean learningRate"]];
    an_unknown_top_level_field_is_refused: setup =>
        setup.set("/specs", json!({})), [["specs", "did you mean spec"]];
    a_wrong_type_is_refused_with_what_was_found: setup =>
        setup.set("/spec/target/examples", "many"), [["spec.target.examples", "\"many\"", "not a whole number"]];
    a_number_in_quotes_is_told_to_lose_them: setup =>
        setup.set("/spec/generators/0/sampling/temperature", "0.7"), [["spec.generators[0].sampling.temperature", "remove the quotes"]];
    a_list_where_a_mapping_belongs_is_refused: setup =>
        setup.set("/spec/responses", json!([1])), [["spec.responses", "a list", "not a mapping"]];
    a_missing_field_is_named: setup =>
        setup.remove("/spec/target/examples"), [["spec.target.examples", "missing"]];
    a_value_out_of_bounds_is_refused_with_the_bounds: setup =>
        setup.set("/spec/generators/0/sampling/topP", 1.5), [["spec.generators[0].sampling.topP", "1.5", "at most 1"]];
    an_unknown_recipe_is_refused_with_the_nearest_name: setup =>
        setup.set("/spec/recipe", "MathSimpel"), [["spec.recipe", "MathSimpel", "did you mean MathSimple"]];
    another_kind_is_refused: setup =>
        setup.set("/kind", "Pod"), [["kind", "Pod", "SynthesisRun"]];
    another_version_is_refused: setup =>
        setup.set("/apiVersion", "scalequest.dev/v2"), [["apiVersion", "scalequest.dev/v1alpha1"]];
    a_name_that_is_none_is_refused: setup =>
        setup.set("/metadata/name", "My Run!"), [["metadata.name", "My Run!", "lower-case"]];
    a_run_without_a_name_is_refused: setup =>
        setup.remove("/metadata/name"), [["metadata.name", "missing"]];
    an_empty_spec_is_refused: setup =>
        setup.text(|_| String::new()), [["empty", "examples"]];
    a_spec_of_comments_alone_is_refused: setup =>
        setup.text(|_| "# nothing here\n\n".into()), [["empty"]];
    two_documents_are_refused: setup =>
        setup.text(|text| format!("{text}\n---\n{text}\n")), [["2 documents", "one run"]];
    bad_yaml_is_refused_with_its_line: setup =>
        setup.text(|_| "apiVersion: scalequest.dev/v1alpha1\nkind: SynthesisRun\nmetadata: {name: x\nspec: [}\n".into()), [["line 4", "YAML"]];
    a_tab_for_indentation_is_refused_with_its_line: setup =>
        setup.text(|_| "kind: SynthesisRun\nspec:\n\trecipe: Math\n".into()), [["line 3"]];
    a_field_given_twice_is_refused: setup =>
        setup.text(|_| "kind: SynthesisRun\nkind: SynthesisRun\n".into()), [["line 2", "kind"]];
    text_that_is_no_mapping_is_refused: setup =>
        setup.text(|_| "just a sentence\n".into()), [["not a SynthesisRun"]];
    all_errors_are_said_at_once: setup =>
        setup.set("/spec/recipe", "Maths").set("/spec/seed", "x").set("/spec/responses/sampels", 1),
        [["spec.recipe", "did you mean Math"], ["spec.seed"], ["spec.responses.sampels", "did you mean samples"], ["3 errors"]];
}

// What the spec means as a whole.
table! {
    a_reference_to_no_model_is_refused_with_the_nearest_name: setup =>
        setup.set("/spec/responses/model", "chta"), [["spec.responses.model", "`chta`", "did you mean chat"]];
    a_generator_without_its_model_is_refused: setup =>
        setup.set("/spec/generators/0/model", "gpt"), [["spec.generators[0].model", "`gpt`", "there are: chat, reward"]];
    a_rewriter_that_is_not_declared_is_refused: setup =>
        setup.set("/spec/generators/1/qpo/rewriter", "rewarder"), [["spec.generators[1].qpo.rewriter", "`rewarder`", "did you mean reward"]];
    a_generator_that_is_rated_but_not_declared_is_refused: setup =>
        setup.set("/spec/filters/difficulty/generators", json!(["adda"])), [["spec.filters.difficulty.generators[0]", "did you mean ada"]];
    a_model_declared_twice_is_refused: setup =>
        setup.set("/spec/models/1/name", "chat").set("/spec/reward/model", "chat"), [["spec.models[1].name", "`chat`", "twice"]];
    a_generator_declared_twice_is_refused: setup =>
        setup.set("/spec/generators/1/name", "ada"), [["spec.generators[1].name", "`ada`", "twice"]];
    weights_that_are_all_zero_are_refused: setup =>
        setup.set("/spec/generators/0/weight", 0).set("/spec/generators/1/weight", 0), [["spec.generators", "weight 0", "at least one"]];
    more_agreement_than_samples_is_refused: setup =>
        setup.set("/spec/verification/agreement/atLeast", 4), [["spec.verification.agreement.atLeast", "4", "spec.responses.samples is 3"]];
    a_target_of_nothing_is_refused: setup =>
        setup.set("/spec/target/examples", 0), [["spec.target.examples", "at least 1"]];
    greedy_questions_are_refused: setup =>
        setup.set("/spec/generators/0/sampling/temperature", 0), [["spec.generators[0].sampling.temperature", "same question", "above 0"]];
    several_greedy_responses_are_refused: setup =>
        setup.set("/spec/responses/sampling/temperature", 0), [["spec.responses.sampling.temperature", "same response"]];
    a_budget_in_money_without_a_price_is_refused: setup =>
        setup.set("/spec/budget", json!({"cost": "5"})), [["spec.budget.cost", "pricePerGpuHour"]];
    contamination_without_benchmarks_is_refused: setup =>
        setup.set("/spec/filters/contamination/benchmarks", json!([])), [["spec.filters.contamination.benchmarks", "empty"]];
    a_stage_named_by_two_pod_entries_is_refused: setup =>
        setup.set("/spec/pods", json!([{"name": "a", "stages": ["Qft"]}, {"name": "b", "stages": ["Qft"]}])), [["spec.pods", "Qft"]];
    difficulty_without_any_answer_field_is_refused: setup =>
        setup.remove("/spec/seedQuestions/0/answerField"), [["spec.filters.difficulty", "answerField"]];
}

// Models.
table! {
    a_model_that_is_not_there_is_refused: setup =>
        setup.set("/spec/models/0/source/path", "nowhere/model.gguf"), [["spec.models[0].source.path", "nowhere/model.gguf", "no file or folder"]];
    a_folder_that_holds_no_model_is_refused: setup => {
        setup.env.write("folder/notes.txt", "nothing");
        setup.set("/spec/models/0/source/path", "folder")
    }, [["spec.models[0].source.path", "folder"]];
    a_model_without_a_source_is_refused: setup =>
        setup.remove("/spec/models/0/source"), [["spec.models[0].source", "missing"]];
    a_model_with_two_sources_is_refused: setup =>
        setup.set("/spec/models/0/source/uri", "s3://models/x"), [["spec.models[0].source", "exactly one"]];
    truncated_weights_are_refused_and_name_the_tensor: setup =>
        setup.model(|model| model.truncate("model.safetensors", 0.6)), [["spec.models[0].source.path", "tensor `model.", "truncated"]];
    weights_cut_in_their_header_are_refused: setup =>
        setup.model(|model| model.truncate("model.safetensors", 0.0001)), [["spec.models[0].source.path", "model.safetensors", "truncated"]];
    a_whole_gguf_file_is_no_reason_to_refuse_its_tensors_but_a_truncated_one_is: setup =>
        setup.gguf(0.7), [["spec.models[0].source.path", "tiny.gguf", "tensor `", "truncated"]];
    a_gguf_file_cut_in_its_header_is_refused: setup =>
        setup.gguf(0.01), [["spec.models[0].source.path", "tiny.gguf", "GGUF"]];
    a_tensor_of_the_wrong_shape_is_refused_by_name: setup =>
        setup.model(|model| model.weights(|tensors| {
            let name = "model.layers.1.self_attn.k_proj.weight";
            let narrow: Tensor = tensors[name].narrow(0, 0, 8).and_then(|tensor| tensor.contiguous()).expect("a part");
            tensors.insert(name.into(), narrow);
        })), [["spec.models[0].source.path", "model.layers.1.self_attn.k_proj.weight", "shape"]];
    a_missing_tensor_is_refused_by_name: setup =>
        setup.model(|model| model.weights(|tensors| {
            tensors.remove("model.layers.2.mlp.up_proj.weight").expect("a tensor");
        })), [["spec.models[0].source.path", "model.layers.2.mlp.up_proj.weight", "missing"]];
    model_weights_that_are_all_zero_are_refused: setup =>
        setup.model(|model| model.weights(|tensors| tensors.values_mut().for_each(|tensor| *tensor = zeros(tensor)))),
        [["spec.models[0].source.path", "tensor `model.", "zero", "fetch it again"]];
    an_unsupported_architecture_is_refused_with_those_that_are: setup =>
        setup.model(|model| model.edit("config.json", |config| {
            config["model_type"] = json!("mamba");
            config["architectures"] = json!(["MambaForCausalLM"]);
        })), [["spec.models[0].source.path", "config.json", "amba", "not supported", "qwen2"]];
    a_configuration_that_is_no_json_is_refused: setup =>
        setup.model(|model| model.truncate("config.json", 0.5)), [["spec.models[0].source.path", "config.json"]];
    a_tokenizer_that_does_not_fit_the_model_is_refused: setup =>
        setup.model(|model| model.edit("tokenizer.json", |tokenizer| {
            tokenizer["model"]["vocab"]["stranger"] = json!(99_999);
        })), [["spec.models[0].source.path", "tokenizer", "embedding", "another model"]];
    a_model_without_a_tokenizer_is_refused: setup =>
        setup.model(|model| model.without("tokenizer.json")), [["spec.models[0].source.path", "tokenizer"]];
    a_chat_part_without_a_chat_template_is_refused: setup =>
        setup.model(without_template), [["spec.models[0].source.path", "chat template", "missing", "chat_template.jinja"]];
    a_reward_model_that_must_speak_is_refused: setup =>
        setup.set("/spec/responses/model", "reward"), [["spec.models[1].source.path", "scalar", "responder"]];
    an_endpoint_for_a_generator_is_refused: setup =>
        setup.remove("/spec/models/0/source").set("/spec/models/0/engine", endpoint()), [["spec.generators[0].model", "endpoint", "untrained"]];
    an_endpoint_that_does_not_answer_is_refused: setup =>
        setup.remove("/spec/models/1/source").set("/spec/models/1/engine", endpoint()),
        [["spec.models[1].engine.openAI", "http://127.0.0.1:9", "cannot connect", "start the server"]];
    a_server_without_its_settings_is_refused: setup =>
        setup.set("/spec/models/1/engine", json!({"type": "Server"})), [["spec.models[1].engine.server", "missing"]];
    a_claim_is_refused_on_one_machine: setup =>
        setup.set("/spec/models/0/source", json!({"claim": {"name": "models", "subPath": "x"}})), [["spec.models[0].source.claim", "cluster only", "path"]];
    an_image_is_refused_on_one_machine: setup =>
        setup.set("/spec/models/0/source", json!({"image": {"reference": "models/x:1"}})), [["spec.models[0].source.image", "cluster only"]];
    a_repository_that_cannot_be_one_is_refused: setup =>
        setup.set("/spec/models/0/source", json!({"hub": {"repo": "a/b/c", "revision": "0".repeat(40)}})), [["spec.models[0].source.hub.repo", "`a/b/c`", "owner/name"]];
    too_little_memory_is_said_before_loading_with_the_numbers: setup =>
        setup.flags(&["--memory", "64MiB"]), [["spec.models[0]", "`chat`", "MiB of memory in stage", "64.0 MiB are available"], ["spec.models[1]", "`reward`"]];
}

// Question files.
table! {
    empty_seeds_are_refused: setup =>
        setup.seeds(""), [["spec.seedQuestions[0].path", "mine.jsonl", "no questions"]];
    seeds_that_are_not_there_are_refused: setup =>
        setup.set("/spec/seedQuestions/0/path", "nowhere.jsonl"), [["spec.seedQuestions[0].path", "nowhere.jsonl"]];
    no_seeds_at_all_are_refused: setup =>
        setup.set("/spec/seedQuestions", json!([])), [["spec.seedQuestions", "empty"]];
    seeds_that_are_no_json_lines_are_refused_with_file_and_line: setup =>
        setup.seeds("{\"question\": \"How many?\", \"answer\": \"#### 1\"}\nHow much is 1 + 1?\n"), [["spec.seedQuestions[0].path", "mine.jsonl", "line 2", "not JSON"]];
    one_json_document_is_told_from_json_lines: setup =>
        setup.seeds("[\n{\"question\": \"How many?\"}\n]\n"), [["spec.seedQuestions[0].path", "one object per line"]];
    compressed_seeds_are_told_from_text: setup => {
        setup.env.write("mine.jsonl", [0x1f, 0x8b, 8, 0]);
        setup.set("/spec/seedQuestions/0/path", "mine.jsonl")
    }, [["spec.seedQuestions[0].path", "compressed", "gunzip"]];
    seeds_without_the_field_are_refused_with_the_nearest: setup =>
        setup.seeds("{\"questions\": \"How many?\", \"answer\": \"#### 1\"}\n"), [["spec.seedQuestions[0].path", "line 1", "\"question\"", "questions"]];
    a_question_that_is_no_text_is_refused: setup =>
        setup.seeds("{\"question\": 7, \"answer\": \"#### 1\"}\n"), [["spec.seedQuestions[0].path", "line 1", "must be a string"]];
    seeds_without_answers_are_refused_where_difficulty_needs_them: setup =>
        setup.seeds("{\"question\": \"How many?\"}\n{\"question\": \"How much?\"}\n"), [["spec.seedQuestions[0].path", "mine.jsonl", "answer"]];
    a_benchmark_without_its_field_is_refused: setup =>
        setup.remove("/spec/filters/contamination/benchmarks/0/questionField"), [["spec.filters.contamination.benchmarks[0].path", "line 1", "\"question\""]];
    a_file_that_names_both_path_and_uri_is_refused: setup =>
        setup.set("/spec/seedQuestions/0/uri", "s3://data/x.jsonl"), [["spec.seedQuestions[0]", "exactly one"]];
    a_uri_of_no_store_is_refused: setup =>
        setup.set("/spec/seedQuestions", json!([{"uri": "ftp://host/x.jsonl"}])), [["spec.seedQuestions[0].uri", "ftp://host/x.jsonl", "s3://"]];
}

// Places.
table! {
    an_output_that_cannot_be_written_is_refused: setup =>
        setup.set("/spec/output/path", "/proc/scalequest/dataset"), [["spec.output.path", "cannot write to /proc"]];
    a_workspace_below_a_file_is_refused: setup => {
        setup.env.write("file", "");
        setup.set("/spec/workspace/path", "file/workspace")
    }, [["spec.workspace.path", "file", "not a directory"]];
    an_output_that_holds_other_files_is_refused: setup => {
        setup.env.write("thesis/chapter.tex", "\\section{}");
        setup.set("/spec/output/path", "thesis")
    }, [["spec.output.path", "thesis", "chapter.tex", "empty directory"]];
    an_output_that_holds_another_runs_dataset_is_refused: setup => {
        setup.env.write("theirs/manifest.json", r#"{"format": "scalequest-dataset/2", "name": "theirs"}"#);
        setup.set("/spec/output/path", "theirs")
    }, [["spec.output.path", "theirs", "run `theirs`"]];
    an_output_inside_the_workspace_is_refused: setup =>
        setup.set("/spec/output/path", "workspace/dataset"), [["spec.output.path", "workspace", "directory of its own"]];
    an_output_that_is_the_workspace_is_refused: setup =>
        setup.set("/spec/output/path", "workspace"), [["spec.output", "same place"]];
    a_place_that_names_nothing_is_refused: setup =>
        setup.set("/spec/output", json!({})), [["spec.output", "exactly one"]];
    a_claim_as_a_place_is_refused_on_one_machine: setup =>
        setup.set("/spec/workspace", json!({"claim": {"name": "scratch"}})), [["spec.workspace.claim", "`scratch`", "path or uri"]];
    a_store_that_does_not_answer_is_refused: setup =>
        setup.set("/spec/workspace", json!({"uri": "http://127.0.0.1:9/bucket"})), [["spec.workspace.uri"]];
}

fn endpoint() -> Value {
    json!({"type": "OpenAI", "openAI": {"baseUrl": "http://127.0.0.1:9/v1", "model": "x"}})
}

/// The model without its chat template, wherever that is.
fn without_template(model: BrokenModel) -> BrokenModel {
    let model = model.edit("tokenizer_config.json", |config| {
        config
            .as_object_mut()
            .expect("an object")
            .shift_remove("chat_template");
    });
    model
        .without_if_there("chat_template.jinja")
        .without_if_there("chat_template.json")
}

#[test]
fn missing_spec_is_rejected() {
    let env = TestEnv::new();
    for command in ["run", "validate", "plan"] {
        env.scalequest(&[command, "-f", "nowhere.yaml"])
            .exits_with(2)
            .says(&["nowhere.yaml", "cannot be read"]);
    }
    env.write("binary.yaml", [0xff, 0xfe, 0, 1]);
    env.scalequest(&["run", "-f", "binary.yaml"])
        .exits_with(2)
        .says(&["binary.yaml", "UTF-8"]);
    assert_eq!(env.snapshot().len(), 1);
}

#[test]
fn wrong_command_line_suggests_the_nearest() {
    let env = TestEnv::new();
    env.scalequest(&["valdate"])
        .exits_with(2)
        .says(&["validate"]);
    env.scalequest(&["run", "--fil", "x"])
        .exits_with(2)
        .says(&["--file"]);
    env.scalequest(&["run"]).exits_with(2).says(&["--file"]);
    env.scalequest(&["run", "-f", "x.yaml", "--memory", "5 apples"])
        .exits_with(2)
        .says(&["apples"]);
    env.scalequest(&["recipes", "Maths"])
        .exits_with(2)
        .says(&["Maths", "Math"]);
    env.scalequest(&["status", "nowhere"])
        .exits_with(2)
        .says(&["nowhere", "holds no run"]);
    env.scalequest(&["prune", "nowhere"])
        .exits_with(2)
        .says(&["nowhere", "no workspace"]);
    assert_eq!(env.snapshot().len(), 0);
}

#[test]
fn immutable_field_change_is_rejected() {
    let env = TestEnv::new();
    let run = TinyRun::small("fixed");
    run.write(&env);
    let mut runner = env.start(&["run", "-f", "run.yaml"], "run.log");
    let record = env.path().join("workspace/runs/fixed/record.json");
    wait_until("the record", Duration::from_secs(60), || {
        record.is_file().then_some(())
    });
    signal(runner.id(), "INT");
    wait_until("the end of the runner", Duration::from_secs(60), || {
        runner.try_wait().expect("a child")
    });
    // The lock says who looked last.
    let content = || {
        env.snapshot()
            .into_iter()
            .filter(|(path, _)| !path.ends_with("/lock"))
            .collect::<Vec<_>>()
    };
    let before = content();
    for (change, parts) in [
        (
            run.clone().set("/spec/seed", 12),
            ["spec.seed", "`11`", "cannot change"],
        ),
        (
            run.clone().set("/spec/responses/samples", 4),
            ["spec.responses.samples", "`3`", "run of another name"],
        ),
        (
            run.clone().set("/spec/filters/language", json!({})),
            ["spec.filters.language", "not set", "cannot change"],
        ),
        (
            run.clone().set("/spec/target/examples", 4),
            ["spec.target.examples", "4 is less than 8", "only grow"],
        ),
        (
            run.clone().set("/spec/output/path", "elsewhere"),
            ["spec.output.path", "elsewhere", "cannot change"],
        ),
    ] {
        env.write("changed.yaml", change.text());
        env.scalequest(&["run", "-f", "changed.yaml"])
            .exits_with(2)
            .says(&parts);
    }
    std::fs::remove_file(env.path().join("changed.yaml")).expect("a file");
    assert_eq!(content(), before);
}

#[test]
fn valid_run_and_gguf_pass() {
    let env = TestEnv::new();
    TinyRun::full("good").write(&env);
    let before = env.snapshot();
    env.scalequest(&["validate", "-f", "run.yaml"])
        .exits_with(0)
        .says(&["good", "valid"]);
    tiny_gguf(&env.path().join("tiny.gguf"));
    let with_gguf = TinyRun::full("good")
        .set("/spec/generators/0/model", "tiny")
        .set("/spec/models/1/name", "tiny")
        .set("/spec/models/1/source/path", "tiny.gguf")
        .set("/spec/reward/model", "chat");
    with_gguf.write(&env);
    env.scalequest(&["validate", "-f", "run.yaml"])
        .exits_with(0)
        .says(&["good", "valid"]);
    assert_eq!(env.snapshot().len(), before.len() + 1);
}
