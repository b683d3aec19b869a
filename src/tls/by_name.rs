//! Which certificate a client sees: the one for the name it asked for (SNI, RFC 6066 §3), else the first.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Certificate, TlsError};

/// Certificates by server name. They can be replaced while connections are being made; those that stand keep theirs.
pub struct ByName(ArcSwap<Table>);

struct Table {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`: such a name covers one label and no more (RFC 9525 §6.3).
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl ByName {
    /// These certificates. Where two have the same name, the earlier one is shown.
    ///
    /// # Errors
    /// [`TlsError::NoCertificate`] if there are none.
    pub fn new(certificates: &[Certificate]) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(Table::new(certificates)?))))
    }

    /// Shows other certificates from now on.
    ///
    /// # Errors
    /// [`TlsError::NoCertificate`] if there are none; then everything stays as it was.
    pub fn replace(&self, certificates: &[Certificate]) -> Result<(), TlsError> {
        self.0.store(Arc::new(Table::new(certificates)?));
        Ok(())
    }
}

impl Table {
    fn new(certificates: &[Certificate]) -> Result<Self, TlsError> {
        let first = Arc::clone(certificates.first().ok_or(TlsError::NoCertificate)?.key());
        let mut table = Self { exact: HashMap::new(), wildcard: HashMap::new(), first };
        for certificate in certificates {
            for name in certificate.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcard, parent),
                    None => (&mut table.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_insert_with(|| Arc::clone(certificate.key()));
            }
        }
        Ok(table)
    }

    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            return &self.first;
        };
        if let Some(exact) = self.exact.get(&name) {
            return exact;
        }
        name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent)).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.0.load().find(hello.server_name())))
    }
}

impl std::fmt::Debug for ByName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = self.0.load();
        f.debug_struct("ByName")
            .field("exact", &table.exact.keys())
            .field("wildcard", &table.wildcard.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::tls::in_memory;

    #[test]
    fn the_exact_name_wins_then_the_wildcard_then_the_first() {
        let certificates: Vec<_> = ["first.test", "*.example.com", "wiki.example.com", "wiki.example.com"]
            .map(|name| in_memory(&[name], Clock::system().now()).unwrap())
            .into();
        let table = Table::new(&certificates).unwrap();
        for (asked, wanted) in [
            (Some("first.test"), 0),
            (Some("wiki.example.com"), 2),
            (Some("WIKI.Example.COM"), 2),
            (Some("git.example.com"), 1),
            (Some("a.git.example.com"), 0),
            (Some("example.com"), 0),
            (Some("elsewhere.test"), 0),
            (None, 0),
        ] {
            assert!(Arc::ptr_eq(table.find(asked), certificates[wanted].key()), "{asked:?}");
        }
    }

    #[test]
    fn without_a_certificate_nothing_is_replaced() {
        let certificate = in_memory(&["a.test"], Clock::system().now()).unwrap();
        let by_name = ByName::new(std::slice::from_ref(&certificate)).unwrap();
        assert!(matches!(by_name.replace(&[]), Err(TlsError::NoCertificate)));
        assert!(Arc::ptr_eq(by_name.0.load().find(Some("a.test")), certificate.key()));
    }
}
