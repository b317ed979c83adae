//! A workspace with a tiny model, and tasks for its stages.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::content_key::content_key;
use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::{
    ModelLocation, ModelUse, QuestionFile, StageParams, StageTask, TASK_VERSION, TaskInput,
    Training,
};
use scalequest_crds::v1alpha1::{Sampling, Stage, StageId, Tuning};
use scalequest_engine::model::decoder::save;
use scalequest_engine::model::{Architecture, Checkpoint, ModelConfig};
use scalequest_worker::stages::{
    CancellationToken, ProgressReporter, StageError, StageResult, run_task, seal_task,
};
use scalequest_worker::storage::store::Store;
use scalequest_worker::storage::table::read_rows;
use scalequest_worker::storage::workspace::StageDir;
use tempfile::TempDir;

use crate::tiny;

/// A workspace with a tiny model and seed questions.
pub struct Fixture {
    folder: TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let fixture = Fixture {
            folder: TempDir::new().expect("a folder"),
        };
        fixture.write_model("model", 2048);
        let questions = (0..12).map(|n| {
            format!(
                "{{\"question\": \"What is {n} + {n}?\", \"answer\": \"so\\n#### {}\"}}\n",
                2 * n
            )
        });
        std::fs::write(fixture.path("seeds.jsonl"), questions.collect::<String>()).expect("seeds");
        fixture
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a random model with the tokenizer and template of a fixture and a context of `context` tokens.
    pub fn write_model(&self, name: &str, context: usize) {
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

    pub fn model(&self, name: &str) -> ModelUse {
        let path = self.path(name);
        let digest = Checkpoint::open(&path)
            .and_then(|model| model.digest())
            .expect("a digest");
        ModelUse {
            name: name.into(),
            location: ModelLocation::Path(path.display().to_string()),
            digest,
            dtype: Default::default(),
            server: None,
        }
    }

    pub fn seeds(&self) -> Vec<QuestionFile> {
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

    pub fn task(&self, params: StageParams, inputs: &[&TaskInput], rows: i64) -> StageTask {
        let stage = params.stage();
        let digests: Vec<_> = inputs.iter().map(|input| input.digest.clone()).collect();
        StageTask {
            version: TASK_VERSION,
            run: "test".into(),
            id: StageId {
                stage,
                generator: matches!(
                    stage,
                    Stage::Qft | Stage::Sample | Stage::Rewrite | Stage::Qpo | Stage::Generate
                )
                .then(|| "g".into()),
                wave: (stage >= Stage::Generate).then_some(1),
            },
            key: content_key(stage, 7, rows, &params, &digests),
            seed: 7,
            rows,
            shard_rows: 1000,
            inputs: inputs.iter().map(|input| (*input).clone()).collect(),
            workspace: self.path("workspace").display().to_string(),
            params,
        }
    }

    pub fn store(&self) -> Store {
        Store::open(&self.path("workspace").display().to_string()).expect("a store")
    }

    pub fn rows<T: serde::de::DeserializeOwned>(&self, input: &TaskInput, table: &str) -> Vec<T> {
        let (dir, seal) = StageDir::open_input(&self.store(), input).expect("a seal");
        read_rows(&dir, &seal, table, 0..i64::MAX).expect("rows")
    }

    pub fn count(&self, input: &TaskInput) -> i64 {
        StageDir::open_input(&self.store(), input)
            .expect("a seal")
            .1
            .rows["rows"]
    }
}

pub fn sampling(temperature: f64, max_new_tokens: i32) -> Sampling {
    Sampling {
        temperature: Some(temperature),
        top_p: Some(1.0),
        top_k: Some(0),
        max_new_tokens: Some(max_new_tokens),
    }
}

pub fn training() -> Training {
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

pub fn run(task: &StageTask, index: i64) -> Result<StageResult, StageError> {
    run_task(
        task,
        index,
        &CancellationToken::default(),
        &ProgressReporter::silent(),
    )
}

/// Runs all shards and seals.
pub fn finish(task: &StageTask) -> TaskInput {
    for index in 0..task.shards() {
        let finished = run(task, index)
            .unwrap_or_else(|error| panic!("{} shard {index}: {error}", task.id.stage));
        assert!(matches!(finished.outcome, Outcome::Done { .. }));
    }
    sealed(task)
}

pub fn sealed(task: &StageTask) -> TaskInput {
    let result = seal_task(task, &CancellationToken::default()).expect("a seal");
    let Outcome::Sealed { digest, .. } = result.outcome else {
        panic!("{}: {:?}", task.id.stage, result.outcome)
    };
    TaskInput {
        id: task.id.clone(),
        key: task.key.clone(),
        digest,
    }
}

pub fn trained(input: &TaskInput) -> ModelUse {
    let location = ModelLocation::Trained {
        stage: input.id.stage,
        key: input.key.clone(),
    };
    ModelUse {
        name: "g".into(),
        location,
        digest: input.digest.clone(),
        dtype: Default::default(),
        server: None,
    }
}

pub fn generate(fixture: &Fixture, rows: i64) -> StageTask {
    let params = StageParams::Generate {
        model: fixture.model("model"),
        system_prompt: None,
        sampling: sampling(1.0, 40),
        first_id: 100,
    };
    fixture.task(params, &[], rows)
}

/// Runs a shard and cancels it after `lines` lines of progress.
pub fn stop_after(task: &StageTask, lines: usize) -> Result<StageResult, StageError> {
    let cancellation = CancellationToken::default();
    let (token, reported) = (cancellation.clone(), Arc::new(AtomicUsize::new(0)));
    let reporter = ProgressReporter::new(move |_| {
        if reported.fetch_add(1, Ordering::Relaxed) + 1 >= lines {
            token.cancel();
        }
    });
    run_task(task, 0, &cancellation, &reporter)
}

/// The worker's binary with its arguments; exit code, standard output, report.
pub fn worker(arguments: &[&str]) -> (i32, String, Option<serde_json::Value>) {
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
