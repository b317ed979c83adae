//! The runs: made one after another as fast as one client can, and watched from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use scalequest_crds::run::SynthesisRun;
use scalequest_tests::kubernetes::Namespace;
use scalequest_tests::kubernetes::rehearsal::{is, run};
use scalequest_tests::kubernetes::simulated_worker::SimulatedStore;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// How long all runs may take.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// What was seen of all runs. Times in seconds, one a run.
pub struct Made {
    pub stages: usize,
    pub seconds: f64,
    pub to_job: Vec<f64>,
    pub to_pod: Vec<f64>,
    pub to_first_pod: Vec<f64>,
}

/// A run of eight stages, Qft, Generate, Filter, Judge, Respond, Reward, Verify and Publish, in one wave.
fn manifest(index: usize) -> Value {
    let mut manifest = run();
    manifest["metadata"]["name"] = format!("run-{index}").into();
    let spec = &mut manifest["spec"];
    spec["filters"] = json!({"duplicates": {}, "solvability": {}});
    spec["target"]["examples"] = 4.into();
    spec["verification"] = json!({});
    spec["seed"] = index.into();
    spec["workspace"]["uri"] = format!("s3://scratch/{index}").into();
    spec["output"]["uri"] = format!("s3://datasets/{index}").into();
    manifest
}

/// When something was first seen, by name of the run.
type Seen = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Makes all runs and waits until they have ended.
pub async fn make_runs(space: &Namespace, runs: usize) -> Made {
    let store = Arc::new(SimulatedStore::default());
    let _workers = space.simulate_workers(&store);
    let (jobs, pods, ended) = (Seen::default(), Seen::default(), Seen::default());
    let _jobs = note::<Job>(space, &jobs, |_| true);
    let _pods = note::<Pod>(space, &pods, |_| true);
    let _ended = note::<SynthesisRun>(space, &ended, |run| is(run, "Complete"));
    // The API server takes two seconds for the first object of a kind. One that is somebody else's is none of the operator's.
    let mut first = manifest(runs);
    first["spec"]["managedBy"] = "example.org/nobody".into();
    let first = space.create::<SynthesisRun>(first).await.name_any();
    let all = space.api::<SynthesisRun>();
    all.delete(&first, &DeleteParams::default())
        .await
        .expect("it is deleted");
    let mut applied = BTreeMap::new();
    let begun = Instant::now();
    for index in 0..runs {
        let at = Instant::now();
        let made = space.create::<SynthesisRun>(manifest(index)).await;
        applied.insert(made.name_any(), at);
    }
    eprintln!("{runs} runs made in {:.1} s", begun.elapsed().as_secs_f64());
    let mut told = Instant::now();
    loop {
        let count = ended.lock().expect("no panic while locked").len();
        if count >= runs {
            break;
        }
        if told.elapsed() > Duration::from_secs(15) {
            told = Instant::now();
            eprintln!(
                "{count} of {runs} have ended after {:.0} s",
                begun.elapsed().as_secs_f64()
            );
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{count} of {runs} runs have ended"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let of = |seen: &Seen| seen.lock().expect("no panic while locked").clone();
    let (jobs, pods) = (of(&jobs), of(&pods));
    let between = |from: &BTreeMap<String, Instant>, to: &BTreeMap<String, Instant>| {
        let times = from
            .iter()
            .map(|(run, from)| (to[run] - *from).as_secs_f64());
        times.collect()
    };
    let one = space
        .api::<SynthesisRun>()
        .get("run-0")
        .await
        .expect("a run");
    Made {
        stages: one.status.map_or(0, |status| status.stages.len()),
        seconds,
        to_job: between(&applied, &jobs),
        to_pod: between(&jobs, &pods),
        to_first_pod: between(&applied, &pods),
    }
}

/// Notes when each run's first object that is as wanted was seen.
fn note<K>(space: &Namespace, seen: &Seen, is_wanted: fn(&K) -> bool) -> JoinHandle<()>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<K> = Api::namespaced(space.client(), space.name());
    let seen = Arc::clone(seen);
    tokio::spawn(async move {
        let events = watcher(api, watcher::Config::default()).default_backoff();
        let objects = events.applied_objects().into_stream();
        objects
            .for_each(|object| {
                if let Some(object) = object.ok().filter(&is_wanted) {
                    let label = object.labels().get("scalequest.dev/run").cloned();
                    let name = label.unwrap_or_else(|| object.name_any());
                    let mut seen = seen.lock().expect("no panic while locked");
                    seen.entry(name).or_insert_with(Instant::now);
                }
                futures::future::ready(())
            })
            .await;
    })
}
