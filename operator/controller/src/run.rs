//! Runs the controller: leader election, watches until shutdown, graceful stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use kube::Client;
use kube::api::ListParams;
use kube::runtime::events::{Recorder, Reporter};
use scalequest_crds::v1alpha1::SynthesisRun;

use super::clock::now_millis;
use super::context::Context;
use super::controller::run_controller;
use super::leader_election::{LeaderElection, LeaderElectionConfig};
use super::metrics::Metrics;
use super::names::OPERATOR;
use super::observe::Caches;
use super::observe::progress::progress_client;
use super::serve::{Ready, serve};
use super::settings::Settings;

/// Time between two checks for the CustomResourceDefinition.
const CRD_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Timeout for active reconciles at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// Options of the controller.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings for all runs.
    pub settings: Settings,
    /// The watched namespaces; all if empty.
    pub namespaces: Vec<String>,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// Leader election, `None` if this is the only replica.
    pub election: Option<LeaderElectionConfig>,
    /// Maximum number of concurrent reconciles.
    pub concurrency: u16,
}

/// Reconciles runs until `stop`.
///
/// # Errors
/// Why the controller cannot start or continue, for display.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    let client = Client::try_default()
        .await
        .map_err(|error| format!("no cluster is configured: {error}; set KUBECONFIG, or run in a pod with a service account"))?;
    let metrics = Metrics::new().map_err(|error| format!("cannot register metrics: {error}"))?;
    let metrics = Arc::new(metrics);
    let ready = Ready::new(AtomicBool::new(options.election.is_some()));
    serve(options.listen, metrics.clone(), ready.clone())
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let stop = stop.shared();

    let mut leadership = None;
    if let Some(election) = &options.election {
        let LeaderElectionConfig {
            lease, namespace, ..
        } = election;
        let joined = LeaderElection::join(client.clone(), election).await.map_err(|error| {
            format!("cannot join the leader election for lease {namespace}/{lease}: {error}; may the operator get, create and patch leases there?")
        })?;
        tracing::info!("waiting for the leader election");
        tokio::select! {
            () = joined.became_leader() => {}
            () = stop.clone() => return Ok(()),
        }
        leadership = Some(joined);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?options.namespaces, "controller started");
    metrics.set_leader(true);
    let contexts = contexts(&client, &options, &metrics)?;
    let is_served = tokio::select! {
        () = wait_for_crd(&contexts[0]) => true,
        () = stop.clone() => false,
    };
    let was_lost =
        is_served && watch_all(&contexts, &options, &ready, stop, leadership.as_ref()).await;
    metrics.set_leader(false);
    if let Some(leadership) = leadership {
        leadership.release().await;
    }
    match was_lost {
        true => Err("lost the leader election: another replica reconciles the runs".into()),
        false => Ok(()),
    }
}

/// Runs the controllers until shutdown. Returns whether the leadership was lost.
async fn watch_all(
    contexts: &[Arc<Context>],
    options: &Options,
    ready: &Ready,
    mut stop: impl Future<Output = ()> + Clone + Send + Unpin + 'static,
    leadership: Option<&LeaderElection>,
) -> bool {
    let controllers = contexts
        .iter()
        .map(|context| run_controller(context.clone(), options.concurrency, stop.clone()));
    let mut controllers = pin!(join_all(controllers));
    let lost = async {
        match leadership {
            Some(leadership) => leadership.lost().await,
            None => std::future::pending().await,
        }
    };
    let mut lost = pin!(lost);
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let was_lost = loop {
        tokio::select! {
            biased;
            () = &mut stop => break false,
            () = &mut lost => break true,
            _ = &mut controllers => return false,
            _ = tick.tick() => {
                let is_ready = |context: &Arc<Context>| context.caches.is_ready();
                ready.store(contexts.iter().all(is_ready), Ordering::Relaxed);
            }
        }
    };
    tracing::info!(was_lost, "stopping");
    // Another leader may act already if the lease was lost: active reconciles are aborted then.
    if !was_lost {
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, controllers).await;
    }
    was_lost
}

/// Returns the state of the controllers, one for each watched namespace or one for all. They start now.
fn contexts(
    client: &Client,
    options: &Options,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Arc<Context>>, String> {
    let settings = Settings {
        started_at_millis: now_millis(),
        ..options.settings.clone()
    };
    let progress_client =
        progress_client().map_err(|error| format!("cannot poll workers: {error}"))?;
    let election = options.election.as_ref();
    let reporter = Reporter {
        controller: OPERATOR.into(),
        instance: election.map(|election| election.identity.clone()),
    };
    let context = |namespace| {
        Arc::new(Context {
            client: client.clone(),
            namespace,
            settings: settings.clone(),
            caches: Caches::default(),
            metrics: metrics.clone(),
            repeating: Recorder::new(client.clone(), reporter.clone()),
            reporter: reporter.clone(),
            progress_client: progress_client.clone(),
            status_throttle: Default::default(),
            listed_events: Default::default(),
            failures: Default::default(),
        })
    };
    let namespaces = options.namespaces.iter().cloned();
    Ok(match options.namespaces.is_empty() {
        true => vec![context(None)],
        false => namespaces.map(|name| context(Some(name))).collect(),
    })
}

/// Waits until the API server serves SynthesisRuns.
async fn wait_for_crd(context: &Context) {
    let api = context.api::<SynthesisRun>();
    while let Err(error) = api.list_metadata(&ListParams::default().limit(1)).await {
        tracing::warn!(%error, "cannot list SynthesisRuns: is the CustomResourceDefinition installed?");
        tokio::time::sleep(CRD_POLL_INTERVAL).await;
    }
}
