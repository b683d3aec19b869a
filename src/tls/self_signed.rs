//! A certificate that vouches for itself: for the demo, for tests, and until the operator has a better one.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{PrivateKeyDer, ServerName, UnixTime};
use time::OffsetDateTime;

use super::certificates::{read_certificates, read_key};
use super::{Certificate, TlsError, provider};
use crate::clock::Moment;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Some systems trust nothing that is valid for more than 825 days.
const VALID: Duration = Duration::from_secs(730 * 24 * 60 * 60);
/// Renewed when it has less left than this.
const MARGIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A certificate that lies in a folder.
#[derive(Debug)]
pub struct SelfSigned {
    /// The certificate and its key.
    pub certificate: Certificate,
    /// Whether it was made just now.
    pub made: bool,
    /// The file with the certificate, for those who want to trust it.
    pub chain: PathBuf,
    /// The file with its key.
    pub key: PathBuf,
}

/// A certificate for these hosts and for this machine itself, which no file ever sees.
///
/// # Errors
/// [`TlsError::CannotMake`] if a name cannot stand in a certificate.
pub fn in_memory<S: AsRef<str>>(hosts: &[S], now: Moment) -> Result<Certificate, TlsError> {
    let (certificate, key) = make(&all_names(hosts), now)?;
    certified(&certificate, &key)
}

/// The certificate in `folder`, or a new one if there is none, it names other hosts, or it is about to expire.
///
/// # Errors
/// [`TlsError::CannotWrite`] if a new one could not be kept, [`TlsError::CannotMake`] as above.
pub fn ensure<S: AsRef<str>>(folder: &Path, hosts: &[S], now: Moment) -> Result<SelfSigned, TlsError> {
    let (chain, key) = (folder.join("self-signed.pem"), folder.join("self-signed.key"));
    let names = all_names(hosts);
    if let Some(certificate) = lying_there(&chain, &key, &names, now) {
        return Ok(SelfSigned { certificate, made: false, chain, key });
    }
    let (made, pair) = make(&names, now)?;
    std::fs::create_dir_all(folder).map_err(|source| TlsError::CannotWrite { path: folder.to_owned(), source })?;
    // If only the first arrives, the two do not belong together, and the next start makes both anew.
    write(folder, &key, 0o600, &pair.serialize_pem())?;
    write(folder, &chain, 0o644, &made.pem())?;
    Ok(SelfSigned { certificate: certified(&made, &pair)?, made: true, chain, key })
}

/// Without `*`, which no certificate can say, and with the names of this machine.
fn all_names<S: AsRef<str>>(hosts: &[S]) -> Vec<String> {
    let hosts = hosts.iter().map(AsRef::as_ref).filter(|host| *host != "*");
    let mut names: Vec<String> = Vec::new();
    for name in hosts.chain(["localhost", "127.0.0.1", "::1"]) {
        let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn make(names: &[String], now: Moment) -> Result<(rcgen::Certificate, KeyPair), TlsError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, "Vestibule, self-signed");
    params.not_before = date(now) - DAY;
    params.not_after = date(now) + VALID;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok((params.self_signed(&key)?, key))
}

fn date(moment: Moment) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::from_secs(moment.unix_seconds())
}

fn certified(certificate: &rcgen::Certificate, key: &KeyPair) -> Result<Certificate, TlsError> {
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider().key_provider.load_private_key(der)?;
    let pair = Certificate::pair(vec![certificate.der().clone()], key);
    Ok(pair.ok().flatten().expect("both were made a line above, for each other"))
}

/// The pair in the two files, if a client that trusts it would still accept it for all names in a month.
fn lying_there(chain: &Path, key: &Path, names: &[String], now: Moment) -> Option<Certificate> {
    let chain = read_certificates(chain).ok()?;
    let certificate = Certificate::pair(chain, read_key(key).ok()?).ok()??;
    let leaf = certificate.chain().first()?;
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    let then = UnixTime::since_unix_epoch(Duration::from_secs(now.plus(MARGIN).unix_seconds()));
    let accepted = names.iter().all(|name| {
        // Clients ask for a host, not for a pattern.
        let host = name.strip_prefix("*.").map_or_else(|| name.clone(), |parent| format!("any.{parent}"));
        server_name(host).is_some_and(|host| verifier.verify_server_cert(leaf, &[], &host, &[], then).is_ok())
    });
    accepted.then_some(certificate)
}

fn server_name(host: String) -> Option<ServerName<'static>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::from(address)),
        Err(_) => ServerName::try_from(host).ok(),
    }
}

/// Writes beside the target and renames: a reader finds the old file or the new one, never half of it.
fn write(folder: &Path, target: &Path, mode: u32, text: &str) -> Result<(), TlsError> {
    let inner = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(target).map_err(|error| error.error).map(drop)
    };
    inner().map_err(|source| TlsError::CannotWrite { path: target.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn it_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let certs = folder.path().join("new/certs");
        let now = Clock::system().now();
        let first = ensure(&certs, &["wiki.test", "*.example.com", "*"], now).unwrap();
        assert!(first.made);
        assert_eq!(std::fs::metadata(&first.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&certs).unwrap().count(), 2);
        assert_eq!(first.certificate.names(), ["wiki.test", "*.example.com", "localhost"]);

        let second = ensure(&certs, &["wiki.test", "*.example.com", "*"], now).unwrap();
        assert!(!second.made);
        assert_eq!(second.certificate.chain(), first.certificate.chain());
        assert!(!ensure(&certs, &["wiki.test"], now).unwrap().made, "fewer names are covered too");
    }

    #[test]
    fn it_is_made_anew_when_it_no_longer_serves() {
        let folder = tempfile::tempdir().unwrap();
        let certs = folder.path();
        let now = Clock::system().now();
        let later = |days| now.plus(DAY * days);
        let made = |hosts: &[&str], when| ensure(certs, hosts, when).unwrap().made;
        assert!(made(&["a.test"], now));
        assert!(made(&["a.test", "b.test"], now), "a name is missing");
        assert!(!made(&["a.test", "b.test"], later(690)));
        assert!(made(&["a.test", "b.test"], later(710)), "it expires within a month");
        std::fs::write(certs.join("self-signed.pem"), "half a fi").unwrap();
        assert!(made(&["a.test"], now), "the file is broken");
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        std::fs::write(certs.join("self-signed.key"), other.serialize_pem()).unwrap();
        assert!(made(&["a.test"], now), "the key is another certificate's");
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(certs.join("self-signed.key"), open).unwrap();
        assert!(made(&["a.test"], now), "others could read the key");
        assert!(!made(&["a.test"], now));
    }
}
