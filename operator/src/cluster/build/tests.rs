//! Every pod that can be built is restricted, every Job says what its worker's exit codes mean, and nothing is mounted that is not used.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use scalequest_crds::Stage;
use scalequest_crds::run::SynthesisRun;
use scalequest_crds::task::{ModelLocation, ModelServer, SERVER_URL, StageTask};

use super::Owner;
use super::job::{Common, inspection, stage};
use super::maps::{record_map, task_map, task_text};
use crate::cluster::names::{MAX_NAME, Purpose, TASK_ANNOTATION, Work};
use crate::cluster::settings::Settings;
use crate::parse::parse;
use crate::plan::simulation::{Imagined, accepted, run as imagined_run};
use crate::plan::{Observed, plan};
use crate::record::WorkerIdentity;
use crate::validate::{Environment, ValidRun, validate};

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
        let other = imagined_run(&Imagined::default());
        let mut task = plan(&other, &accepted(&other), &Observed::default(), 0).start[0].clone();
        task.stage = stage;
        task.workspace = self.run.workspace().into();
        let text = serde_json::to_string(&task).unwrap();
        serde_json::from_str(
            &text
                .replace("m.gguf", "/claims/models/qwen")
                .replace("seeds.jsonl", "/claims/seeds/seeds.jsonl"),
        )
        .unwrap()
    }

    fn job(&self, purpose: Purpose, of: Stage, among: Option<&BTreeSet<i64>>) -> Job {
        let task = self.task(of);
        let work = work(purpose, of);
        stage(self.common(), &work, &task, among)
    }

    fn all(&self) -> Vec<Job> {
        let mut jobs = vec![inspection(
            self.common(),
            &Work {
                purpose: Purpose::Inspect,
                stage: None,
                generator: None,
                wave: None,
                key: "k".into(),
                round: 0,
            },
        )];
        for of in Stage::ALL {
            for purpose in [Purpose::Seal, Purpose::Run, Purpose::GiveUp] {
                jobs.push(self.job(purpose, of, Some(&BTreeSet::from([1, 2]))));
            }
        }
        jobs
    }
}

fn work(purpose: Purpose, stage: Stage) -> Work {
    Work {
        purpose,
        stage: Some(stage),
        generator: Some("qwen".into()),
        wave: Some(2),
        key: "a".repeat(64),
        round: 1,
    }
}

fn pod(job: &Job) -> PodSpec {
    job.spec.clone().unwrap().template.spec.unwrap()
}

#[test]
fn every_pod_is_restricted_and_has_no_token() {
    for job in built(RUN).all().into_iter().chain(fetching(FETCHED).all()) {
        let pod = pod(&job);
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
        assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
        let context = pod.security_context.unwrap();
        assert_eq!(context.run_as_non_root, Some(true));
        assert!(context.run_as_user.is_some_and(|user| user > 0));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        assert_eq!(pod.containers.len(), 1);
        for container in pod.containers {
            let context = container.security_context.unwrap();
            assert_eq!(context.allow_privilege_escalation, Some(false));
            assert_eq!(context.read_only_root_filesystem, Some(true));
            assert_eq!(
                context.capabilities.unwrap().drop,
                Some(vec!["ALL".to_string()])
            );
            assert!(context.privileged.is_none());
            let writable: Vec<_> = container
                .volume_mounts
                .unwrap()
                .into_iter()
                .filter(|mount| mount.read_only != Some(true))
                .map(|mount| mount.mount_path)
                .collect();
            assert!(
                writable
                    .iter()
                    .all(|path| ["/tmp", "/claims/datasets", "/claims/cache"]
                        .contains(&path.as_str())),
                "{writable:?}"
            );
        }
        for volume in pod.volumes.unwrap() {
            assert!(volume.host_path.is_none() && volume.secret.is_none());
        }
    }
}

#[test]
fn every_job_tries_each_index_by_itself_and_is_owned() {
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
fn a_stage_gets_its_own_resources_and_small_work_gets_none_of_them() {
    let built = built(RUN);
    let trains = pod(&built.job(Purpose::Run, Stage::Qft, None));
    let container = &trains.containers[0];
    let limits = container.resources.clone().unwrap().limits.unwrap();
    assert_eq!(limits["nvidia.com/gpu"].0, "1");
    assert_eq!(container.image.as_deref(), Some("registry/worker-cuda:1"));
    assert_eq!(trains.node_selector.unwrap()["pool"], "gpu");
    let seals = pod(&built.job(Purpose::Seal, Stage::Qft, None));
    assert_eq!(
        seals.containers[0].image.as_deref(),
        Some("registry/worker@sha256:1")
    );
    assert!(
        seals.containers[0]
            .resources
            .clone()
            .unwrap()
            .limits
            .is_none()
            && seals.node_selector.is_none()
    );
    let job = built.job(Purpose::Run, Stage::Judge, Some(&(0..10).collect()));
    assert_eq!(job.spec.unwrap().parallelism, Some(3));
}

#[test]
fn claims_and_images_are_mounted_where_they_are_used() {
    let built = built(RUN);
    let mounts = |job: &Job| -> BTreeSet<String> {
        let mounts = pod(job).containers[0].volume_mounts.clone().unwrap();
        mounts
            .into_iter()
            .map(|mount| mount.mount_path)
            .filter(|path| path.starts_with("/claims") || path.starts_with("/images"))
            .collect()
    };
    let set = |paths: &[&str]| {
        paths
            .iter()
            .map(|path| path.to_string())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        mounts(&built.job(Purpose::Run, Stage::Qft, None)),
        set(&["/claims/models", "/claims/seeds"])
    );
    assert_eq!(
        mounts(&built.job(Purpose::Seal, Stage::Qft, None)),
        set(&[])
    );
    assert_eq!(
        mounts(&built.all()[0]),
        set(&[
            "/claims/datasets",
            "/claims/models",
            "/claims/seeds",
            "/images/judge"
        ])
    );
}

#[test]
fn stores_are_reached_by_reference() {
    let container = pod(&built(RUN).job(Purpose::Seal, Stage::Qft, None))
        .containers
        .remove(0);
    let env: Vec<(String, String)> = container
        .env
        .unwrap()
        .into_iter()
        .map(|each| (each.name, each.value.unwrap_or_default()))
        .collect();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", "http://minio:9000"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "eu"),
        ("SSL_CERT_FILE", "/etc/scalequest/ca/ca.crt"),
        ("TMPDIR", "/tmp"),
    ] {
        assert!(
            env.contains(&(name.to_string(), value.to_string())),
            "{name}: {env:?}"
        );
    }
    assert_eq!(
        container.env_from.unwrap()[0]
            .secret_ref
            .as_ref()
            .unwrap()
            .name,
        "s3"
    );
}

#[test]
fn a_worker_is_told_its_task_its_shards_and_where_to_report() {
    let built = built(RUN);
    let among = BTreeSet::from([3, 7, 8, 9]);
    let job = built.job(Purpose::Run, Stage::Judge, Some(&among));
    let arguments = pod(&job).containers[0].args.clone().unwrap();
    assert_eq!(
        arguments,
        [
            "run",
            "--task",
            "/etc/scalequest/task/task.json",
            "--among",
            "3,7-9",
            "--seal-last",
            "--progress-port",
            "8081",
            "--report",
            "/dev/termination-log"
        ]
    );
    assert_eq!(job.spec.unwrap().completions, Some(4));
    let gives_up = pod(&built.job(Purpose::GiveUp, Stage::Judge, Some(&among))).containers[0]
        .args
        .clone()
        .unwrap();
    assert!(gives_up.contains(&"--give-up".to_string()));
}

#[test]
fn a_task_travels_with_its_pods_unless_it_is_too_large_for_that() {
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
fn a_task_is_fixed_and_a_record_names_the_version_that_it_replaces() {
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
    let other = imagined_run(&Imagined::default());
    let map = record_map(&built.owner, &accepted(&other), Some("17".into()));
    assert_eq!(
        (map.metadata.resource_version.as_deref(), map.immutable),
        (Some("17"), None)
    );
}

#[test]
fn the_key_of_an_endpoint_is_given_by_reference_to_those_who_ask_it_and_to_nobody_else() {
    let secret =
        "openAI: {baseUrl: \"https://llm/v1\", model: m, apiKeySecret: {name: llm, key: token}}";
    let run = built(&RUN.replace(
        "source: {image: {reference: registry/judge:1}}",
        &format!("engine: {{type: OpenAI, {secret}}}"),
    ));
    let holders = |job: &Job| -> Vec<String> {
        let env = pod(job).containers[0].env.clone().unwrap();
        let from_secret = env.into_iter().filter_map(|variable| {
            let source = variable.value_from?.secret_key_ref?;
            Some(format!("{} {}/{}", variable.name, source.name, source.key))
        });
        from_secret.collect()
    };
    let expected = ["SCALEQUEST_API_KEY_JUDGE llm/token"];
    let mut asked = 0;
    for job in run.all() {
        let labels = job.metadata.labels.clone().unwrap();
        let [purpose, stage] =
            ["purpose", "stage"].map(|name| labels.get(&format!("scalequest.dev/{name}")).cloned());
        let asks = purpose.as_deref() == Some("inspect")
            || (purpose.as_deref() == Some("run") && stage.as_deref() == Some("judge"));
        assert_eq!(
            holders(&job),
            if asks { &expected[..] } else { &[] },
            "{labels:?}"
        );
        asked += usize::from(asks);
    }
    assert_eq!(asked, 2);
}

/// [`RUN`] with its judge served by a container beside the worker.
fn served() -> Built {
    let engine = "engine: {type: Server, server: {image: registry/vllm:1, command: [vllm, serve, \"{model}\", --port, \"{port}\"]}}";
    built(&RUN.replace(
        "source: {image: {reference: registry/judge:1}}",
        &format!("source: {{image: {{reference: registry/judge:1}}}}, {engine}"),
    ))
}

/// The Job of the judge's shards, whose model is served.
fn judged(built: &Built, purpose: Purpose) -> Job {
    let mut task = built.task(Stage::Judge);
    let server = built.run.spec().server_of(Stage::Judge, None).unwrap();
    let model = task.params.model_mut().unwrap();
    model.location = ModelLocation::Path("/images/judge".into());
    model.server = Some(ModelServer {
        command: server.command.clone(),
        image: server.image.clone(),
    });
    stage(built.common(), &work(purpose, Stage::Judge), &task, None)
}

#[test]
fn a_model_is_put_in_place_then_served_beside_the_worker_which_asks_for_it() {
    let built = served();
    let job = judged(&built, Purpose::Run);
    let pod = pod(&job);
    let [place, server] = &pod.init_containers.clone().unwrap()[..] else {
        panic!("{:?}", pod.init_containers);
    };
    let worker = &pod.containers[0];
    assert_eq!(place.image, worker.image);
    let arguments = place.args.clone().unwrap();
    assert_eq!(
        arguments[..5],
        [
            "place-model",
            "--task",
            "/etc/scalequest/task/task.json",
            "--at",
            "/served/model"
        ]
    );
    assert_eq!(server.restart_policy.as_deref(), Some("Always"));
    assert_eq!(
        server.command.clone().unwrap(),
        ["vllm", "serve", "/served/model", "--port", "8000"]
    );
    // The GPU is the server's, which sees the model and can change nothing of it.
    let gpus = |container: &Container| {
        let resources = container.resources.clone().unwrap_or_default();
        resources
            .limits
            .is_some_and(|limits| limits.contains_key("nvidia.com/gpu"))
    };
    assert!(gpus(server) && !gpus(worker) && !gpus(place));
    assert_eq!(worker.image.as_deref(), Some("registry/worker@sha256:1"));
    let mounts: Vec<(String, bool)> = server
        .volume_mounts
        .clone()
        .unwrap()
        .into_iter()
        .map(|mount| (mount.mount_path, mount.read_only == Some(true)))
        .collect();
    let mounted = |path: &str, read_only: bool| mounts.contains(&(path.into(), read_only));
    assert!(mounted("/images/judge", true) && mounted("/served", true) && mounted("/tmp", false));
    let writable: Vec<_> = mounts.iter().filter(|(_, read_only)| !read_only).collect();
    assert_eq!(writable.len(), 2, "{mounts:?}");
    assert!(!mounts.iter().any(|(path, _)| path.starts_with("/etc")));
    assert!(server.env_from.is_none());
    let url = |container: &Container| {
        let env = container.env.clone().unwrap();
        env.into_iter()
            .find(|each| each.name == SERVER_URL)
            .and_then(|each| each.value)
    };
    assert_eq!(url(worker).as_deref(), Some("http://127.0.0.1:8000/v1"));
    assert_eq!(url(place), None);
    for container in [place, server, worker] {
        let context = container.security_context.clone().unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(
            context.capabilities.unwrap().drop,
            Some(vec!["ALL".to_string()])
        );
    }
    // What the worker's program says by its exit code counts in both containers that run it.
    let rules = job.spec.unwrap().pod_failure_policy.unwrap().rules;
    let named: BTreeSet<String> = rules
        .into_iter()
        .filter_map(|rule| rule.on_exit_codes?.container_name)
        .collect();
    assert_eq!(
        named,
        BTreeSet::from(["model".to_string(), "worker".to_string()])
    );
}

#[test]
fn what_asks_no_model_has_no_server() {
    let built = served();
    for purpose in [Purpose::Seal, Purpose::GiveUp] {
        assert!(pod(&judged(&built, purpose)).init_containers.is_none());
    }
    assert!(pod(&built.all()[0]).init_containers.is_none());
}

/// A run whose judge is fetched from the hub and whose generator is trained from a model that is fetched from a store.
const FETCHED: &str = "modelCache: {claim: {name: cache, subPath: models}}\n  models:
  - {name: qwen, source: {uri: \"s3://models/qwen\"}}
  - {name: judge, source: {hub: {repo: org/judge, revision: 0123456789abcdef0123456789abcdef01234567, tokenSecret: {name: hub, key: token}}}}";

fn fetching(fetched: &str) -> Built {
    let (before, rest) = RUN.split_once("models:").unwrap();
    let (_, after) = rest.split_once("seedQuestions").unwrap();
    let stores = after.replace(
        "stores: [",
        "stores: [{prefix: \"hf://\", endpoint: \"https://mirror\"}, ",
    );
    built(&format!("{before}{fetched}\n  seedQuestions{stores}"))
}

/// The Job of `stage` for a model that lies at `location`.
fn job_of(built: &Built, of: Stage, location: ModelLocation) -> Job {
    let mut task = built.task(of);
    task.params.model_mut().unwrap().location = location;
    stage(built.common(), &work(Purpose::Run, of), &task, None)
}

/// Whether a Job's pods may write to the cache, where they find it, and which token they are given.
fn cache_of(job: &Job) -> (bool, Option<String>, Vec<String>) {
    let container = pod(job).containers.remove(0);
    let mounts = container.volume_mounts.unwrap();
    let mount = mounts
        .iter()
        .find(|mount| mount.mount_path == "/claims/cache");
    let env = container.env.unwrap();
    let tokens = env.iter().filter_map(|variable| {
        let source = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
        Some(format!("{} {}/{}", variable.name, source.name, source.key))
    });
    let place = env
        .iter()
        .find(|variable| variable.name == "SCALEQUEST_CACHE");
    (
        mount.is_some_and(|mount| mount.read_only.is_none()),
        place.and_then(|place| place.value.clone()),
        tokens.collect(),
    )
}

#[test]
fn the_cache_of_models_is_given_to_those_who_fetch_one_and_the_token_to_those_who_fetch_from_the_hub()
 {
    let run = fetching(FETCHED);
    let hub = ModelLocation::declared(&run.run.spec().models[1]).unwrap();
    let uri = ModelLocation::declared(&run.run.spec().models[0]).unwrap();
    let trained = ModelLocation::Trained {
        stage: Stage::Qft,
        key: "k".into(),
    };
    let place = Some("/claims/cache/models".to_string());
    let token = vec!["SCALEQUEST_HUB_TOKEN_JUDGE hub/token".to_string()];
    let none = (false, None, vec![]);
    assert_eq!(
        cache_of(&run.all()[0]),
        (true, place.clone(), token.clone())
    );
    assert_eq!(
        cache_of(&job_of(&run, Stage::Judge, hub.clone())),
        (true, place.clone(), token.clone())
    );
    assert_eq!(
        cache_of(&job_of(&run, Stage::Qft, uri.clone())),
        (true, place, vec![])
    );
    assert_eq!(cache_of(&job_of(&run, Stage::Qft, trained)), none);
    assert_eq!(cache_of(&run.job(Purpose::Seal, Stage::Judge, None)), none);
    // Without a cache every pod fetches to its scratch volume, and the token goes to the same ones.
    let run = fetching(FETCHED.split_once('\n').unwrap().1.trim_start());
    assert_eq!(
        cache_of(&job_of(&run, Stage::Judge, hub)),
        (false, None, token)
    );
    let pod = pod(&job_of(&run, Stage::Qft, uri));
    assert!(pod.volumes.unwrap().iter().all(|volume| {
        let claim = volume.persistent_volume_claim.as_ref();
        claim.is_none_or(|claim| claim.claim_name != "cache")
    }));
    let env = pod.containers[0].env.clone().unwrap();
    assert!(env.iter().any(|variable| variable.name == "HF_ENDPOINT"
        && variable.value.as_deref() == Some("https://mirror")));
}

#[test]
fn a_claim_that_holds_the_cache_is_read_only_for_who_reads_another_model_of_it() {
    let run = fetching(&FETCHED.replace(
        "uri: \"s3://models/qwen\"",
        "claim: {name: cache, subPath: qwen}",
    ));
    let read = ModelLocation::declared(&run.run.spec().models[0]).unwrap();
    let job = job_of(&run, Stage::Qft, read);
    let mounts = pod(&job).containers[0].volume_mounts.clone().unwrap();
    let mount = mounts
        .iter()
        .find(|mount| mount.mount_path == "/claims/cache")
        .unwrap();
    assert_eq!(mount.read_only, Some(true));
    assert_eq!(cache_of(&job), (false, None, vec![]));
}
