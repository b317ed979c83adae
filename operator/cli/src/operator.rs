//! `scalequest operator`: reconciles the SynthesisRuns of a cluster.

use std::time::Duration;

use scalequest_controller::leader_election::LeaderElectionConfig;
use scalequest_controller::names::OPERATOR;
use scalequest_controller::run::{Options, run};
use scalequest_controller::settings::{Patience, Settings};
use scalequest_runner::shutdown::{Shutdown, listen, requested};
use tokio::runtime::Builder;

use super::arguments::OperatorArguments;
use super::{CommandError, runtime};

/// Reconciles runs until a shutdown is requested; there is nothing to print then.
pub fn operator(arguments: OperatorArguments) -> Result<String, CommandError> {
    let options = options(arguments)?;
    runtime(Builder::new_multi_thread())?.block_on(async {
        let mut shutdown = listen()?;
        let stop = async move { requested(&mut shutdown, Shutdown::Graceful).await };
        run(options, stop).await.map_err(CommandError::Failed)
    })?;
    Ok(String::new())
}

fn options(arguments: OperatorArguments) -> Result<Options, CommandError> {
    let OperatorArguments {
        worker_image,
        worker_gpu_image,
        worker_image_pull_policy,
        worker_image_pull_secrets,
        watch_namespaces,
        listen,
        leader_election,
        lease_name,
        lease_namespace,
        identity,
        job_ttl_seconds,
        shard_retries,
        patience,
        resync_seconds,
        concurrency,
    } = arguments;
    let given = |names: Vec<String>| -> Vec<String> {
        let names = names.into_iter().map(|name| name.trim().to_string());
        names.filter(|name| !name.is_empty()).collect()
    };
    let election = match (leader_election, lease_namespace) {
        (false, _) => None,
        (true, Some(namespace)) => Some(LeaderElectionConfig {
            lease: lease_name,
            namespace,
            identity: identity
                .or_else(|| std::env::var("HOSTNAME").ok())
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| OPERATOR.into()),
        }),
        (true, None) => {
            return Err(CommandError::input(
                "--lease-namespace",
                "is needed with leader election: name the operator's namespace (POD_NAMESPACE), or give --leader-election false",
            ));
        }
    };
    Ok(Options {
        settings: Settings {
            worker_image,
            worker_gpu_image: worker_gpu_image.filter(|image| !image.is_empty()),
            image_pull_policy: worker_image_pull_policy,
            image_pull_secrets: given(worker_image_pull_secrets),
            job_ttl_seconds,
            shard_retries,
            patience: Patience {
                scheduling: Duration::from_secs(patience.patience_scheduling_seconds),
                autoscaling: Duration::from_secs(patience.patience_autoscaling_seconds),
                image_pull: Duration::from_secs(patience.patience_image_pull_seconds),
                quota: Duration::from_secs(patience.patience_quota_seconds),
                queue: Duration::from_secs(patience.patience_queue_seconds),
            },
            resync_interval: Duration::from_secs(resync_seconds),
            ..Settings::default()
        },
        namespaces: given(watch_namespaces),
        listen,
        election,
        concurrency,
    })
}
