use std::time::Duration;

use http::{Method, Request};

use super::*;
use crate::access::{Decision, Rules, decide};
use crate::clock::Moment;
use crate::identity::{AuthMethod, Identity};
use crate::names::{AppName, Group, UserName};
use crate::session::{SessionSettings, Sessions};
use crate::upstream::settings::{Address, ServerSettings};
use crate::web::arrival::{ArrivalLimits, Peer};
use crate::web::host::Host;
use crate::web::trusted::TrustedProxies;

const NOW: Moment = Moment::from_unix_millis(1_800_000_000_000);

fn pass(groups: &[&str], email: Option<&str>) -> Pass<LiveSession> {
    let who = Identity {
        user: UserName::parse("alice").unwrap(),
        name: Some("Alice Liddell".into()),
        email: email.map(Into::into),
        groups: groups.iter().map(|group| Group::parse(group).unwrap()).collect(),
        method: AuthMethod::Password,
        authenticated_at: NOW,
    };
    let (_, live) = Sessions::new(&SessionSettings::default()).open(who, &Host::parse("a.test").unwrap(), NOW);
    decided(Some(live))
}

fn decided(session: Option<LiveSession>) -> Pass<LiveSession> {
    let rules = anyone();
    let app = AppName::parse("app").unwrap();
    match decide(&app, std::iter::once((&rules, "/")), &["GET"], session) {
        Decision::Forward(pass) => pass,
        Decision::SignIn | Decision::Refuse => panic!("anyone may pass"),
    }
}

fn anyone() -> Rules {
    let source = crate::problems::Source::new("t.toml", "rule = [{ allow = \"anyone\" }]".into());
    let file = crate::section::TomlFile::parse(&source);
    let root = file.root();
    Rules::read(&root)
}

fn settings(identity: IdentityHeaders, preserve_host: bool, allowed: &[&str]) -> UpstreamSettings {
    UpstreamSettings {
        servers: ServerSettings::default(),
        addresses: vec![Address::Http { host: "10.0.0.7".into(), port: 8080 }],
        ca: None,
        preserve_host,
        identity,
        allow_header_names: allowed.iter().map(|name| (*name).to_owned()).collect(),
        request_trailers: Vec::new(),
        max_body_size: None,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
    }
}

/// What an app receives of a client's header lines.
struct Told {
    pass: Pass<LiveSession>,
    settings: UpstreamSettings,
    trusted: &'static [&'static str],
    version: Version,
}

impl Told {
    fn new() -> Self {
        let identity = IdentityHeaders::preset("remote").unwrap();
        let settings = settings(identity, true, &[]);
        Self { pass: pass(&["staff", "wiki"], Some("alice@a.test")), settings, trusted: &[], version: Version::HTTP_11 }
    }

    fn of(&self, lines: &[(&str, &str)]) -> HeaderMap {
        let uri = if self.version == Version::HTTP_2 { "https://a.test:8443/" } else { "/" };
        let mut request = Request::builder().method(Method::GET).uri(uri).version(self.version);
        if self.version != Version::HTTP_2 {
            request = request.header("host", "A.test:8443");
        }
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let trusted = TrustedProxies::new(self.trusted.iter().map(|net| net.parse().unwrap()).collect());
        let peer = Peer { address: "192.0.2.1:5000".parse().unwrap(), tls_name: None, connection_id: "c".into() };
        let limits = ArrivalLimits { uri_bytes: 1000, header_count: 100 };
        let arrival = Arrival::read(&parts, "c-1", &peer, &trusted, &limits).unwrap();
        let reserved = Reserved::new(std::iter::once(&self.settings.identity), vec!["__Host-s".into()]);
        let mut headers = parts.headers;
        prepare(&mut headers, &arrival, &reserved, &self.settings, &self.pass);
        headers
    }
}

fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str().unwrap());
    assert!(values.next().is_none(), "{name} is there twice");
    first
}

#[test]
fn the_identity_is_written_once_whoever_else_claims_one() {
    let headers = Told::new().of(&[
        ("remote-user", "mallory"),
        ("Remote-User", "mallory2"),
        ("remote_user", "mallory"),
        ("remote-groups", "admin"),
        ("x-remote-user", "mallory"),
        ("x-forwarded-user", "mallory"),
        ("x-auth-request-email", "m@evil.test"),
        ("x-webauth-user", "mallory"),
        ("x.forwarded.user", "mallory"),
        ("oidc_claim_sub", "mallory"),
        ("proxy", "http://evil.test"),
        ("x-original-url", "/admin"),
        ("connection", "close, Remote-User, remote-groups"),
    ]);
    assert_eq!(one(&headers, "remote-user"), Some("alice"));
    assert_eq!(one(&headers, "remote-name"), Some("Alice Liddell"));
    assert_eq!(one(&headers, "remote-email"), Some("alice@a.test"));
    assert_eq!(one(&headers, "remote-groups"), Some("staff,wiki"));
    let text = format!("{headers:?}");
    assert!(!text.contains("mallory") && !text.contains("evil") && !text.contains("admin"), "{text}");
}

#[test]
fn what_is_not_known_is_absent_and_never_the_clients() {
    let mut told = Told::new();
    told.pass = pass(&[], None);
    let headers = told.of(&[("remote-email", "m@evil.test"), ("remote-groups", "admin")]);
    assert_eq!((one(&headers, "remote-email"), one(&headers, "remote-groups")), (None, None));

    told.pass = decided(None);
    let headers = told.of(&[("remote-user", "mallory"), ("remote-name", "M")]);
    assert_eq!((one(&headers, "remote-user"), one(&headers, "remote-name")), (None, None));
}

#[test]
fn a_trusted_proxy_may_not_name_users_either() {
    let told = Told { trusted: &["192.0.2.0/24"], pass: decided(None), ..Told::new() };
    let headers = told.of(&[("remote-user", "mallory"), ("x-original-url", "/admin")]);
    assert_eq!((one(&headers, "remote-user"), one(&headers, "x-original-url")), (None, None));
}

#[test]
fn connection_fields_and_what_they_nominate_are_dropped_on_every_line() {
    let headers = Told::new().of(&[
        ("connection", "keep-alive, X-One"),
        ("connection", "x-two,Host, cookie , authorization"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("x-three", "3"),
        ("cookie", "a=1"),
        ("authorization", "Basic x"),
        ("keep-alive", "5"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("proxy-authorization", "x"),
        ("proxy-connection", "x"),
        ("expect", "100-continue"),
        ("content-length", "5"),
    ]);
    for name in [
        "x-one",
        "x-two",
        "keep-alive",
        "trailer",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
        "proxy-connection",
        "expect",
        "content-length",
        "transfer-encoding",
    ] {
        assert_eq!(one(&headers, name), None, "{name}");
    }
    assert_eq!((one(&headers, "x-three"), one(&headers, "cookie")), (Some("3"), Some("a=1")));
    assert_eq!((one(&headers, "te"), one(&headers, "connection")), (Some("trailers"), Some("TE")), "our own words");
    assert_eq!((one(&headers, "host"), one(&headers, "authorization")), (Some("A.test:8443"), Some("Basic x")));
}

#[test]
fn names_with_other_signs_pass_only_where_the_app_lists_them() {
    let lines = [("x_api_key", "1"), ("x.other", "2"), ("remote_user", "mallory")];
    let headers = Told::new().of(&lines);
    assert_eq!((one(&headers, "x_api_key"), one(&headers, "x.other")), (None, None));
    let identity = IdentityHeaders::preset("remote").unwrap();
    let told = Told { settings: settings(identity, true, &["x_api_key", "remote_user"]), ..Told::new() };
    let headers = told.of(&lines);
    assert_eq!((one(&headers, "x_api_key"), one(&headers, "x.other")), (Some("1"), None));
    assert_eq!(one(&headers, "remote_user"), None, "no list makes an impostor honest");
}

#[test]
fn strangers_do_not_say_where_a_request_came_from() {
    let lines = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-port", "80"),
        ("forwarded", "for=203.0.113.9;host=evil.test"),
        ("x-real-ip", "203.0.113.9"),
        ("x-request-id", "theirs"),
        ("x-forwarded-prefix", "/evil"),
        ("true-client-ip", "203.0.113.9"),
    ];
    let headers = Told::new().of(&lines);
    for (name, value) in [
        ("x-forwarded-for", Some("192.0.2.1")),
        ("x-forwarded-proto", Some("https")),
        ("x-forwarded-host", Some("a.test:8443")),
        ("x-forwarded-port", Some("8443")),
        ("forwarded", Some("for=192.0.2.1;host=\"a.test:8443\";proto=https")),
        ("x-real-ip", Some("192.0.2.1")),
        ("x-request-id", Some("c-1")),
        ("x-forwarded-prefix", None),
        ("true-client-ip", None),
    ] {
        assert_eq!(one(&headers, name), value, "{name}");
    }
    let trusting = Told { trusted: &["192.0.2.0/24"], ..Told::new() };
    let headers = trusting.of(&lines);
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9, 192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.test"),
        ("x-real-ip", "203.0.113.9"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=203.0.113.9;host=evil.test, for=192.0.2.1;host=\"a.test:8443\";proto=https"),
    ] {
        assert_eq!(one(&headers, name), Some(value), "{name}");
    }
}

#[test]
fn the_host_is_kept_or_the_upstreams() {
    assert_eq!(one(&Told::new().of(&[]), "host"), Some("A.test:8443"));
    let http2 = Told { version: Version::HTTP_2, ..Told::new() };
    assert_eq!(one(&http2.of(&[]), "host"), Some("a.test:8443"));
    let identity = IdentityHeaders::preset("none").unwrap();
    let theirs = Told { settings: settings(identity, false, &[]), ..Told::new() };
    assert_eq!(one(&theirs.of(&[]), "host"), Some("10.0.0.7:8080"));
}

#[test]
fn our_cookies_go_no_further_and_others_do() {
    let headers = Told::new().of(&[("cookie", "a=1; __Host-s=secret; b=2"), ("cookie", "c=3")]);
    assert_eq!(one(&headers, "cookie"), Some("a=1; b=2; c=3"));
}

#[test]
fn an_app_cannot_set_our_cookies() {
    let reserved = Reserved::new(std::iter::empty(), vec!["__Host-s".into()]);
    let mut headers = HeaderMap::new();
    for value in ["a=1; Path=/", "__Host-s=evil; Path=/", " __host-S =evil", "b=2"] {
        headers.append(SET_COOKIE, value.parse().unwrap());
    }
    headers.insert("connection", "x-hop".parse().unwrap());
    headers.insert("x-hop", "1".parse().unwrap());
    headers.insert("keep-alive", "timeout=5".parse().unwrap());
    clean_response(&mut headers, &reserved);
    let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
    assert_eq!(headers.keys_len(), 1, "{headers:?}");
}
