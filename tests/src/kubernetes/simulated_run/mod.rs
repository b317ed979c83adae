//! A whole run on simulated pods, under an operator whose traffic goes through a proxy: API server and Job controller are real, only the
//! workers are not. A test disturbs it and compares what is left at the end with what an undisturbed one leaves.

mod end;

mod paused_worker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;
use serde_json::{Value, json};

use super::api_proxy::{ApiProxy, Treatment};
use super::operator_process::OperatorProcess;
use super::simulated::{Script, placement};
use super::simulated_worker::{FaultPlan, SimulatedStore};
use super::{Cluster, Namespace};
use crate::harness::processes::wait_until;
use end::strip;
pub use end::{End, place};

/// How long a run may take with many beside it on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// Name of the run.
pub const NAME: &str = "simulated";

/// Everything that the operator has made is labelled so.
const LABEL: &str = "app.kubernetes.io/managed-by=scalequest-operator";

/// A run with one generator, trained in both ways, on simulated nodes, one shard a stage.
pub fn run() -> Value {
    let stages = [
        "Qft",
        "Sample",
        "Rewrite",
        "Qpo",
        "Label",
        "TrainScorer",
        "Generate",
        "Filter",
        "Judge",
        "Score",
        "Respond",
        "Reward",
        "Verify",
        "Publish",
    ];
    let mut pods = placement();
    pods["name"] = "all".into();
    pods["stages"] = json!(stages);
    pods["parallelism"] = 4.into();
    json!({
        "apiVersion": "scalequest.dev/v1alpha1",
        "kind": "SynthesisRun",
        "metadata": {"name": NAME},
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
            "output": {"uri": "s3://datasets/simulated"},
            "pods": [pods],
        },
    })
}

/// The same with several shards of Rewrite, one pod at a time: this stage is cut before anything was measured, while how a wave is cut depends on
/// how long the pods of the one before lived.
pub fn run_in_pieces() -> Value {
    let mut run = run();
    let spec = &mut run["spec"];
    spec["generators"][0]["qft"] = json!({"epochs": 0});
    spec["generators"][0]["qpo"] = json!({"pairs": 200, "rewriter": "chat"});
    spec["pods"][0]["parallelism"] = 1.into();
    run
}

/// Installs CRD, service account and rights once, and gives the account's kubeconfig.
pub fn install(cluster: &'static Cluster) -> &'static Path {
    static ACCOUNT: OnceLock<PathBuf> = OnceLock::new();
    ACCOUNT.get_or_init(|| {
        cluster.simulated_nodes(4);
        install_account(cluster)
    })
}

/// Installs CRD, service account and rights, without an operator in the cluster, and gives the account's kubeconfig.
pub fn install_account(cluster: &Cluster) -> PathBuf {
    let values = json!({"replicas": 0, "fullnameOverride": "simulated"});
    cluster
        .install_chart("simulated", "simulated-system", &values)
        .exits_with(0);
    cluster.await_crd();
    let account = cluster.kubeconfig_of("simulated-system", "simulated");
    // For up to half a minute the API server refuses whatever names an owner of a kind that is new to it.
    wait_until("SynthesisRuns as owners", Duration::from_secs(120), || {
        cluster.block_on(can_own(&account)).then_some(())
    });
    account
}

/// Whether a SynthesisRun may be named as an owner. Asked anew a moment later where not.
async fn can_own(account: &Path) -> bool {
    let owned = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "owned", "ownerReferences": [{
            "apiVersion": SynthesisRun::api_version(&()), "kind": SynthesisRun::kind(&()),
            "name": "owner", "uid": "owner", "blockOwnerDeletion": true,
        }]},
    });
    let owned: ConfigMap = serde_json::from_value(owned).expect("a ConfigMap");
    let maps: Api<ConfigMap> = Api::namespaced(super::client::client(account).await, "default");
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let is_taken = maps.create(&dry_run, &owned).await.is_ok();
    if !is_taken {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    is_taken
}

/// A run with its operator, its workers and their store.
pub struct SimulatedRun {
    /// The namespace.
    pub space: Namespace,
    /// What the workers have made.
    pub store: Arc<SimulatedStore>,
    /// What is between operator and API server.
    pub proxy: ApiProxy,
    /// The operator.
    pub operator: OperatorProcess,
    _workers: Script,
}

impl SimulatedRun {
    /// Starts an operator in a namespace of its own; there is no run yet.
    pub async fn begin(
        cluster: &'static Cluster,
        purpose: &str,
        treatment: Treatment,
        fault_plan: FaultPlan,
    ) -> Self {
        let account = install(cluster);
        let space = cluster.namespace(purpose).await;
        Self::begin_in(space, account, treatment, fault_plan).await
    }

    /// The same in this namespace, with the rights of the user of `account`.
    pub async fn begin_in(
        space: Namespace,
        account: &Path,
        treatment: Treatment,
        fault_plan: FaultPlan,
    ) -> Self {
        let store = Arc::new(SimulatedStore::with(fault_plan));
        let workers = space.simulate_workers(&store);
        let proxy = ApiProxy::start_with(account, treatment).await;
        let operator = space.start_operator(&proxy.kubeconfig(space.cluster().directory()));
        SimulatedRun {
            space,
            store,
            proxy,
            operator,
            _workers: workers,
        }
    }

    /// Makes the run.
    pub async fn make(&self, manifest: Value) {
        self.space.create::<SynthesisRun>(manifest).await;
    }

    /// Changes the run, with all that the API server says where it refuses.
    pub async fn edit(&self, patch: Value) -> Result<SynthesisRun, String> {
        let runs = self.space.api::<SynthesisRun>();
        let edited = runs
            .patch(NAME, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        edited.map_err(|error| error.to_string())
    }

    /// Waits until the run is as wanted.
    pub async fn until(&self, is_wanted: impl Fn(&SynthesisRun) -> bool) -> SynthesisRun {
        let space = &self.space;
        space.wait_within(TIMEOUT, NAME, is_wanted).await
    }

    /// Waits until the run has ended, which is to be well, and nothing is written any more; what is left.
    pub async fn complete(&mut self) -> End {
        let ended = |run: &SynthesisRun| is(run, "Complete") || is(run, "Failed");
        let run = self.until(ended).await;
        let status = run.status.clone().unwrap_or_default();
        assert!(is(&run, "Complete"), "{:?}", status.conditions);
        self.operator.assert_runs();
        self.quiet().await;
        self.end().await
    }

    /// Waits until nothing is written any more.
    ///
    /// # Panics
    /// If an ended run is written to again and again.
    pub async fn quiet(&self) {
        let mut writes = self.proxy.writes();
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let now = self.proxy.writes();
            if now == writes {
                return;
            }
            writes = now;
        }
        panic!("an ended run is written to again and again");
    }

    /// The record.
    pub async fn record(&self) -> Option<Value> {
        let maps = self
            .space
            .api::<ConfigMap>()
            .list(&ListParams::default())
            .await
            .ok()?;
        let records = maps
            .items
            .iter()
            .filter_map(|map| map.data.as_ref()?.get("record.json"));
        let records: Vec<&String> = records.collect();
        assert!(records.len() <= 1, "a run has one record");
        serde_json::from_str(records.first()?).ok()
    }

    /// What is there now.
    pub async fn end(&self) -> End {
        let record = self.record().await.expect("a record");
        let mut jobs = BTreeMap::new();
        for job in self.jobs().await {
            *jobs.entry(place(&job)).or_insert(0) += 1;
        }
        let mut stages = record["stages"].clone();
        strip(&mut stages, &|name| {
            name.contains("Millis") || name.contains("Seconds")
        });
        End {
            stages,
            waves: record["waves"].clone(),
            publication: record["publication"]["digest"].clone(),
            jobs,
            made: self.store.asked().into_values().collect(),
        }
    }

    /// The Jobs.
    pub async fn jobs(&self) -> Vec<Job> {
        let jobs = self.space.api::<Job>().list(&labelled()).await;
        jobs.map(|list| list.items).unwrap_or_default()
    }

    /// The run's Job that has not ended, if one has not.
    pub async fn open_job(&self) -> Option<Job> {
        let is_open = |job: &Job| {
            let status = job.status.as_ref();
            let conditions = status.and_then(|status| status.conditions.as_ref());
            let ends = |kind: &str| matches!(kind, "Complete" | "Failed");
            conditions
                .into_iter()
                .flatten()
                .all(|each| !ends(&each.type_))
        };
        self.jobs().await.into_iter().find(is_open)
    }

    /// The pods that have not ended.
    pub async fn pods_at_work(&self) -> Vec<Pod> {
        let pods = self.space.api::<Pod>().list(&labelled()).await;
        let pods = pods.map(|list| list.items).unwrap_or_default();
        let is_over = |pod: &Pod| {
            let phase = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        pods.into_iter().filter(|pod| !is_over(pod)).collect()
    }

    /// Uids of everything that the operator has made.
    pub async fn owned_objects(&self) -> BTreeSet<String> {
        let maps = self.space.api::<ConfigMap>().list(&labelled()).await;
        let maps = maps.map(|list| list.items).unwrap_or_default();
        let jobs = self.jobs().await;
        let pods = self.space.api::<Pod>().list(&labelled()).await;
        let pods = pods.map(|list| list.items).unwrap_or_default();
        let uids = maps.iter().map(ResourceExt::uid);
        let uids = uids.chain(jobs.iter().map(ResourceExt::uid));
        uids.chain(pods.iter().map(ResourceExt::uid))
            .flatten()
            .collect()
    }
}

/// Whether a condition of a run holds.
pub fn is(run: &SynthesisRun, condition: &str) -> bool {
    let conditions = run.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|each| each.type_ == condition && each.status == "True")
}

/// Whether a condition of a run has this reason and speaks of this.
pub fn says(run: &SynthesisRun, reason: &str, words: &str) -> bool {
    let conditions = run.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|each| each.reason == reason && each.message.contains(words))
}

fn labelled() -> ListParams {
    ListParams::default().labels(LABEL)
}
