//! Provides the volumes that claims ask for, as a storage driver does: a directory of this machine each, which every real node can
//! mount, as the cluster's default storage class. Anybody may write there, since pods of the restricted profile are not root and a plain
//! directory knows no `fsGroup`.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;

/// The storage class.
const CLASS: &str = "tests";

/// Who makes its volumes: this file.
const PROVISIONER: &str = "tests.scalequest.dev/directory";

/// Watches claims for as long as it is let.
pub(super) async fn provide(kubeconfig: PathBuf, directory: PathBuf) {
    let client = super::client::client(&kubeconfig).await;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
    });
    let class: StorageClass = serde_json::from_value(class).expect("a storage class");
    let classes: Api<StorageClass> = Api::all(client.clone());
    while classes
        .create(&PostParams::default(), &class)
        .await
        .is_err()
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let mut seen = Box::pin(
        watcher(claims, watcher::Config::default())
            .default_backoff()
            .applied_objects(),
    );
    loop {
        match seen.try_next().await {
            Ok(Some(claim)) => bind(&client, &claim, &directory).await,
            Ok(None) => return,
            // The API server is away: tests do that.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Makes the volume of a claim that has none.
async fn bind(client: &Client, claim: &PersistentVolumeClaim, directory: &Path) {
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_name.is_some() || spec.storage_class_name.as_deref() != Some(CLASS) {
        return;
    }
    let namespace = claim.namespace().unwrap_or_default();
    let path = directory.join(&namespace).join(claim.name_any());
    let made = DirBuilder::new().recursive(true).create(&path);
    made.and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o777)))
        .expect("a volume's directory");
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": format!("{namespace}-{}", claim.uid().unwrap_or_default())},
        "spec": {
            "capacity": spec.resources.and_then(|resources| resources.requests),
            "accessModes": spec.access_modes,
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": path, "type": "Directory"},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": namespace, "name": claim.name_any(), "uid": claim.uid(),
            },
        },
    });
    let volume: PersistentVolume = serde_json::from_value(volume).expect("a volume");
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    // It is there already where the claim is seen twice.
    let _ = volumes.create(&PostParams::default(), &volume).await;
}
