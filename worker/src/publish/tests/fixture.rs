//! A run that never ran: sealed stages in a temporary workspace, made up from a seed, in any number of shards. The fate of
//! every question is drawn by its id alone, so that the truth about the dataset is known beforehand.

use std::collections::BTreeMap;
use std::path::Path;

use scalequest_crds::Stage;
use scalequest_crds::key::sha256_hex;
use scalequest_crds::manifest::{ObjectRef, Seal, ShardManifest, TableRef};
use scalequest_crds::report::Counts;
use scalequest_crds::row::{
    AcceptedRow, AnsweredRow, Direction, PreferenceRow, QuestionRow, Reason, RejectRow,
    ResponseRow, SftRow,
};
use scalequest_crds::task::{
    Publication, PublishedModel, StageCost, StageParams, StageTask, TASK_VERSION, TaskInput,
};
use serde::Serialize;
use tempfile::TempDir;

use crate::dataset::store::Store;
use crate::publish::table::Layout;
use crate::publish::{PublishError, PublishedManifest, publish_as};

/// Files of few rows, so that small fixtures have several.
pub const SMALL: Layout = Layout {
    units_per_file: 10,
    rows_per_group: 8,
    rows_per_batch: 8,
};

/// Where questions end: the stage and the reason, or in the dataset.
pub const FATES: [Option<(Stage, Reason)>; 12] = [
    None,
    None,
    Some((Stage::Generate, Reason::Unfinished)),
    Some((Stage::Filter, Reason::Language)),
    Some((Stage::Filter, Reason::NearDuplicate)),
    Some((Stage::Filter, Reason::Contaminated)),
    Some((Stage::Judge, Reason::Unsolvable)),
    Some((Stage::Judge, Reason::NoVerdict)),
    Some((Stage::Rate, Reason::TooEasy)),
    Some((Stage::Respond, Reason::PromptTooLong)),
    Some((Stage::Verify, Reason::NoFinalAnswer)),
    Some((Stage::Verify, Reason::NoAgreement)),
];

/// What a made-up run is like.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the dataset.
    pub name: String,
    /// Questions by wave, of each of two generators.
    pub waves: Vec<i64>,
    /// Fates by question id; beyond its end they are drawn.
    pub fates: Vec<usize>,
    /// Shards of every sharded stage.
    pub shards: i64,
    /// Put before every text of a row.
    pub text: String,
    /// Arithmetic bodies.
    pub bodies: Vec<String>,
    /// Why it ended short.
    pub short: Option<String>,
    /// Examples asked for.
    pub target: i64,
    /// Worker time of each stage in the report.
    pub millis: i64,
    /// Whether the last wave has Generate only.
    pub last_wave_unfinished: bool,
    /// How rows are laid out in files.
    pub layout: Layout,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            name: "made-up".into(),
            waves: vec![20, 45],
            fates: vec![],
            shards: 3,
            text: String::new(),
            bodies: vec!["reference-f32".into()],
            short: None,
            target: 16,
            millis: 83_000,
            last_wave_unfinished: false,
            layout: SMALL,
        }
    }
}

/// A made-up run in its workspace, ready to be published.
pub struct Sealed {
    /// The publish task.
    pub task: StageTask,
    /// The seals of its inputs.
    pub seals: Vec<Seal>,
    /// The workspace.
    pub workspace: Store,
    layout: Layout,
    directory: TempDir,
}

impl Sealed {
    /// Publishes into `output`.
    pub fn publish(&self, output: &Path) -> Result<PublishedManifest, PublishError> {
        self.publish_until(output, &|| false)
    }

    /// Publishes into `output` until `stop` says stop.
    pub fn publish_until(
        &self,
        output: &Path,
        stop: &dyn Fn() -> bool,
    ) -> Result<PublishedManifest, PublishError> {
        let output = Store::open(output.to_str().unwrap()).unwrap();
        publish_as(
            self.layout,
            &self.task,
            &self.workspace,
            &self.seals,
            &output,
            stop,
        )
    }

    /// Where the workspace lies.
    pub fn workspace_path(&self) -> &Path {
        self.directory.path()
    }
}

impl Run {
    /// How the question with that id ends.
    pub fn fate(&self, id: i64) -> Option<(Stage, Reason)> {
        let drawn = || draw("fate", id) as usize % FATES.len();
        FATES[self.fates.get(id as usize).copied().unwrap_or_else(drawn)]
    }

    /// Ids of all questions of finished waves.
    pub fn ids(&self) -> std::ops::Range<i64> {
        let finished = self.waves.len() - usize::from(self.last_wave_unfinished);
        0..2 * self.waves[..finished].iter().sum::<i64>()
    }

    /// Makes up every stage and seals it.
    pub fn seal(&self) -> Sealed {
        let directory = tempfile::tempdir().unwrap();
        let workspace = Store::open(directory.path().to_str().unwrap()).unwrap();
        let mut maker = Maker {
            run: self,
            store: &workspace,
            inputs: Vec::new(),
            seals: Vec::new(),
        };
        for generator in ["ask", "quiz"] {
            maker.generator(generator);
        }
        let mut first = 0;
        for (index, count) in self.waves.iter().enumerate() {
            maker.wave(
                index as i32 + 1,
                first,
                *count,
                self.last_wave_unfinished && index + 1 == self.waves.len(),
            );
            first += 2 * count;
        }
        let Maker { inputs, seals, .. } = maker;
        let task = StageTask {
            version: TASK_VERSION,
            run: self.name.clone(),
            stage: Stage::Publish,
            generator: None,
            wave: None,
            key: sha256_hex(b"publish"),
            seed: 42,
            rows: 0,
            shard_rows: 1,
            inputs,
            workspace: workspace.location().into(),
            params: StageParams::Publish {
                publication: self.publication(),
            },
        };
        Sealed {
            task,
            seals,
            workspace,
            layout: self.layout,
            directory,
        }
    }

    fn publication(&self) -> Publication {
        let model = |name: &str, source: &str, roles: &[&str]| PublishedModel {
            name: name.into(),
            source: format!("{}{source}", self.text),
            digest: sha256_hex(name.as_bytes()),
            license: Some("apache-2.0".into()),
            roles: roles.iter().map(|role| (*role).into()).collect(),
        };
        let cost = |stage: Stage| StageCost {
            stage,
            generator: None,
            wave: None,
            worker_millis: self.millis * (1 + draw("cost", stage as i64) as i64 % 40),
            tokens_in: 1000 * stage as i64,
            tokens_out: 900 * stage as i64,
        };
        Publication {
            location: "dataset".into(),
            name: self.name.clone(),
            target: self.target,
            short: self.short.clone(),
            resolved_spec: SPEC.into(),
            models: vec![
                model("smol", "smollm2-135m-instruct.q4_1.gguf", &["generator"]),
                model(
                    "coder",
                    "qwen2.5-coder-0.5b-instruct.q4_k_m.gguf",
                    &["rewriter", "judge", "responder", "reward"],
                ),
            ],
            costs: Stage::ALL
                .into_iter()
                .filter(|stage| *stage != Stage::Publish)
                .map(cost)
                .collect(),
        }
    }
}

struct Maker<'a> {
    run: &'a Run,
    store: &'a Store,
    inputs: Vec<TaskInput>,
    seals: Vec<Seal>,
}

impl Maker<'_> {
    fn generator(&mut self, generator: &str) {
        let question = |id: i64| self.question(id, 0, generator);
        let sft: Vec<_> = (0..30)
            .map(|id| {
                (
                    id,
                    SftRow {
                        id,
                        question: format!("{}What is {id} + 1?", self.run.text),
                    },
                )
            })
            .collect();
        let sampled: Vec<_> = (0..20)
            .filter(|id| id % 7 != 3)
            .map(|id| (id, question(id)))
            .collect();
        let empty: Vec<_> = (0..20)
            .filter(|id| id % 7 == 3)
            .map(|id| self.reject(question(id), Stage::Sample, Reason::Empty))
            .collect();
        let pair = |(id, row): &(i64, QuestionRow)| PreferenceRow {
            id: *id,
            generator: generator.into(),
            direction: if draw(generator, *id).is_multiple_of(2) {
                Direction::Solvability
            } else {
                Direction::Difficulty
            },
            chosen: format!("{} Show that the answer is unique.", row.question),
            rejected: row.question.clone(),
        };
        let pairs: Vec<_> = sampled
            .iter()
            .filter(|(id, _)| id % 5 != 0)
            .map(|row| (row.0, pair(row)))
            .collect();
        let bad: Vec<_> = sampled
            .iter()
            .filter(|(id, _)| id % 5 == 0)
            .map(|row| self.reject(row.1.clone(), Stage::Rewrite, Reason::BadRewrite))
            .collect();
        let log: String = (1..=60)
            .map(|step| {
                format!(
                    "{{\"step\":{step},\"loss\":{},\"learningRate\":0.00002}}\n",
                    1.2 + 2.0 / f64::from(step) + noise(step)
                )
            })
            .collect();
        let margins: String = (1..=40)
            .map(|step| {
                format!(
                    "{{\"step\":{step},\"loss\":{},\"margin\":{}}}\n",
                    0.693 - 0.004 * f64::from(step),
                    0.01 * f64::from(step)
                )
            })
            .collect();
        self.put(
            Stage::Qft,
            Some(generator),
            None,
            &sft,
            &Vec::<(i64, RejectRow)>::new(),
            Some(log),
        );
        self.put(Stage::Sample, Some(generator), None, &sampled, &empty, None);
        self.put(Stage::Rewrite, Some(generator), None, &pairs, &bad, None);
        self.put(
            Stage::Qpo,
            Some(generator),
            None,
            &Vec::<(i64, SftRow)>::new(),
            &Vec::<(i64, RejectRow)>::new(),
            Some(margins),
        );
    }

    fn wave(&mut self, wave: i32, first: i64, count: i64, unfinished: bool) {
        for (index, generator) in ["ask", "quiz"].into_iter().enumerate() {
            let start = first + index as i64 * count;
            self.questions(Stage::Generate, Some(generator), wave, start..start + count);
            if unfinished && generator == "quiz" {
                return;
            }
        }
        let ids = first..first + 2 * count;
        for stage in [Stage::Filter, Stage::Judge, Stage::Rate] {
            self.questions(stage, None, wave, ids.clone());
        }
        for stage in [Stage::Respond, Stage::Reward, Stage::Verify] {
            let generator_of = |id: i64| if id < first + count { "ask" } else { "quiz" };
            let left = ids
                .clone()
                .filter(|id| self.run.fate(*id).is_none_or(|(end, _)| end >= stage));
            let (mut rows, mut accepted, mut rejects) = (Vec::new(), Vec::new(), Vec::new());
            for id in left {
                let question = self.question(id, wave, generator_of(id));
                let responses = self.responses(id);
                match self.run.fate(id) {
                    Some((end, reason)) if end == stage => {
                        let (_, mut row) = self.reject(question, stage, reason);
                        row.responses = if stage == Stage::Verify {
                            responses
                        } else {
                            vec![]
                        };
                        rejects.push((id, row));
                    }
                    _ if stage == Stage::Verify => {
                        let chosen = (draw("chosen", id) % 4) as i32;
                        accepted.push((
                            id,
                            AcceptedRow {
                                answered: AnsweredRow {
                                    question,
                                    responses,
                                },
                                chosen,
                                agreement: 2 + chosen % 3,
                            },
                        ));
                    }
                    _ => rows.push((
                        id,
                        AnsweredRow {
                            question,
                            responses,
                        },
                    )),
                }
            }
            match stage {
                Stage::Verify => self.put(stage, None, Some(wave), &accepted, &rejects, None),
                _ => self.put(stage, None, Some(wave), &rows, &rejects, None),
            }
        }
    }

    fn questions(
        &mut self,
        stage: Stage,
        generator: Option<&str>,
        wave: i32,
        ids: std::ops::Range<i64>,
    ) {
        let half = (ids.start + ids.end) / 2;
        let row = |id: i64| {
            self.question(
                id,
                wave,
                generator.unwrap_or(if id < half { "ask" } else { "quiz" }),
            )
        };
        let fate = |id: &i64| self.run.fate(*id);
        let rows: Vec<_> = ids
            .clone()
            .filter(|id| fate(id).is_none_or(|(end, _)| end > stage))
            .map(|id| (id, row(id)))
            .collect();
        let rejected = ids.filter(|id| fate(id).is_some_and(|(end, _)| end == stage));
        let rejects: Vec<_> = rejected
            .map(|id| self.reject(row(id), stage, fate(&id).unwrap().1))
            .collect();
        self.put(stage, generator, Some(wave), &rows, &rejects, None);
    }

    fn question(&self, id: i64, wave: i32, generator: &str) -> QuestionRow {
        let (a, b) = (draw("a", id) % 90 + 10, draw("b", id) % 9 + 2);
        QuestionRow {
            id,
            generator: generator.into(),
            wave,
            question: format!(
                "{}A baker fills {a} trays with {b} rolls each and sells all but {id} of them. How many rolls does she sell?",
                self.run.text
            ),
            question_tokens: 18 + (draw("tokens", id) % 60) as i32,
            difficulty: (wave > 0).then(|| (draw("difficulty", id) % 1000) as f64 / 1000.0),
        }
    }

    fn responses(&self, id: i64) -> Vec<ResponseRow> {
        let response = |index: i32| {
            let answer = draw("answer", id) % 900;
            let key = id * 8 + i64::from(index);
            ResponseRow {
                index,
                text: format!(
                    "{}She bakes the trays one after the other.\nTaking away what is left over gives \\boxed{{{answer}}}.",
                    self.run.text
                ),
                tokens: 30 + (draw("length", key) % 200) as i32,
                finished: true,
                final_answer: (index < 4).then(|| answer.to_string()),
                reward: Some((draw("reward", key) % 1000) as f64 / 1000.0),
            }
        };
        (0..5).map(response).collect()
    }

    fn reject(&self, question: QuestionRow, stage: Stage, reason: Reason) -> (i64, RejectRow) {
        let detail = Some(format!("{}found by {stage}", self.run.text));
        (
            question.id,
            RejectRow {
                stage,
                reason,
                question,
                detail,
                responses: vec![],
            },
        )
    }

    /// Puts a sealed stage into the workspace, its rows cut into shards by id.
    fn put<T: Serialize, R: Serialize>(
        &mut self,
        stage: Stage,
        generator: Option<&str>,
        wave: Option<i32>,
        rows: &[(i64, T)],
        rejects: &[(i64, R)],
        log: Option<String>,
    ) {
        let key = sha256_hex(format!("{stage} {generator:?} {wave:?}").as_bytes());
        let shards = if stage.is_sharded() {
            self.run.shards
        } else {
            1
        };
        let ids = || {
            rows.iter()
                .map(|(id, _)| *id)
                .chain(rejects.iter().map(|(id, _)| *id))
        };
        let (low, high) = (
            ids().min().unwrap_or(0),
            ids().max().map_or(0, |last| last + 1),
        );
        let border = |shard: i64| low + (high - low) * shard / shards;
        let put = |bytes: Vec<u8>| {
            let object = ObjectRef {
                sha256: sha256_hex(&bytes),
                bytes: bytes.len() as i64,
            };
            // Written without the store: what it does to survive a crash takes its time, and nothing crashes here.
            let path = self
                .store
                .local_path(&format!(
                    "stages/{}-{key}/objects/{}",
                    stage.slug(),
                    object.sha256
                ))
                .unwrap();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
            object
        };
        let shard = |index: i64| {
            let range = border(index)..border(index + 1);
            let tables = [
                ("rows", lines(rows, &range)),
                ("rejects", lines(rejects, &range)),
            ];
            let table = |(name, lines): (&str, Vec<String>)| {
                (
                    name.to_string(),
                    TableRef {
                        rows: lines.len() as i64,
                        object: put(lines.concat().into_bytes()),
                    },
                )
            };
            let files = log
                .iter()
                .map(|log| {
                    (
                        "training_log.jsonl".to_string(),
                        put(log.clone().into_bytes()),
                    )
                })
                .collect();
            ShardManifest {
                stage,
                key: key.clone(),
                start: range.start,
                end: range.end,
                tables: tables.map(table).into(),
                files,
                counts: Counts::default(),
                histograms: vec![],
                body: "reference-f32".into(),
            }
        };
        let shards: Vec<_> = (0..shards).map(shard).collect();
        let everything = [lines(rows, &(low..high)), lines(rejects, &(low..high))]
            .concat()
            .concat();
        let digest = sha256_hex(format!("{key} {everything}").as_bytes());
        let totals = [
            ("rows".to_string(), rows.len() as i64),
            ("rejects".to_string(), rejects.len() as i64),
        ];
        self.inputs.push(TaskInput {
            stage,
            key: key.clone(),
            digest: digest.clone(),
            generator: generator.map(Into::into),
            wave,
        });
        self.seals.push(Seal {
            stage,
            key,
            digest,
            shards,
            rows: BTreeMap::from(totals),
            counts: Counts::default(),
            histograms: vec![],
            bodies: if stage == Stage::Filter {
                vec!["none".into()]
            } else {
                self.run.bodies.clone()
            },
        });
    }
}

fn lines<T: Serialize>(rows: &[(i64, T)], range: &std::ops::Range<i64>) -> Vec<String> {
    let inside = rows.iter().filter(|(id, _)| range.contains(id));
    inside
        .map(|(_, row)| format!("{}\n", serde_json::to_string(row).unwrap()))
        .collect()
}

fn draw(what: &str, id: i64) -> u64 {
    let hash = sha256_hex(format!("{what} {id}").as_bytes());
    u64::from_str_radix(&hash[..15], 16).unwrap()
}

fn noise(step: i32) -> f64 {
    (draw("noise", step.into()) % 100) as f64 / 600.0
}

const SPEC: &str = r#"apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {name: made-up}
spec:
  recipe: MathSimple
  domain: Mathematics
  seed: 42
  target: {examples: 16, maxWaves: 20}
  budget: {pricePerGpuHour: "1.30", currency: USD}
  models:
  - {name: smol, source: {path: models/smollm2-135m-instruct.q4_1.gguf}}
  - {name: coder, source: {path: models/qwen2.5-coder-0.5b-instruct.q4_k_m.gguf}}
  seedQuestions:
  - {path: seed.jsonl, questionField: question}
  generators:
  - name: ask
    model: smol
    weight: 50
    qft: {epochs: 1, learningRate: 2.0e-5, warmupRatio: 0.03, maxLength: 256, batchSize: 32, tuning: Full}
    qpo: {pairs: 20, rewriter: coder, learningRate: 5.0e-7, beta: 0.1, maxLength: 1024, batchSize: 16}
    sampling: {temperature: 1.0, topP: 0.99, maxNewTokens: 128}
  - {name: quiz, model: smol, weight: 50}
  filters:
    language: {keep: [en]}
    contamination: {ngram: 13, benchmarks: [{path: /somewhere/private/test.jsonl, questionField: question}]}
    duplicates: {similarity: 0.7}
    solvability: {model: coder}
    difficulty: {base: smol, solver: coder, samples: 4, minimum: 0.1}
  responses: {model: coder, samples: 5, sampling: {temperature: 0.7, topP: 0.95, maxNewTokens: 512}}
  reward: {model: coder}
  verification: {agreement: {atLeast: 2}}
  workspace: {path: workspace}
  output: {path: dataset}
"#;
