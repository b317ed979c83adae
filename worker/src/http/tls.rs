//! The provider of cryptography of every HTTPS client in this process. Clients trust the system's certificate authorities, or those in
//! the file that `SSL_CERT_FILE` names.

/// Installs ring as the process-wide provider of cryptography, unless one is installed. Call it before a client is built.
pub fn install_tls_provider() {
    // The only error is that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
