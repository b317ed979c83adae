//! Of several operators one acts: the holder of a lease. Where it is lost, or given up at the end, another one goes on.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Seconds for which a lease holds, and before its end when it is renewed.
const LEASE_SECONDS: (u64, u64) = (15, 10);

/// Time for giving the lease up at the end.
const RELEASE: Duration = Duration::from_secs(5);

/// How the lease is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// Name of the lease.
    pub lease: String,
    /// Its namespace.
    pub namespace: String,
    /// Who this operator is.
    pub identity: String,
}

/// A part in the election.
pub struct Leadership {
    leads: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Leadership {
    /// Takes part in the election.
    ///
    /// # Errors
    /// The lease cannot be read or made.
    pub async fn stand(
        client: Client,
        election: &Election,
    ) -> Result<Leadership, LeaseManagerError> {
        let (duration, grace) = LEASE_SECONDS;
        let manager = LeaseManagerBuilder::new(client, &election.lease)
            .with_namespace(&election.namespace)
            .with_identity(&election.identity)
            .with_duration(duration)
            .with_grace(grace)
            .build()
            .await?;
        let (leads, task) = manager.watch().await;
        Ok(Leadership { leads, task })
    }

    /// Waits until this operator leads.
    pub async fn won(&mut self) {
        // The sender lives as long as the task, which ends only when this value does.
        if self.leads.wait_for(|leads| *leads).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this operator does not lead any more.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut leads = self.leads.clone();
        async move {
            let _ = leads.wait_for(|leads| !*leads).await;
        }
    }

    /// Gives the lease up, so that another operator goes on at once.
    pub async fn give_up(self) {
        drop(self.leads);
        if tokio::time::timeout(RELEASE, self.task).await.is_err() {
            tracing::warn!("the lease could not be given up in time; it ends by itself");
        }
    }
}
