//! A model's server beside its worker: a native sidecar (KEP-753) of the image that the spec names, and before it a container of the worker's
//! own image that checks the model's files, fetches them where they must be fetched, and puts them where the server expects them. The server
//! sees no task and no credentials, and claims only to read.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EmptyDirVolumeSource, EnvVar, ResourceRequirements, Volume,
    VolumeMount,
};
use scalequest_crds::protocol::task::{ModelServer, SERVED_MODEL, SERVER_URL, StageTask};

use super::security::restricted;
use super::stores::variable;
use super::volumes::{TASK_FOLDER, TEMPORARY, empty, mount};

/// The container that puts the model in its place. Rules about exit codes name it.
pub const PLACE: &str = "model";

/// The server's container.
pub const SERVER: &str = "server";

/// Where the model is put, and what had to be fetched for it.
const SERVED: &str = "/served";

/// The variable that says where what is fetched is kept.
const CACHE: &str = "SCALEQUEST_CACHE";

/// Where the server listens. A pod has its addresses for itself, so no other server is in the way.
const PORT: i32 = 8000;

/// The server that the worker of `task` needs beside it.
pub fn of(task: &StageTask) -> Option<ModelServer> {
    task.params.clone().model_mut()?.server.clone()
}

/// The containers before and beside `worker`, which asks the server afterwards; `resources` are what the stage was given.
pub fn beside(
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
    // What is fetched for the server must be where it sees it: in the run's own cache, or else here.
    if env.iter().all(|known| known.name != CACHE) {
        env.push(variable(CACHE, format!("{SERVED}/cache")));
    }
    worker
        .volume_mounts
        .get_or_insert_default()
        .push(served.clone());
    let place = Container {
        name: PLACE.into(),
        args: Some(arguments(task_file, worker)),
        ..worker.clone()
    };
    let url = format!("http://127.0.0.1:{PORT}/v1");
    worker
        .env
        .get_or_insert_default()
        .push(variable(SERVER_URL, url));
    vec![
        place,
        sidecar(server, [data, vec![served]].concat(), resources),
    ]
}

/// Arguments of the container that puts the model in its place: it reports as the worker does.
fn arguments(task_file: &str, worker: &Container) -> Vec<String> {
    let report = worker.termination_message_path.clone().unwrap_or_default();
    let task = format!("{TASK_FOLDER}/{task_file}");
    [
        "prepare-model",
        "--task",
        &task,
        "--at",
        SERVED_MODEL,
        "--report",
        &report,
    ]
    .map(String::from)
    .into()
}

fn sidecar(
    server: &ModelServer,
    data: Vec<VolumeMount>,
    resources: ResourceRequirements,
) -> Container {
    let command = server.command.iter().map(|part| {
        part.replace("{model}", SERVED_MODEL)
            .replace("{port}", &PORT.to_string())
    });
    let mut mounts: Vec<VolumeMount> = data
        .into_iter()
        .map(|each| VolumeMount {
            read_only: Some(true),
            ..each
        })
        .collect();
    mounts.push(mount("server-tmp", TEMPORARY, false));
    // Processes of one server pass each other tensors here; a container's own 64 MiB are too few for several GPUs.
    mounts.push(mount("server-shm", "/dev/shm", false));
    Container {
        name: SERVER.into(),
        image: server.image.clone(),
        command: Some(command.collect()),
        env: Some(quiet()),
        ports: Some(vec![ContainerPort {
            name: Some("server".into()),
            container_port: PORT,
            ..ContainerPort::default()
        }]),
        resources: Some(resources),
        // A sidecar: begun before the worker, begun again where it dies, ended after it, and no part of the Job's success.
        restart_policy: Some("Always".into()),
        volume_mounts: Some(mounts),
        // What it said last is told where it does not come up.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        security_context: Some(restricted()),
        ..Container::default()
    }
}

/// What lets servers of others run as nobody in particular, and keeps them from the network: they have all they need.
fn quiet() -> Vec<EnvVar> {
    let variables = [
        ("HOME", TEMPORARY),
        ("TMPDIR", TEMPORARY),
        // Python asks for the user's name where the image does not know the number.
        ("USER", "scalequest"),
        ("HF_HUB_OFFLINE", "1"),
        ("DO_NOT_TRACK", "1"),
    ];
    variables.map(|(name, value)| variable(name, value)).into()
}

/// The volumes that a server beside a worker adds to its pod.
pub fn volumes() -> Vec<Volume> {
    let memory = EmptyDirVolumeSource {
        medium: Some("Memory".into()),
        ..EmptyDirVolumeSource::default()
    };
    vec![
        empty("served", EmptyDirVolumeSource::default()),
        empty("server-tmp", EmptyDirVolumeSource::default()),
        empty("server-shm", memory),
    ]
}
