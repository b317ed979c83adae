//! Real nodes of a cluster: started, ready, and cut from power.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node as CoreNode;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::client::client;
use super::cluster::Cluster;
use super::credentials::NODES;
use super::node::{Node, Plan, REAL, start};
use crate::harness::processes::wait_until;

impl Cluster {
    /// Starts real nodes until there are so many, and puts the images of archives on each. In somebody's cluster there are
    /// nodes already, and the images with them.
    ///
    /// # Panics
    /// If one is not ready in time.
    pub fn real_nodes(&self, wanted: usize, images: &[PathBuf]) {
        if !self.is_own() {
            return;
        }
        let own = self.own("has nodes that a test starts");
        let mut nodes = own.nodes.lock().expect("no test panicked here");
        while nodes.len() < wanted {
            let index = nodes.len();
            let plan = Plan {
                slot: own.slot(),
                index: u8::try_from(index).expect("few nodes"),
                name: NODES[index],
                directory: self.directory().join(NODES[index]),
                credentials: &own.credentials,
            };
            nodes.push(start(&plan));
        }
        for node in nodes.iter_mut() {
            images.iter().for_each(|archive| node.load(archive));
            self.wait_for_node(node);
        }
    }

    /// Ends a real node as a power cut does: containers, kubelet and container runtime at once, and nobody is told.
    #[track_caller]
    pub fn cut_power(&self, name: &str) {
        let own = self.own("has nodes that a test may break");
        let mut nodes = own.nodes.lock().expect("no test panicked here");
        let node = nodes
            .iter_mut()
            .find(|node| node.name == name)
            .unwrap_or_else(|| panic!("there is no {name}"));
        node.kubelet.kill();
        super::clear::end_containers(own.slot(), name);
        node.containerd.kill();
    }

    #[track_caller]
    fn wait_for_node(&self, node: &mut Node) {
        wait_until("a ready node", Duration::from_secs(60), || {
            node.containerd.assert_runs();
            node.kubelet.assert_runs();
            let is_ready = self.block_on(label_ready(self.kubeconfig(), node.name));
            if !is_ready {
                std::thread::sleep(Duration::from_millis(100));
            }
            is_ready.then_some(())
        });
    }
}

/// Whether the node is ready; if so it is labelled.
async fn label_ready(kubeconfig: &Path, name: &str) -> bool {
    let nodes: Api<CoreNode> = Api::all(client(kubeconfig).await);
    let Ok(Some(node)) = nodes.get_opt(name).await else {
        return false;
    };
    let conditions = node
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    let is_ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let labels = Patch::Merge(json!({"metadata": {"labels": {REAL.0: REAL.1}}}));
    is_ready
        && nodes
            .patch(name, &PatchParams::default(), &labels)
            .await
            .is_ok()
}
