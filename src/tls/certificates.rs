//! Certificates and their keys: read from PEM, and proven to belong together.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use super::provider;

/// A chain and the key that belongs to its first certificate.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

/// What is wrong with one PEM file, and what to do about it.
#[derive(Debug)]
pub struct FileMistake {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub mistake: Mistake,
}

/// The ways in which a PEM file can be of no use.
#[derive(Debug)]
pub enum Mistake {
    /// Nothing there.
    Missing,
    /// It may not be read.
    Forbidden,
    /// It cannot be read for another reason.
    Unreadable(io::Error),
    /// Not text with `-----BEGIN …-----` lines.
    NotPem,
    /// PEM that is cut short or garbled.
    Damaged(pem::Error),
    /// PEM, but no certificate.
    NoCertificate {
        /// It holds a private key instead.
        holds_key: bool,
    },
    /// PEM, but no private key.
    NoKey {
        /// It holds a certificate instead.
        holds_certificate: bool,
    },
    /// A private key under a passphrase.
    EncryptedKey,
    /// Anybody on this machine can read the key.
    OpenToOthers,
    /// A key that the TLS library cannot use.
    UnknownKey(rustls::Error),
    /// A certificate that the TLS library cannot read.
    UnknownCertificate,
}

impl Certificate {
    /// Joins a chain and a key. `None` if the key belongs to another certificate.
    ///
    /// # Errors
    /// [`Mistake::UnknownCertificate`].
    pub fn pair(chain: Vec<CertificateDer<'static>>, key: Arc<dyn SigningKey>) -> Result<Option<Self>, Mistake> {
        let leaf = chain.first().ok_or(Mistake::NoCertificate { holds_key: false })?;
        let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|_| Mistake::UnknownCertificate)?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let key = CertifiedKey::new(chain, key);
        Ok(key.keys_match().is_ok().then(|| Self { key: Arc::new(key), names }))
    }

    /// The DNS names of the certificate, lower-cased; one may begin with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The chain, the site's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The certificates of a file, in its order; at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileMistake> {
    let inner = || {
        let text = read(path)?;
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(Mistake::Damaged)?;
        match chain.is_empty() {
            true => Err(Mistake::NoCertificate { holds_key: contains(&text, b"PRIVATE KEY-----") }),
            false => Ok(chain),
        }
    };
    inner().map_err(|mistake| FileMistake { path: path.to_owned(), mistake })
}

/// The private key of a file that nobody else can read.
pub(super) fn read_key(path: &Path) -> Result<Arc<dyn SigningKey>, FileMistake> {
    let inner = || {
        let text = read(path)?;
        if contains(&text, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(&text, b"Proc-Type: 4,ENCRYPTED") {
            return Err(Mistake::EncryptedKey);
        }
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => Mistake::NoKey { holds_certificate: contains(&text, b"BEGIN CERTIFICATE") },
            error => Mistake::Damaged(error),
        })?;
        let mode = std::fs::metadata(path).map_err(Mistake::Unreadable)?.permissions().mode();
        // Groups are left alone: a key is often shared by the group of those who renew and those who serve.
        if mode & 0o007 != 0 {
            return Err(Mistake::OpenToOthers);
        }
        provider().key_provider.load_private_key(key).map_err(Mistake::UnknownKey)
    };
    inner().map_err(|mistake| FileMistake { path: path.to_owned(), mistake })
}

fn read(path: &Path) -> Result<Vec<u8>, Mistake> {
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Mistake::Missing,
        io::ErrorKind::PermissionDenied => Mistake::Forbidden,
        _ => Mistake::Unreadable(error),
    })?;
    if !contains(&text, b"-----BEGIN ") {
        return Err(Mistake::NotPem);
    }
    Ok(text)
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(text, wanted).is_some()
}

impl FileMistake {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let path = self.path.display();
        match &self.mistake {
            Mistake::Missing => Some("a relative path starts from the folder of this file".into()),
            Mistake::Forbidden => Some("the user that runs vestibule must be able to read it".into()),
            Mistake::NotPem => Some(
                "PEM is text and begins with -----BEGIN; `openssl x509` and `openssl pkey` convert other forms".into(),
            ),
            Mistake::NoCertificate { holds_key: true } => {
                Some("it holds a private key; were `chain` and `key` swapped?".into())
            }
            Mistake::NoKey { holds_certificate: true } => {
                Some("it holds a certificate; were `chain` and `key` swapped?".into())
            }
            Mistake::EncryptedKey => Some(format!(
                "nobody is there to type the passphrase at a start; remove it: openssl pkey -in {path} -out NEW.key"
            )),
            Mistake::OpenToOthers => Some(format!("chmod 600 {path}")),
            Mistake::UnknownKey(_) => {
                Some("use an ECDSA (P-256, P-384), RSA (2048 bits or more) or Ed25519 key".into())
            }
            Mistake::Unreadable(_) | Mistake::Damaged(_) | Mistake::UnknownCertificate => None,
            Mistake::NoCertificate { holds_key: false } | Mistake::NoKey { holds_certificate: false } => None,
        }
    }
}

impl fmt::Display for FileMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.mistake {
            Mistake::Missing => write!(f, "there is no file {path}"),
            Mistake::Forbidden => write!(f, "{path} cannot be read: permission denied"),
            Mistake::Unreadable(error) => write!(f, "{path} cannot be read: {error}"),
            Mistake::NotPem => write!(f, "{path} is not a PEM file"),
            Mistake::Damaged(error) => write!(f, "{path} is damaged: {error}"),
            Mistake::NoCertificate { .. } => write!(f, "{path} holds no certificate"),
            Mistake::NoKey { .. } => write!(f, "{path} holds no private key"),
            Mistake::EncryptedKey => write!(f, "the private key in {path} is encrypted"),
            Mistake::OpenToOthers => write!(f, "the private key in {path} can be read by others"),
            Mistake::UnknownKey(error) => write!(f, "the private key in {path} cannot be used: {error}"),
            Mistake::UnknownCertificate => write!(f, "the first certificate in {path} cannot be understood"),
        }
    }
}

impl std::error::Error for FileMistake {}
