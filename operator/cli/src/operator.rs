//! `scalequest operator`: reconciles the SynthesisRuns of a cluster.

use std::time::Duration;

use scalequest_crds::protocol::exit_codes;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::CliError;
use super::arguments::{OperatorArguments, PullPolicy};
use super::runtime::{runtime, signal_error};
use scalequest_controller::leader_election::LeaderElectionConfig;
use scalequest_controller::names::OPERATOR;
use scalequest_controller::run::{Options, run};
use scalequest_controller::settings::Settings;

/// Reconciles runs until a shutdown is requested.
pub fn operator(arguments: OperatorArguments) -> Result<i32, CliError> {
    let options = options(arguments)?;
    let runtime = runtime(Builder::new_multi_thread())?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(signal_error)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signal_error)?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        run(options, stop).await.map_err(CliError::Failed)
    })?;
    Ok(exit_codes::run::DONE)
}

fn options(arguments: OperatorArguments) -> Result<Options, CliError> {
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
                .or_else(host_name)
                .unwrap_or_else(|| OPERATOR.into()),
        }),
        (true, None) => {
            return Err(CliError::input(
                "--lease-namespace",
                "is needed with leader election: name the operator's namespace (POD_NAMESPACE), or give --leader-election false",
            ));
        }
    };
    let image_pull_policy = match worker_image_pull_policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    };
    Ok(Options {
        settings: Settings {
            worker_image,
            worker_gpu_image: worker_gpu_image.filter(|image| !image.is_empty()),
            image_pull_policy: image_pull_policy.into(),
            image_pull_secrets: given(worker_image_pull_secrets),
            job_ttl_seconds,
            shard_retries,
            resync_interval: Duration::from_secs(resync_seconds),
            ..Settings::default()
        },
        namespaces: given(watch_namespaces),
        listen,
        election,
        concurrency,
    })
}

fn host_name() -> Option<String> {
    std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty())
}
