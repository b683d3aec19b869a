//! What an app is told: strip first, then write, in one fixed order.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE};
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
const HOP_BY_HOP: [&str; 8] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];

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
        let tables = apps.flat_map(|headers| headers.names().map(|name| fold(name.as_str())));
        let names = IdentityHeaders::preset_names().chain(SINGLE).map(str::to_owned);
        Self { names: names.chain(tables).collect(), cookies }
    }

    /// Whether a program that reads `-`, `_` and other signs alike could take this for one of the names.
    fn has(&self, name: &str) -> bool {
        let folded = fold(name);
        self.names.contains(&folded) || FAMILIES.iter().any(|family| folded.starts_with(family))
    }

    /// Whether a field of this name says what only we may, or what belongs to one connection.
    pub(super) fn speaks_for_us(&self, name: &str) -> bool {
        let folded = fold(name);
        let folded = folded.as_str();
        let told = FORWARDING_NAMES.contains(&folded) || FACTS.contains(&folded) || NEVER.contains(&folded);
        told || folded == "x-request-id" || HOP_BY_HOP.contains(&folded) || self.has(name)
    }

    fn cookie_names(&self) -> Vec<&str> {
        self.cookies.iter().map(String::as_str).collect()
    }
}

/// CGI, FastCGI, WSGI and Rack make `_` of `-`; some make it of every other sign.
pub(super) fn fold(name: &str) -> String {
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
        write(headers, "te", "trailers");
        write(headers, "connection", "TE");
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
        let told = FORWARDING_NAMES.contains(&folded.as_str()) || FACTS.contains(&folded.as_str());
        !(plain || allowed.contains(name))
            || NEVER.contains(&folded.as_str())
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
    let authority = match arrival.port {
        Some(port) => format!("{}:{port}", arrival.host),
        None => arrival.host.to_string(),
    };
    let peer = arrival.peer.to_string();
    extend(headers, "x-forwarded-for", &peer);
    extend(headers, "forwarded", &forwarded(arrival.peer, &authority));
    keep_or_write(headers, "x-forwarded-proto", "https");
    keep_or_write(headers, "x-forwarded-host", &authority);
    keep_or_write(headers, "x-forwarded-port", &arrival.port.unwrap_or(443).to_string());
    write(headers, "x-real-ip", &arrival.client.to_string());
    write(headers, "x-request-id", &arrival.request_id);
    if !settings.preserve_host {
        write(headers, "host", &settings.addresses[0].authority());
    } else if arrival.version == Version::HTTP_2 || !headers.contains_key(HOST) {
        write(headers, "host", &authority);
    }
}

/// RFC 7239 §4.
fn forwarded(peer: IpAddr, authority: &str) -> String {
    let mut text = match peer {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    let _ = write!(text, ";host=\"{authority}\";proto=https");
    text
}

/// Adds to what a trusted proxy has written; what anybody else wrote is gone by now.
fn extend(headers: &mut HeaderMap, name: &'static str, more: &str) {
    let mut lines: Vec<&str> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.push(more);
    write(headers, name, &lines.join(", "));
}

fn keep_or_write(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if headers.get_all(name).iter().count() != 1 {
        write(headers, name, text);
    }
}

fn write(headers: &mut HeaderMap, name: &'static str, text: &str) {
    let value = HeaderValue::from_str(text).expect("made of checked hosts, addresses and header values");
    headers.insert(HeaderName::from_static(name), value);
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
    for name in [CONNECTION, TE, UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
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
