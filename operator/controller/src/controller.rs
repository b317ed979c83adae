//! Watches and the work queue: an event of an object requeues its run. No other module knows the controller runtime.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Action, Config, Error, applier};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::apply::ApplyError;
use super::context::Context;
use super::names::SELECTOR;
use super::observe::Caches;
use super::observe::cache::{Cache, Reduce};
use super::reconcile::reconcile;
use super::watched_run::WatchedRun;

/// Time within which several events of a run become one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// Annotation in which `kubectl apply` stores a second copy of the spec.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A stream of runs to reconcile. Errors of watches are logged, and the watch is retried with backoff.
type Queue = BoxStream<'static, Result<ObjectRef<WatchedRun>, std::convert::Infallible>>;

/// Reconciles the runs of the watched namespaces until `stop`. Finishes active reconciles then.
pub async fn run_controller(
    context: Arc<Context>,
    concurrency: u16,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let (reader, writer) = store();
    context.metrics.register_store(reader.clone());
    let labelled = watcher::Config::default().labels(SELECTOR);
    let (jobs, pods) = (
        watched::<Job>(&context, &labelled),
        watched::<Pod>(&context, &labelled),
    );
    let maps = watched::<ConfigMap>(&context, &labelled);
    let queue = stream::select_all([
        own(&context, writer),
        owned(&context, jobs, |caches| &caches.jobs),
        owned(&context, pods, |caches| &caches.pods),
        owned(&context, maps, |caches| &caches.maps),
    ]);
    let config = Config::default()
        .concurrency(concurrency)
        .debounce(DEBOUNCE);
    let reconciler = |run, context| Box::pin(reconcile(run, context));
    let queue = queue.take_until(stop);
    let reconciles = applier(reconciler, on_error, context.clone(), reader, queue, config);
    let mut reconciles = pin!(reconciles);
    while let Some(outcome) = reconciles.next().await {
        context.metrics.reconcile_finished(match outcome {
            Ok(_) => "success",
            Err(Error::ReconcilerFailed(..)) => "error",
            // The run was deleted.
            Err(_) => "gone",
        });
    }
}

fn on_error(run: Arc<WatchedRun>, error: &ApplyError, context: Arc<Context>) -> Action {
    context.metrics.reconcile_failed(error.category());
    let wait = context.failed(&run.uid().unwrap_or_default());
    let (name, namespace) = (run.name_any(), run.namespace().unwrap_or_default());
    match error {
        ApplyError::Conflict(_) => {
            tracing::debug!(run = name, namespace, %error, "requeued");
        }
        _ => tracing::warn!(
            run = name,
            namespace,
            error = with_sources(error),
            wait_millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "reconcile failed"
        ),
    }
    Action::requeue(wait)
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Returns the queue of the runs' own events.
fn own(context: &Arc<Context>, writer: Writer<WatchedRun>) -> Queue {
    let events = watched::<WatchedRun>(context, &watcher::Config::default());
    let (observer, mut listed) = (context.clone(), HashSet::new());
    let runs = events
        .inspect_ok(move |event| observe_run(&observer, &mut listed, event))
        .modify(|run| {
            // Unused here, and often most of the object.
            run.managed_fields_mut().clear();
            run.annotations_mut().remove(LAST_APPLIED);
        })
        .reflect(writer)
        .touched_objects();
    let context = context.clone();
    runs.filter_map(move |run| {
        let run = log_watch_error(&context, "synthesisruns", run);
        futures::future::ready(run.map(|run| Ok(ObjectRef::from_obj(&run))))
    })
    .boxed()
}

/// Records that runs are listed, and drops the state of deleted ones. `listed`: the uids of a list in progress.
fn observe_run(context: &Context, listed: &mut HashSet<String>, event: &Event<WatchedRun>) {
    match event {
        Event::Init => {
            listed.clear();
            context.metrics.listed("synthesisruns");
        }
        Event::InitApply(run) => listed.extend(run.uid()),
        Event::InitDone => {
            context.retain(&std::mem::take(listed));
            context
                .caches
                .has_listed_runs
                .store(true, Ordering::Relaxed);
        }
        Event::Delete(run) => context.forget(&run.uid().unwrap_or_default()),
        Event::Apply(_) => {}
    }
}

/// Returns the queue of events of owned objects, each of which requeues its run.
fn owned<K, V>(
    context: &Arc<Context>,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    cache: fn(&Caches) -> &Cache<V>,
) -> Queue
where
    K: Resource<DynamicType = ()> + Send + 'static,
    V: Reduce<K> + Send + Sync + 'static,
{
    let context = context.clone();
    events
        .map(move |event| {
            let resource = K::plural(&());
            if let Ok(Event::Init) = &event {
                context.metrics.listed(&resource);
            }
            let event = log_watch_error(&context, &resource, event);
            let runs = event.map(|event| cache(&context.caches).apply(&event));
            stream::iter(runs.unwrap_or_default().into_iter().map(Ok))
        })
        .flatten()
        .boxed()
}

/// Returns a watch that restarts with a list at each resync interval, which makes up for lost events.
fn watched<K>(
    context: &Context,
    config: &watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let (api, config) = (context.api::<K>(), config.clone());
    let resync_interval = context.settings.resync_interval;
    stream::repeat_with(move || {
        let watched = watcher(api.clone(), config.clone()).default_backoff();
        watched.take_until(tokio::time::sleep(resync_interval))
    })
    .flatten()
}

/// Returns the value of `result`; counts and logs an error.
fn log_watch_error<T>(context: &Context, resource: &str, result: watcher::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| {
            context.metrics.watch_failed(resource);
            tracing::warn!(resource, error = with_sources(error), "watch interrupted");
        })
        .ok()
}
