//! A model's server as a native sidecar (KEP-753) of the image that the spec names, after an init container of the worker's image that checks
//! the model's files, downloads them if needed, and places them where the server expects them. The server has no task, no credentials and
//! read-only claims.

use k8s_openapi::api::core::v1::{Container, EnvVar, ResourceRequirements, Volume, VolumeMount};
use scalequest_crds::protocol::task::{ModelServer, SERVED_MODEL, SERVER_URL};

use serde_json::json;

use super::object;
use super::security::restricted;
use super::stores::variable;
use super::volumes::{TASK_FOLDER, TEMPORARY, mount};

/// The init container that prepares the model, named by the pod failure policy.
pub const PREPARE_MODEL: &str = "model";

/// The server's container.
pub const SERVER: &str = "server";

/// Where the model and its downloads are.
const SERVED: &str = "/served";

/// The variable of the model cache's path.
const CACHE: &str = "SCALEQUEST_CACHE";

/// Port of the server, which has the pod's addresses for itself.
const PORT: i32 = 8000;

/// Returns the init container and the sidecar of the server, and points `worker` to it. `resources`: those of the stage.
pub fn sidecars(
    worker: &mut Container,
    server: &ModelServer,
    task_file: &str,
    resources: ResourceRequirements,
) -> Vec<Container> {
    let served = mount("served", SERVED, false);
    let data: Vec<VolumeMount> = worker
        .volume_mounts
        .iter()
        .flatten()
        .filter(|each| each.name.starts_with("claim-") || each.name.starts_with("image-"))
        .cloned()
        .collect();
    let env = worker.env.get_or_insert_default();
    // Downloads must be visible to the server: in the run's model cache, or else here.
    if env.iter().all(|known| known.name != CACHE) {
        env.push(variable(CACHE, format!("{SERVED}/cache")));
    }
    let mounts = worker.volume_mounts.get_or_insert_default();
    mounts.push(served.clone());
    let prepare = Container {
        name: PREPARE_MODEL.into(),
        args: Some(arguments(task_file, worker)),
        ..worker.clone()
    };
    let url = format!("http://127.0.0.1:{PORT}/v1");
    let env = worker.env.get_or_insert_default();
    env.push(variable(SERVER_URL, url));
    let data = [data, vec![served]].concat();
    vec![prepare, server_container(server, data, resources)]
}

/// Returns the arguments of the init container, which reports as the worker does.
fn arguments(task_file: &str, worker: &Container) -> Vec<String> {
    let report = worker
        .termination_message_path
        .as_deref()
        .unwrap_or_default();
    let task = format!("{TASK_FOLDER}/{task_file}");
    let model = ["--at", SERVED_MODEL, "--report", report];
    let arguments = [&["prepare-model", "--task", &task], &model[..]].concat();
    arguments.into_iter().map(String::from).collect()
}

fn server_container(
    server: &ModelServer,
    data: Vec<VolumeMount>,
    resources: ResourceRequirements,
) -> Container {
    let command = server.command.iter().map(|part| {
        part.replace("{model}", SERVED_MODEL)
            .replace("{port}", &PORT.to_string())
    });
    let mut mounts = data;
    for mount in &mut mounts {
        mount.read_only = Some(true);
    }
    mounts.push(mount("server-tmp", TEMPORARY, false));
    // Server processes exchange tensors here; the default 64 MiB are not enough for several GPUs.
    mounts.push(mount("server-shm", "/dev/shm", false));
    Container {
        name: SERVER.into(),
        image: server.image.clone(),
        command: Some(command.collect()),
        env: Some(offline_variables()),
        ports: object(json!([{"name": "server", "containerPort": PORT}])),
        resources: Some(resources),
        // A sidecar: started before the worker, restarted if it crashes, stopped after it, without effect on the Job's success.
        restart_policy: Some("Always".into()),
        volume_mounts: Some(mounts),
        // Its last log lines are shown if it does not start.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        security_context: Some(restricted()),
        ..Container::default()
    }
}

/// Returns variables that let third-party servers run without a user name and offline.
fn offline_variables() -> Vec<EnvVar> {
    let variables = [
        ("HOME", TEMPORARY),
        ("TMPDIR", TEMPORARY),
        // Python looks up the user's name if the image does not know the number.
        ("USER", "scalequest"),
        ("HF_HUB_OFFLINE", "1"),
        ("DO_NOT_TRACK", "1"),
    ];
    variables.map(|(name, value)| variable(name, value)).into()
}

/// Returns the volumes of the server's containers.
pub fn volumes() -> Vec<Volume> {
    object(json!([
        {"name": "served", "emptyDir": {}},
        {"name": "server-tmp", "emptyDir": {}},
        {"name": "server-shm", "emptyDir": {"medium": "Memory"}},
    ]))
}
