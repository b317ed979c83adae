//! The operator as a process of this machine, which a test kills and starts again. It has the rights of the chart's service account, or what
//! the kubeconfig says.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::image::WORKER;
use super::namespace::Namespace;
use super::server::Server;
use crate::harness::binaries::binary;

/// An operator that looks after one namespace.
#[derive(Debug)]
pub struct OperatorProcess(Server);

impl Namespace {
    /// Starts an operator that looks after this namespace alone, without leader election. Everything is listed anew every few seconds.
    pub fn start_operator(&self, kubeconfig: &Path) -> OperatorProcess {
        let arguments = [
            "--watch-namespaces",
            self.name(),
            "--resync-seconds",
            "8",
            "--leader-election",
            "false",
        ];
        self.start_operator_with(kubeconfig, &arguments)
    }

    /// Starts an operator with these arguments.
    pub fn start_operator_with(&self, kubeconfig: &Path, more: &[&str]) -> OperatorProcess {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = self.cluster().directory();
        // By this path it is known as one of the cluster's processes, wherever the binary lies.
        let program = directory.join("scalequest");
        if !program.exists() {
            let _ = std::os::unix::fs::symlink(binary("scalequest"), &program);
        }
        let own = [
            "operator",
            "--worker-image",
            WORKER,
            "--worker-image-pull-policy",
            "Never",
            "--listen",
            "127.0.0.1:0",
        ];
        // Where `more` says where to listen, the last two are left out.
        let own = match more.contains(&"--listen") {
            true => &own[..own.len() - 2],
            false => &own[..],
        };
        let arguments = own.iter().chain(more);
        let environment = [
            ("KUBECONFIG".to_string(), kubeconfig.display().to_string()),
            ("RUST_LOG".to_string(), "info".to_string()),
        ];
        OperatorProcess(Server::start_with(
            &format!("operator-{}-{turn}", self.name()),
            &program,
            arguments.map(ToString::to_string).collect(),
            environment.into(),
            directory,
        ))
    }
}

impl OperatorProcess {
    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.0.pid()
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        self.0.start_again();
    }

    /// Asserts that it runs.
    #[track_caller]
    pub fn assert_runs(&mut self) {
        self.0.assert_runs();
    }
}
