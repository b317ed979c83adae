//! Whole runs on real pods that use what a cluster has beside Kubernetes: an object store, a model behind an endpoint, a model on a server
//! beside each worker.

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_tests::harness::chat_server::{ChatServer, MODEL};
use scalequest_tests::harness::dataset::published;
use scalequest_tests::harness::object_server::{self, ObjectServer};
use scalequest_tests::harness::tiny_run::tiny_models;
use scalequest_tests::harness::{TestEnv, TinyRun};
use scalequest_tests::kubernetes::image::{self, CHAT_SERVER};
use scalequest_tests::kubernetes::namespace::eventually;
use scalequest_tests::kubernetes::{Cluster, Namespace};
use serde_json::{Value, json};

use super::{apply, complete, failures, is, keep, on_one_machine, outages};

/// The key without which the endpoint answers nobody.
const KEY: &str = "right";

/// A Secret of the namespace.
async fn secret(space: &Namespace, name: &str, members: Value) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": members});
    space.create::<Secret>(secret).await;
}

/// The engine of a model that `program` serves.
fn server(program: &str, image: Option<&str>, more: &[&str]) -> Value {
    let command = [&[program, "{model}", "{port}"], more].concat();
    let mut engine = json!({"type": "Server", "server": {"command": command}});
    if let Some(image) = image {
        engine["server"]["image"] = image.into();
    }
    engine
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn crashing_server_sidecars_change_no_bytes() {
    let cluster = Cluster::shared();
    cluster.install_operator();
    cluster.real_nodes(1, image::chat_server());
    let program = scalequest_tests::harness::binaries::binary("chat-server");
    let here = TinyRun::served("served", server(&program.display().to_string(), None, &[]));
    let reference = tokio::task::spawn_blocking(move || on_one_machine(&here));
    let there = server("/usr/local/bin/chat-server", Some(CHAT_SERVER), &["60"]);
    let space = cluster.namespace("served").await;
    let (manifest, store) = space.on_claims(&TinyRun::served("served", there)).await;
    apply(&space, &manifest).await;
    complete(&space, "served").await;
    keep(cluster, &space, "served", "served");
    let reference = reference.await.expect("the run on one machine");
    let made = published(&store.join("dataset"));
    assert_eq!(made.parquet, reference.parquet, "the Parquet files differ");
    assert_eq!(failures(&space).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn failing_server_sidecar_is_reported() {
    let cluster = Cluster::shared();
    cluster.install_operator();
    cluster.real_nodes(1, image::chat_server());
    let space = cluster.namespace("never").await;
    let engine = server(
        "/usr/local/bin/chat-server",
        Some(CHAT_SERVER),
        &["too", "many"],
    );
    let run = TinyRun::served("never", engine);
    let (manifest, _) = space.on_claims(&run).await;
    apply(&space, &manifest).await;
    let says = |run: &SynthesisRun| {
        let conditions = run.status.iter().flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|each| each.type_ == "Degraded" && each.message.contains("usage: chat-server"))
    };
    let run = eventually("the server's words", || async {
        let run = space.api().get("never").await.ok()?;
        says(&run).then_some(run)
    })
    .await;
    assert!(!is(&run, "Failed"));
    // Its worker, which has no way to the API server, is heard all the same.
    eventually("the worker's word", || async {
        let run: SynthesisRun = space.api().get("never").await.ok()?;
        let stages = run.status.iter().flat_map(|status| &status.stages);
        let activity = stages.filter_map(|stage| stage.activity.as_deref());
        activity
            .into_iter()
            .any(|activity| activity == "wait for server")
            .then_some(())
    })
    .await;
}

/// What a run reaches that is no part of Kubernetes.
struct Services {
    store: ObjectServer,
    endpoint: ChatServer,
    _folder: TestEnv,
}

impl Services {
    fn start(at: Ipv4Addr) -> Self {
        let folder = TestEnv::new();
        let program =
            object_server::find_program().expect("versitygw: run `.ci/tools.sh versitygw`");
        Services {
            store: ObjectServer::start_on(at, &program, folder.path(), &["bucket"]),
            endpoint: ChatServer::start_as(MODEL, &tiny_models().chat, Some(KEY), (at, 0)),
            _folder: folder,
        }
    }

    /// `run` with a judge behind the endpoint.
    fn judged(&self, run: TinyRun) -> TinyRun {
        let mut engine = self.endpoint.engine();
        engine["openAI"]["apiKeySecret"] = json!({"name": "llm", "key": "token"});
        let chat = run.at("/spec/models/0").clone();
        let judge = json!({"model": "judge", "sampling": {"temperature": 0, "maxNewTokens": 24}});
        run.set(
            "/spec/models",
            json!([chat, {"name": "judge", "engine": engine}]),
        )
        .set("/spec/filters/solvability", judge)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn object_store_and_endpoint_match_bytes() {
    let cluster = Cluster::shared();
    cluster.install_operator();
    // The endpoint waits for its own runtime.
    let services = tokio::task::spawn_blocking(|| Services::start(cluster.address()));
    let mut services = services.await.expect("services");
    let space = cluster.namespace("stored").await;
    let run = services.judged(TinyRun::small("stored"));
    let (mut manifest, _) = space.on_claims(&run).await;
    let environment = services.store.environment();
    let value = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).expect("a variable")
    };
    let credentials = json!({
        "AWS_ACCESS_KEY_ID": value("AWS_ACCESS_KEY_ID"),
        "AWS_SECRET_ACCESS_KEY": value("AWS_SECRET_ACCESS_KEY"),
    });
    secret(&space, "s3", credentials).await;
    secret(&space, "llm", json!({"token": KEY})).await;
    let spec = &mut manifest["spec"];
    spec["workspace"] = json!({"uri": "s3://bucket/workspace"});
    spec["output"] = json!({"uri": "s3://bucket/dataset"});
    spec["stores"] = json!([{
        "prefix": "s3://", "endpoint": value("AWS_ENDPOINT_URL"), "region": value("AWS_REGION"),
        "credentialsSecret": {"name": "s3"},
    }]);
    apply(&space, &manifest).await;
    // The store answers 403 for a minute.
    outages::reaches(&space, "generate").await;
    services.store.revoke_key();
    let denied = |run: &SynthesisRun| is(run, "Degraded") && !is(run, "Failed");
    space.wait_for::<SynthesisRun>("stored", denied).await;
    outages::releases_pods(&space).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    keep(cluster, &space, "stored", "stored-denied");
    services.store.restore_key();
    complete(&space, "stored").await;
    keep(cluster, &space, "stored", "stored");
    let answered = services.endpoint.answered();
    assert!(!answered.is_empty() && answered.values().all(|times| *times == 1));

    let env = TestEnv::new();
    run.write(&env);
    let here = env
        .command(&["run", "-f", "run.yaml"])
        .env("SCALEQUEST_API_KEY_JUDGE", KEY)
        .output()
        .expect("scalequest starts");
    assert!(
        here.status.success(),
        "{}",
        String::from_utf8_lossy(&here.stderr)
    );
    let made = published(&services.store.bucket("bucket").join("dataset"));
    let reference = published(&env.path().join("dataset"));
    assert_eq!(made.parquet, reference.parquet, "the Parquet files differ");
}
