//! The workers of a fake cluster: their results are a function of their task.

use kube::ResourceExt;
use scalequest_crds::protocol::preflight::{FileFacts, ModelFacts, PreflightReport, parts};
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;

use super::{FakeCluster, carried_task};
use crate::names::Purpose;
use crate::observe::job::ObservedJob;
use crate::observe::termination::TerminationMessage;
use crate::resources::config_maps::TASK;
use scalequest_core::plan::simulation::FakeWorkspace as Results;

/// The end of a worker.
pub struct FakeEnd {
    /// Exit code, `None` if it never ran.
    pub code: Option<i32>,
    /// Its termination message.
    pub message: TerminationMessage,
    /// Whether the kernel killed it for its memory.
    pub is_out_of_memory: bool,
    /// Whether its pod was evicted or deleted.
    pub is_disrupted: bool,
}

impl FakeEnd {
    /// The end of a worker that ran.
    pub fn new(code: i32, message: TerminationMessage) -> FakeEnd {
        FakeEnd {
            code: Some(code),
            message,
            is_out_of_memory: false,
            is_disrupted: false,
        }
    }
}

impl FakeCluster {
    /// Returns the end of an index's worker.
    pub(super) fn end(&mut self, job: &ObservedJob, index: i64) -> FakeEnd {
        if job.identity.purpose == Purpose::Preflight {
            let part = usize::try_from(index).unwrap();
            let found = TerminationMessage::Preflight(Box::new(self.found(part)));
            return FakeEnd::new(0, found);
        }
        let task = self.task(job);
        let now_millis = self.now_millis;
        let outage = self.outage.as_mut();
        let outage = outage.and_then(|outage| outage.fail(&task, job, index, now_millis));
        if let Some(end) = outage {
            return end;
        }
        let shard = job.shard(index);
        let poison = self
            .poison
            .get(&task.id.stage)
            .is_some_and(|shards| shards.contains(&shard));
        let report = |shard, outcome| StageReport {
            stage: task.id.stage,
            key: task.key.clone(),
            shard,
            outcome,
            counts: Default::default(),
            histograms: vec![],
            backends: vec![],
            worker_millis: 1,
            gpu_millis: 0,
            warnings: vec![],
        };
        let said = |report| TerminationMessage::Report(Box::new(report));
        let (code, message) = match job.identity.purpose {
            Purpose::Seal => {
                let missing = self.missing(&task);
                let total = i64::try_from(missing.len()).unwrap();
                let shards = missing.into_iter().collect();
                match total {
                    0 => (0, said(Results::new(60).outcome(&task))),
                    _ => (0, said(report(None, Outcome::Missing { shards, total }))),
                }
            }
            Purpose::Run => {
                if let Some(input) = task.inputs.first()
                    && self.corruption.remove(&input.id.stage)
                {
                    self.shards
                        .get_mut(&input.key)
                        .expect("an input")
                        .remove(&0);
                    let outcome = Outcome::InputCorrupted {
                        stage: input.id.stage,
                        key: input.key.clone(),
                        message: "object 12ab is gone".into(),
                    };
                    return FakeEnd::new(1, said(report(Some(shard), outcome)));
                }
                if poison {
                    let message = format!("row of shard {shard} cannot be read");
                    return FakeEnd::new(
                        65,
                        said(report(Some(shard), Outcome::Failed { message })),
                    );
                }
                let is_there = self
                    .shards
                    .get(&task.key)
                    .is_some_and(|there| there.contains(&shard));
                if is_there && task.id.stage != Stage::Publish {
                    return FakeEnd::new(
                        0,
                        said(report(Some(shard), Outcome::Done { reused: true })),
                    );
                }
                self.computed.push((task.key.clone(), shard));
                (0, said(self.commit(&task, shard, report)))
            }
            Purpose::MarkFailed => (0, said(self.commit(&task, shard, report))),
            Purpose::Probe => (0, said(report(None, Outcome::Done { reused: false }))),
            Purpose::Preflight => unreachable!("handled above"),
        };
        FakeEnd::new(code, message)
    }

    fn missing(&self, task: &StageTask) -> Vec<i64> {
        let there = self.shards.get(&task.key).cloned().unwrap_or_default();
        let all = 0..task.shards();
        all.filter(|shard| !there.contains(shard)).collect()
    }

    fn commit(
        &mut self,
        task: &StageTask,
        shard: i64,
        report: impl Fn(Option<i64>, Outcome) -> StageReport,
    ) -> StageReport {
        let there = self.shards.entry(task.key.clone()).or_default();
        there.insert(shard);
        if self.seals_last && self.missing(task).is_empty() {
            return Results::new(60).outcome(task);
        }
        report(Some(shard), Outcome::Done { reused: false })
    }

    pub fn task(&self, job: &ObservedJob) -> StageTask {
        if let Some(text) = carried_task(&self.jobs[&job.name]) {
            return serde_json::from_str(text).unwrap();
        }
        let name = job.identity.task_name("math", &self.run.uid().unwrap());
        let map = self.maps.get(&name).expect("a task for every Job at work");
        serde_json::from_str(&map.data.as_ref().unwrap()[TASK]).unwrap()
    }

    fn found(&self, part: usize) -> PreflightReport {
        let valid = scalequest_core::validate::validate(
            &self.run,
            scalequest_core::validate::Environment::Cluster,
        );
        let valid = valid.unwrap();
        let part = parts(valid.spec()).remove(part);
        let model = |_| ModelFacts {
            name: "m".into(),
            digest: "m".repeat(64),
            architecture: "llama".into(),
            parameters: 1,
            serving_bytes: 1,
            context_token_bytes: 1,
            training_bytes: 1,
            context_length: 2048,
            has_chat_template: true,
            head: "languageModel".into(),
            license: None,
        };
        let file = |_| FileFacts {
            location: String::new(),
            digest: "s".repeat(64),
            rows: 300,
            with_answers: 300,
        };
        PreflightReport {
            errors: if part.places {
                self.errors.clone()
            } else {
                Vec::new()
            },
            workspace_is_empty: part.places && self.shards.is_empty(),
            models: part.models.map(model).collect(),
            seed_questions: part.seed_questions.map(file).collect(),
            ..PreflightReport::default()
        }
    }
}
