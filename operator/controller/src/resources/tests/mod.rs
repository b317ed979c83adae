//! Objects as they are made for a run: what its Jobs, tasks and records look like.

mod fetched;
mod pods;
mod served;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodSpec;
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::{Stage, StageId, SynthesisRun};

use crate::names::{JobIdentity, MAX_NAME, Purpose, TASK_ANNOTATION};
use crate::resources::config_maps::{record_map, task_map, task_text};
use crate::resources::job::{preflight, stage};
use crate::resources::{Common, Owner};
use crate::settings::Settings;
use scalequest_core::parse::parse;
use scalequest_core::plan::simulation::{FakeRun, accepted, run as imagined_run};
use scalequest_core::plan::{Observations, plan};
use scalequest_core::record::WorkerIdentity;
use scalequest_core::validate::{Environment, ValidRun, validate};

const RUN: &str = "
apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {name: math-100k-v2}
spec:
  recipe: Math
  target: {examples: 100}
  models:
  - {name: qwen, source: {claim: {name: models, subPath: qwen}}}
  - {name: judge, source: {image: {reference: registry/judge:1}}}
  seedQuestions: [{claim: {name: seeds, subPath: seeds.jsonl}}]
  generators: [{name: qwen, model: qwen}]
  filters: {solvability: {model: judge}}
  responses: {model: qwen}
  workspace: {uri: s3://scratch/work}
  output: {claim: {name: datasets, subPath: math}}
  stores: [{prefix: \"s3://\", endpoint: \"http://minio:9000\", region: eu, credentialsSecret: {name: s3}, caConfigMap: {name: ca}}]
  queueName: research
  priorityClassName: low
  serviceAccountName: worker
  pods:
  - {name: gpu, stages: [Qft, Judge], parallelism: 3, resources: {limits: {nvidia.com/gpu: 1, memory: 40Gi}}, nodeSelector: {pool: gpu}, tolerations: [{key: gpu, operator: Exists}]}
";

struct Built {
    run: ValidRun,
    owner: Owner,
    worker: WorkerIdentity,
    settings: Settings,
}

impl Built {
    fn common(&self) -> Common<'_> {
        Common {
            owner: &self.owner,
            spec: self.run.spec(),
            worker: &self.worker,
            settings: &self.settings,
        }
    }

    /// A task of `stage`, taken from a plan.
    fn task(&self, stage: Stage) -> StageTask {
        let other = imagined_run(&FakeRun::default());
        let mut task =
            plan(&other, &accepted(&other), &Observations::default(), 0).start[0].clone();
        task.id.stage = stage;
        task.workspace = self.run.workspace().into();
        let text = serde_json::to_string(&task).unwrap();
        serde_json::from_str(
            &text
                .replace("m.gguf", "/claims/models/qwen")
                .replace("seeds.jsonl", "/claims/seeds/seeds.jsonl"),
        )
        .unwrap()
    }

    fn job(&self, purpose: Purpose, of: Stage, shard_indexes: Option<&ShardSet>) -> Job {
        let task = self.task(of);
        let work = work(purpose, of);
        stage(self.common(), &work, &task, shard_indexes)
    }

    fn all(&self) -> Vec<Job> {
        let mut jobs = vec![preflight(
            self.common(),
            &JobIdentity {
                purpose: Purpose::Preflight,
                id: None,
                key: "k".into(),
                attempt: 0,
            },
        )];
        for of in Stage::ALL {
            for purpose in [Purpose::Seal, Purpose::Run, Purpose::MarkFailed] {
                jobs.push(self.job(purpose, of, Some(&ShardSet::from([1, 2]))));
            }
        }
        jobs
    }
}

fn built(text: &str) -> Built {
    let mut run: SynthesisRun = parse(text).unwrap();
    (run.metadata.uid, run.metadata.namespace) = (Some("u".into()), Some("team".into()));
    Built {
        owner: Owner::of(&run),
        run: validate(&run, Environment::Cluster).unwrap(),
        worker: WorkerIdentity {
            image: Some("registry/worker@sha256:1".into()),
            gpu_image: Some("registry/worker-cuda:1".into()),
            ..WorkerIdentity::default()
        },
        settings: Settings {
            image_pull_secrets: vec!["pull".into()],
            ..Settings::default()
        },
    }
}

fn work(purpose: Purpose, stage: Stage) -> JobIdentity {
    JobIdentity {
        purpose,
        id: Some(StageId {
            stage,
            generator: Some("qwen".into()),
            wave: Some(2),
        }),
        key: "a".repeat(64),
        attempt: 1,
    }
}

fn pod(job: &Job) -> PodSpec {
    job.spec.clone().unwrap().template.spec.unwrap()
}

#[test]
fn jobs_retry_each_index() {
    for job in built(RUN).all() {
        let (metadata, spec) = (job.metadata.clone(), job.spec.clone().unwrap());
        assert!(
            metadata
                .name
                .as_ref()
                .is_some_and(|name| name.len() <= MAX_NAME)
        );
        assert_eq!(metadata.owner_references.unwrap()[0].uid, "u");
        assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
        assert!(spec.backoff_limit_per_index.is_some() && spec.backoff_limit.is_none());
        assert_eq!(spec.pod_replacement_policy.as_deref(), Some("Failed"));
        assert_eq!(spec.suspend, Some(true), "a queued Job is Kueue's to begin");
        assert!(spec.parallelism <= spec.completions);
        let rules = spec.pod_failure_policy.unwrap().rules;
        let read: Vec<(String, Vec<i32>)> = rules
            .iter()
            .map(|rule| {
                (
                    rule.action.clone(),
                    rule.on_exit_codes
                        .as_ref()
                        .map(|codes| codes.values.clone())
                        .unwrap_or_default(),
                )
            })
            .collect();
        let expected = [
            ("Ignore", vec![]),
            ("Ignore", vec![75]),
            ("FailJob", vec![64]),
            ("FailIndex", vec![65]),
        ];
        assert_eq!(
            read,
            expected.map(|(action, codes)| (action.to_string(), codes))
        );
        let named = rules.iter().filter_map(|rule| rule.on_exit_codes.as_ref());
        assert!(
            named
                .into_iter()
                .all(|codes| codes.container_name.as_deref() == Some("worker"))
        );
    }
}

#[test]
fn worker_arguments_name_task_and_shards() {
    let built = built(RUN);
    let shard_indexes = ShardSet::from([3, 7, 8, 9]);
    let job = built.job(Purpose::Run, Stage::Judge, Some(&shard_indexes));
    let arguments = pod(&job).containers[0].args.clone().unwrap();
    assert_eq!(
        arguments,
        [
            "run",
            "--task",
            "/etc/scalequest/task/task.json",
            "--shards",
            "3,7-9",
            "--seal-if-complete",
            "--progress-port",
            "8081",
            "--report",
            "/dev/termination-log"
        ]
    );
    assert_eq!(job.spec.unwrap().completions, Some(4));
    let gives_up = pod(&built.job(Purpose::MarkFailed, Stage::Judge, Some(&shard_indexes)))
        .containers[0]
        .args
        .clone()
        .unwrap();
    assert!(gives_up.contains(&"--mark-failed".to_string()));
}

#[test]
fn large_tasks_are_config_maps() {
    let mut built = built(RUN);
    let task = serde_json::to_string(&built.task(Stage::Qft)).unwrap();
    for fits in [true, false] {
        built.settings.task_in_pod_bytes = task.len() - usize::from(!fits);
        let job = built.job(Purpose::Run, Stage::Qft, None);
        let volume = pod(&job).volumes.unwrap().remove(0);
        let template = job.spec.unwrap().template.metadata.unwrap();
        let carried = template.annotations.unwrap().remove(TASK_ANNOTATION);
        assert_eq!(carried, fits.then(|| task.clone()));
        let work = work(Purpose::Run, Stage::Qft);
        let named = volume.config_map.map(|map| map.name);
        assert_eq!(named, (!fits).then(|| work.task_name("math-100k-v2", "u")));
        let file = volume
            .downward_api
            .map(|files| files.items.unwrap().remove(0));
        assert_eq!(file.is_some(), fits);
        if let Some(file) = file {
            let path = file.field_ref.unwrap().field_path;
            assert_eq!(
                (file.path.as_str(), path.as_str()),
                ("task.json", "metadata.annotations['scalequest.dev/task']")
            );
        }
    }
}

#[test]
fn tasks_are_immutable_records_versioned() {
    let built = built(RUN);
    let task = built.task(Stage::Qft);
    let map = task_map(
        &built.owner,
        &work(Purpose::Seal, Stage::Qft),
        task_text(&task),
    );
    assert_eq!(map.immutable, Some(true));
    assert_eq!(
        serde_json::from_str::<StageTask>(&map.data.unwrap()["task.json"]).unwrap(),
        task
    );
    let other = imagined_run(&FakeRun::default());
    let map = record_map(&built.owner, &accepted(&other), Some("17".into()));
    assert_eq!(
        (map.metadata.resource_version.as_deref(), map.immutable),
        (Some("17"), None)
    );
}
