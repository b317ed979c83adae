//! The runs: made one after another as fast as one client can, and watched from outside.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_tests::kubernetes::Namespace;
use scalequest_tests::kubernetes::simulated_run::{is, run};
use scalequest_tests::kubernetes::simulated_worker::SimulatedStore;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::measure::{first_jobs, unix_seconds};

/// How long all runs may take.
const TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// What was seen of all runs. Times in seconds, one a run, in the order in which they were made.
pub struct Made {
    pub stages: usize,
    pub seconds: f64,
    /// From the request that makes the run to the one for its first Job.
    pub to_asking: Vec<f64>,
    /// Until the API server has made that Job.
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

/// When something was first seen, in seconds since 1970, by name of the run.
type Seen = Arc<Mutex<BTreeMap<String, f64>>>;

/// Makes all runs and waits until they have ended. `audit`: the API server's log of the requests of `user`, the operator.
pub async fn make_runs(space: &Namespace, runs: usize, audit: &Path, user: &str) -> Made {
    let store = Arc::new(SimulatedStore::default());
    let _workers = space.simulate_workers(&store);
    let (pods, ended) = (Seen::default(), Seen::default());
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
    let mut applied = Vec::new();
    let begun = Instant::now();
    for index in 0..runs {
        let at = unix_seconds();
        let made = space.create::<SynthesisRun>(manifest(index)).await;
        applied.push((made.name_any(), at));
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
            begun.elapsed() < TIMEOUT,
            "{count} of {runs} runs have ended"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let pods = pods.lock().expect("no panic while locked").clone();
    let jobs = first_jobs(audit, user);
    let times = |of: &dyn Fn(&str, f64) -> f64| {
        let of_run = |(run, applied): &(String, f64)| of(run, *applied);
        applied.iter().map(of_run).collect::<Vec<f64>>()
    };
    let one = space
        .api::<SynthesisRun>()
        .get("run-0")
        .await
        .expect("a run");
    Made {
        stages: one.status.map_or(0, |status| status.stages.len()),
        seconds,
        to_asking: times(&|run, applied| jobs[run].asked - applied),
        to_job: times(&|run, applied| jobs[run].made - applied),
        to_pod: times(&|run, _| pods[run] - jobs[run].made),
        to_first_pod: times(&|run, applied| pods[run] - applied),
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
                    seen.entry(name).or_insert_with(unix_seconds);
                }
                futures::future::ready(())
            })
            .await;
    })
}
