//! From a checked configuration to a running gate. What can fail, fails before anything is served, and leaves nothing behind.

mod state;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::admin::{AdminAddress, AdminError, AdminListener};
use crate::clock::Clock;
use crate::config::{AppSettings, Config};
use crate::crypto::TagKey;
use crate::gate::{App, Apps, Gate, Portal};
use crate::login::Logins;
use crate::problems::{Problem, Problems};
use crate::server::{BindError, Bound, Server};
use crate::session::Sessions;
use crate::tls::{self, ByName, Certificate, Certificates, Roots, TlsError};
use crate::upstream::{self, IdentityHeaders, Reserved, TransferLimits, Upstream};
use crate::web::trusted::TrustedProxies;
pub use state::StateError;
use state::{State, Undo};

/// How often sessions that are due are taken out.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration, or a file it names, is wrong.
    #[error("{0}")]
    Problems(#[from] Problems),
    /// An address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The operators' door cannot be opened.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system refused threads or sockets.
    #[error("cannot start the workers")]
    System(#[from] std::io::Error),
}

/// Everything that a configuration names outside itself, read and checked.
pub struct Checked {
    config: Config,
    logins: Logins,
    upstream_tls: HashMap<Option<PathBuf>, Arc<rustls::ClientConfig>>,
}

/// Reads a configuration and the files that it names. Changes nothing and dials nobody.
///
/// # Errors
/// All mistakes at once, in all of the files.
pub fn load(path: &Path) -> Result<Checked, Problems> {
    let (config, mut problems) = Config::load(path);
    let Some(config) = config else {
        return Err(problems);
    };
    match check(config) {
        Ok(checked) if problems.is_empty() => Ok(checked),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.append(more);
            Err(problems)
        }
    }
}

/// Reads the files that a configuration names. Changes nothing and dials nobody.
///
/// # Errors
/// All mistakes at once.
pub fn check(config: Config) -> Result<Checked, Problems> {
    let mut problems = Problems::new();
    let logins = Logins::open(&config.login, &config.path, None).map_err(|found| problems.append(found)).ok();
    let upstream_tls = read_authorities(&config, &mut problems);
    match logins {
        Some(logins) if problems.is_empty() => Ok(Checked { config, logins, upstream_tls }),
        _ => Err(problems),
    }
}

impl Checked {
    /// A configuration whose users come from elsewhere.
    pub fn with_logins(config: Config, logins: Logins) -> Self {
        Self { config, logins, upstream_tls: HashMap::new() }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

fn read_authorities(config: &Config, problems: &mut Problems) -> HashMap<Option<PathBuf>, Arc<rustls::ClientConfig>> {
    let mut found = HashMap::new();
    for app in config.apps.iter().filter(|app| app.upstream.needs_tls()) {
        let ca = app.upstream.ca.as_ref();
        let key = ca.map(|ca| ca.value.clone());
        if found.contains_key(&key) {
            continue;
        }
        let place = ca.map_or(&app.place, |ca| &ca.place);
        let roots = match ca {
            None => Ok(Roots::System),
            Some(ca) => Roots::read(&ca.value).map_err(|mistake| {
                let problem = Problem::at(place, mistake.to_string());
                problems.add(match mistake.hint() {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                });
            }),
        };
        let Ok(roots) = roots else { continue };
        match tls::client_config(&roots) {
            Ok(client) => {
                found.insert(key, client);
            }
            Err(error) => problems.add(Problem::at(place, error.to_string())),
        }
    }
    found
}

/// Builds the gate.
fn assemble(checked: Checked, key: TagKey, clock: Clock) -> Gate {
    let Checked { config, logins, upstream_tls } = checked;
    let mut cookies = Portal::cookie_names();
    cookies.extend([config.session.cookie.name.clone(), upstream::COOKIE.to_owned()]);
    let identities: Vec<&IdentityHeaders> = config.apps.iter().map(|app| &app.upstream.identity).collect();
    let reserved = Arc::new(Reserved::new(identities.into_iter(), cookies));
    let tls_for = |app: &AppSettings| upstream_tls.get(&app.upstream.ca.as_ref().map(|ca| ca.value.clone())).cloned();
    let apps = config.apps.iter().map(|app| {
        Arc::new(App {
            name: app.name.clone(),
            hosts: app.hosts.clone(),
            path: app.path.clone(),
            rules: app.rules.clone(),
            limits: app.limits,
            background: app.background.clone(),
            websocket_origins: app.websocket_origins.clone(),
            upstream: Upstream::new(app.upstream.clone(), Arc::clone(&reserved), tls_for(app)),
        })
    });
    Gate {
        apps: Apps::new(apps.collect()),
        logins,
        portal: Portal::new(key),
        sessions: Arc::new(Sessions::new(&config.session)),
        limits: config.session.limits,
        cookie: config.session.cookie.clone(),
        trusted: TrustedProxies::new(config.listen.trusted_proxies.clone()),
        arrival_limits: config.limits.arrival(),
        transfer_limits: TransferLimits {
            body_timeout: config.limits.body_timeout,
            tunnel_timeout: config.limits.tunnel_timeout,
        },
        hsts: config.tls.hsts_value(),
        access_log: config.log.access,
        clock,
        draining: AtomicBool::new(false),
    }
}

/// What serves, until it is told to stop.
pub struct Running {
    gate: Arc<Gate>,
    server: Server,
    admin: Option<AdminAddress>,
    tasks: Vec<JoinHandle<()>>,
}

/// Where to keep what must outlive the process.
pub enum Keep {
    /// In the state folder and beside the configuration.
    Files,
    /// Nowhere.
    Nothing,
}

/// Binds, prepares the state folder, and serves. Must be called within a tokio runtime, which runs the admin door.
///
/// # Errors
/// [`StartError`]; then nothing was started, and no file is left that was not there before.
pub async fn start(checked: Checked, keep: Keep, clock: Clock) -> Result<Running, StartError> {
    let config = &checked.config;
    let bound = Bound::bind(&config.listen.https, &config.listen.http, config.listen.threads)?;
    let mut undo = Undo::default();
    let (key, admin) = match keep {
        Keep::Files => {
            let state = State::open(&config.state_dir, &mut undo)?;
            let default = AdminAddress::Unix(config.state_dir.join("admin.sock"));
            let address = config.admin.listen.clone().unwrap_or(default);
            let listener = AdminListener::bind(&address).await?;
            if let AdminAddress::Unix(path) = &address {
                undo.made_file(path);
            }
            (state.form_key(&mut undo)?, Some((address, listener)))
        }
        Keep::Nothing => (TagKey::generate(), None),
    };
    let certificates = certificates(config, &keep, &clock, &mut undo)?;
    let server_tls = tls::server_config(ByName::new(&certificates)?, config.tls.min_version)?;
    let (limits, https_port, proxy_protocol) = (config.limits, config.listen.https_port, config.listen.proxy_protocol);
    let gate = Arc::new(assemble(checked, key, clock));
    let server = Server::start(bound, Arc::clone(&gate), server_tls, limits, https_port, proxy_protocol)?;
    undo.keep();

    let mut tasks = vec![tokio::spawn(sweep(Arc::clone(&gate)))];
    for app in gate.apps.all() {
        let app = Arc::clone(app);
        tasks.push(tokio::spawn(async move { upstream::watch(&app.upstream, app.name.as_str()).await }));
    }
    let admin = admin.map(|(address, listener)| {
        tasks.push(tokio::spawn(listener.serve(Arc::clone(&gate))));
        address
    });
    Ok(Running { gate, server, admin, tasks })
}

fn certificates(config: &Config, keep: &Keep, clock: &Clock, undo: &mut Undo) -> Result<Vec<Certificate>, TlsError> {
    match (&config.tls.certificates, keep) {
        (Certificates::Given(certificates), _) => Ok(certificates.clone()),
        (Certificates::SelfSigned, Keep::Nothing) => Ok(vec![tls::in_memory(&config.host_names(), clock.now())?]),
        (Certificates::SelfSigned, Keep::Files) => {
            let folder = config.folder().join("certs");
            let existed = folder.exists();
            let own = tls::ensure(&folder, &config.host_names(), clock.now())?;
            if own.made {
                undo.made_file(&own.chain);
                undo.made_file(&own.key);
                if !existed {
                    undo.made_folder(&folder);
                }
                tracing::warn!(
                    certificate = %own.chain.display(),
                    "made a self-signed certificate; browsers will warn until [tls] certificates names a real one"
                );
            }
            Ok(vec![own.certificate])
        }
    }
}

async fn sweep(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        gate.sweep();
    }
}

impl Running {
    /// The gate, for whoever wants to look.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The addresses that answer over TLS.
    pub fn https(&self) -> &[SocketAddr] {
        self.server.https()
    }

    /// The addresses that only redirect.
    pub fn http(&self) -> &[SocketAddr] {
        self.server.http()
    }

    /// Where operators' programs ask.
    pub fn admin(&self) -> Option<&AdminAddress> {
        self.admin.as_ref()
    }

    /// Stops accepting, lets what is under way finish for as long as `grace`, and ends.
    pub async fn stop(self, grace: Duration) {
        self.server.stop(grace).await;
        self.gate.logins.users().finish().await;
        for task in self.tasks {
            task.abort();
        }
        if let Some(AdminAddress::Unix(path)) = &self.admin {
            let _ = std::fs::remove_file(path);
        }
    }
}
