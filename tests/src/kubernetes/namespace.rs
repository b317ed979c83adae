//! A namespace of one test's own, with the means to make, await and read things in it.

use std::fmt::Debug;
use std::future::Future;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace as CoreNamespace, Pod, ServiceAccount};
use kube::api::{Api, LogParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::Cluster;

/// How long anything in a cluster may take before a test gives up on it.
pub const TIMEOUT: Duration = Duration::from_secs(600);

/// A namespace. Deleted when dropped.
pub struct Namespace {
    cluster: &'static Cluster,
    name: String,
    client: Client,
}

impl Cluster {
    /// A new namespace in which the API server enforces the `restricted` Pod Security profile: a pod that does not keep to it is
    /// refused.
    pub async fn namespace(&'static self, purpose: &str) -> Namespace {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{purpose}-{}-{turn}", std::process::id());
        let client = self.client().await;
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/enforce-version": "latest",
            }},
        });
        let namespace: CoreNamespace = serde_json::from_value(namespace).expect("a namespace");
        let all: Api<CoreNamespace> = Api::all(client.clone());
        all.create(&PostParams::default(), &namespace)
            .await
            .expect("a namespace is made");
        let made = Namespace {
            cluster: self,
            name,
            client,
        };
        // Pods are refused before it is there.
        made.wait_for::<ServiceAccount>("default", |_| true).await;
        made
    }
}

impl Namespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its cluster.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The objects of a kind here.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Makes an object from its manifest.
    ///
    /// # Panics
    /// If the API server refuses it.
    pub async fn create<K>(&self, manifest: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Serialize + Clone + Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(manifest).expect("a manifest of the kind");
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap_or_else(|error| panic!("it is refused: {error}"))
    }

    /// Waits until the object is there and is as wanted.
    ///
    /// # Panics
    /// If it does not become so, with the object as it is.
    pub async fn wait_for<K>(&self, name: &str, is_wanted: impl Fn(&K) -> bool) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Serialize + Clone + Debug,
        K::DynamicType: Default,
    {
        self.wait_within(TIMEOUT, name, is_wanted).await
    }

    /// The same with another timeout.
    pub async fn wait_within<K>(
        &self,
        timeout: Duration,
        name: &str,
        is_wanted: impl Fn(&K) -> bool,
    ) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Serialize + Clone + Debug,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        let begun = Instant::now();
        loop {
            // The API server may be away for a moment: tests do that.
            let found = api.get_opt(name).await.ok().flatten();
            if let Some(object) = found.as_ref().filter(|object| is_wanted(object)) {
                return object.clone();
            }
            assert!(
                begun.elapsed() < timeout,
                "{name} did not become what was waited for within {timeout:?}: {}",
                serde_json::to_string_pretty(&found).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a pod's first container wrote.
    pub async fn log(&self, pod: &str) -> String {
        let pods = self.api::<Pod>();
        pods.logs(pod, &LogParams::default())
            .await
            .unwrap_or_else(|error| panic!("no log of {pod}: {error}"))
    }
}

/// Waits until `look` finds something.
///
/// # Panics
/// If it finds nothing in time.
pub async fn eventually<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    eventually_within(TIMEOUT, what, look).await
}

/// The same with another timeout.
///
/// # Panics
/// If it finds nothing in time.
pub async fn eventually_within<T, F>(
    timeout: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T
where
    F: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            begun.elapsed() < timeout,
            "{what} did not happen within {timeout:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let arguments = ["delete", "namespace", &self.name, "--wait=false"];
        let mut command = self.cluster.command("kubectl", &arguments);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
