//! Runs the controller: leader election, watches until shutdown, graceful stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, select};
use kube::api::ListParams;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client};
use scalequest_crds::v1alpha1::SynthesisRun;
use tokio::sync::watch;

use super::context::Context;
use super::controller::{run_controller, runs};
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
    let namespaces: Vec<Option<String>> = match options.namespaces.is_empty() {
        true => vec![None],
        false => options.namespaces.iter().cloned().map(Some).collect(),
    };
    let contexts = contexts(&client, &options, &namespaces)?;
    let ready = Ready::new(AtomicBool::new(options.election.is_some()));
    let first = contexts.first().cloned().ok_or("no namespace to watch")?;
    serve(options.listen, first.clone(), ready.clone())
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let stop = stop.shared();

    let mut leadership = match &options.election {
        Some(election) => Some(join(client.clone(), election).await?),
        None => None,
    };
    if let Some(leadership) = &mut leadership {
        tracing::info!("waiting for the leader election");
        let became_leader = Box::pin(leadership.became_leader());
        if let futures::future::Either::Right(_) = select(became_leader, stop.clone()).await {
            return Ok(());
        }
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?options.namespaces, "controller started");
    first.metrics.set_leader(true);
    let crd = Box::pin(wait_for_crd(&client, namespaces[0].as_deref()));
    let is_served = matches!(
        select(crd, stop.clone()).await,
        futures::future::Either::Left(_)
    );
    let lost = leadership.as_ref().map(LeaderElection::lost);
    let was_lost =
        is_served && watch_all(&contexts, &namespaces, &options, &ready, stop, lost).await;
    first.metrics.set_leader(false);
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
    namespaces: &[Option<String>],
    options: &Options,
    ready: &Ready,
    stop: impl Future<Output = ()> + Clone + Send + Unpin + 'static,
    lost: Option<impl Future<Output = ()> + Send + 'static>,
) -> bool {
    let (shutdown, is_shutdown) = watch::channel(false);
    let controllers = contexts.iter().zip(namespaces).map(|(context, namespace)| {
        let (reader, writer) = runs();
        contexts[0].metrics.register_store(reader.clone());
        let mut is_shutdown = is_shutdown.clone();
        let stop = async move {
            let _ = is_shutdown.wait_for(|is_shutdown| *is_shutdown).await;
        };
        run_controller(
            context.clone(),
            namespace.clone(),
            options.concurrency,
            (reader, writer),
            stop,
        )
    });
    let mut controllers = Box::pin(join_all(controllers.collect::<Vec<_>>()));
    let lost = async move {
        match lost {
            Some(lost) => lost.await,
            None => std::future::pending().await,
        }
    };
    let mut lost = Box::pin(lost);
    let mut stop = stop;
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let was_lost = loop {
        tokio::select! {
            _ = &mut controllers => return false,
            () = &mut stop => break false,
            () = &mut lost => break true,
            _ = tick.tick() => {
                let is_ready = |context: &Arc<Context>| context.caches.is_ready();
                ready.store(contexts.iter().all(is_ready), Ordering::Relaxed);
            }
        }
    };
    tracing::info!(was_lost, "stopping");
    // Another leader may act already if the lease was lost: active reconciles are aborted then.
    if !was_lost {
        let _ = shutdown.send(true);
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, controllers).await;
    }
    was_lost
}

fn contexts(
    client: &Client,
    options: &Options,
    namespaces: &[Option<String>],
) -> Result<Vec<Arc<Context>>, String> {
    let metrics = Metrics::new().map_err(|error| format!("cannot register metrics: {error}"))?;
    let metrics = Arc::new(metrics);
    let progress_client =
        progress_client().map_err(|error| format!("cannot poll workers: {error}"))?;
    let reporter = Reporter {
        controller: OPERATOR.into(),
        instance: options
            .election
            .as_ref()
            .map(|election| election.identity.clone()),
    };
    let context = |_| {
        Arc::new(Context {
            client: client.clone(),
            settings: options.settings.clone(),
            caches: Caches::default(),
            metrics: metrics.clone(),
            repeating: Recorder::new(client.clone(), reporter.clone()),
            reporter: reporter.clone(),
            progress_client: progress_client.clone(),
            status_throttle: Default::default(),
            failures: Default::default(),
        })
    };
    Ok(namespaces.iter().map(context).collect())
}

async fn join(client: Client, election: &LeaderElectionConfig) -> Result<LeaderElection, String> {
    let LeaderElectionConfig {
        lease,
        namespace,
        identity: _,
    } = election;
    LeaderElection::join(client, election).await.map_err(|error| {
        format!("cannot join the leader election for lease {namespace}/{lease}: {error}; may the operator get, create and patch leases there?")
    })
}

/// Waits until the API server serves SynthesisRuns.
async fn wait_for_crd(client: &Client, namespace: Option<&str>) {
    let api: Api<SynthesisRun> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    while let Err(error) = api.list(&ListParams::default().limit(1)).await {
        tracing::warn!(%error, "cannot list SynthesisRuns: is the CustomResourceDefinition installed?");
        tokio::time::sleep(CRD_POLL_INTERVAL).await;
    }
}
