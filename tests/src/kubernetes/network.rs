//! The slot's own network: a bridge whose address is the machine's in the cluster, and the two firewall rules by which
//! the Service `kubernetes` reaches the API server, from pods and from the machine, in the place of kube-proxy.

use std::process::Command;

use super::slot::Slot;

/// The chains through which packets of pods and of the machine come.
const CHAINS: [&str; 2] = ["PREROUTING", "OUTPUT"];

/// Makes the network.
///
/// # Panics
/// If the system refuses: it takes root.
pub fn set_up(slot: Slot) {
    let bridge = slot.interface_prefix();
    let address = format!("{}/32", slot.address());
    run("ip", &["link", "add", &bridge, "type", "bridge"]);
    run("ip", &["address", "add", &address, "dev", &bridge]);
    run("ip", &["link", "set", &bridge, "up"]);
    for chain in CHAINS {
        let rule = rule(slot, chain);
        let mut arguments = vec!["-w", "-t", "nat", "-A"];
        arguments.extend(rule.iter().map(String::as_str));
        run("iptables", &arguments);
    }
}

/// Takes the network away, or what is left of one.
pub fn take_down(slot: Slot) {
    for chain in CHAINS {
        // As often as it is there: a killed run may have left it.
        let deleted = || {
            let mut arguments: Vec<String> = ["-w", "-t", "nat", "-D"].map(String::from).into();
            arguments.extend(rule(slot, chain));
            let output = Command::new("iptables").args(&arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        while deleted() {}
    }
    for entry in std::fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&slot.interface_prefix()) {
            let _ = Command::new("ip").args(["link", "del", &name]).output();
        }
    }
}

fn rule(slot: Slot, chain: &str) -> Vec<String> {
    let service = format!("{}/32", slot.services().1);
    let server = slot.api_server().to_string();
    [
        chain,
        "-d",
        &service,
        "-p",
        "tcp",
        "--dport",
        "443",
        "-j",
        "DNAT",
        "--to-destination",
        &server,
    ]
    .map(String::from)
    .into()
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(super::programs::installed(program))
        .args(arguments)
        .output()
        .expect("the program starts");
    assert!(
        output.status.success(),
        "{program} {}: {}(a cluster's network takes root; set KUBECONFIG to use a cluster that is there)",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
