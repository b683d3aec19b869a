//! The whole configuration file, checked: everything that is wrong is said at once, and nothing is changed or dialled.

mod app;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use app::AppSettings;

use crate::admin::AdminSettings;
use crate::login::LoginSettings;
use crate::observe::log::LogSettings;
use crate::problems::{Problem, Problems, Source};
use crate::section::{Section, TomlFile};
use crate::server::{LimitSettings, ListenSettings};
use crate::session::SessionSettings;
use crate::tls::TlsSettings;

/// A configuration without mistakes.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Secrets and the admin socket.
    pub state_dir: PathBuf,
    /// How long what is under way may take when the process stops.
    pub shutdown_grace: Duration,
    /// Where we listen.
    pub listen: ListenSettings,
    /// What connections may take.
    pub limits: LimitSettings,
    /// Certificates.
    pub tls: TlsSettings,
    /// Sessions.
    pub session: SessionSettings,
    /// Ways to sign in.
    pub login: LoginSettings,
    /// The log.
    pub log: LogSettings,
    /// The operators' door.
    pub admin: AdminSettings,
    /// The protected apps.
    pub apps: Vec<AppSettings>,
}

const DEFAULT_GRACE: Duration = Duration::from_secs(30);

impl Config {
    /// Reads and checks a file. Besides all mistakes there is what could be made of it in spite of them, so that the
    /// files it names can be looked at, too; nothing if it could not be read at all.
    pub fn load(path: &Path) -> (Option<Self>, Problems) {
        match fs::read_to_string(path) {
            Ok(text) => {
                let (config, problems, _) = Self::understand(path, text);
                (config, problems)
            }
            Err(error) => {
                let problem = Problem::general(format!("cannot read the configuration {}: {error}", path.display()));
                let hint = "name the file with --config FILE; config.example.toml is one to start from";
                (None, problem.hint(hint).into())
            }
        }
    }

    /// Checks a text as if it stood at `path`; says also which keys it asked for.
    pub fn parse(path: &Path, text: String) -> (Result<Self, Problems>, BTreeSet<String>) {
        let (config, problems, known) = Self::understand(path, text);
        (config.filter(|_| problems.is_empty()).ok_or(problems), known)
    }

    fn understand(path: &Path, text: String) -> (Option<Self>, Problems, BTreeSet<String>) {
        let source = Source::new(path, text);
        let file = TomlFile::parse(&source);
        if file.is_broken() {
            return (None, file.into_problems(), BTreeSet::new());
        }
        let config = Self::read(path, &file.root());
        let known = file.known_keys();
        (Some(config), file.into_problems(), known)
    }

    fn read(path: &Path, root: &Section<'_>) -> Self {
        let session = SessionSettings::read(root.table("session").as_ref());
        let apps = app::read_all(root, &session.limits);
        let grace = root.duration("shutdown_grace", Duration::ZERO..=Duration::from_secs(86_400));
        let state_dir = root.path("state_dir").map_or_else(|| root.folder().join("state"), |found| found.value);
        Self {
            path: path.to_owned(),
            state_dir,
            shutdown_grace: grace.unwrap_or(DEFAULT_GRACE),
            listen: ListenSettings::read(root.table("listen").as_ref()),
            limits: LimitSettings::read(root.table("limits").as_ref()),
            tls: root.table("tls").map_or_else(TlsSettings::default, |section| TlsSettings::read(&section)),
            login: LoginSettings::read(root.table("login").as_ref(), root.folder()),
            log: root.table("log").map_or_else(LogSettings::default, |section| LogSettings::read(&section)),
            admin: AdminSettings::read(root.table("admin").as_ref()),
            session,
            apps,
        }
    }

    /// The folder of the configuration file; empty for the one we are in.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Every host that is named exactly or by a wildcard, for a self-signed certificate.
    pub fn host_names(&self) -> Vec<String> {
        let hosts = self.apps.iter().flat_map(|app| &app.hosts).map(ToString::to_string);
        hosts.filter(|host| host != "*").collect::<BTreeSet<_>>().into_iter().collect()
    }
}
