//! Runs that the operator cannot decode, since a newer CustomResourceDefinition knows a field that it does not: they say so, and stop no other
//! run, also after the operator is killed, and continue once the definition is rolled back.

use futures::future::join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_tests::kubernetes::Cluster;
use scalequest_tests::kubernetes::api_proxy::Treatment;
use scalequest_tests::kubernetes::namespace::eventually;
use scalequest_tests::kubernetes::product::run_resource;
use scalequest_tests::kubernetes::simulated_run::{SimulatedRun, TIMEOUT, is, run, says};
use scalequest_tests::kubernetes::simulated_worker::FaultPlan;
use serde_json::{Value, json};

use crate::SERVERS;

/// Runs that decode.
const RUNS: usize = 49;

/// A field of a newer version.
const FIELD: &str = "speculation";

fn named(name: &str, seed: usize) -> Value {
    let mut run = run();
    run["metadata"]["name"] = name.into();
    run["spec"]["seed"] = seed.into();
    run["spec"]["output"]["uri"] = format!("s3://datasets/{name}").into();
    run
}

/// Adds the field of a newer version to the definition, or removes it, and waits until the API server serves that.
async fn define(space: &SimulatedRun, is_newer: bool) {
    let definitions: Api<CustomResourceDefinition> = Api::all(space.space.client());
    let name = SynthesisRun::crd_name();
    let there = definitions.get(name).await.expect("the definition");
    let mut definition = serde_json::to_value(there).expect("JSON");
    let fields = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let fields = definition.pointer_mut(fields).expect("fields of the spec");
    let fields = fields.as_object_mut().expect("fields");
    match is_newer {
        true => drop(fields.insert(FIELD.into(), json!({"type": "integer"}))),
        false => drop(fields.shift_remove(FIELD)),
    }
    let definition = serde_json::from_value(definition).expect("a definition");
    let replaced = definitions
        .replace(name, &PostParams::default(), &definition)
        .await;
    replaced.expect("the definition is replaced");
    eventually("the API server serves the definition", || async {
        let mut probe = named("probe", 1);
        probe["spec"][FIELD] = 1.into();
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let probe: DynamicObject = serde_json::from_value(probe).expect("a run");
        let created = runs(space).create(&dry_run, &probe).await.ok()?;
        (created.data["spec"][FIELD].is_number() == is_newer).then_some(())
    })
    .await;
}

fn runs(space: &SimulatedRun) -> Api<DynamicObject> {
    Api::namespaced_with(space.space.client(), space.space.name(), &run_resource())
}

async fn until(space: &SimulatedRun, name: &str, is_wanted: impl Fn(&SynthesisRun) -> bool) {
    let wanted = |object: &DynamicObject| {
        let mut object = serde_json::to_value(object).expect("JSON");
        let fields = object["spec"].as_object_mut();
        drop(fields.map(|fields| fields.shift_remove(FIELD)));
        is_wanted(&serde_json::from_value(object).expect("a run"))
    };
    let api = runs(space);
    eventually(name, || async {
        let object = api.get_opt(name).await.ok().flatten()?;
        wanted(&object).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn undecodable_runs_stop_no_other() {
    // No other test's operator may read the definition meanwhile.
    let _servers = SERVERS.write().await;
    let cluster = Cluster::shared();
    let (treatment, fault_plan) = (Treatment::default(), FaultPlan::default());
    let mut space = SimulatedRun::begin(cluster, "undecodable", treatment, fault_plan).await;
    let accepted = named("accepted", 900);
    space.make(accepted).await;
    until(&space, "accepted", |run| is(run, "Accepted")).await;

    define(&space, true).await;
    let mut newer = named("newer", 901);
    newer["spec"][FIELD] = 1.into();
    let newer: DynamicObject = serde_json::from_value(newer).expect("a run");
    let created = runs(&space).create(&PostParams::default(), &newer).await;
    created.expect("the newer definition admits it");
    let edit = Patch::Merge(json!({"spec": {FIELD: 2}}));
    let edited = runs(&space)
        .patch("accepted", &PatchParams::default(), &edit)
        .await;
    edited.expect("the newer definition admits it");
    space.operator.kill();
    space.operator.start_again();

    let names: Vec<String> = (0..RUNS).map(|index| format!("run-{index}")).collect();
    for (index, name) in names.iter().enumerate() {
        space.make(named(name, index)).await;
    }
    until(&space, "newer", |run| {
        says(run, "Invalid", "spec.speculation")
    })
    .await;
    until(&space, "accepted", |run| {
        is(run, "Accepted") && says(run, "SpecUnreadable", "spec.speculation")
    })
    .await;
    space.operator.kill();
    space.operator.start_again();
    let ends = names.iter().map(|name| {
        let space = &space.space;
        space.wait_within::<SynthesisRun>(TIMEOUT, name, |run| is(run, "Complete"))
    });
    join_all(ends).await;

    define(&space, false).await;
    for name in ["newer", "accepted"] {
        until(&space, name, |run| is(run, "Complete")).await;
    }
    space.operator.assert_runs();
}
