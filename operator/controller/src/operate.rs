//! An operator from its start to its end: it waits for its turn, watches until it is asked to stop, and leaves tidily.

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
use super::controller::{control, runs};
use super::leader_election::{Election, Leadership};
use super::metrics::Metrics;
use super::names::OPERATOR;
use super::observe::Observed;
use super::observe::heard::asker;
use super::serve::{Ready, serve};
use super::settings::Settings;

/// Time between two attempts to find the CustomResourceDefinition.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Time for looks that are under way when the operator is asked to stop.
const FINISH: Duration = Duration::from_secs(8);

/// How an operator is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings for all runs.
    pub settings: Settings,
    /// The namespaces to look after; all where there is none.
    pub namespaces: Vec<String>,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// The election; none where this is the only operator.
    pub election: Option<Election>,
    /// Runs that are looked at at once.
    pub concurrency: u16,
}

/// Looks after runs until `stop`.
///
/// # Errors
/// For a person: why it cannot begin, or cannot go on.
pub async fn operate(
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
    let first = contexts
        .first()
        .cloned()
        .ok_or("no namespace to look after")?;
    serve(options.listen, first.clone(), ready.clone())
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let stop = stop.shared();

    let mut leadership = match &options.election {
        Some(election) => Some(stand(client.clone(), election).await?),
        None => None,
    };
    if let Some(leadership) = &mut leadership {
        tracing::info!("waiting for the lease");
        let won = Box::pin(leadership.won());
        if let futures::future::Either::Right(_) = select(won, stop.clone()).await {
            return Ok(());
        }
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?options.namespaces, "looking after runs");
    first.metrics.lead(true);
    let asking = Box::pin(wait_for_crd(&client, namespaces[0].as_deref()));
    let is_served = matches!(
        select(asking, stop.clone()).await,
        futures::future::Either::Left(_)
    );
    let lost = leadership.as_ref().map(Leadership::lost);
    let was_lost =
        is_served && watch_all(&contexts, &namespaces, &options, &ready, stop, lost).await;
    first.metrics.lead(false);
    if let Some(leadership) = leadership {
        leadership.give_up().await;
    }
    match was_lost {
        true => Err("the lease was lost: another operator looks after the runs".into()),
        false => Ok(()),
    }
}

/// Watches until asked to stop; whether that is because the lease was lost.
async fn watch_all(
    contexts: &[Arc<Context>],
    namespaces: &[Option<String>],
    options: &Options,
    ready: &Ready,
    stop: impl Future<Output = ()> + Clone + Send + Unpin + 'static,
    lost: Option<impl Future<Output = ()> + Send + 'static>,
) -> bool {
    let (tell, told) = watch::channel(false);
    let controls = contexts.iter().zip(namespaces).map(|(context, namespace)| {
        let (reader, writer) = runs();
        contexts[0].metrics.tell_of(reader.clone());
        let mut told = told.clone();
        let stop = async move {
            let _ = told.wait_for(|told| *told).await;
        };
        control(
            context.clone(),
            namespace.clone(),
            options.concurrency,
            (reader, writer),
            stop,
        )
    });
    let mut controls = Box::pin(join_all(controls.collect::<Vec<_>>()));
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
            _ = &mut controls => return false,
            () = &mut stop => break false,
            () = &mut lost => break true,
            _ = tick.tick() => {
                let is_ready = |context: &Arc<Context>| context.observed.is_ready();
                ready.store(contexts.iter().all(is_ready), Ordering::Relaxed);
            }
        }
    };
    tracing::info!(was_lost, "stopping");
    // The lease lost, another one may act already: nothing is finished then.
    if !was_lost {
        let _ = tell.send(true);
        let _ = tokio::time::timeout(FINISH, controls).await;
    }
    was_lost
}

fn contexts(
    client: &Client,
    options: &Options,
    namespaces: &[Option<String>],
) -> Result<Vec<Arc<Context>>, String> {
    let metrics = Metrics::new().map_err(|error| format!("cannot count: {error}"))?;
    let metrics = Arc::new(metrics);
    let asker = asker().map_err(|error| format!("cannot ask workers: {error}"))?;
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
            observed: Observed::default(),
            metrics: metrics.clone(),
            repeating: Recorder::new(client.clone(), reporter.clone()),
            reporter: reporter.clone(),
            asker: asker.clone(),
            paces: Default::default(),
            failures: Default::default(),
        })
    };
    Ok(namespaces.iter().map(context).collect())
}

async fn stand(client: Client, election: &Election) -> Result<Leadership, String> {
    let Election {
        lease,
        namespace,
        identity: _,
    } = election;
    Leadership::stand(client, election).await.map_err(|error| {
        format!("cannot take part in the election for lease {namespace}/{lease}: {error}; may the operator get, create and patch leases there?")
    })
}

/// Waits until SynthesisRuns are served.
async fn wait_for_crd(client: &Client, namespace: Option<&str>) {
    let api: Api<SynthesisRun> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    while let Err(error) = api.list(&ListParams::default().limit(1)).await {
        tracing::warn!(%error, "SynthesisRuns cannot be listed (yet): is the CustomResourceDefinition installed?");
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
