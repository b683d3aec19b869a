//! The part of an app's section that says where it runs and what it is told.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::choose::Balance;
use super::headers::Reserved;
use super::health::HealthSettings;
use super::identity_headers::IdentityHeaders;
use super::pool::IdleLimits;
use super::trailers::may_trail;
use crate::problems::{Place, Problem};
use crate::section::{Found, Section};
use crate::web::host::Host;

/// Where a server of an app is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Plain HTTP over TCP.
    Http {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// HTTP over TLS; the certificate must be good for `host`.
    Https {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Plain HTTP over a Unix socket.
    Unix {
        /// Where the socket lies.
        path: PathBuf,
    },
    /// The embedded sample app.
    Demo,
}

/// What an app's servers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: over TLS by agreement, otherwise with prior knowledge (RFC 9113 §3.3).
    Http2,
}

/// How an app's servers share its requests, and what all of them together may take.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Who gets the next request.
    pub balance: Balance,
    /// What they speak.
    pub protocol: Protocol,
    /// How they are asked whether they are well.
    pub health: HealthSettings,
    /// The connections that wait for the next request.
    pub idle: IdleLimits,
    /// Requests at once.
    pub max_requests: usize,
}

impl ServerSettings {
    fn read(app: &Section<'_>) -> Self {
        let balances = [
            ("round-robin", Balance::RoundRobin),
            ("least-requests", Balance::LeastRequests),
            ("cookie", Balance::Cookie),
        ];
        let protocols = [("http1", Protocol::Http1), ("h2", Protocol::Http2)];
        let number = |key, range, default| {
            app.integer(key, range).and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
        };
        let longest = app.duration("idle_connection_timeout", Duration::from_millis(100)..=Duration::from_secs(3600));
        let default = Self::default();
        Self {
            balance: app.word("balance", &balances).unwrap_or(default.balance),
            protocol: app.word("protocol", &protocols).unwrap_or(default.protocol),
            health: HealthSettings::read(app),
            idle: IdleLimits {
                most: number("max_idle_connections", 0..=100_000, default.idle.most),
                longest: longest.unwrap_or(default.idle.longest),
            },
            max_requests: number("max_requests", 1..=1_000_000, default.max_requests),
        }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            balance: Balance::RoundRobin,
            protocol: Protocol::Http1,
            health: HealthSettings::default(),
            idle: IdleLimits { most: 256, longest: Duration::from_secs(30) },
            max_requests: 2_000,
        }
    }
}

/// An app's servers, and what it is told.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The servers; at least one.
    pub addresses: Vec<Address>,
    /// How they share the requests.
    pub servers: ServerSettings,
    /// A PEM file with the authorities that `https://` servers are verified against, in place of the system's.
    pub ca: Option<Found<PathBuf>>,
    /// Whether `Host` stays as the client sent it.
    pub preserve_host: bool,
    /// The headers that say who is there.
    pub identity: IdentityHeaders,
    /// Header names with other signs than letters, digits and `-` that the app needs, in lower case.
    pub allow_header_names: HashSet<String>,
    /// The fields that may follow a client's body.
    pub request_trailers: Vec<HeaderName>,
    /// The largest request body in bytes; none: no limit.
    pub max_body_size: Option<u64>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long the app may take to begin its answer.
    pub response_timeout: Duration,
}

impl UpstreamSettings {
    /// Reads the app's section.
    pub fn read(app: &Section<'_>) -> Self {
        let mut addresses = Vec::new();
        match app.strings("upstreams") {
            Some(found) if found.is_empty() => {
                app.problem(
                    Problem::at(&app.place_of("upstreams"), "`upstreams` is empty").hint("name at least one server"),
                );
            }
            Some(found) => addresses = found.iter().filter_map(|text| read_address(app, text)).collect(),
            None if app.has("upstreams") => {}
            None => app.missing("upstreams", "[\"http://127.0.0.1:8080\"]"),
        }
        let seconds = Duration::from_secs;
        let waits = Duration::from_millis(10)..=seconds(3600);
        let allowed = read_names(app, "allow_header_names").into_iter().map(|(name, _)| name.as_str().to_owned());
        let identity = IdentityHeaders::read(app);
        Self {
            allow_header_names: allowed.collect(),
            request_trailers: read_request_trailers(app, &identity),
            addresses,
            servers: ServerSettings::read(app),
            ca: app.path("ca"),
            preserve_host: app.boolean("preserve_host").unwrap_or(true),
            identity,
            max_body_size: app.size("max_body_size", 0..=u64::MAX).filter(|size| *size > 0),
            connect_timeout: app.duration("connect_timeout", waits.clone()).unwrap_or(seconds(5)),
            response_timeout: app.duration("response_timeout", waits).unwrap_or(seconds(60)),
        }
    }

    /// Whether any server is reached over TLS.
    pub fn needs_tls(&self) -> bool {
        self.addresses.iter().any(|address| matches!(address, Address::Https { .. }))
    }
}

/// Names of header fields, and where they stand.
fn read_names(app: &Section<'_>, key: &'static str) -> Vec<(HeaderName, Place)> {
    let names = app.strings(key).unwrap_or_default().into_iter();
    let read = |name: Found<String>| match HeaderName::from_bytes(name.value.as_bytes()) {
        Ok(header) => Some((header, name.place)),
        Err(_) => {
            app.problem(Problem::at(&name.place, format!("{:?} is not a header name", name.value)));
            None
        }
    };
    names.filter_map(read).collect()
}

fn read_request_trailers(app: &Section<'_>, identity: &IdentityHeaders) -> Vec<HeaderName> {
    let reserved = Reserved::new(std::iter::once(identity), Vec::new());
    let (names, harmful): (Vec<_>, Vec<_>) =
        read_names(app, "request_trailers").into_iter().partition(|(name, _)| may_trail(name, &reserved));
    for (name, place) in harmful {
        let problem = Problem::at(&place, format!("\"{name}\" is not a client's to send after a body"));
        app.problem(problem.hint("leave it out; an app may take it for what the head says"));
    }
    names.into_iter().map(|(name, _)| name).collect()
}

fn read_address(app: &Section<'_>, found: &Found<String>) -> Option<Address> {
    let text = found.value.as_str();
    let address = parse_address(text, app);
    if address.is_none() {
        let problem = Problem::at(&found.place, format!("{text:?} is not an address of a server"));
        let hint = match text.split_once("//") {
            Some(("http" | "https", rest)) => format!("did you mean \"http://{}\"?", rest.trim_end_matches('/')),
            None if parse_address(&format!("http://{text}"), app).is_some() => {
                format!("did you mean \"http://{text}\"?")
            }
            _ if text.starts_with("http") => {
                "write \"http://host:port\" without a path: paths reach the app unchanged".into()
            }
            _ => "write \"http://host:port\", \"https://host:port\", \"unix:/path\" or \"demo:\"".into(),
        };
        app.problem(problem.hint(hint));
    }
    address
}

fn parse_address(text: &str, app: &Section<'_>) -> Option<Address> {
    if text == "demo:" {
        return Some(Address::Demo);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| Address::Unix { path: app.folder().join(path) });
    }
    let host_and_port = |rest: &str, default: u16| {
        let (host, port) = Host::parse_with_port(rest.strip_suffix('/').unwrap_or(rest)).ok()?;
        Some((host.as_str().to_owned(), port.unwrap_or(default)))
    };
    if let Some(rest) = text.strip_prefix("http://") {
        let (host, port) = host_and_port(rest, 80)?;
        return Some(Address::Http { host, port });
    }
    let (host, port) = host_and_port(text.strip_prefix("https://")?, 443)?;
    Some(Address::Https { host, port })
}

impl Address {
    /// What `Host` says with `preserve_host = false`.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Http { host, port: 80 } | Self::Https { host, port: 443 } => host.clone(),
            Self::Http { host, port } | Self::Https { host, port } => format!("{host}:{port}"),
            Self::Unix { .. } | Self::Demo => "localhost".into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port } => write!(f, "http://{host}:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
            Self::Demo => f.write_str("demo:"),
        }
    }
}
