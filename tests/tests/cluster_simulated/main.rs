//! Whole runs on simulated pods: the operator is killed, its traffic disturbed, its rights taken away, and everything is done to a run that
//! people, clusters and workers do, in every stage. Each time the run ends with the same dataset. `make test-cluster` runs these tests.

mod admission;

mod crash;

mod faults;

mod lifecycle;

mod limits;

mod node_loss;

mod outages;

mod rights;

mod role;

mod undecodable;

use scalequest_tests::kubernetes::Cluster;
use scalequest_tests::kubernetes::api_proxy::Treatment;
use scalequest_tests::kubernetes::simulated_run::{End, SimulatedRun, run};
use scalequest_tests::kubernetes::simulated_worker::FaultPlan;
use tokio::sync::{OnceCell, RwLock};

/// Held for reading by whoever needs an API server that stays, for writing by the test that kills it.
static SERVERS: RwLock<()> = RwLock::const_new(());

/// What an undisturbed run leaves.
async fn reference() -> &'static End {
    static REFERENCE: OnceCell<End> = OnceCell::const_new();
    let undisturbed = async || {
        let mut undisturbed = SimulatedRun::begin(
            Cluster::shared(),
            "reference",
            Treatment::default(),
            FaultPlan::default(),
        )
        .await;
        undisturbed.make(run()).await;
        let end = undisturbed.complete().await;
        assert!(end.made.iter().all(|times| *times == 1));
        let writes = undisturbed.proxy.writes();
        eprintln!("an undisturbed run takes {writes} writes");
        end
    };
    REFERENCE.get_or_init(undisturbed).await
}
