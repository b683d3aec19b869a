//! The client side of TLS: how `https://` upstreams are met, and whose word proves who they are.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::certificates::{FileMistake, Mistake, read_certificates};
use super::{TlsError, provider};

/// Who is believed about an upstream's name.
#[derive(Clone, Debug)]
pub enum Roots {
    /// The authorities of this machine.
    System,
    /// Those of one file, and nobody else.
    Given(Arc<RootCertStore>),
}

impl Roots {
    /// Reads the authorities of a PEM file.
    ///
    /// # Errors
    /// [`FileMistake`] if the file is of no use, in whole or in part.
    pub fn read(path: &Path) -> Result<Self, FileMistake> {
        let mut store = RootCertStore::empty();
        for certificate in read_certificates(path)? {
            store
                .add(certificate)
                .map_err(|_| FileMistake { path: path.to_owned(), mistake: Mistake::UnknownCertificate })?;
        }
        Ok(Self::Given(Arc::new(store)))
    }
}

/// How upstreams are met: TLS 1.2 and 1.3, HTTP/1.1.
///
/// # Errors
/// [`TlsError::NoAuthorities`] if nobody could vouch for an upstream.
pub fn client_config(roots: &Roots) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match roots {
        Roots::System => system_roots()?,
        Roots::Given(store) => Arc::clone(store),
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Machines carry a few that are too old to be understood; the rest is still of use.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        return Err(TlsError::NoAuthorities);
    }
    Ok(Arc::new(store))
}
