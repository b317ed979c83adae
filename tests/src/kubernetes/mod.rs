//! A real Kubernetes for the tests, on this machine: etcd, API server, controller manager, scheduler, simulated nodes (kwok)
//! and real ones (containerd and kubelet), ready in seconds. One cluster a test program ([`Cluster::shared`]), one
//! namespace a test ([`Cluster::namespace`]); a test that breaks servers starts a cluster of its own ([`Cluster::start`]). With
//! `KUBECONFIG` set the shared cluster is that one. It knows nothing of what is tested on it.
//!
//! Whatever happens to the test program, nothing of its cluster is left: a keeper (see [`keeper`]) holds the cluster's place
//! on the machine and clears it as soon as the program is gone.

pub mod programs;

pub mod slot;

pub mod keeper;

pub mod clear;

pub mod server;

pub mod credentials;

pub mod client;

pub mod control_plane;

pub mod network;

pub mod node;

pub mod image;

pub mod volumes;

pub mod simulated;

pub mod cluster;

pub mod real_nodes;

pub mod namespace;

pub mod command;

pub mod product;

pub mod claim;

pub mod simulated_worker;

pub mod api_proxy;

pub mod operator_process;

pub mod simulated_run;

pub mod kueue;

pub use cluster::Cluster;
pub use control_plane::Options;
pub use namespace::Namespace;
pub use simulated::Ending;
