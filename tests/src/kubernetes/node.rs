//! A real node: containerd, runc and the kubelet on this machine, several beside each other, with networks, control groups and
//! directories of their own. It takes root.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::credentials::Credentials;
use super::image::{self, SANDBOX};
use super::programs::{installed, program};
use super::server::Server;
use super::slot::{Port, Slot};
use crate::harness::processes::wait_until;

/// Label of the real nodes that were started here.
pub const REAL: (&str, &str) = ("scalequest.dev/tests-node", "real");

/// A node. Fields are dropped in this order.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) kubelet: Server,
    pub(super) containerd: Server,
    socket: PathBuf,
}

/// What a node is made of.
pub(super) struct Plan<'a> {
    pub(super) slot: Slot,
    pub(super) index: u8,
    pub(super) name: &'static str,
    pub(super) directory: PathBuf,
    pub(super) credentials: &'a Credentials,
}

impl Node {
    /// Puts the images of an archive on the node.
    #[track_caller]
    pub(super) fn load(&self, archive: &Path) {
        let output = Command::new(installed("ctr"))
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(archive)
            .output()
            .expect("ctr starts");
        assert!(
            output.status.success(),
            "{} cannot be loaded: {}",
            archive.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Starts a node.
pub(super) fn start(plan: &Plan) -> Node {
    let directory = &plan.directory;
    fs::create_dir_all(directory.join("cni")).expect("a directory");
    make_groups(&plan.group());
    let write = |name: &str, content: String| {
        fs::write(directory.join(name), content).expect("a written file");
    };
    write("containerd.toml", plan.containerd());
    write("cni/10-tests.conflist", plan.pod_network());
    write("kubelet.json", plan.kubelet());
    write("resolv.conf", "nameserver 127.0.0.1\n".into());
    let parent = directory.parent().expect("below the slot's directory");
    let file = |name: &str| directory.join(name).display().to_string();
    let containerd = Server::start(
        &format!("{}-containerd", plan.name),
        &installed("containerd"),
        vec![format!("--config={}", file("containerd.toml"))],
        parent,
    );
    let socket = directory.join("containerd.sock");
    wait_until("containerd's socket", Duration::from_secs(30), || {
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    let kubelet = Server::start(
        &format!("{}-kubelet", plan.name),
        &program("kubelet"),
        vec![
            format!("--config={}", file("kubelet.json")),
            format!(
                "--kubeconfig={}",
                plan.credentials.kubeconfig(plan.name).display()
            ),
            format!("--root-dir={}", file("kubelet")),
            format!("--cert-dir={}", file("certificates")),
            format!("--hostname-override={}", plan.name),
            format!("--node-ip={}", plan.slot.address()),
        ],
        parent,
    );
    let node = Node {
        name: plan.name,
        kubelet,
        containerd,
        socket,
    };
    node.load(&image::sandbox());
    node
}

impl Plan<'_> {
    fn group(&self) -> String {
        format!("{}-{}", self.slot.name(), self.name)
    }

    fn containerd(&self) -> String {
        let directory = self.directory.display();
        let runc = installed("runc").display().to_string();
        let plugins = ["/usr/lib/cni", "/opt/cni/bin"]
            .into_iter()
            .find(|folder| Path::new(folder).join("bridge").is_file())
            .expect("the CNI plugins are installed: run `.ci/tools.sh kubernetes`");
        // Without the capability CAP_SYS_RESOURCE, which a machine in a sandbox may lack, runc dies where it is to lower a process's
        // oom_score_adj; so it is not asked to. Network namespaces lie in the state directory to go away with it.
        format!(
            r#"version = 2
root = "{directory}/containerd/root"
state = "{directory}/containerd/state"
[grpc]
  address = "{directory}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX}"
  enable_selinux = false
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/cni"
"#
        )
    }

    fn pod_network(&self) -> String {
        json!({
            "cniVersion": "0.4.0",
            "name": "tests",
            "plugins": [{
                "type": "bridge",
                "bridge": format!("{}n{}", self.slot.interface_prefix(), self.index),
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": self.directory.join("addresses"),
                    "ranges": [[{"subnet": self.slot.pods(self.index)}]],
                    "routes": [{"dst": Ipv4Addr::UNSPECIFIED.to_string() + "/0"}],
                },
            }],
        })
        .to_string()
    }

    /// The kubelet's configuration: with a quick heartbeat, and without evictions for want of space, which is the machine's affair.
    fn kubelet(&self) -> String {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": false,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.group()),
            "containerRuntimeEndpoint": format!("unix://{}/containerd.sock", self.directory.display()),
            "address": self.slot.address(),
            "port": self.slot.port(Port::Kubelet(self.index)),
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": false}, "x509": {"clientCAFile": self.credentials.path("ca.crt")}},
            "authorization": {"mode": "Webhook"},
            "makeIPTablesUtilChains": false,
            "localStorageCapacityIsolation": false,
            "failSwapOn": false,
            "evictionHard": {
                "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
                "imagefs.available": "0%", "imagefs.inodesFree": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "resolvConf": self.directory.join("resolv.conf"),
            "nodeStatusUpdateFrequency": "2s",
            "nodeLeaseDurationSeconds": 10,
            "syncFrequency": "10s",
            "volumePluginDir": self.directory.join("volume-plugins"),
            "podLogsDir": self.directory.join("logs"),
        })
        .to_string()
    }
}

/// Makes the node's control group in every hierarchy of version 1, as the kubelet expects it.
fn make_groups(name: &str) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let hierarchies: Vec<&str> = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.get(2) == Some(&"cgroup"))
        .map(|fields| fields[1])
        .collect();
    assert!(
        !hierarchies.is_empty(),
        "real nodes are only made on machines with control groups of version 1: set KUBECONFIG to use a cluster that is there"
    );
    for hierarchy in hierarchies {
        let group = Path::new(hierarchy).join(name);
        fs::create_dir_all(&group).expect("a control group, which takes root");
        for setting in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read_to_string(Path::new(hierarchy).join(setting)) {
                let _ = fs::write(group.join(setting), all);
            }
        }
    }
}
