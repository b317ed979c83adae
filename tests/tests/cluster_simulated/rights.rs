//! The chart's role is what the operator needs and no more: each of its verbs is used in a short run, nothing else is, and without any one
//! of them the API server refuses what the operator has to do.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::rbac::v1::Role;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};
use scalequest_tests::kubernetes::api_proxy::{ApiProxy, Asked, Call, Treatment};
use scalequest_tests::kubernetes::namespace::{eventually, eventually_within};
use scalequest_tests::kubernetes::simulated_run::{
    NAME, SimulatedRun, TIMEOUT, install, is, run, run_in_pieces, says,
};
use scalequest_tests::kubernetes::simulated_worker::{FaultPlan, PausedWorker};
use scalequest_tests::kubernetes::{Cluster, Namespace};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::SERVERS;
use crate::role::{Right, grant, rights};

/// An operator with these rights in a namespace of its own, and the workers that wait.
async fn with_rights(
    rights: &BTreeSet<&Right>,
) -> (SimulatedRun, mpsc::UnboundedReceiver<PausedWorker>) {
    let cluster = Cluster::shared();
    install(cluster);
    let space = cluster.namespace("rights").await;
    let user = format!("operator-of-{}", space.name());
    grant(&space, &user, rights).await;
    let (sender, paused) = mpsc::unbounded_channel();
    let fault_plan = FaultPlan {
        paused: Some(sender),
        ..FaultPlan::default()
    };
    let treatment = Treatment {
        user: Some(user),
        ..Treatment::default()
    };
    let simulated_run =
        SimulatedRun::begin_in(space, cluster.kubeconfig(), treatment, fault_plan).await;
    (simulated_run, paused)
}

/// Holds the run and lets it go on.
async fn hold_and_let_go(simulated_run: &SimulatedRun) {
    for suspend in [true, false] {
        let edited = simulated_run
            .edit(json!({"spec": {"suspend": suspend}}))
            .await;
        edited.expect("an edited run");
        simulated_run
            .until(|run| is(run, "Suspended") == suspend)
            .await;
    }
}

/// A run in which the operator does everything that it ever does. Each thing is done to the run while a worker waits, so that it does not
/// end before.
async fn whole_script(
    simulated_run: &SimulatedRun,
    mut paused: mpsc::UnboundedReceiver<PausedWorker>,
) {
    // A run whose pods find no node: whether one is added is asked of the events.
    let mut stuck = run();
    stuck["metadata"]["name"] = "stuck".into();
    stuck["spec"]["pods"][0]["nodeSelector"]["zone"] = "nowhere".into();
    simulated_run.make(stuck).await;
    simulated_run.make(short()).await;

    let is_resizable = |worker: &PausedWorker| worker.stage == Stage::Rewrite && worker.shards > 1;
    let waits = simulated_run
        .worker(
            &mut paused,
            "at one of several shards of Rewrite",
            is_resizable,
        )
        .await;
    let pods = simulated_run.until(|_| true).await.spec.pods;
    let mut pods = serde_json::to_value(pods).expect("JSON");
    pods[0]["parallelism"] = 2.into();
    let edited = simulated_run.edit(json!({"spec": {"pods": pods}})).await;
    edited.expect("an edited run");
    let name = waits.pod.rsplitn(3, '-').nth(2).unwrap_or_default();
    let has_two = |job: &Job| {
        let spec = job.spec.as_ref();
        spec.is_some_and(|spec| spec.parallelism == Some(2))
    };
    simulated_run
        .space
        .wait_within::<Job>(TIMEOUT, name, has_two)
        .await;

    // Twice, so that an event is told again: in this stage, and in the one that follows.
    hold_and_let_go(simulated_run).await;
    drop(waits);
    let waits = simulated_run
        .worker(&mut paused, "in the next stage", |_| true)
        .await;
    hold_and_let_go(simulated_run).await;
    drop(waits);
    // Closed alone, it would keep the workers that have been handed over since, and they would wait for ever.
    drop(paused);

    let runs = simulated_run.space.api::<SynthesisRun>();
    eventually_within(TIMEOUT, "the end of the run's time", || async {
        let there = runs.get_opt(NAME).await.ok()?;
        there.is_none().then_some(())
    })
    .await;
    let told = |run: &SynthesisRun| says(run, reason::SCHEDULING, "node affinity/selector");
    let space = &simulated_run.space;
    space
        .wait_within::<SynthesisRun>(TIMEOUT, "stuck", told)
        .await;
}

/// A run that is deleted when it has ended.
fn short() -> Value {
    let mut short = run_in_pieces();
    short["spec"]["ttlSecondsAfterFinished"] = 1.into();
    short
}

/// An operator that takes part in an election of this namespace.
async fn election(space: &Namespace, user: String) -> ApiProxy {
    let cluster = space.cluster();
    let treatment = Treatment {
        user: Some(user),
        ..Treatment::default()
    };
    let proxy = ApiProxy::start_with(cluster.kubeconfig(), treatment).await;
    let arguments = [
        "--watch-namespaces",
        space.name(),
        "--lease-name",
        "lease",
        "--lease-namespace",
        space.name(),
    ];
    let kubeconfig = proxy.kubeconfig(cluster.directory());
    let _operator = space.start_operator_with(&kubeconfig, &arguments);
    eventually("a lease that is taken, or a refusal", || async {
        let asked = proxy.asked();
        let is_refused = asked.values().any(|asked| asked.forbidden > 0);
        let takes = |(call, asked): (&Call, &Asked)| {
            call.verb == "patch" && call.resource == "leases" && asked.answered > 0
        };
        let is_taken = asked.iter().any(takes);
        (is_refused || is_taken).then_some(())
    })
    .await;
    proxy
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn every_right_is_used_and_none_missing() {
    let _servers = SERVERS.read().await;
    let all = rights(Cluster::shared());
    assert!(all.len() > 15, "{all:?}");
    let (simulated_run, paused) = with_rights(&all.iter().collect()).await;
    whole_script(&simulated_run, paused).await;
    let user = format!("operator-of-{}", simulated_run.space.name());
    let elected = election(&simulated_run.space, user).await;
    let mut asked = simulated_run.proxy.asked();
    asked.retain(|call, _| call.verb != "event");
    for (call, times) in elected.asked() {
        asked.entry(call).or_default().forbidden += times.forbidden;
    }
    asked.retain(|call, _| call.verb != "event");
    let forbidden: Vec<_> = asked
        .iter()
        .filter(|(_, asked)| asked.forbidden > 0)
        .collect();
    assert!(forbidden.is_empty(), "a right is missing: {forbidden:?}");
    let unused: Vec<_> = all
        .iter()
        .filter(|right| !asked.keys().any(|call| right.is_needed_for(call)))
        .collect();
    assert!(unused.is_empty(), "rights that nobody uses: {unused:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn each_missing_right_is_noticed() {
    let _servers = SERVERS.read().await;
    let all = rights(Cluster::shared());
    // All beside each other, each in a namespace of its own.
    let without = all.iter().map(async |right| {
        let (all, left_out) = (all.clone(), right.clone());
        let tried = tokio::spawn(async move { is_refused_without(&all, &left_out).await });
        tried.await.err().map(|error| format!("{right:?}: {error}"))
    });
    let not_refused: Vec<String> = join_all(without).await.into_iter().flatten().collect();
    assert!(
        not_refused.is_empty(),
        "without these nothing is refused:\n{}",
        not_refused.join("\n")
    );
}

/// Waits until the operator is refused what it needs `right` for.
async fn is_refused_without(all: &BTreeSet<Right>, right: &Right) {
    let granted: BTreeSet<&Right> = all.iter().filter(|other| *other != right).collect();
    let is_refused = |proxy: &ApiProxy| {
        let asked = proxy.asked();
        asked
            .iter()
            .any(|(call, asked)| asked.forbidden > 0 && right.is_needed_for(call))
    };
    if right.resource == "leases" {
        let space = Cluster::shared().namespace("rights").await;
        let user = format!("operator-of-{}", space.name());
        grant(&space, &user, &granted).await;
        let proxy = election(&space, user).await;
        assert!(is_refused(&proxy), "{:?}", proxy.asked());
        return;
    }
    let (simulated_run, paused) = with_rights(&granted).await;
    // The script ends, whatever happens: each of its waits has an end.
    let refused = async {
        while !is_refused(&simulated_run.proxy) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = refused => {}
        () = whole_script(&simulated_run, paused) => panic!("the run ends all the same: {:?}", simulated_run.proxy.asked()),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn forbidden_requests_are_reported_with_backoff() {
    let _servers = SERVERS.read().await;
    let all = rights(Cluster::shared());
    let is_creation = |right: &&Right| right.verb == "create" && right.resource == "jobs";
    let granted = all.iter().filter(|right| !is_creation(right)).collect();
    let (simulated_run, _held) = with_rights(&granted).await;
    simulated_run.make(run()).await;
    let refused =
        |run: &SynthesisRun| says(run, reason::API_REQUEST_REJECTED, "jobs.batch is forbidden");
    let told = simulated_run.until(refused).await;
    assert!(is(&told, "Degraded"));
    let asked = || {
        let asked = simulated_run.proxy.asked();
        let jobs = asked
            .iter()
            .filter(|(call, _)| call.verb == "create" && call.resource == "jobs");
        jobs.map(|(_, asked)| asked.forbidden).sum::<u64>()
    };
    let before = asked();
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Waiting twice as long each time, from half a second on, it asks 5 times in 10 seconds.
    assert!(asked() - before <= 6, "{} times", asked() - before);
    // Given the right, it goes on by itself.
    let everything: Vec<Value> = all.iter().map(Right::rule).collect();
    let roles = simulated_run.space.api::<Role>();
    let patch = kube::api::Patch::Merge(json!({"rules": everything}));
    let patched = roles.patch("operator", &Default::default(), &patch).await;
    patched.expect("a patched Role");
    simulated_run.until(|run| is(run, "Accepted")).await;
}
