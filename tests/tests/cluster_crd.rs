//! The CRD on a real API server: taken without a complaint, and each of its rules accepts what is right and refuses what is wrong with its
//! own sentence. `make test-cluster` runs these tests.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt};
use scalequest_core::parse::check_schema;
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_tests::kubernetes::product::run_resource;
use scalequest_tests::kubernetes::{Cluster, Namespace};
use serde_json::{Value, json};

fn run() -> Value {
    json!({
        "apiVersion": "scalequest.dev/v1alpha1",
        "kind": "SynthesisRun",
        "metadata": {"name": "math"},
        "spec": {
            "recipe": "Math",
            "domain": "Mathematics",
            "target": {"examples": 100},
            "models": [
                {"name": "qwen", "source": {"path": "models/qwen"}},
                {"name": "judge", "source": {"uri": "s3://models/judge"}},
            ],
            "seedQuestions": [{"path": "seeds.jsonl"}],
            "generators": [{"name": "g", "model": "qwen", "qpo": {"rewriter": "judge"}}],
            "filters": {
                "contamination": {"benchmarks": [{"path": "held-out.jsonl"}]},
                "solvability": {"model": "judge"},
                "difficulty": {"base": "qwen", "solver": "judge", "generators": ["g"]},
            },
            "responses": {"model": "qwen"},
            "reward": {"model": "judge"},
            "verification": {},
            "budget": {"cost": "5", "pricePerGpuHour": "1.30"},
            "workspace": {"path": "work"},
            "output": {"path": "out"},
        },
    })
}

/// The run with one value changed, or removed where it is null.
fn with(pointer: &str, value: Value) -> Value {
    let mut run = run();
    let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
    match run.pointer_mut(parent) {
        Some(Value::Object(members)) if value.is_null() => {
            members
                .remove(member)
                .expect("there is something to remove");
        }
        Some(Value::Object(members)) => {
            members.insert(member.into(), value);
        }
        Some(Value::Array(items)) => items[member.parse::<usize>().expect("an index")] = value,
        other => panic!("{parent} is {other:?}"),
    }
    run
}

fn runs(space: &Namespace) -> Api<DynamicObject> {
    Api::namespaced_with(space.client(), space.name(), &run_resource())
}

fn object(manifest: Value) -> DynamicObject {
    serde_json::from_value(manifest).expect("an object")
}

/// What the API server says to a new run, which it does not keep.
async fn answer(space: &Namespace, manifest: Value) -> Result<(), String> {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let created = runs(space).create(&dry, &object(manifest)).await;
    created.map(drop).map_err(|error| error.to_string())
}

/// What the API server says to an edit of the run that is there, which it does not keep.
async fn answer_to_edit(space: &Namespace, manifest: Value) -> Result<(), String> {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let now = runs(space).get("math").await.expect("the run");
    let mut edited = object(manifest);
    edited.metadata.resource_version = now.metadata.resource_version;
    let replaced = runs(space).replace("math", &dry, &edited).await;
    replaced.map(drop).map_err(|error| error.to_string())
}

/// Makes the run that edits are tried on, with these conditions true.
async fn make(space: &Namespace, conditions: &[&str]) {
    let made = runs(space)
        .create(&PostParams::default(), &object(run()))
        .await;
    made.expect("the run is made");
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|kind| {
            json!({"type": kind, "status": "True", "reason": "AsExpected", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
        })
        .collect();
    let status = Patch::Merge(json!({"status": {"conditions": conditions}}));
    runs(space)
        .patch_status("math", &PatchParams::default(), &status)
        .await
        .expect("its status is written");
}

/// What is refused on creation: where, what, and words of the sentence.
fn wrong_from_the_start() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/metadata/name",
            json!("a-name-that-is-longer-than-forty-characters"),
            "metadata.name has at most 40 characters",
        ),
        (
            "/spec/generators/0/model",
            json!("qwin"),
            "generators: every model must be a name in spec.models",
        ),
        (
            "/spec/generators/0/qpo/rewriter",
            json!("nobody"),
            "every qpo.rewriter must be a name in spec.models",
        ),
        (
            "/spec/responses/model",
            json!("qwin"),
            "responses.model must be a name in spec.models",
        ),
        (
            "/spec/reward/model",
            json!("qwin"),
            "reward.model must be a name in spec.models",
        ),
        (
            "/spec/filters/solvability/model",
            json!("qwin"),
            "filters.solvability.model must be a name in spec.models",
        ),
        (
            "/spec/filters/difficulty/base",
            json!("qwin"),
            "filters.difficulty.base must be a name in spec.models",
        ),
        (
            "/spec/filters/difficulty/solver",
            json!("qwin"),
            "filters.difficulty.solver must be a name in spec.models",
        ),
        (
            "/spec/filters/difficulty/generators",
            json!(["h"]),
            "every entry must be a name in spec.generators",
        ),
        (
            "/spec/budget/pricePerGpuHour",
            Value::Null,
            "budget.cost cannot be kept without a price: set budget.pricePerGpuHour as well",
        ),
        (
            "/spec/filters/contamination/benchmarks/0",
            json!({"path": "a", "uri": "s3://b/c"}),
            "set exactly one of path, uri",
        ),
        (
            "/spec/models/0/source",
            Value::Null,
            "a model has a source, unless its engine is of type OpenAI",
        ),
        (
            "/spec/models/0/engine",
            json!({"type": "Server"}),
            "server is set with type Server, and only then",
        ),
        (
            "/spec/models/0/engine",
            json!({"type": "OpenAI"}),
            "openAI is set with type OpenAI, and only then",
        ),
        (
            "/spec/models/0/engine",
            json!({"type": "Server", "server": {"command": ["serve"]}, "dtype": "Int8"}),
            "dtype is that of the built-in engine, type Candle",
        ),
        (
            "/spec/models/0/source/uri",
            json!("s3://models/qwen"),
            "set exactly one of hub, path, uri, claim, image",
        ),
        (
            "/spec/output",
            json!({}),
            "set exactly one of path, uri, claim",
        ),
        (
            "/spec/workspace/uri",
            json!("s3://scratch/work"),
            "set exactly one of path, uri, claim",
        ),
        (
            "/spec/seedQuestions/0",
            json!({}),
            "set exactly one of path, uri",
        ),
    ]
}

/// What is refused once the run is accepted.
fn fixed_once_accepted() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/spec/recipe",
            json!("Code"),
            "spec.recipe cannot change once the run is accepted",
        ),
        (
            "/spec/domain",
            json!("Programming"),
            "spec.domain cannot change once the run is accepted",
        ),
        (
            "/spec/domain",
            Value::Null,
            "spec.domain cannot change once the run is accepted",
        ),
        (
            "/spec/seed",
            json!(7),
            "spec.seed cannot change once the run is accepted",
        ),
        (
            "/spec/models/0/source/path",
            json!("models/other"),
            "spec.models cannot change once the run is accepted",
        ),
        (
            "/spec/seedQuestions/0/path",
            json!("others.jsonl"),
            "spec.seedQuestions cannot change once the run is accepted",
        ),
        (
            "/spec/generators/0/weight",
            json!(7),
            "spec.generators cannot change once the run is accepted",
        ),
        (
            "/spec/filters",
            Value::Null,
            "spec.filters cannot change once the run is accepted",
        ),
        (
            "/spec/responses/samples",
            json!(3),
            "spec.responses cannot change once the run is accepted",
        ),
        (
            "/spec/reward",
            Value::Null,
            "spec.reward cannot change once the run is accepted",
        ),
        (
            "/spec/verification/agreement",
            json!({"atLeast": 2}),
            "spec.verification cannot change once the run is accepted",
        ),
        (
            "/spec/workspace/path",
            json!("elsewhere"),
            "spec.workspace cannot change once the run is accepted",
        ),
        (
            "/spec/output/path",
            json!("elsewhere"),
            "spec.output cannot change once the run is accepted",
        ),
        (
            "/spec/target/examples",
            json!(99),
            "spec.target.examples may only grow",
        ),
        (
            "/spec/managedBy",
            json!("somebody.else/x"),
            "spec.managedBy never changes",
        ),
    ]
}

fn rules(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for rule in members
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                // A sentence that is made by an expression is known by its first words.
                let sentence = rule["message"]
                    .as_str()
                    .or_else(|| rule["messageExpression"].as_str()?.split('\'').nth(1));
                found.insert(sentence.expect("a rule has a sentence").trim().to_string());
            }
            members.values().for_each(|member| rules(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| rules(item, found)),
        _ => {}
    }
}

/// What the API server and the local command refuse alike, and what both take.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn quantities_are_checked_as_locally() {
    let space = Cluster::shared().namespace("quantities").await;
    for (quantity, is_valid) in [
        (json!(0), true),
        (json!(17_179_869_184_u64), true),
        (json!(1_u64 << 53), true),
        (json!("16Gi"), true),
        (json!("500m"), true),
        (json!(".5"), true),
        (json!("1e3"), true),
        (json!(-1), false),
        (json!((1_u64 << 53) + 2), false),
        (json!(0.5), false),
        (json!("-1"), false),
        (json!("1e100"), false),
        (json!("16 Gi"), false),
        (json!("1".repeat(33)), false),
        (json!(true), false),
        (json!(["16Gi"]), false),
    ] {
        let limits = json!({"limits": {"memory": quantity}});
        let pods = json!([{"name": "p", "stages": ["Judge"], "resources": limits}]);
        let mut manifest = run();
        manifest["spec"]["pods"] = pods;
        let local = check_schema(&manifest);
        assert_eq!(local.is_empty(), is_valid, "{quantity}: {local:?}");
        let remote = answer(&space, manifest).await;
        assert_eq!(remote.is_ok(), is_valid, "{quantity}: {remote:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn crd_is_established_and_structural() {
    let cluster = Cluster::shared();
    cluster.install_crd();
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client().await);
    let crd = crds.get(SynthesisRun::crd_name()).await.expect("the CRD");
    let conditions = crd
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    let is = |kind: &str| {
        let found = conditions.iter().find(|condition| condition.type_ == kind);
        found.map(|condition| condition.status.as_str())
    };
    assert_eq!(is("Established"), Some("True"));
    assert_eq!(is("NonStructuralSchema"), None, "{conditions:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn crd_fits_client_side_apply() {
    let cluster = Cluster::shared();
    cluster.install_crd();
    let path = scalequest_tests::harness::binaries::repository()
        .join("crds/synthesisruns.scalequest.dev.yaml");
    let path = path.display().to_string();
    cluster
        .kubectl(&["apply", "--dry-run=server", "-f", &path])
        .exits_with(0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn each_cel_rule_rejects_its_violation() {
    let cluster = Cluster::shared();
    cluster.install_crd();
    let space = cluster.namespace("rules").await;
    let mut said = Vec::new();

    answer(&space, run())
        .await
        .expect("the run itself is right");
    let prices = json!({"inputPerMillion": "1", "outputPerMillion": "2"});
    let mut asked = with("/spec/budget", json!({"cost": "5"}));
    asked["spec"]["models"][1] = json!({"name": "judge", "engine": {"type": "OpenAI",
        "openAI": {"baseUrl": "https://llm.example.org/v1", "model": "judge", "prices": prices}}});
    answer(&space, asked)
        .await
        .expect("an endpoint's prices are prices");
    for (pointer, value, sentence) in wrong_from_the_start() {
        let refusal = answer(&space, with(pointer, value.clone())).await;
        let refusal = refusal.expect_err(pointer);
        assert!(refusal.contains(sentence), "{pointer}: {value}: {refusal}");
        said.push(refusal);
    }

    make(&space, &["Accepted"]).await;
    for (pointer, value, sentence) in fixed_once_accepted() {
        let refusal = answer_to_edit(&space, with(pointer, value.clone())).await;
        let refusal = refusal.expect_err(pointer);
        assert!(refusal.contains(sentence), "{pointer}: {value}: {refusal}");
        said.push(refusal);
    }
    for (pointer, value) in [
        ("/spec/suspend", json!(true)),
        ("/spec/target/examples", json!(101)),
        ("/spec/target/maxWaves", json!(3)),
        ("/spec/budget/cost", json!("50")),
        ("/spec/failurePolicy", json!({"maxFailedShardsPercent": 10})),
        (
            "/spec/pods",
            json!([{"name": "all", "stages": ["Generate"], "parallelism": 2}]),
        ),
        ("/spec/ttlSecondsAfterFinished", json!(60)),
        ("/spec/priorityClassName", json!("low")),
        ("/spec/serviceAccountName", json!("worker")),
        ("/spec/stores", json!([{"prefix": "s3://", "region": "eu"}])),
    ] {
        let edit = answer_to_edit(&space, with(pointer, value)).await;
        edit.unwrap_or_else(|refusal| panic!("{pointer}: {refusal}"));
    }

    let complete = cluster.namespace("complete").await;
    make(&complete, &["Accepted", "Complete"]).await;
    let grown = with("/spec/target/examples", json!(101));
    said.push(
        answer_to_edit(&complete, grown)
            .await
            .expect_err("it is over"),
    );

    let schema = serde_json::to_value(SynthesisRun::crd()).expect("the CRD");
    let mut sentences = BTreeSet::new();
    rules(&schema, &mut sentences);
    assert!(sentences.len() > 25, "the rules are found: {sentences:?}");
    let unsaid: Vec<_> = sentences
        .iter()
        .filter(|sentence| !said.iter().any(|refusal| refusal.contains(*sentence)))
        .collect();
    assert!(unsaid.is_empty(), "no case is refused by {unsaid:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn invalid_and_suspended_runs_accept_edits() {
    let cluster = Cluster::shared();
    cluster.install_crd();
    let space = cluster.namespace("mended").await;
    make(&space, &[]).await;
    for (pointer, value) in [
        ("/spec/recipe", json!("Code")),
        ("/spec/target/examples", json!(5)),
        ("/spec/models/0/source/path", json!("models/other")),
        ("/spec/filters", Value::Null),
    ] {
        let edit = answer_to_edit(&space, with(pointer, value)).await;
        edit.unwrap_or_else(|refusal| panic!("{pointer}: {refusal}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn unknown_field_is_rejected_by_name() {
    let cluster = Cluster::shared();
    cluster.install_crd();
    let space = cluster.namespace("typo").await;
    let manifest = with("/spec/responses/sampels", json!(3)).to_string();
    cluster
        .kubectl_with(
            &[
                "--namespace",
                space.name(),
                "create",
                "--validate=strict",
                "-f",
                "-",
            ],
            &manifest,
        )
        .exits_with(1)
        .says(&["unknown field \"spec.responses.sampels\""]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn kubectl_explains_fields_and_prints_columns() {
    let cluster = Cluster::shared();
    cluster.install_crd();
    let space = cluster.namespace("explained").await;
    let said = cluster.kubectl(&["explain", "synthesisrun.spec.generators.qpo.beta"]);
    said.exits_with(0).says(&["FIELD: beta"]);
    let all = cluster
        .kubectl(&["explain", "synthesisrun", "--recursive"])
        .exits_with(0);
    assert!(!all.stdout.contains("<no description>"), "{}", all.stdout);
    make(&space, &["Accepted"]).await;
    cluster
        .kubectl(&["--namespace", space.name(), "get", "srun", "-o", "wide"])
        .exits_with(0)
        .says(&[
            "NAME", "PHASE", "ACCEPTED", "PERCENT", "WAVE", "ETA", "QUEUE", "AGE",
        ]);
}
