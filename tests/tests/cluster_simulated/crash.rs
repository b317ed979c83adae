//! The operator is killed after its n-th write, for every n of a whole run, and started again. `make test-cluster` does so for every
//! third write, `make test-cluster SCALEQUEST_CRASH_STEP=1` for every one.

use futures::StreamExt;
use scalequest_tests::kubernetes::Cluster;
use scalequest_tests::kubernetes::api_proxy::Treatment;
use scalequest_tests::kubernetes::simulated_run::{End, SimulatedRun, TIMEOUT, run};
use scalequest_tests::kubernetes::simulated_worker::FaultPlan;

use crate::{SERVERS, reference};

/// Runs at once.
const BESIDE: usize = 6;

/// A whole run with an operator that is killed after its `n`-th write; none where it makes fewer.
async fn crash_at(n: u64) -> Option<End> {
    let (treatment, fault_plan) = (Treatment::default(), FaultPlan::default());
    let mut crashed = SimulatedRun::begin(Cluster::shared(), "crash", treatment, fault_plan).await;
    crashed.proxy.cut_at(n);
    crashed.make(run()).await;
    let cut = tokio::time::timeout(TIMEOUT, crashed.proxy.is_cut()).await;
    cut.ok()?;
    crashed.operator.kill();
    crashed.proxy.open();
    crashed.operator.start_again();
    Some(crashed.complete().await)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn operator_crashes_change_no_result() {
    let _servers = SERVERS.read().await;
    let reference = reference().await;
    let (treatment, fault_plan) = (Treatment::default(), FaultPlan::default());
    let mut whole = SimulatedRun::begin(Cluster::shared(), "whole", treatment, fault_plan).await;
    whole.make(run()).await;
    assert_eq!(&whole.complete().await, reference);
    let writes = whole.proxy.writes();
    assert!(writes > 10, "{writes}");

    let step = std::env::var("SCALEQUEST_CRASH_STEP").ok();
    let step: usize = step.and_then(|step| step.parse().ok()).unwrap_or(1);
    // How many writes a run takes depends on how the looks fall: the last few are not always made.
    let moments = (1..=writes - 3).step_by(step);
    let crashes = moments.map(async |n| (n, tokio::spawn(crash_at(n)).await));
    let mut crashes = futures::stream::iter(crashes).buffer_unordered(BESIDE);
    let mut wrong = Vec::new();
    while let Some((n, ended)) = crashes.next().await {
        match ended {
            Ok(Some(end)) if end == *reference => {}
            Ok(Some(end)) => wrong.push(format!("write {n}: {end:#?}")),
            Ok(None) => wrong.push(format!("write {n} is not made in {TIMEOUT:?}")),
            Err(error) => wrong.push(format!("write {n}: {error}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "expected {reference:#?}, got {}",
        wrong.join("\n")
    );
}
