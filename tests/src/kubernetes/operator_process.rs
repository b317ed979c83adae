//! The operator as a process of this machine, which a test kills and starts again. It has the rights of the chart's service account, or what
//! the kubeconfig says.

use std::path::Path;

use super::image::WORKER;
use super::namespace::Namespace;
use super::server::Server;
use crate::harness::binaries::binary;

/// An operator that looks after one namespace.
#[derive(Debug)]
pub struct OperatorProcess(Server);

impl Namespace {
    /// Starts an operator that looks after this namespace alone, without leader election.
    pub fn start_operator(&self, kubeconfig: &Path) -> OperatorProcess {
        let directory = self.cluster().directory();
        // By this path it is known as one of the cluster's processes, wherever the binary lies.
        let program = directory.join("scalequest");
        if !program.exists() {
            let _ = std::os::unix::fs::symlink(binary("scalequest"), &program);
        }
        let arguments = [
            "operator",
            "--worker-image",
            WORKER,
            "--worker-image-pull-policy",
            "Never",
            "--watch-namespaces",
            self.name(),
            "--leader-election",
            "false",
            "--listen",
            "127.0.0.1:0",
        ];
        let environment = [
            ("KUBECONFIG".to_string(), kubeconfig.display().to_string()),
            ("RUST_LOG".to_string(), "info".to_string()),
        ];
        OperatorProcess(Server::start_with(
            &format!("operator-{}", self.name()),
            &program,
            arguments.map(String::from).into(),
            environment.into(),
            directory,
        ))
    }
}

impl OperatorProcess {
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
