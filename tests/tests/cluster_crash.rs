//! The operator is killed after its n-th write, for every n of a whole run, and started again: each time the run ends with the same record and
//! the same Jobs, and no shard is made twice. API server and Job controller are real, the pods simulated. `make test-cluster` runs these
//! tests for every fourth write, `make test-cluster SCALEQUEST_CRASH_STEP=1` for every one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::ListParams;
use scalequest_crds::run::SynthesisRun;
use scalequest_tests::kubernetes::api_proxy::ApiProxy;
use scalequest_tests::kubernetes::simulated::placement;
use scalequest_tests::kubernetes::simulated_worker::SimulatedStore;
use scalequest_tests::kubernetes::{Cluster, Namespace};
use serde_json::{Value, json};

/// Runs at once.
const BESIDE: usize = 6;

/// How long a run may take with so many beside it.
const PATIENCE: Duration = Duration::from_secs(240);

/// A run with two generators, both trained, in one wave, on simulated nodes.
fn run() -> Value {
    let stages = [
        "Qft", "Sample", "Rewrite", "Qpo", "Label", "Scorer", "Generate", "Filter", "Judge",
        "Rate", "Respond", "Reward", "Verify", "Publish",
    ];
    let mut pods = placement();
    pods["name"] = "all".into();
    pods["stages"] = json!(stages);
    pods["parallelism"] = 4.into();
    json!({
        "apiVersion": "scalequest.dev/v1alpha1",
        "kind": "SynthesisRun",
        "metadata": {"name": "crash"},
        "spec": {
            "recipe": "MathSimple",
            "seed": 3,
            "target": {"examples": 8, "maxWaves": 4},
            "models": [{"name": "chat", "source": {"uri": "s3://models/chat"}}],
            "seedQuestions": [{"uri": "s3://data/seeds.jsonl"}],
            "generators": [{"name": "ada", "model": "chat", "qft": {"epochs": 1}, "qpo": {"pairs": 0}}],
            "filters": {"duplicates": {}},
            "responses": {"model": "chat"},
            "reward": {"model": "chat"},
            "workspace": {"uri": "s3://scratch/work"},
            "output": {"uri": "s3://datasets/crash"},
            "pods": [pods],
        },
    })
}

/// What is left at the end, without what depends on times, names of objects and the order of things.
#[derive(Debug, PartialEq)]
struct End {
    stages: Value,
    waves: Value,
    publication: Value,
    jobs: BTreeMap<String, usize>,
    asked: Vec<usize>,
}

async fn end(space: &Namespace, store: &SimulatedStore) -> End {
    let maps = space.api::<ConfigMap>().list(&ListParams::default()).await;
    let maps = maps.expect("ConfigMaps");
    let record = maps
        .items
        .iter()
        .find_map(|map| map.data.as_ref()?.get("record.json"))
        .expect("a record");
    let record: Value = serde_json::from_str(record).expect("JSON");
    let jobs = space.api::<Job>().list(&ListParams::default()).await;
    let mut made = BTreeMap::new();
    for job in jobs.expect("Jobs") {
        let label = |name: &str| job.labels().get(name).cloned().unwrap_or_default();
        let place = ["stage", "generator", "wave", "purpose", "round"]
            .map(|name| label(&format!("scalequest.dev/{name}")));
        *made.entry(place.join(" ")).or_insert(0) += 1;
    }
    let mut stages = record["stages"].clone();
    strip(&mut stages);
    End {
        stages,
        waves: record["waves"].clone(),
        publication: record["publication"]["digest"].clone(),
        jobs: made,
        asked: store.asked().into_values().collect(),
    }
}

/// Takes out what depends on how long things took.
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !name.contains("Millis") && !name.contains("Seconds"));
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Installs CRD, service account and rights, and gives the account's kubeconfig.
fn install(cluster: &Cluster) -> PathBuf {
    cluster.simulated_nodes(4);
    let values = json!({"replicas": 0, "fullnameOverride": "crash"});
    cluster
        .install_chart("crash", "crash-system", &values)
        .exits_with(0);
    cluster.await_crd();
    cluster.kubeconfig_of("crash-system", "crash")
}

/// Makes a whole run in a namespace of its own with an operator that is killed after its `n`-th write. Gives what is left, and
/// how often it wrote.
async fn crash_at(account: &Path, n: Option<u64>) -> (End, u64) {
    let cluster = Cluster::shared();
    let space = cluster.namespace("crash").await;
    let store = Arc::new(SimulatedStore::default());
    let _workers = space.simulate_workers(&store);
    let proxy = ApiProxy::start(account).await;
    if let Some(n) = n {
        proxy.cut_at(n);
    }
    let mut operator = space.start_operator(&proxy.kubeconfig(cluster.directory()));
    space.create::<SynthesisRun>(run()).await;
    if n.is_some() {
        let cut = tokio::time::timeout(PATIENCE, proxy.is_cut()).await;
        cut.unwrap_or_else(|_| panic!("no write {n:?} is made in {PATIENCE:?}"));
        operator.kill();
        proxy.open();
        operator.start_again();
    }
    let ended = |run: &SynthesisRun| {
        let conditions = run.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|each| {
            matches!(each.type_.as_str(), "Complete" | "Failed") && each.status == "True"
        })
    };
    let run = space
        .wait_within::<SynthesisRun>(PATIENCE, "crash", ended)
        .await;
    let status = run.status.expect("a status");
    let is_complete = |each: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        each.type_ == "Complete" && each.status == "True"
    };
    assert!(
        status.conditions.iter().any(|each| is_complete(&each)),
        "{n:?}: {:?}",
        status.conditions
    );
    operator.assert_runs();
    let writes = quiet(&proxy).await;
    (end(&space, &store).await, writes)
}

/// Waits until nothing is written any more, and gives the number of writes.
async fn quiet(proxy: &ApiProxy) -> u64 {
    let mut writes = proxy.writes();
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let now = proxy.writes();
        if now == writes {
            return writes;
        }
        writes = now;
    }
    panic!("an ended run is written to again and again");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn an_operator_killed_after_its_writes_changes_nothing_in_the_end() {
    let account = install(Cluster::shared());
    let (reference, writes) = crash_at(&account, None).await;
    assert!(writes > 10, "{writes}");
    assert!(reference.asked.iter().all(|asked| *asked == 1));
    eprintln!("an undisturbed run takes {writes} writes");

    let step = std::env::var("SCALEQUEST_CRASH_STEP").ok();
    let step: usize = step.and_then(|step| step.parse().ok()).unwrap_or(1);
    let moments = (1..=writes).step_by(step);
    let crashes = moments.map(|n| {
        let account = account.clone();
        async move {
            (
                n,
                tokio::spawn(async move { crash_at(&account, Some(n)).await }).await,
            )
        }
    });
    let mut crashes = futures::stream::iter(crashes).buffer_unordered(BESIDE);
    let mut wrong = Vec::new();
    while let Some((n, ended)) = crashes.next().await {
        match ended {
            Ok((end, _)) if end == reference => {}
            Ok((end, _)) => wrong.push(format!("write {n}: {end:#?}")),
            Err(error) => wrong.push(format!("write {n}: {error}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "expected {reference:#?}, got {}",
        wrong.join("\n")
    );
}
