//! Starts a cluster with a real node, runs a command with `KUBECONFIG` naming it, and ends the cluster with the command.
//!
//! usage: test-cluster [--operator] COMMAND [ARGUMENT...]
//!
//! With `--operator` the images of this build are on the node and the chart is installed. kubectl and helm are in the command's PATH,
//! and `CLUSTER_DIRECTORY` names the cluster's files; volumes lie in `volumes/NAMESPACE/CLAIM` below it.

use std::process::{Command, ExitCode};

use scalequest_tests::kubernetes::programs::folder;
use scalequest_tests::kubernetes::{Cluster, Options};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_operator = arguments.first().is_some_and(|first| first == "--operator");
    if is_operator {
        arguments.remove(0);
    }
    let Some((program, arguments)) = arguments.split_first() else {
        eprintln!("usage: test-cluster [--operator] COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let cluster = Cluster::start(Options::default());
    if is_operator {
        cluster.install_operator();
    } else {
        cluster.real_nodes(1, &[]);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder().to_path_buf()).chain(std::env::split_paths(&path));
    let ended = Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("CLUSTER_DIRECTORY", cluster.directory())
        .env("PATH", std::env::join_paths(folders).expect("a path"))
        .status();
    let code = match ended {
        Ok(status) => status.code().unwrap_or(1),
        Err(error) => {
            eprintln!("{program} does not start: {error}");
            1
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
