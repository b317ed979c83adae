//! Leader election by a Lease: of several replicas only the holder reconciles. If the lease is lost, or released at shutdown, another replica
//! takes over.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Duration of the lease in seconds, and how long before its end it is renewed.
const LEASE_SECONDS: (u64, u64) = (15, 10);

/// Timeout for releasing the lease at shutdown.
const RELEASE: Duration = Duration::from_secs(5);

/// Settings of the leader election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElectionConfig {
    /// Name of the lease.
    pub lease: String,
    /// Its namespace.
    pub namespace: String,
    /// Identity of this replica.
    pub identity: String,
}

/// Participation in the leader election.
pub struct LeaderElection {
    leads: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl LeaderElection {
    /// Joins the election.
    ///
    /// # Errors
    /// The lease cannot be read or created.
    pub async fn join(
        client: Client,
        election: &LeaderElectionConfig,
    ) -> Result<LeaderElection, LeaseManagerError> {
        let (duration, grace) = LEASE_SECONDS;
        let manager = LeaseManagerBuilder::new(client, &election.lease)
            .with_namespace(&election.namespace)
            .with_identity(&election.identity)
            .with_duration(duration)
            .with_grace(grace)
            .build()
            .await?;
        let (leads, task) = manager.watch().await;
        Ok(LeaderElection { leads, task })
    }

    /// Waits until this replica became the leader.
    pub async fn became_leader(&self) {
        // The sender lives as long as the task, which ends only when this value does.
        if self.leads.clone().wait_for(|leads| *leads).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the leadership is lost.
    pub async fn lost(&self) {
        let _ = self.leads.clone().wait_for(|leads| !*leads).await;
    }

    /// Releases the lease, so that another replica takes over at once.
    pub async fn release(self) {
        drop(self.leads);
        if tokio::time::timeout(RELEASE, self.task).await.is_err() {
            tracing::warn!("lease not released in time; it expires by itself");
        }
    }
}
