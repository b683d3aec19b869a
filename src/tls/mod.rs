//! The two sides of TLS: what browsers meet ([`server_config`]) and how `https://` upstreams are met
//! ([`client_config`]). Sockets, handshakes and deadlines live in `server/` and `upstream/`.

mod by_name;
mod certificates;
mod client;
mod self_signed;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ServerConfig;
use rustls::version::{TLS12, TLS13};

pub use by_name::ByName;
pub use certificates::{Certificate, FileMistake, Mistake};
pub use client::{Roots, client_config};
pub use self_signed::{SelfSigned, ensure, in_memory};
pub use settings::{Certificates, MinVersion, TlsSettings};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not even one certificate to show.
    #[error("there is no certificate to show")]
    NoCertificate,
    /// A self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    CannotMake(#[from] rcgen::Error),
    /// A self-signed certificate could not be kept.
    #[error("cannot write {}", path.display())]
    CannotWrite {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The machine trusts nobody.
    #[error("this machine has no certificate authorities to trust (on Debian: apt-get install ca-certificates)")]
    NoAuthorities,
    /// The TLS library refused.
    #[error("TLS cannot be set up")]
    Library(#[from] rustls::Error),
}

/// What browsers meet: TLS 1.2 and 1.3, HTTP/2 or HTTP/1.1, resumption by tickets, no early data.
///
/// Made once and shared by all threads: a second one could not read the first one's tickets. New certificates go through
/// [`ByName::replace`].
///
/// # Errors
/// [`TlsError::Library`].
pub fn server_config(by_name: Arc<ByName>, min_version: MinVersion) -> Result<Arc<ServerConfig>, TlsError> {
    let versions: &[_] = match min_version {
        MinVersion::Tls12 => &[&TLS13, &TLS12],
        MinVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(by_name);
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Its keys rotate and live in this process only, so that no ticket outlives them.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    // Early data can be sent twice by anybody who saw it once (RFC 8446 §8).
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// AES-128-GCM comes first: as strong as anybody needs, and the cheapest where the processor helps.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite as suite;
    let cipher_suites = vec![
        suite::TLS13_AES_128_GCM_SHA256,
        suite::TLS13_AES_256_GCM_SHA384,
        suite::TLS13_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

#[cfg(test)]
mod tests;
