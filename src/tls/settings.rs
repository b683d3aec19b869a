//! The `[tls]` section.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use rustls::sign::SigningKey;

use super::certificates::{Certificate, FileMistake, read_certificates, read_key};
use crate::problems::{Place, Problem};
use crate::section::{Found, Section};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_HSTS: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What the `[tls]` section says.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// What is shown to clients.
    pub certificates: Certificates,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// For how long browsers are told to use nothing but https (RFC 6797); zero: they are not told.
    pub hsts: Duration,
}

/// Where certificates come from.
#[derive(Clone, Debug)]
pub enum Certificates {
    /// None are configured: one is made.
    SelfSigned,
    /// These, at least one.
    Given(Vec<Certificate>),
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { certificates: Certificates::SelfSigned, min_version: MinVersion::Tls12, hsts: DEFAULT_HSTS }
    }
}

impl TlsSettings {
    /// Reads the section and the files it names. Mistakes are noted, and a default stands in.
    pub fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let pairs = section.tables("certificates");
        let given: Vec<_> = pairs.iter().filter_map(read_pair).collect();
        let versions = [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];
        Self {
            certificates: if given.is_empty() { Certificates::SelfSigned } else { Certificates::Given(given) },
            min_version: section.word("min_version", &versions).unwrap_or(default.min_version),
            hsts: section.duration("hsts", Duration::ZERO..=DAY * 3650).unwrap_or(default.hsts),
        }
    }

    /// The value of `Strict-Transport-Security`, if it is sent. Other hosts below ours may not be ready: they are not
    /// included.
    pub fn hsts_value(&self) -> Option<HeaderValue> {
        let seconds = self.hsts.as_secs();
        // `max-age=0` would undo what another server of this host said.
        (seconds > 0).then(|| {
            HeaderValue::from_str(&format!("max-age={seconds}")).expect("digits and letters are fit for a header")
        })
    }
}

fn read_pair(section: &Section<'_>) -> Option<Certificate> {
    // Both are read before either is judged: the operator hears of both at once.
    let chain = read_file(section, "chain", read_certificates);
    let key = read_file(section, "key", read_key);
    let ((chain_path, chain), (key_path, key)) = (chain?, key?);
    let belongs_to_another = chain.iter().skip(1).any(|other| belongs(other, &key));
    match Certificate::pair(chain, key) {
        Ok(Some(certificate)) => Some(certificate),
        Ok(None) => {
            let (chain, key) = (chain_path.value.display(), key_path.value.display());
            let message = format!("the key in {key} does not belong to the first certificate in {chain}");
            let problem = Problem::at(&key_path.place, message);
            section.problem(match belongs_to_another {
                true => problem.hint("it belongs to a later one; the site's own certificate must come first"),
                false => problem.hint("give the key that this certificate was made for"),
            });
            None
        }
        Err(mistake) => {
            note(section, &chain_path.place, &FileMistake { path: chain_path.value, mistake });
            None
        }
    }
}

fn belongs(certificate: &CertificateDer<'static>, key: &Arc<dyn SigningKey>) -> bool {
    Certificate::pair(vec![certificate.clone()], Arc::clone(key)).is_ok_and(|pair| pair.is_some())
}

fn read_file<T>(
    section: &Section<'_>,
    name: &'static str,
    read: impl Fn(&Path) -> Result<T, FileMistake>,
) -> Option<(Found<PathBuf>, T)> {
    if !section.has(name) {
        section.missing(name, &format!("\"certs/example.com.{}\"", if name == "key" { "key" } else { "pem" }));
    }
    let path = section.path(name)?;
    match read(&path.value) {
        Ok(content) => Some((path, content)),
        Err(mistake) => {
            note(section, &path.place, &mistake);
            None
        }
    }
}

fn note(section: &Section<'_>, place: &Place, mistake: &FileMistake) {
    let problem = Problem::at(place, mistake.to_string());
    section.problem(match mistake.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    });
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::problems::Source;
    use crate::section::TomlFile;
    use crate::tls::Mistake;

    /// A folder with two good pairs, `a` and `b`.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            let made = rcgen::generate_simple_self_signed([format!("{name}.test")]).unwrap();
            write(&folder, &format!("{name}.pem"), 0o644, &made.cert.pem());
            write(&folder, &format!("{name}.key"), 0o640, &made.signing_key.serialize_pem());
        }
        folder
    }

    fn write(folder: &tempfile::TempDir, name: &str, mode: u32, text: &str) {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn read(folder: &tempfile::TempDir, text: &str) -> (TlsSettings, String) {
        let source = Source::new(folder.path().join("v.toml"), text.into());
        let file = TomlFile::parse(&source);
        let settings = TlsSettings::read(&file.root());
        (settings, file.into_problems().to_string())
    }

    #[test]
    fn an_empty_section_means_the_defaults() {
        let (settings, said) = read(&folder(), "");
        assert!(matches!(settings.certificates, Certificates::SelfSigned));
        assert_eq!(settings.min_version, MinVersion::Tls12);
        assert_eq!(settings.hsts_value().unwrap(), "max-age=31536000");
        assert!(!said.contains("v.toml"), "{said}");
    }

    #[test]
    fn good_pairs_are_read() {
        let text = "certificates = [{ chain = 'a.pem', key = 'a.key' }, { chain = 'b.pem', key = 'b.key' }]\n\
                    min_version = '1.3'\nhsts = '0s'";
        let (settings, said) = read(&folder(), text);
        let Certificates::Given(given) = &settings.certificates else { panic!("{said}") };
        assert_eq!(given.iter().flat_map(|one| one.names()).collect::<Vec<_>>(), ["a.test", "b.test"]);
        assert_eq!((settings.min_version, settings.hsts_value()), (MinVersion::Tls13, None));
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_what_to_do() {
        let folder = folder();
        let text_of = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let key = text_of("a.key");
        write(&folder, "open.key", 0o604, &key);
        write(&folder, "plain.txt", 0o600, "hello");
        write(&folder, "cut.pem", 0o600, &text_of("a.pem")[..100]);
        write(&folder, "cut.key", 0o600, &key[..100]);
        write(&folder, "locked.key", 0o600, &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
        write(&folder, "odd.key", 0o600, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        write(&folder, "odd.pem", 0o600, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        write(&folder, "order.pem", 0o600, &(text_of("b.pem") + &text_of("a.pem")));
        for (chain, key, wanted) in [
            ("none.pem", "a.key", &["v.toml:1:27: there is no file", "none.pem"][..]),
            ("a.pem", "none.key", &["v.toml:1:42: there is no file", "none.key"]),
            ("plain.txt", "a.key", &["plain.txt is not a PEM file", "openssl"]),
            ("a.pem", "plain.txt", &["plain.txt is not a PEM file"]),
            (".", "a.key", &["cannot be read: "]),
            ("cut.pem", "a.key", &["cut.pem is damaged"]),
            ("a.pem", "cut.key", &["cut.key is damaged"]),
            ("a.key", "a.pem", &["a.key holds no certificate", "a.pem holds no private key", "swapped?", "2 problems"]),
            ("a.pem", "locked.key", &["locked.key is encrypted", "openssl pkey -in"]),
            ("a.pem", "open.key", &["open.key can be read by others", "hint: chmod 600 "]),
            ("a.pem", "odd.key", &["odd.key cannot be used"]),
            ("odd.pem", "a.key", &["the first certificate in", "odd.pem cannot be understood"]),
            ("a.pem", "b.key", &["b.key does not belong to the first certificate in", "a.pem"]),
            ("order.pem", "a.key", &["a.key does not belong", "order.pem", "must come first"]),
        ] {
            let (_, said) = read(&folder, &format!("certificates = [{{ chain = {chain:?}, key = {key:?} }}]"));
            for wanted in wanted {
                assert!(said.contains(wanted), "{chain} {key}: {wanted}\n---\n{said}");
            }
        }
        let (_, said) = read(&folder, "certificates = [{ chian = 'a.pem', key = 'a.key' }]");
        assert!(said.contains("`chain` is missing in [certificates]"), "{said}");
        let (_, said) = read(&folder, "min_version = '1.1'");
        assert!(said.contains("`min_version` = \"1.1\" is not one of \"1.2\", \"1.3\""), "{said}");
    }

    #[test]
    fn what_may_not_be_read_is_told_apart_from_what_is_missing() {
        let mistake = FileMistake { path: "a.key".into(), mistake: Mistake::Forbidden };
        assert_eq!(mistake.to_string(), "a.key cannot be read: permission denied");
    }
}
