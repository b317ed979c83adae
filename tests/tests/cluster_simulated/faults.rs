//! What goes wrong between operator and API server: refused and unanswered requests, events that are dropped, doubled and late, servers that
//! are killed, and a second operator that knows nothing of the first. Seeded: `SCALEQUEST_FAULT_SEEDS` says how many seeds are tried.

use std::collections::BTreeMap;

use futures::StreamExt;
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::v1alpha1::Stage;
use scalequest_tests::kubernetes::Cluster;
use scalequest_tests::kubernetes::api_proxy::{ApiProxy, Faults, Treatment};
use scalequest_tests::kubernetes::simulated_run::{End, SimulatedRun, install, run};
use scalequest_tests::kubernetes::simulated_worker::{Failure, FaultPlan};

use crate::{SERVERS, reference};

/// Runs at once.
const BESIDE: usize = 4;

/// A whole run under these faults, and how often what went wrong.
async fn disturbed(faults: Faults) -> (End, BTreeMap<&'static str, u64>) {
    let treatment = Treatment {
        faults,
        ..Treatment::default()
    };
    let cluster = Cluster::shared();
    let mut disturbed =
        SimulatedRun::begin(cluster, "faults", treatment, FaultPlan::default()).await;
    disturbed.make(run()).await;
    let end = disturbed.complete().await;
    (end, disturbed.proxy.disturbed())
}

/// Tries every seed of these faults, and gives how often what went wrong.
async fn with_seeds(faults: Faults) -> BTreeMap<&'static str, u64> {
    let _servers = SERVERS.read().await;
    let reference = reference().await;
    let seeds = std::env::var("SCALEQUEST_FAULT_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(8);
    let plans = (0..seeds).map(|seed| Faults { seed, ..faults });
    let runs = plans.map(async |plan| (plan, tokio::spawn(disturbed(plan)).await));
    let mut runs = futures::stream::iter(runs).buffer_unordered(BESIDE);
    let mut all = BTreeMap::new();
    while let Some((plan, ended)) = runs.next().await {
        let (end, counts) = ended.unwrap_or_else(|error| panic!("{plan:?}: {error}"));
        assert_eq!(&end, reference, "{plan:?} {counts:?}");
        for (what, times) in counts {
            *all.entry(what).or_default() += times;
        }
    }
    eprintln!("{all:?}");
    all
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn failed_requests_change_no_result() {
    let faults = Faults {
        writes: 25,
        reads: 25,
        ..Faults::default()
    };
    let counts = with_seeds(faults).await;
    for what in [
        "answered 409",
        "answered 429",
        "answered 500",
        "answer lost",
    ] {
        assert!(counts.contains_key(what), "{what}: {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn lost_and_late_events_change_no_result() {
    let faults = Faults {
        events: 25,
        ..Faults::default()
    };
    let counts = with_seeds(faults).await;
    for what in [
        "event dropped",
        "event doubled",
        "event late",
        "watch ended",
        "watch too old",
    ] {
        assert!(counts.contains_key(what), "{what}: {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn two_operators_make_one_run() {
    let _servers = SERVERS.read().await;
    let reference = reference().await;
    let cluster = Cluster::shared();
    let treatment = Treatment::default();
    // A stage is blocked meanwhile, and both probe it.
    let failures = [Stage::Rewrite, Stage::Respond];
    let fault_plan = FaultPlan {
        failures: failures
            .map(|stage| (stage, Failure::Reports(Cause::DiskFull)))
            .into(),
        ..FaultPlan::default()
    };
    let mut both = SimulatedRun::begin(cluster, "two", treatment, fault_plan).await;
    let proxy = ApiProxy::start(install(cluster)).await;
    let mut second = both
        .space
        .start_operator(&proxy.kubeconfig(cluster.directory()));
    both.make(run()).await;
    let end = both.complete().await;
    assert_eq!(end.outcome(), reference.outcome());
    assert!(end.made_once(), "{:?}", end.made);
    second.assert_runs();
    assert!(
        both.proxy.writes() > 0 && proxy.writes() > 0,
        "both have acted"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn api_server_restart_changes_no_result() {
    let reference = reference().await;
    let _servers = SERVERS.write().await;
    let cluster = Cluster::shared();
    let (treatment, fault_plan) = (Treatment::default(), FaultPlan::default());
    let mut run_on = SimulatedRun::begin(cluster, "killed", treatment, fault_plan).await;
    run_on.make(run()).await;
    for writes in [4, 12] {
        run_on.proxy.has_written(writes).await;
        cluster.control_plane().api_server.kill();
        cluster.control_plane().api_server.start_again();
        cluster.wait_until_ready();
    }
    assert_eq!(&run_on.complete().await, reference);
}
