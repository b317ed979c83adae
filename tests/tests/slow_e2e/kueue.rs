//! A run in a queue of a real Kueue: admitted, evicted by a higher priority and admitted again, waiting for quota, held and let go by the user in
//! each of these states, and with Kueue away for a while. It ends with the dataset of a run without a queue. `make test-kueue`.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::DeleteParams;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};
use scalequest_tests::kubernetes::api_proxy::Treatment;
use scalequest_tests::kubernetes::kueue::{Kueue, QUEUE};
use scalequest_tests::kubernetes::namespace::eventually;
use scalequest_tests::kubernetes::simulated_run::{SimulatedRun, is, run, says};
use scalequest_tests::kubernetes::simulated_worker::{FaultPlan, PausedWorker};
use scalequest_tests::kubernetes::{Cluster, Options};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The run, in the queue where it is told to be.
fn queued(queue: Option<&str>) -> Value {
    let mut manifest = run();
    let spec = &mut manifest["spec"];
    spec["pods"][0]["resources"] = json!({"requests": {"cpu": 1, "memory": "1Gi"}});
    if let Some(queue) = queue {
        spec["queueName"] = queue.into();
    }
    manifest
}

/// Holds the run until it has no Job, and lets it go.
async fn hold_and_let_go(run: &SimulatedRun) {
    let hold = json!({"spec": {"suspend": true}});
    run.edit(hold).await.expect("a run that is held");
    run.until(|run| is(run, "Suspended")).await;
    eventually("no Job at work", || async {
        run.pods_at_work().await.is_empty().then_some(())?;
        run.open_job().await.is_none().then_some(())
    })
    .await;
    let go = json!({"spec": {"suspend": false}});
    run.edit(go).await.expect("a run that goes on");
}

fn is_suspended(job: &Job) -> bool {
    job.spec
        .as_ref()
        .is_some_and(|spec| spec.suspend == Some(true))
}

async fn waits_in_the_queue(run: &SimulatedRun) -> Job {
    eventually("a Job that waits in the queue", || async {
        let job = run.open_job().await?;
        (is_suspended(&job) && run.pods_at_work().await.is_empty()).then_some(job)
    })
    .await
}

async fn worker_at(
    run: &SimulatedRun,
    paused: &mut mpsc::UnboundedReceiver<PausedWorker>,
    stage: Stage,
) -> PausedWorker {
    let what = format!("at {stage}");
    run.worker(paused, &what, |worker| worker.stage == stage)
        .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kueue: make test-kueue"]
async fn kueue_queue_changes_no_result() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(Options::default())));
    cluster.simulated_nodes(2);
    let mut free =
        SimulatedRun::begin(cluster, "free", Treatment::default(), FaultPlan::default()).await;
    free.make(queued(None)).await;
    let reference = free.complete().await;

    let mut kueue = Kueue::start(cluster);
    let (sender, mut paused) = mpsc::unbounded_channel();
    let fault_plan = FaultPlan {
        paused: Some(sender),
        ..FaultPlan::default()
    };
    let mut run = SimulatedRun::begin(cluster, "queued", Treatment::default(), fault_plan).await;
    kueue.queue(&run.space, 2);
    run.make(queued(Some(QUEUE))).await;

    // Admitted.
    let worker = worker_at(&run, &mut paused, Stage::Qft).await;
    let job = run.open_job().await.expect("a Job at work");
    assert_eq!(job.labels()["kueue.x-k8s.io/queue-name"], QUEUE);
    assert!(!is_suspended(&job));
    hold_and_let_go(&run).await;
    drop(worker);
    eprintln!("admitted, held and let go");

    // Evicted by a higher priority, held and let go meanwhile, and admitted again.
    let worker = worker_at(&run, &mut paused, Stage::Generate).await;
    let urgent = run.space.create::<Job>(urgent()).await.name_any();
    let evicted = waits_in_the_queue(&run).await;
    hold_and_let_go(&run).await;
    let again = waits_in_the_queue(&run).await;
    assert_ne!(again.uid(), evicted.uid(), "held, its Job is deleted");
    drop(worker);
    let jobs = run.space.api::<Job>();
    let deleted = jobs.delete(&urgent, &DeleteParams::background()).await;
    deleted.expect("a deleted Job");
    eprintln!("evicted, held and let go, admitted again");

    // Waiting for quota.
    let worker = worker_at(&run, &mut paused, Stage::Filter).await;
    kueue.hold(true);
    drop(worker);
    let waiting = waits_in_the_queue(&run).await;
    let told = |run: &SynthesisRun| says(run, reason::QUEUE, "waits for queue");
    run.until(told).await;
    hold_and_let_go(&run).await;
    let again = waits_in_the_queue(&run).await;
    assert_ne!(again.uid(), waiting.uid());
    kueue.hold(false);
    eprintln!("waiting for quota, held and let go");

    // Kueue is away: no Job can be made, which is said; and back.
    let worker = worker_at(&run, &mut paused, Stage::Respond).await;
    kueue.kill();
    drop(worker);
    let said = |run: &SynthesisRun| says(run, reason::API_REQUEST_REJECTED, "mjob.kb.io");
    run.until(said).await;
    hold_and_let_go(&run).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    kueue.start_again();
    drop(paused);
    eprintln!("Kueue away, and back");

    let end = run.complete().await;
    assert_eq!(end.until_publication(), reference.until_publication());
    assert!(end.made_once(), "{:?}", end.made);
    let patches = run.proxy.asked();
    let patches = patches
        .keys()
        .filter(|call| call.verb == "patch" && call.resource == "jobs");
    assert_eq!(patches.count(), 0, "a queued Job is not touched");
}

/// A Job of somebody else's that takes the whole quota.
fn urgent() -> Value {
    let placed = scalequest_tests::kubernetes::simulated::placement();
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "urgent", "labels": {
            "kueue.x-k8s.io/queue-name": QUEUE, "kueue.x-k8s.io/priority-class": "high",
        }},
        "spec": {"suspend": true, "template": {"spec": {
            "restartPolicy": "Never", "nodeSelector": placed["nodeSelector"], "tolerations": placed["tolerations"],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "urgent", "image": "urgent", "resources": {"requests": {"cpu": 2, "memory": "1Gi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        }}},
    })
}
