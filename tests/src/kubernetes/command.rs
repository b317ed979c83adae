//! kubectl and helm on a cluster, as a person calls them.

use std::io::Write;
use std::process::{Command, Stdio};

use super::cluster::Cluster;
use super::programs::program;
use crate::harness::Finished;

impl Cluster {
    /// A program's command line, aimed at this cluster.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::null());
        command
    }

    /// Runs kubectl to its end.
    pub fn kubectl(&self, arguments: &[&str]) -> Finished {
        self.command("kubectl", arguments)
            .output()
            .expect("kubectl starts")
            .into()
    }

    /// Runs kubectl with `manifest` as its standard input, for `-f -`.
    pub fn kubectl_with(&self, arguments: &[&str], manifest: &str) -> Finished {
        let mut child = self
            .command("kubectl", arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut input = child.stdin.take().expect("a pipe");
        // kubectl reads all of it before it answers.
        let _ = input.write_all(manifest.as_bytes());
        drop(input);
        child.wait_with_output().expect("kubectl ends").into()
    }

    /// Runs helm to its end, with a home of its own.
    pub fn helm(&self, arguments: &[&str]) -> Finished {
        let home = self.directory().join("helm");
        self.command("helm", arguments)
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .output()
            .expect("helm starts")
            .into()
    }
}
