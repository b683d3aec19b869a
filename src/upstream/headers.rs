//! What an app is told: strip first, then write, in one fixed order.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{Arguments, Write};
use std::net::IpAddr;

use bytes::BytesMut;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::identity_headers::IdentityHeaders;
use super::settings::UpstreamSettings;
use super::trailers;
use crate::access::Pass;
use crate::session::LiveSession;
use crate::web::arrival::Arrival;
use crate::web::cookies;

/// What the proxy says about where a request came from. Only a trusted proxy's word is kept.
pub const FORWARDING_NAMES: [&str; 6] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded", "x-real-ip"];

/// What front servers tell each other about a request; a stranger's word for it counts nothing.
const FACTS: [&str; 12] = [
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-scheme",
    "x-forwarded-tls-client-cert",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-url-scheme",
    "front-end-https",
];

/// By these some apps read another path than the one that rules were asked about, or another environment
/// (`Proxy` becomes `HTTP_PROXY` in CGI). No peer may send them.
const NEVER: [&str; 5] = ["x-original-url", "x-original-uri", "x-rewrite-url", "proxy", "x-original-method"];

/// Families of identity headers that apps trust, whether or not a preset of ours writes them.
const FAMILIES: [&str; 13] = [
    "remote-",
    "x-remote-",
    "x-auth-request-",
    "x-webauth-",
    "x-authentik-",
    "x-pomerium-",
    "x-authenticated-",
    "x-token-",
    "x-ssl-",
    "x-client-cert-",
    "oidc-",
    "oidc-claim-",
    "auth-user",
];

/// More single names of that kind.
const SINGLE: [&str; 6] =
    ["x-forwarded-access-token", "x-forwarded-login", "x-user", "x-username", "x-proxy-user", "http-remote-user"];

/// RFC 9110 §7.6.1, and what old software sends in its place.
const HOP_BY_HOP: [HeaderName; 8] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

// Made when this is compiled: a name in text would be parsed anew with each request.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// These are not a client's to take away by nominating them in `Connection`.
const NOT_NOMINATED: [&str; 6] =
    ["host", "content-length", "cookie", "authorization", "transfer-encoding", "connection"];

/// Every name that only we may send to an app, over all apps: what one app trusts, another may, too.
#[derive(Debug)]
pub struct Reserved {
    names: HashSet<String>,
    cookies: Vec<String>,
}

impl Reserved {
    /// The names of all presets and these apps' tables, and the cookies that are ours.
    pub fn new<'a>(apps: impl Iterator<Item = &'a IdentityHeaders>, cookies: Vec<String>) -> Self {
        let tables = apps.flat_map(|headers| headers.names().map(|name| fold(name.as_str()).into_owned()));
        let names = IdentityHeaders::preset_names().chain(SINGLE).map(str::to_owned);
        Self { names: names.chain(tables).collect(), cookies }
    }

    /// Whether a program that reads `-`, `_` and other signs alike could take this for one of the names.
    fn has(&self, name: &str) -> bool {
        let folded = fold(name);
        self.names.contains(&*folded) || FAMILIES.iter().any(|family| folded.starts_with(family))
    }

    /// Whether a field of this name says what only we may, or what belongs to one connection.
    pub(super) fn speaks_for_us(&self, name: &str) -> bool {
        let folded = fold(name);
        let folded = &*folded;
        let told = FORWARDING_NAMES.contains(&folded) || FACTS.contains(&folded) || NEVER.contains(&folded);
        told || folded == "x-request-id" || HOP_BY_HOP.iter().any(|hop| hop.as_str() == folded) || self.has(name)
    }

    fn cookie_names(&self) -> Vec<&str> {
        self.cookies.iter().map(String::as_str).collect()
    }
}

/// CGI, FastCGI, WSGI and Rack make `_` of `-`; some make it of every other sign.
pub(super) fn fold(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        return Cow::Borrowed(name);
    }
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Makes of a client's headers those of a request to the app.
///
/// The order is the point. A client may name any header in `Connection`, and would otherwise have us remove what we
/// just wrote (RFC 9110 §7.6.1); and whatever is written last cannot be a client's.
pub(super) fn prepare(
    headers: &mut HeaderMap,
    arrival: &Arrival,
    reserved: &Reserved,
    settings: &UpstreamSettings,
    pass: &Pass<LiveSession>,
) {
    let takes_trailers = trailers::are_taken(headers) && arrival.version >= Version::HTTP_11;
    strip_hop_by_hop(headers);
    strip_impostors(headers, arrival.by_trusted_proxy, reserved, &settings.allow_header_names);
    cookies::remove(headers, &reserved.cookie_names());
    write_forwarding(headers, arrival, settings);
    for (name, value) in settings.identity.write(pass) {
        headers.insert(name, value);
    }
    // RFC 9110 §10.1.4
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    // Framing is written anew from the body itself; an expectation was met by reading it.
    for name in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, EXPECT] {
        headers.remove(name);
    }
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for line in headers.get_all(CONNECTION) {
        for name in line.as_bytes().split(|byte| *byte == b',') {
            let name = HeaderName::from_bytes(name.trim_ascii()).ok();
            names.extend(name.filter(|name| !NOT_NOMINATED.contains(&name.as_str())));
        }
    }
    names
}

fn strip_impostors(headers: &mut HeaderMap, trusted: bool, reserved: &Reserved, allowed: &HashSet<String>) {
    let forbidden = |name: &str| {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let folded = fold(name);
        let told = FORWARDING_NAMES.contains(&&*folded) || FACTS.contains(&&*folded);
        !(plain || allowed.contains(name))
            || NEVER.contains(&&*folded)
            || folded == "x-request-id"
            || told && !(trusted && plain)
            || reserved.has(name)
    };
    let doomed: Vec<_> = headers.keys().filter(|name| forbidden(name.as_str())).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

fn write_forwarding(headers: &mut HeaderMap, arrival: &Arrival, settings: &UpstreamSettings) {
    let mut values = Values::default();
    let authority = match arrival.port {
        Some(port) => values.make(format_args!("{}:{port}", arrival.host)),
        None => values.make(format_args!("{}", arrival.host)),
    };
    let host = authority.to_str().unwrap_or_default();
    extend(headers, &mut values, X_FORWARDED_FOR, format_args!("{}", arrival.peer));
    // RFC 7239 §4.
    match arrival.peer {
        IpAddr::V4(peer) => {
            extend(headers, &mut values, FORWARDED, format_args!("for={peer};host=\"{host}\";proto=https"));
        }
        IpAddr::V6(peer) => {
            extend(headers, &mut values, FORWARDED, format_args!("for=\"[{peer}]\";host=\"{host}\";proto=https"));
        }
    }
    keep_or_write(headers, X_FORWARDED_PROTO, || HeaderValue::from_static("https"));
    keep_or_write(headers, X_FORWARDED_HOST, || authority.clone());
    keep_or_write(headers, X_FORWARDED_PORT, || values.make(format_args!("{}", arrival.port.unwrap_or(443))));
    headers.insert(X_REAL_IP, values.make(format_args!("{}", arrival.client)));
    headers.insert(X_REQUEST_ID, values.make(format_args!("{}", arrival.request_id)));
    if !settings.preserve_host {
        headers.insert(HOST, values.make(format_args!("{}", settings.addresses[0].authority())));
    } else if arrival.version == Version::HTTP_2 || !headers.contains_key(HOST) {
        headers.insert(HOST, authority);
    }
}

/// Adds to what a trusted proxy has written; what anybody else wrote is gone by now.
fn extend(headers: &mut HeaderMap, values: &mut Values, name: HeaderName, more: Arguments<'_>) {
    let mut lines = headers.get_all(&name).iter().filter_map(|line| line.to_str().ok()).peekable();
    let value = if lines.peek().is_none() {
        values.make(more)
    } else {
        let lines: Vec<&str> = lines.collect();
        values.make(format_args!("{}, {more}", lines.join(", ")))
    };
    headers.insert(name, value);
}

fn keep_or_write(headers: &mut HeaderMap, name: HeaderName, value: impl FnOnce() -> HeaderValue) {
    if headers.get_all(&name).iter().count() != 1 {
        headers.insert(name, value());
    }
}

/// The values written for one request. They share one piece of memory, which is then kept or cloned for a second
/// attempt by counting references.
struct Values(BytesMut);

impl Default for Values {
    fn default() -> Self {
        const USUAL_BYTES: usize = 256;
        Self(BytesMut::with_capacity(USUAL_BYTES))
    }
}

impl Values {
    fn make(&mut self, text: Arguments<'_>) -> HeaderValue {
        self.0.write_fmt(text).expect("memory can be written to");
        HeaderValue::from_maybe_shared(self.0.split().freeze())
            .expect("made of checked hosts, addresses and header values")
    }
}

/// Makes of an app's headers those of an answer to the client: without connection fields, and without cookies that
/// would overwrite ours.
pub(super) fn clean_response(headers: &mut HeaderMap, reserved: &Reserved) {
    for name in nominated(headers) {
        headers.remove(name);
    }
    let mut trailing = Vec::new();
    // Chunks overrule a length (RFC 9112 §6.3); the length would cut the answer short, or promise too much.
    if headers.remove(TRANSFER_ENCODING).is_some() {
        headers.remove(CONTENT_LENGTH);
        trailing = trailers::announced(headers, reserved);
    }
    trailers::announce(headers, trailing.iter());
    // Several that agree are one.
    if let Some(length) = headers.get(CONTENT_LENGTH).cloned() {
        headers.insert(CONTENT_LENGTH, length);
    }
    for name in [CONNECTION, TE, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
    let ours = |value: &HeaderValue| {
        let name = cookies::set_name(value.as_bytes());
        reserved.cookies.iter().any(|cookie| cookie.as_bytes().eq_ignore_ascii_case(name))
    };
    if headers.get_all(SET_COOKIE).iter().any(ours) {
        tracing::warn!("an app tried to set a cookie of ours; it was dropped");
        let kept: Vec<_> = headers.get_all(SET_COOKIE).iter().filter(|value| !ours(value)).cloned().collect();
        headers.remove(SET_COOKIE);
        for value in kept {
            headers.append(SET_COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests;
