//! A place on this machine for one cluster: a directory, ports and addresses that no other cluster has. Everything
//! that a cluster leaves on the machine carries its slot's name or lies in its directory, so that it can be found again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// How many clusters may run beside each other.
pub const SLOTS: u8 = 8;

/// A place for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u8);

/// The servers that listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// etcd, for clients.
    Etcd,
    /// etcd, for peers. There are none, but it listens.
    EtcdPeer,
    /// The API server.
    ApiServer,
    /// The controller manager.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// kwok.
    Kwok,
    /// The kubelet of the n-th real node.
    Kubelet(u8),
}

impl Slot {
    /// The slot of a number.
    pub fn new(number: u8) -> Self {
        assert!(number < SLOTS, "there are {SLOTS} slots");
        Slot(number)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name that marks what belongs to it: control groups, firewall rules.
    pub fn name(self) -> String {
        format!("scalequest-cluster-{}", self.0)
    }

    /// Its directory. The path is short, since Unix sockets lie below it.
    pub fn directory(self) -> PathBuf {
        std::env::temp_dir().join(self.name())
    }

    /// The file whose lock is the right to the slot.
    pub fn lock(self) -> PathBuf {
        std::env::temp_dir().join(format!("{}.lock", self.name()))
    }

    /// Names of its network interfaces begin so.
    pub fn interface_prefix(self) -> String {
        format!("sqtest{}", self.0)
    }

    /// The machine's address in the cluster: that of the API server and of every real node. It is an address of an interface made for the
    /// cluster, so nothing is reached from outside; and no loopback address, which Kubernetes refuses for nodes and endpoints.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 89, self.0, 1)
    }

    /// The range of Services' addresses, and the first of them, which is the API server's.
    pub fn services(self) -> (String, Ipv4Addr) {
        let second = 96 + self.0;
        (
            format!("10.{second}.0.0/16"),
            Ipv4Addr::new(10, second, 0, 1),
        )
    }

    /// The range of pods' addresses on the n-th real node.
    pub fn pods(self, node: u8) -> String {
        format!("10.88.{}.0/24", self.0 * 8 + node)
    }

    /// The range of pods' addresses on simulated nodes, where nothing listens.
    pub fn simulated_pods(self) -> String {
        format!("10.{}.0.1/16", 200 + self.0)
    }

    /// The port of a server, below those that the system hands out and beside those of the other servers of the tests.
    pub fn port(self, port: Port) -> u16 {
        let offset = match port {
            Port::Etcd => 0,
            Port::EtcdPeer => 1,
            Port::ApiServer => 2,
            Port::ControllerManager => 3,
            Port::Scheduler => 4,
            Port::Kwok => 5,
            Port::Kubelet(node) => 10 + u16::from(node),
        };
        17_000 + u16::from(self.0) * 50 + offset
    }

    /// Where a server that nobody but the cluster's own servers talk to listens.
    pub fn loopback(self, port: Port) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port(port)))
    }

    /// Where the API server listens.
    pub fn api_server(self) -> SocketAddr {
        SocketAddr::from((self.address(), self.port(Port::ApiServer)))
    }
}
