//! The cache of fetched models, and the tokens to fetch them with.

use k8s_openapi::api::batch::v1::Job;
use scalequest_crds::protocol::task::ModelLocation;
use scalequest_crds::v1alpha1::Stage;

use super::{Built, RUN, built, pod, work};
use crate::names::Purpose;
use crate::resources::job::stage;

/// A run whose judge is fetched from the hub and whose generator is trained from a model that is fetched from a store.
pub(super) const FETCHED: &str = "modelCache: {claim: {name: cache, subPath: models}}\n  models:
  - {name: qwen, source: {uri: \"s3://models/qwen\"}}
  - {name: judge, source: {hub: {repo: org/judge, revision: 0123456789abcdef0123456789abcdef01234567, tokenSecret: {name: hub, key: token}}}}";

pub(super) fn fetching(fetched: &str) -> Built {
    let (before, rest) = RUN.split_once("models:").unwrap();
    let (_, after) = rest.split_once("seedQuestions").unwrap();
    let stores = after.replace(
        "stores: [",
        "stores: [{prefix: \"hf://\", endpoint: \"https://mirror\"}, ",
    );
    built(&format!("{before}{fetched}\n  seedQuestions{stores}"))
}

/// The Job of `stage` for a model that lies at `location`.
fn job_of(built: &Built, of: Stage, location: ModelLocation) -> Job {
    let mut task = built.task(of);
    task.params.model_mut().unwrap().location = location;
    stage(built.common(), &work(Purpose::Run, of), &task, None)
}

/// Whether a Job's pods may write to the cache, where they find it, and which token they are given.
fn cache_of(job: &Job) -> (bool, Option<String>, Vec<String>) {
    let container = pod(job).containers.remove(0);
    let mounts = container.volume_mounts.unwrap();
    let mount = mounts
        .iter()
        .find(|mount| mount.mount_path == "/claims/cache");
    let env = container.env.unwrap();
    let tokens = env.iter().filter_map(|variable| {
        let source = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
        Some(format!("{} {}/{}", variable.name, source.name, source.key))
    });
    let place = env
        .iter()
        .find(|variable| variable.name == "SCALEQUEST_CACHE");
    (
        mount.is_some_and(|mount| mount.read_only.is_none()),
        place.and_then(|place| place.value.clone()),
        tokens.collect(),
    )
}

#[test]
fn model_cache_reaches_downloading_pods() {
    let run = fetching(FETCHED);
    let hub = ModelLocation::declared(&run.run.spec().models[1]).unwrap();
    let uri = ModelLocation::declared(&run.run.spec().models[0]).unwrap();
    let trained = ModelLocation::Trained {
        stage: Stage::Qft,
        key: "k".into(),
    };
    let place = Some("/claims/cache/models".to_string());
    let token = vec!["SCALEQUEST_HUB_TOKEN_JUDGE hub/token".to_string()];
    let none = (false, None, vec![]);
    assert_eq!(
        cache_of(&run.all()[0]),
        (true, place.clone(), token.clone())
    );
    assert_eq!(
        cache_of(&job_of(&run, Stage::Judge, hub.clone())),
        (true, place.clone(), token.clone())
    );
    assert_eq!(
        cache_of(&job_of(&run, Stage::Qft, uri.clone())),
        (true, place, vec![])
    );
    assert_eq!(cache_of(&job_of(&run, Stage::Qft, trained)), none);
    assert_eq!(cache_of(&run.job(Purpose::Seal, Stage::Judge, None)), none);
    // Without a cache every pod fetches to its scratch volume, and the token goes to the same ones.
    let run = fetching(FETCHED.split_once('\n').unwrap().1.trim_start());
    assert_eq!(
        cache_of(&job_of(&run, Stage::Judge, hub)),
        (false, None, token)
    );
    let pod = pod(&job_of(&run, Stage::Qft, uri));
    assert!(pod.volumes.unwrap().iter().all(|volume| {
        let claim = volume.persistent_volume_claim.as_ref();
        claim.is_none_or(|claim| claim.claim_name != "cache")
    }));
    let env = pod.containers[0].env.clone().unwrap();
    assert!(env.iter().any(|variable| variable.name == "HF_ENDPOINT"
        && variable.value.as_deref() == Some("https://mirror")));
}

#[test]
fn cache_claim_is_read_only_elsewhere() {
    let run = fetching(&FETCHED.replace(
        "uri: \"s3://models/qwen\"",
        "claim: {name: cache, subPath: qwen}",
    ));
    let read = ModelLocation::declared(&run.run.spec().models[0]).unwrap();
    let job = job_of(&run, Stage::Qft, read);
    let mounts = pod(&job).containers[0].volume_mounts.clone().unwrap();
    let mount = mounts
        .iter()
        .find(|mount| mount.mount_path == "/claims/cache")
        .unwrap();
    assert_eq!(mount.read_only, Some(true));
    assert_eq!(cache_of(&job), (false, None, vec![]));
}
