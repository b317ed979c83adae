//! Whole stages on tiny random models in temporary workspaces: each runs, a stopped one goes on to the same bytes, shards of any
//! size make the same rows, and damage is found where it is read.

mod tiny;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use scalequest_crds::Stage;
use scalequest_crds::key::{content_key, sha256_hex};
use scalequest_crds::manifest::Seal;
use scalequest_crds::report::Outcome;
use scalequest_crds::row::{AcceptedRow, QuestionRow, Reason, RejectRow};
use scalequest_crds::run::{AnswerFormat, Domain, Sampling, Tuning};
use scalequest_crds::task::{
    DuplicateParams, ModelLocation, ModelUse, QuestionFile, StageParams, StageTask, TASK_VERSION,
    TaskInput, Training,
};
use scalequest_worker::dataset::store::Store;
use scalequest_worker::dataset::table::{encode_rows, read_rows};
use scalequest_worker::dataset::workspace::StageDir;
use scalequest_worker::model::decoder::save;
use scalequest_worker::model::{Architecture, Checkpoint, ModelConfig};
use scalequest_worker::stages::{Finished, Progressing, StageError, Stop, run_task, seal_task};
use tempfile::TempDir;

/// A workspace with a tiny model and seed questions.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Bench {
            folder: TempDir::new().expect("a folder"),
        };
        bench.write_model("model", 2048);
        let questions = (0..12).map(|n| {
            format!(
                "{{\"question\": \"What is {n} + {n}?\", \"answer\": \"so\\n#### {}\"}}\n",
                2 * n
            )
        });
        std::fs::write(bench.path("seeds.jsonl"), questions.collect::<String>()).expect("seeds");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A random model with the tokenizer and template of a fixture, and room for `context` tokens.
    fn write_model(&self, name: &str, context: usize) {
        let fixture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/fixtures/qwen2_tied");
        let fixture = Checkpoint::open(&fixture).expect("a fixture");
        let tokenizer = fixture.tokenizer().expect("a tokenizer");
        let template = fixture.chat_template(&tokenizer).expect("a template");
        let config = ModelConfig {
            max_position_embeddings: context,
            vocab_size: 260,
            ..tiny::config(Architecture::Qwen2)
        };
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        save(
            &folder,
            &config,
            &tiny::parameters(&config, 3),
            &tokenizer,
            Some(&template),
        )
        .expect("a model");
    }

    fn model(&self, name: &str) -> ModelUse {
        let path = self.path(name);
        let digest = Checkpoint::open(&path)
            .and_then(|model| model.digest())
            .expect("a digest");
        ModelUse {
            name: name.into(),
            location: ModelLocation::Path(path.display().to_string()),
            digest,
            arithmetic: Default::default(),
            server: None,
        }
    }

    fn seeds(&self) -> Vec<QuestionFile> {
        let location = self.path("seeds.jsonl");
        let digest = sha256_hex(&std::fs::read(&location).expect("seeds"));
        let (question_field, answer_field) = ("question".into(), Some("answer".into()));
        vec![QuestionFile {
            location: location.display().to_string(),
            question_field,
            answer_field,
            digest,
        }]
    }

    fn task(&self, params: StageParams, inputs: &[&TaskInput], rows: i64) -> StageTask {
        let stage = params.stage();
        let digests: Vec<_> = inputs.iter().map(|input| input.digest.clone()).collect();
        StageTask {
            version: TASK_VERSION,
            run: "test".into(),
            stage,
            generator: matches!(
                stage,
                Stage::Qft | Stage::Sample | Stage::Rewrite | Stage::Qpo | Stage::Generate
            )
            .then(|| "g".into()),
            wave: (stage >= Stage::Generate).then_some(1),
            key: content_key(stage, 7, rows, &params, &digests),
            seed: 7,
            rows,
            shard_rows: 1000,
            inputs: inputs.iter().map(|input| (*input).clone()).collect(),
            workspace: self.path("workspace").display().to_string(),
            params,
        }
    }

    fn store(&self) -> Store {
        Store::open(&self.path("workspace").display().to_string()).expect("a store")
    }

    fn rows<T: serde::de::DeserializeOwned>(&self, input: &TaskInput, table: &str) -> Vec<T> {
        let (dir, seal) = StageDir::input(&self.store(), input).expect("a seal");
        read_rows(&dir, &seal, table, 0..i64::MAX).expect("rows")
    }

    fn count(&self, input: &TaskInput) -> i64 {
        StageDir::input(&self.store(), input)
            .expect("a seal")
            .1
            .rows["rows"]
    }
}

fn sampling(temperature: f64, max_new_tokens: i32) -> Sampling {
    Sampling {
        temperature: Some(temperature),
        top_p: Some(1.0),
        top_k: Some(0),
        max_new_tokens: Some(max_new_tokens),
    }
}

fn training() -> Training {
    let (epochs, learning_rate, warmup_ratio, max_length, batch_size) = (2, 1e-3, 0.1, 300, 2);
    Training {
        epochs,
        learning_rate,
        warmup_ratio,
        max_length,
        batch_size,
        tuning: Tuning::Full,
        lora: None,
        checkpoint_steps: 1,
    }
}

fn run(task: &StageTask, index: i64) -> Result<Finished, StageError> {
    run_task(task, index, &Stop::default(), &Progressing::silent())
}

/// Runs all shards and seals.
fn finish(task: &StageTask) -> TaskInput {
    for index in 0..task.shards() {
        let finished = run(task, index)
            .unwrap_or_else(|error| panic!("{} shard {index}: {error}", task.stage));
        assert!(matches!(finished.outcome, Outcome::Done { .. }));
    }
    sealed(task)
}

fn sealed(task: &StageTask) -> TaskInput {
    let finished = seal_task(task, &Stop::default()).expect("a seal");
    let Outcome::Sealed { digest, .. } = finished.outcome else {
        panic!("{}: {:?}", task.stage, finished.outcome)
    };
    TaskInput {
        stage: task.stage,
        key: task.key.clone(),
        digest,
        generator: task.generator.clone(),
        wave: task.wave,
    }
}

fn trained(input: &TaskInput) -> ModelUse {
    let location = ModelLocation::Trained {
        stage: input.stage,
        key: input.key.clone(),
    };
    ModelUse {
        name: "g".into(),
        location,
        digest: input.digest.clone(),
        arithmetic: Default::default(),
        server: None,
    }
}

fn generate(bench: &Bench, rows: i64) -> StageTask {
    let params = StageParams::Generate {
        model: bench.model("model"),
        system_prompt: None,
        sampling: sampling(1.0, 40),
        first_id: 100,
    };
    bench.task(params, &[], rows)
}

/// Runs a shard and stops it when progress has been said `lines` times.
fn stop_after(task: &StageTask, lines: usize) -> Result<Finished, StageError> {
    let stop = Stop::default();
    let (flag, said) = (stop.clone(), Arc::new(AtomicUsize::new(0)));
    let progressing = Progressing::to(move |_| {
        if said.fetch_add(1, Ordering::Relaxed) + 1 >= lines {
            flag.ask();
        }
    });
    run_task(task, 0, &stop, &progressing)
}

#[test]
fn a_run_goes_through_every_stage() {
    let bench = Bench::new();
    let params = |model| StageParams::Qft {
        model,
        system_prompt: None,
        seed_questions: bench.seeds(),
        training: training(),
    };
    let qft = finish(&bench.task(params(bench.model("model")), &[], 12));
    assert_eq!(bench.count(&qft), 12);
    let params = StageParams::Sample {
        model: trained(&qft),
        system_prompt: None,
        sampling: sampling(1.0, 60),
    };
    let sample = finish(&bench.task(params, &[], 24));
    let asked = bench.count(&sample);
    assert!(asked > 0, "no question ended by itself");
    let params = StageParams::Rewrite {
        model: bench.model("model"),
        sampling: sampling(1.0, 60),
        domain: Domain::Mathematics,
    };
    let rewrite = finish(&bench.task(params, &[&sample], asked));
    let pairs = bench.count(&rewrite);
    assert!(pairs > 0, "no rewrite was kept");
    assert_eq!(
        asked - pairs,
        bench.rows::<RejectRow>(&rewrite, "rejects").len() as i64
    );
    let params = StageParams::Qpo {
        model: trained(&qft),
        system_prompt: None,
        beta: 0.1,
        training: training(),
    };
    let qpo = finish(&bench.task(params, &[&rewrite], pairs));

    let (samples, answer_format, domain) = (2, AnswerFormat::Boxed, Domain::Mathematics);
    let params = StageParams::Label {
        model: bench.model("model"),
        seed_questions: bench.seeds(),
        samples,
        sampling: sampling(1.0, 8),
        answer_format,
        domain,
    };
    let label = finish(&bench.task(params, &[], 12));
    assert_eq!(bench.count(&label), 12);
    let scorer = finish(&bench.task(
        StageParams::Scorer {
            model: bench.model("model"),
            training: training(),
        },
        &[&label],
        12,
    ));

    let params = StageParams::Generate {
        model: trained(&qpo),
        system_prompt: None,
        sampling: sampling(1.0, 60),
        first_id: 0,
    };
    let generated = finish(&bench.task(params, &[], 24));
    let made = bench.count(&generated);
    let params = StageParams::Filter {
        languages: None,
        contamination: None,
        duplicates: Some(DuplicateParams { similarity: 0.7 }),
    };
    let filter = finish(&bench.task(params, &[&generated], made));
    let kept = bench.count(&filter);
    assert!(kept > 0);
    let params = StageParams::Judge {
        model: bench.model("model"),
        sampling: sampling(0.0, 8),
        domain,
    };
    let judge = bench.task(params, &[&filter], kept);
    let judged = finish(&judge);
    assert_eq!(
        kept - bench.count(&judged),
        bench.rows::<RejectRow>(&judged, "rejects").len() as i64
    );
    let params = StageParams::Rate {
        model: trained(&scorer),
        minimum: 0.0,
        generators: vec!["g".into()],
    };
    let rate = finish(&bench.task(params, &[&filter], kept));
    let rated: Vec<QuestionRow> = bench.rows(&rate, "rows");
    assert!(
        rated.len() as i64 == kept
            && rated.iter().all(|row| row
                .difficulty
                .is_some_and(|value| (0.0..=1.0).contains(&value)))
    );
    let params = StageParams::Respond {
        model: bench.model("model"),
        samples,
        sampling: sampling(1.0, 12),
        answer_format,
        domain,
    };
    let respond = finish(&bench.task(params, &[&rate], kept));
    let params = StageParams::Reward {
        model: bench.model("model"),
        domain,
        pooled: false,
    };
    let reward = finish(&bench.task(params, &[&respond], kept));
    let verify = finish(&bench.task(
        StageParams::Verify {
            at_least: 1,
            answer_format,
        },
        &[&reward],
        kept,
    ));
    let accepted: Vec<AcceptedRow> = bench.rows(&verify, "rows");
    let rejects: Vec<RejectRow> = bench.rows(&verify, "rejects");
    assert_eq!((accepted.len() + rejects.len()) as i64, kept);
    assert!(rejects.iter().all(|row| {
        row.responses.len() == 2
            && row
                .responses
                .iter()
                .all(|response| response.reward.is_some())
    }));
}

#[test]
fn a_done_shard_is_not_done_again() {
    let bench = Bench::new();
    let task = generate(&bench, 5);
    assert_eq!(
        run(&task, 0).expect("done").outcome,
        Outcome::Done { reused: false }
    );
    assert_eq!(
        run(&task, 0).expect("done").outcome,
        Outcome::Done { reused: true }
    );
    assert!(
        matches!(run(&task, 1), Err(StageError::Task(message)) if message.contains("no shard 1"))
    );
}

#[test]
fn rows_do_not_depend_on_the_size_of_shards_or_on_stops() {
    let (whole, cut, stopped) = (Bench::new(), Bench::new(), Bench::new());
    let expected = finish(&generate(&whole, 70));
    let small = StageTask {
        shard_rows: 9,
        ..generate(&cut, 70)
    };
    assert_eq!(finish(&small).digest, expected.digest);

    let task = generate(&stopped, 70);
    let mut attempts = 0;
    // Progress is said when a batch of rows ends, so each attempt gets a little further than the one before.
    while stop_after(&task, 4 + attempts) == Err(StageError::Stopped) {
        attempts += 1;
        assert!(attempts < 100, "no progress is kept");
    }
    assert!(attempts > 0, "it was never stopped");
    assert_eq!(sealed(&task).digest, expected.digest);
    let left = stopped
        .store()
        .list(&format!("stages/generate-{}/checkpoint", task.key))
        .expect("a list");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_training_stopped_at_any_step_ends_in_the_same_model() {
    let task = |bench: &Bench| {
        let params = StageParams::Qft {
            model: bench.model("model"),
            system_prompt: None,
            seed_questions: bench.seeds(),
            training: training(),
        };
        bench.task(params, &[], 12)
    };
    let (whole, stopped) = (Bench::new(), Bench::new());
    let expected = finish(&task(&whole));
    let mut attempts = 0;
    while stop_after(&task(&stopped), 4) == Err(StageError::Stopped) {
        attempts += 1;
        assert!(attempts < 100, "no progress is kept");
    }
    assert!(attempts > 0, "it was never stopped");
    assert_eq!(sealed(&task(&stopped)).digest, expected.digest);
}

#[test]
fn a_damaged_input_is_named_found_by_its_seal_and_made_again() {
    let bench = Bench::new();
    let task = generate(&bench, 24);
    let input = finish(&task);
    let params = StageParams::Filter {
        languages: None,
        contamination: None,
        duplicates: None,
    };
    let filter = bench.task(params, &[&input], bench.count(&input));
    let (dir, seal): (StageDir, Seal) = StageDir::input(&bench.store(), &input).expect("a seal");
    let object = bench
        .path("workspace")
        .join(dir.object_path(&seal.shards[0].tables["rows"].object.sha256));
    let mut bytes = std::fs::read(&object).expect("an object");
    bytes[10] ^= 1;
    std::fs::remove_file(&object).expect("removed");
    std::fs::write(&object, bytes).expect("written");
    match run(&filter, 0) {
        Err(StageError::InputDamaged {
            stage,
            key,
            message,
        }) => {
            assert_eq!((stage, key), (Stage::Generate, task.key.clone()));
            assert!(message.contains("digest"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let missing = seal_task(&task, &Stop::default()).expect("an answer");
    assert_eq!(
        missing.outcome,
        Outcome::Missing {
            shards: vec![0],
            total: 1
        }
    );
    assert_eq!(finish(&task), input, "the same rows have the same digest");
    run(&filter, 0).expect("the input is whole again");
}

#[test]
fn a_prompt_that_does_not_fit_is_a_reject_and_never_a_crash() {
    let bench = Bench::new();
    bench.write_model("short", 64);
    // Rows of our own, as a Filter would have left them.
    let params = StageParams::Filter {
        languages: None,
        contamination: None,
        duplicates: None,
    };
    let rows: Vec<_> = ["How?".to_owned(), "why ".repeat(500)]
        .into_iter()
        .zip(0..)
        .map(|(question, id)| QuestionRow {
            id,
            generator: "g".into(),
            wave: 1,
            question,
            question_tokens: 1,
            difficulty: None,
        })
        .collect();
    let before = bench.task(params, &[], 2);
    let output = scalequest_worker::dataset::commit::ShardOutput::new("none")
        .table("rows", encode_rows(&rows))
        .table("rejects", Vec::new());
    StageDir::of(&bench.store(), &before)
        .commit(&(0..2), &output)
        .expect("committed");
    let input = sealed(&before);
    let domain = Domain::Mathematics;
    let judge = finish(&bench.task(
        StageParams::Judge {
            model: bench.model("short"),
            sampling: sampling(0.0, 4),
            domain,
        },
        &[&input],
        2,
    ));
    let rejects: Vec<RejectRow> = bench.rows(&judge, "rejects");
    assert_eq!(
        rejects.iter().map(|row| row.reason).collect::<Vec<_>>(),
        [Reason::PromptTooLong; 2]
    );
    assert!(
        rejects[0]
            .detail
            .as_deref()
            .is_some_and(|detail| detail.contains("context of 64"))
    );
}

#[test]
fn a_model_that_changed_since_acceptance_is_refused_by_name() {
    let bench = Bench::new();
    let mut model = bench.model("model");
    model.digest = "0".repeat(64);
    let params = StageParams::Generate {
        model,
        system_prompt: None,
        sampling: sampling(1.0, 4),
        first_id: 0,
    };
    match run(&bench.task(params, &[], 3), 0) {
        Err(StageError::Task(message)) => assert!(
            message.contains("model `model`") && message.contains("changed"),
            "{message}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stage_without_rows_makes_an_empty_output_without_loading_a_model() {
    let bench = Bench::new();
    let missing = ModelUse {
        name: "m".into(),
        location: ModelLocation::Path("/nowhere".into()),
        digest: String::new(),
        arithmetic: Default::default(),
        server: None,
    };
    let params = StageParams::Generate {
        model: missing,
        system_prompt: None,
        sampling: sampling(1.0, 4),
        first_id: 0,
    };
    let generated = finish(&bench.task(params, &[], 0));
    assert_eq!(bench.count(&generated), 0);
}

/// The worker's binary with its arguments; exit code, standard output, report.
fn worker(arguments: &[&str]) -> (i32, String, Option<serde_json::Value>) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_scalequest-worker"));
    let output = command
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("it starts");
    let report = arguments
        .iter()
        .position(|word| *word == "--report")
        .and_then(|at| std::fs::read(arguments[at + 1]).ok());
    let report = report.map(|bytes| serde_json::from_slice(&bytes).expect("a report"));
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        report,
    )
}

#[test]
fn the_binary_ends_with_the_codes_of_the_contract_and_always_reports() {
    let bench = Bench::new();
    let (task, report) = (bench.path("task.json"), bench.path("report.json"));
    let (task_file, report_file) = (
        task.to_str().expect("a path"),
        report.to_str().expect("a path"),
    );
    let run = |words: &[&str]| {
        worker(
            &[
                &["run", "--task", task_file, "--report", report_file],
                words,
            ]
            .concat(),
        )
    };

    let (code, _, said) = run(&["--shard", "0"]);
    let message = said.expect("a report")["outcome"]["failed"]["message"].to_string();
    assert!(
        code == 64 && message.contains("cannot be read"),
        "{code} {message}"
    );

    let good = generate(&bench, 6);
    let mut other = serde_json::to_value(&good).expect("json");
    other["version"] = 99.into();
    std::fs::write(&task, other.to_string()).expect("a task");
    let (code, _, said) = run(&["--shard", "0"]);
    let message = said.expect("a report")["outcome"]["failed"]["message"].to_string();
    assert!(
        code == 64 && message.contains("version 99"),
        "{code} {message}"
    );

    std::fs::write(&task, serde_json::to_string(&good).expect("json")).expect("a task");
    // The signal that a runner is gone is looked at between steps, so a quick shard may be done before it is seen.
    let (code, _, said) = run(&["--shard", "0", "--stop-on-stdin-eof"]);
    let outcome = said.expect("a report")["outcome"].clone();
    assert!(
        code == 75 && outcome == "stopped" || code == 0 && outcome["done"]["reused"] == false,
        "{code} {outcome}"
    );

    let (code, progress, said) = run(&["--shard", "0"]);
    assert_eq!(code, 0, "{said:?}");
    assert!(
        progress
            .lines()
            .all(|line| serde_json::from_str::<scalequest_crds::progress::Progress>(line).is_ok()),
        "{progress}"
    );
    let (code, _, said) = worker(&["seal", "--task", task_file, "--report", report_file]);
    assert!(code == 0 && said.expect("a report")["outcome"]["sealed"]["rows"].is_object());
    assert_eq!(worker(&["run", "--nonsense"]).0, 64);
    assert_eq!(worker(&["--help"]).0, 0);
}

/// What an inspection says of a run whose spec is `edit`ed, fault by fault.
#[test]
fn whoever_makes_the_last_shard_seals_and_says_what_a_seal_would() {
    let bench = Bench::new();
    let task = StageTask {
        shard_rows: 3,
        ..generate(&bench, 8)
    };
    let file = bench.path("task.json");
    std::fs::write(&file, serde_json::to_string(&task).expect("json")).expect("a task");
    let report = bench.path("report.json");
    let (file, report) = (
        file.to_str().expect("a path"),
        report.to_str().expect("a path"),
    );
    let files = ["--task", file, "--report", report];
    let run = |shard: &str| {
        let (code, _, said) =
            worker(&[&["run", "--seal-last", "--shard", shard], &files[..]].concat());
        assert_eq!(code, 0, "{said:?}");
        said.expect("a report")
    };
    for shard in ["2", "0"] {
        let said = run(shard);
        assert_eq!(
            (
                &said["outcome"]["done"]["reused"],
                said["shard"].to_string().as_str()
            ),
            (&false.into(), shard)
        );
    }
    let mut last = run("1");
    let (_, _, seal) = worker(&[&["seal"], &files[..]].concat());
    let mut seal = seal.expect("a report");
    for report in [&mut last, &mut seal] {
        assert!(report["shard"].is_null() && report["outcome"]["sealed"].is_object());
        report["workerMillis"] = 0.into();
    }
    assert_eq!(last, seal);
    // Who only finds its shard made has nothing to say of the whole.
    assert_eq!(run("1")["outcome"]["done"]["reused"], true);
}

fn inspected(
    bench: &Bench,
    edit: impl FnOnce(&mut serde_json::Value),
) -> (Vec<String>, serde_json::Value) {
    let mut run = serde_json::json!({
        "apiVersion": "scalequest.dev/v1alpha1", "kind": "SynthesisRun", "metadata": {"name": "t"},
        "spec": {
            "recipe": "MathSimple", "target": {"examples": 1},
            "models": [{"name": "m", "source": {"path": bench.path("model")}}],
            "seedQuestions": [{"path": bench.path("seeds.jsonl"), "answerField": "answer"}],
            "generators": [{"name": "g", "model": "m"}],
            "responses": {"model": "m"}, "reward": {"model": "m"},
            "workspace": {"path": bench.path("workspace")}, "output": {"path": bench.path("output")},
        }
    });
    edit(&mut run["spec"]);
    let file = bench.path("run.json");
    std::fs::write(&file, run.to_string()).expect("a spec");
    let (code, found, _) = worker(&["inspect", "--spec", file.to_str().expect("a path")]);
    assert_eq!(code, 0);
    let found: serde_json::Value = serde_json::from_str(&found).expect("an inspection");
    let of = |fault: &serde_json::Value| {
        format!(
            "{}: {}",
            fault["field"].as_str().unwrap_or(""),
            fault["message"].as_str().unwrap_or("")
        )
    };
    (
        found["faults"]
            .as_array()
            .expect("faults")
            .iter()
            .map(of)
            .collect(),
        found,
    )
}

#[test]
fn an_inspection_of_what_is_right_has_the_facts() {
    let bench = Bench::new();
    let (faults, found) = inspected(&bench, |_| {});
    assert_eq!(faults, Vec::<String>::new());
    let model = &found["models"][0];
    assert_eq!(
        (
            model["architecture"].as_str(),
            model["hasChatTemplate"].as_bool()
        ),
        (Some("qwen2"), Some(true))
    );
    assert_eq!(
        model["digest"].as_str(),
        Some(bench.model("model").digest.as_str())
    );
    assert!(model["servingBytes"].as_i64() > model["parameters"].as_i64().map(|n| 2 * n));
    assert!(model["trainingBytes"].as_i64() > model["parameters"].as_i64().map(|n| 16 * n));
    assert_eq!(
        (
            found["seedQuestions"][0]["rows"].as_i64(),
            found["seedQuestions"][0]["withAnswers"].as_i64()
        ),
        (Some(12), Some(12))
    );
}

#[test]
fn an_inspection_names_everything_that_is_wrong_at_once() {
    let bench = Bench::new();
    let weights = bench.path("model/model.safetensors");
    let whole = std::fs::read(&weights).expect("weights");
    for (name, keep) in [("cut", whole.len() - 100), ("untokened", whole.len())] {
        bench.write_model(name, 256);
        std::fs::write(bench.path(name).join("model.safetensors"), &whole[..keep])
            .expect("weights");
    }
    std::fs::remove_file(bench.path("untokened/tokenizer.json")).expect("removed");
    bench.write_model("mute", 256);
    let companion = bench.path("mute/tokenizer_config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&companion).expect("a file")).expect("json");
    config
        .as_object_mut()
        .expect("an object")
        .remove("chat_template");
    std::fs::write(&companion, config.to_string()).expect("written");
    let _ = std::fs::remove_file(bench.path("mute/chat_template.jinja"));
    std::fs::write(bench.path("bad.jsonl"), "{\"question\": \"q\"}\nnot json\n").expect("written");
    let (faults, _) = inspected(&bench, |spec| {
        let model =
            |name: &str| serde_json::json!({"name": name, "source": {"path": bench.path(name)}});
        spec["models"] = ["nowhere", "cut", "untokened", "mute"]
            .map(model)
            .to_vec()
            .into();
        spec["models"]
            .as_array_mut()
            .expect("models")
            .push(serde_json::json!({"name": "far", "source": {"uri": "ftp://a/b"}}));
        spec["generators"] = serde_json::json!([{"name": "g", "model": "mute"}]);
        spec["responses"]["model"] = "mute".into();
        spec["seedQuestions"][0]["path"] = bench.path("bad.jsonl").display().to_string().into();
    });
    let expected = [
        ("spec.models[0].source.path", "there is no file or folder"),
        ("spec.models[1].source.path", "tensor `"),
        ("spec.models[2].source.path", "tokenizer.json is missing"),
        ("spec.models[3].source.path", "is a generator"),
        ("spec.models[4].source.uri", "s3://, gs:// and az:// URIs"),
        ("spec.seedQuestions[0].path", "line 2"),
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, (field, words)) in faults.iter().zip(expected) {
        assert!(
            fault.starts_with(&format!("{field}: ")) && fault.contains(words),
            "{fault}"
        );
    }
}
