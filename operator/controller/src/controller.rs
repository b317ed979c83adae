//! What is watched, and how that leads to a look at a run. Nothing else knows the controller runtime.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Resource, ResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;
use serde::de::DeserializeOwned;

use super::apply::ApplyError;
use super::context::Context;
use super::names::SELECTOR;
use super::observe::cache::{Cache, Kept};
use super::reconcile::reconcile;

/// Time in which several reasons to look at a run become one.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// Where `kubectl apply` keeps a whole second spec.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A stream of runs to look at. Errors of watches are told where they arise, and the watch goes on.
type Queue = BoxStream<'static, Result<ObjectRef<SynthesisRun>, std::convert::Infallible>>;

/// Looks after the runs of one namespace, or of all, until `stop`. Looks that are under way then are finished.
pub async fn control(
    context: Arc<Context>,
    namespace: Option<String>,
    concurrency: u16,
    runs: (Store<SynthesisRun>, reflector::store::Writer<SynthesisRun>),
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let (reader, writer) = runs;
    let queue = stream::select_all([
        own(&context, namespace.as_deref(), writer),
        owned::<Job, _>(&context, namespace.as_deref(), |context| {
            &context.observed.jobs
        }),
        owned::<Pod, _>(&context, namespace.as_deref(), |context| {
            &context.observed.pods
        }),
        owned::<ConfigMap, _>(&context, namespace.as_deref(), |context| {
            &context.observed.maps
        }),
    ]);
    let config = Config::default()
        .concurrency(concurrency)
        .debounce(DEBOUNCE);
    let look = |run, context| Box::pin(reconcile(run, context));
    let looks = applier(
        look,
        on_error,
        context.clone(),
        reader,
        queue.take_until(stop),
        config,
    );
    looks
        .for_each(|look| {
            let result = match &look {
                Ok(_) => "success",
                Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => "error",
                // The run is gone.
                Err(_) => "gone",
            };
            context.metrics.looked(result);
            futures::future::ready(())
        })
        .await;
}

/// A store for runs and its writer.
pub fn runs() -> (Store<SynthesisRun>, reflector::store::Writer<SynthesisRun>) {
    store()
}

fn on_error(run: Arc<SynthesisRun>, error: &ApplyError, context: Arc<Context>) -> Action {
    context.metrics.failed(error.category());
    let wait = context.failed(&run.uid().unwrap_or_default());
    let (name, namespace) = (run.name_any(), run.namespace().unwrap_or_default());
    match error {
        ApplyError::Behind(_) => {
            tracing::debug!(run = name, namespace, %error, "looking again");
        }
        _ => tracing::warn!(
            run = name,
            namespace,
            error = with_sources(error),
            wait_millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "a run could not be looked after"
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

/// The runs themselves.
fn own(
    context: &Arc<Context>,
    namespace: Option<&str>,
    writer: reflector::store::Writer<SynthesisRun>,
) -> Queue {
    let events = watched::<SynthesisRun>(context, namespace, watcher::Config::default());
    let runs = events
        .modify(|run| {
            // What nobody here reads, and is often most of the object.
            run.managed_fields_mut().clear();
            run.annotations_mut().remove(LAST_APPLIED);
        })
        .reflect(writer)
        .touched_objects();
    let context = context.clone();
    runs.filter_map(move |run| {
        let run = told(&context, "synthesisruns", run);
        futures::future::ready(run.map(|run| Ok(ObjectRef::from_obj(&run))))
    })
    .boxed()
}

/// What belongs to runs: each event leads to the run.
fn owned<K, V>(
    context: &Arc<Context>,
    namespace: Option<&str>,
    cache: impl Fn(&Context) -> &Cache<V> + Send + 'static,
) -> Queue
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
    V: Kept<K> + Send + Sync + 'static,
{
    let config = watcher::Config::default().labels(SELECTOR);
    let events = watched::<K>(context, namespace, config);
    let context = context.clone();
    events
        .map(move |event| {
            let resource = K::plural(&());
            if let Ok(Event::Init) = &event {
                context.metrics.listed(&resource);
            }
            let event = told(&context, &resource, event);
            let runs = event.map(|event| cache(&context).take(&event));
            stream::iter(runs.unwrap_or_default().into_iter().map(Ok))
        })
        .flatten()
        .boxed()
}

/// A watch that begins anew, with a list, every now and then: an event that never came is made good by that.
fn watched<K>(
    context: &Context,
    namespace: Option<&str>,
    config: watcher::Config,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let relist = context.settings.relist;
    stream::repeat_with(move || {
        let watched = watcher(api.clone(), config.clone()).default_backoff();
        watched.take_until(tokio::time::sleep(relist))
    })
    .flatten()
}

fn told<T>(context: &Context, resource: &str, result: Result<T, watcher::Error>) -> Option<T> {
    result
        .inspect_err(|error| {
            context.metrics.watch_failed(resource);
            tracing::warn!(
                resource,
                error = with_sources(error),
                "a watch was interrupted"
            );
        })
        .ok()
}
