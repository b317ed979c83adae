//! The simulated executor: it does what an executor does (pin, save, run, charge, seal, save) and checks what must hold as it goes.

use std::collections::{BTreeMap, BTreeSet};

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::content_key::task_key;
use scalequest_crds::protocol::report::{Counts, Histogram, Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::{RejectReason, Stage};

use super::fake_run::accepted;
use crate::plan::{End, Observations, Plan, plan};
use crate::record::RunRecord;
use crate::validate::ValidRun;

/// The workspace, and how the work turns out: each a function of the task's key alone.
#[derive(Clone)]
pub struct FakeWorkspace {
    /// Reports of sealed stages, by content key.
    pub sealed: BTreeMap<String, StageReport>,
    /// Share of rows that a stage keeps, in percent.
    pub kept_percent: u64,
    /// Billed time of a row.
    pub millis_per_row: i64,
    /// The publication that was executed last.
    pub last_publish: Option<StageTask>,
}

impl FakeWorkspace {
    /// An empty workspace.
    pub fn new(kept_percent: u64) -> FakeWorkspace {
        FakeWorkspace {
            sealed: BTreeMap::new(),
            kept_percent,
            millis_per_row: 3,
            last_publish: None,
        }
    }

    /// Returns the outcome of a task.
    ///
    /// # Panics
    /// If its key is no digest.
    pub fn outcome(&self, task: &StageTask) -> StageReport {
        let luck = u64::from_str_radix(&task.key[..8], 16).unwrap();
        let is_wave_stage = (Stage::Generate..=Stage::Verify).contains(&task.id.stage);
        let kept = if !is_wave_stage {
            task.rows
        } else if self.kept_percent == 0 && task.id.stage == Stage::Filter {
            0
        } else {
            let percent = (100 - (100 - self.kept_percent.max(20)) * (luck % 100) / 150).min(100);
            task.rows * i64::try_from(percent).unwrap() / 100
        };
        let reason = RejectReason::ALL[usize::try_from(luck % 12).unwrap()];
        let mut dropped = BTreeMap::new();
        if kept < task.rows {
            dropped.insert(reason, task.rows - kept);
        }
        let rows = if task.id.stage.makes_a_model() {
            0
        } else {
            kept
        };
        StageReport {
            stage: task.id.stage,
            key: task.key.clone(),
            shard: None,
            outcome: Outcome::Sealed {
                digest: sha256_hex(format!("{}{}", task.key, rows).as_bytes()),
                rows: BTreeMap::from([("rows".into(), rows)]),
            },
            counts: Counts {
                rows_in: task.rows,
                rows_out: kept,
                dropped,
                tokens_in: task.rows * 50,
                tokens_out: task.rows * 90,
            },
            histograms: vec![
                Histogram::new("questionTokens", 0.0, 512.0, 20),
                Histogram::new("reward", -5.0, 5.0, 20),
            ],
            backends: vec!["fused-bf16".into()],
            worker_millis: 1,
            gpu_millis: 0,
            warnings: vec![],
        }
    }
}

/// An executor and its run's record.
pub struct Executor {
    /// The record.
    pub record: RunRecord,
    /// The workspace.
    pub workspace: FakeWorkspace,
    /// How often the executor crashes after a step.
    pub crash_percent: u64,
    /// How often a sealed stage is damaged after a step.
    pub corruption_percent: u64,
    /// Stages that were computed, not found sealed.
    pub computed: usize,
    /// Bytes of the largest record that was saved.
    pub largest_record: usize,
    /// Ends the drive when so many waves are over.
    pub stop_after_waves: Option<usize>,
    saved: String,
    random: u64,
}

impl Executor {
    /// An executor of `run`, whose random choices follow from `seed`.
    pub fn new(run: &ValidRun, workspace: FakeWorkspace, seed: u64) -> Executor {
        let record = accepted(run);
        let saved = record.to_json();
        Executor {
            record,
            workspace,
            crash_percent: 0,
            corruption_percent: 0,
            computed: 0,
            largest_record: 0,
            stop_after_waves: None,
            saved,
            random: seed | 1,
        }
    }

    /// Drives the run to its end.
    ///
    /// # Panics
    /// If it does not end, or if something does not hold on the way.
    pub fn drive(&mut self, run: &ValidRun) -> End {
        self.drive_some(run).expect("the run was to end")
    }

    /// Drives the run to its end, or to where it is to stop.
    ///
    /// # Panics
    /// If it comes to neither, or if something does not hold on the way.
    pub fn drive_some(&mut self, run: &ValidRun) -> Option<End> {
        self.saved = self.record.to_json();
        let mut observed = Observations::default();
        let mut most_accepted = self.record.accepted();
        for _ in 0..20_000 {
            let plan = plan(run, &self.record, &observed, 0);
            self.check(run, &plan);
            if let Some(end) = plan.finished {
                return Some(end);
            }
            if self.stop_after_waves.is_some_and(|waves| {
                self.record
                    .waves
                    .iter()
                    .filter(|wave| wave.end.is_some())
                    .count()
                    >= waves
            }) {
                return None;
            }
            self.record.pin(&plan.pins);
            if self.crashes() {
                continue;
            }
            self.save();
            assert!(!plan.start.is_empty(), "nothing to do, and not over");
            let task =
                plan.start[usize::try_from(self.next() % plan.start.len() as u64).unwrap()].clone();
            self.execute(&task, &mut observed);
            if self.crashes() {
                observed = Observations::default();
                continue;
            }
            self.save();
            assert!(self.record.accepted() >= most_accepted || self.crash_percent > 0);
            most_accepted = most_accepted.max(self.record.accepted());
        }
        panic!("the run does not end");
    }

    fn execute(&mut self, task: &StageTask, observed: &mut Observations) {
        for input in &task.inputs {
            assert!(
                self.workspace.sealed.contains_key(&input.key),
                "{} reads what is not there",
                task.id.stage
            );
        }
        if self.next() % 100 < self.corruption_percent
            && let Some(input) = task.inputs.first()
        {
            self.workspace.sealed.remove(&input.key);
            observed.corrupted.insert(input.key.clone());
            return;
        }
        let found = self.workspace.sealed.get(&task.key).cloned();
        let reused = found.is_some();
        let report = found.unwrap_or_else(|| {
            self.computed += usize::from(task.id.stage != Stage::Publish);
            self.record
                .add_usage(task, task.rows.max(1) * self.workspace.millis_per_row, 0);
            self.workspace.outcome(task)
        });
        if task.id.stage == Stage::Publish {
            self.workspace.last_publish = Some(task.clone());
        }
        self.workspace
            .sealed
            .insert(task.key.clone(), report.clone());
        self.record.seal(task, &report, reused).unwrap();
        observed.corrupted.remove(&task.key);
        self.largest_record = self.largest_record.max(self.record.to_json().len());
    }

    /// What must hold of every plan and record.
    fn check(&self, run: &ValidRun, plan: &Plan) {
        let mut places = BTreeSet::new();
        for task in &plan.start {
            assert!(
                places.insert((task.id.stage, task.id.generator.clone(), task.id.wave)),
                "{} twice",
                task.id.stage
            );
            assert_eq!(task.params.stage(), task.id.stage);
            assert_eq!(task.key, task_key(task), "{}", task.id.stage);
            assert!(task.shard_rows >= 1);
        }
        if let Some(wave) = &plan.pins.wave {
            assert!(self.record.waves.iter().all(|wave| wave.end.is_some()));
            assert!(self.record.accepted() < run.limits().target);
            assert!(self.record.waves.len() < usize::try_from(run.limits().max_waves).unwrap());
            assert_eq!(wave.first_id, self.record.generated());
            assert!(wave.total() > 0);
        }
        let rejected: i64 = self.record.rejected().values().sum();
        assert_eq!(self.record.generated(), self.record.accepted() + rejected);
        assert_eq!(
            &crate::plan::plan(run, &self.record, &Observations::default(), 0).estimate,
            &plan.estimate
        );
    }

    fn save(&mut self) {
        self.saved = self.record.to_json();
    }

    /// Sometimes everything since the last save is forgotten; the workspace is not.
    fn crashes(&mut self) -> bool {
        let crashes = self.next() % 100 < self.crash_percent;
        if crashes {
            self.record = RunRecord::from_json(&self.saved).unwrap();
        }
        crashes
    }

    /// A xorshift generator.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 8
    }
}
