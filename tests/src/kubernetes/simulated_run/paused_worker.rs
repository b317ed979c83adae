//! Waiting for a worker that is paused at a certain place of the run.

use scalequest_crds::v1alpha1::SynthesisRun;
use tokio::sync::mpsc;

use super::{NAME, SimulatedRun, TIMEOUT};
use crate::kubernetes::simulated_worker::PausedWorker;

impl SimulatedRun {
    /// The next worker that waits and is as wanted; whoever else waits goes on.
    ///
    /// # Panics
    /// If none comes in time, with what the run says.
    pub async fn worker(
        &self,
        paused: &mut mpsc::UnboundedReceiver<PausedWorker>,
        what: &str,
        is_wanted: impl Fn(&PausedWorker) -> bool,
    ) -> PausedWorker {
        let wanted = async {
            while let Some(worker) = paused.recv().await {
                if is_wanted(&worker) {
                    return worker;
                }
            }
            panic!("there are no workers any more, and none was {what}")
        };
        match tokio::time::timeout(TIMEOUT, wanted).await {
            Ok(worker) => worker,
            Err(_) => {
                let run = self.space.api::<SynthesisRun>().get_opt(NAME).await;
                let run = run.ok().flatten().and_then(|run| run.status);
                let conditions = run.map(|status| status.conditions);
                panic!("no worker was {what} within {TIMEOUT:?}; the run: {conditions:?}")
            }
        }
    }
}
