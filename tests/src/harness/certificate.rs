//! A certificate authority of a test's own, and a certificate for servers on loopback that it signed; made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of an authority and of a certificate for `127.0.0.1`.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The authority's certificate, which a client is to trust.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl Certificate {
    /// Creates both in `directory`, which is made.
    ///
    /// # Panics
    /// If openssl is not installed.
    pub fn create(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 30";
        openssl(
            directory,
            &format!(
                "{new} -keyout ca.key -out ca.crt -subj /CN=scalequest-tests \
                 -addext keyUsage=critical,digitalSignature,keyCertSign"
            ),
        );
        openssl(
            directory,
            &format!(
                "{new} -keyout server.key -out server.crt -subj /CN=server -CA ca.crt -CAkey ca.key \
                 -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1"
            ),
        );
        Certificate {
            authority: directory.join("ca.crt"),
            certificate: directory.join("server.crt"),
            key: directory.join("server.key"),
        }
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(directory)
        .args(arguments.split_whitespace())
        .output()
        .expect("openssl is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {error}");
}
