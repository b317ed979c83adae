//! What the parts of a cluster prove themselves with: certificates of an own authority for the API server, bearer tokens for everybody
//! who talks to it, and a kubeconfig each. Made anew for each cluster, by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use scalequest_crds::digest::sha256_hex;

use super::slot::Slot;

/// Who talks to the API server: name of the kubeconfig, user, groups.
const USERS: [(&str, &str, &str); 4] = [
    ("admin", "admin", "system:masters"),
    (
        "controller-manager",
        "system:kube-controller-manager",
        "system:authenticated",
    ),
    ("scheduler", "system:kube-scheduler", "system:authenticated"),
    ("kwok", "kwok", "system:masters"),
];

/// The real nodes that may be started.
pub const NODES: [&str; 4] = ["node-a", "node-b", "node-c", "node-d"];

/// The files of a cluster's credentials.
#[derive(Clone, Debug)]
pub struct Credentials {
    directory: PathBuf,
}

impl Credentials {
    /// Makes them below `directory`.
    pub fn make(slot: Slot, directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let credentials = Credentials {
            directory: directory.into(),
        };
        credentials.make_authority();
        let names = format!(
            "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:{},IP:{}",
            slot.address(),
            slot.services().1
        );
        credentials.certify(
            "api-server",
            "/CN=kube-apiserver",
            "serverAuth",
            Some(&names),
        );
        let kubelet_client = "/O=system:masters/CN=kube-apiserver-kubelet-client";
        credentials.certify("kubelet-client", kubelet_client, "clientAuth", None);
        credentials.make_tokens(slot);
        credentials
    }

    /// One of the files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The path of one of the files, as text.
    pub fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// The kubeconfig of a user or node.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.file(&format!("{user}.kubeconfig"))
    }

    fn make_authority(&self) {
        self.make_key("ca.key");
        self.openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "ca.key",
            "-out",
            "ca.crt",
            "-days",
            "30",
            "-subj",
            "/CN=scalequest-tests",
            "-addext",
            "keyUsage=critical,digitalSignature,keyCertSign",
        ]);
        self.make_key("service-accounts.key");
        self.openssl(&[
            "ec",
            "-in",
            "service-accounts.key",
            "-pubout",
            "-out",
            "service-accounts.pub",
        ]);
    }

    fn certify(&self, name: &str, subject: &str, usage: &str, names: Option<&str>) {
        let (key, request, certificate) = (
            format!("{name}.key"),
            format!("{name}.csr"),
            format!("{name}.crt"),
        );
        self.make_key(&key);
        let mut extensions = format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n"
        );
        if let Some(names) = names {
            extensions += &format!("subjectAltName={names}\n");
        }
        self.write(&format!("{name}.ext"), &extensions);
        self.openssl(&[
            "req", "-new", "-key", &key, "-out", &request, "-subj", subject,
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &format!("{name}.ext"),
            "-out",
            &certificate,
        ]);
    }

    /// Tokens are derived from the authority's key, which is new for each cluster.
    fn make_tokens(&self, slot: Slot) {
        let secret = std::fs::read_to_string(self.file("ca.key")).expect("a key");
        let nodes = NODES.map(|node| (node, format!("system:node:{node}"), "system:nodes"));
        let users = USERS
            .map(|(name, user, groups)| (name, user.to_string(), groups))
            .into_iter()
            .chain(nodes);
        let mut table = String::new();
        for (name, user, groups) in users {
            let token = sha256_hex(format!("{secret}{name}").as_bytes());
            table += &format!("{token},{user},{name},\"{groups}\"\n");
            self.write(
                &format!("{name}.kubeconfig"),
                &self.kubeconfig_text(slot, &token),
            );
        }
        self.write("tokens.csv", &table);
    }

    /// A kubeconfig with which `token` speaks to the API server. JSON is YAML.
    pub fn kubeconfig_text(&self, slot: Slot, token: &str) -> String {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": {
                "server": format!("https://{}", slot.api_server()), "certificate-authority": self.path("ca.crt"),
            }}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user", "namespace": "default"}}],
            "current-context": "tests",
        })
        .to_string()
    }

    fn make_key(&self, name: &str) {
        self.openssl(&[
            "ecparam",
            "-genkey",
            "-name",
            "prime256v1",
            "-noout",
            "-out",
            name,
        ]);
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.file(name), content).expect("a written file");
    }

    #[track_caller]
    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.directory)
            .output()
            .expect("openssl is installed");
        assert!(
            output.status.success(),
            "openssl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
