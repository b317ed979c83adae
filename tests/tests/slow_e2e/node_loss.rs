//! A node loses its power under a worker. Kubernetes does not replace the worker's pod before it is told that the node is out of service: the
//! run says so, and then ends with the bytes of a run on one machine. `make test-node-loss`; it takes some minutes, since that is how long
//! Kubernetes waits.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_tests::harness::dataset::published;
use scalequest_tests::harness::{TestEnv, TinyRun};
use scalequest_tests::kubernetes::namespace::eventually;
use scalequest_tests::kubernetes::simulated_run::{install_account, is, says};
use scalequest_tests::kubernetes::{Cluster, Namespace, Options, image};

/// How long Kubernetes, and then the run, may take.
const TIMEOUT: Duration = Duration::from_secs(900);

/// A worker that makes a shard, and its node.
async fn at_work(space: &Namespace, stage: &str) -> Option<(String, String)> {
    let selector = format!("scalequest.dev/stage={stage},scalequest.dev/purpose=run");
    let selected = ListParams::default().labels(&selector);
    let pods = space.api::<Pod>().list(&selected).await.ok()?;
    let pod = pods.items.into_iter().find(|pod| {
        let status = pod.status.as_ref();
        status.and_then(|status| status.phase.as_deref()) == Some("Running")
    })?;
    let node = pod.spec.as_ref()?.node_name.clone()?;
    Some((pod.name_any(), node))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make test-node-loss"]
async fn node_loss_moves_work_to_another_node() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(Options {
        api_server: vec![
            "--default-not-ready-toleration-seconds=3".into(),
            "--default-unreachable-toleration-seconds=3".into(),
        ],
        controller_manager: vec!["--node-monitor-grace-period=20s".into()],
    })));
    let account = install_account(cluster);
    cluster.real_nodes(2, image::product());
    let run = TinyRun::small("lost");
    let space = cluster.namespace("lost").await;
    let (manifest, store) = space.on_claims(&run).await;
    // Outside of the cluster, so that it is not on the node itself.
    let mut operator = space.start_operator(&account);
    space.create::<SynthesisRun>(manifest).await;
    let (pod, node) = eventually("a worker", || at_work(&space, "generate")).await;
    cluster.cut_power(&node);
    let begun = Instant::now();
    let taint = "node.kubernetes.io/out-of-service";
    let said = |run: &SynthesisRun| {
        says(run, reason::NODE_LOST, &pod)
            && says(
                run,
                reason::NODE_LOST,
                &format!("kubectl delete node {node}"),
            )
            && says(run, reason::NODE_LOST, taint)
    };
    let told = space
        .wait_within::<SynthesisRun>(TIMEOUT, "lost", said)
        .await;
    assert!(is(&told, "Degraded"));
    eprintln!("said after {:.0} s", begun.elapsed().as_secs_f64());
    let tainted = format!("{taint}=power:NoExecute");
    let arguments = ["taint", "node", &node, &tainted];
    cluster.kubectl(&arguments).exits_with(0);
    let ended = |run: &SynthesisRun| is(run, "Complete") || is(run, "Failed");
    let done = space
        .wait_within::<SynthesisRun>(TIMEOUT, "lost", ended)
        .await;
    assert!(
        is(&done, "Complete") && !is(&done, "Degraded"),
        "{:?}",
        done.status
    );
    eprintln!("complete after {:.0} s", begun.elapsed().as_secs_f64());
    operator.assert_runs();
    let reference = tokio::task::spawn_blocking(move || {
        let env = TestEnv::new();
        run.write(&env);
        env.run().exits_with(0);
        published(&env.path().join("dataset"))
    });
    let reference = reference.await.expect("the run on one machine");
    let made = published(&store.join("dataset"));
    assert_eq!(made.parquet, reference.parquet, "the Parquet files differ");
}
