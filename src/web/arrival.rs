//! What one request says about itself, read once and strictly. What two programs could read differently is refused here,
//! before anything else looks at it, over HTTP/1.1 and HTTP/2 alike.

use std::net::{IpAddr, SocketAddr};

use http::header::{ACCEPT, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, Method, Version, request};

use super::host::Host;
use super::path::{CleanPath, PathProblem};
use super::trusted::TrustedProxies;

/// The connection a request came over.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address at the other end.
    pub address: SocketAddr,
    /// The server name of the TLS handshake.
    pub tls_name: Option<Host>,
    /// Distinguishes connections in request ids.
    pub connection_id: String,
}

/// What a request may not exceed.
#[derive(Clone, Copy, Debug)]
pub struct ArrivalLimits {
    /// The length of the request target in bytes.
    pub uri_bytes: usize,
    /// The number of header fields.
    pub header_count: usize,
}

/// Who asks: a person who will see a page, or a program that wants data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A navigation: answered with pages and redirects.
    Page,
    /// XHR, images, API clients, WebSockets: answered with status codes and problem+json.
    Data,
}

/// One request, as far as more than one organ asks about it.
#[derive(Debug)]
pub struct Arrival {
    /// Names this request in logs, error pages and `X-Request-Id`.
    pub request_id: String,
    /// The host it is for.
    pub host: Host,
    /// The port, as the client wrote it.
    pub port: Option<u16>,
    /// The path, checked.
    pub path: CleanPath,
    /// The query, without its question mark.
    pub query: Option<String>,
    /// The method.
    pub method: Method,
    /// The protocol version.
    pub version: Version,
    /// Methods that a method-override header asks an app to see instead.
    pub overrides: Vec<String>,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// The client's address: the peer's, or whom a trusted proxy speaks for.
    pub client: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub by_trusted_proxy: bool,
    /// What the client wants back.
    pub wish: Wish,
}

/// Why a request is refused before anybody asks what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A method we never serve: CONNECT, TRACE, TRACK.
    #[error("method not allowed")]
    Method,
    /// Neither `/path` nor an absolute URL of this very host.
    #[error("request target has a form that is not served")]
    Target,
    /// No host, several, or something that is none.
    #[error("host missing, repeated, contradictory or malformed")]
    Host,
    /// A path with two readings or none.
    #[error("path refused: {0}")]
    Path(PathProblem),
    /// A message whose end two programs could see in different places.
    #[error("message framing refused")]
    Framing,
    /// An expectation other than `100-continue`.
    #[error("expectation not supported")]
    Expectation,
    /// The target is too long.
    #[error("request target too long")]
    TooLong,
    /// Too many or too large header fields.
    #[error("too many or too large header fields")]
    Headers,
    /// Something about the raw head that the parsed request no longer shows.
    #[error("the head of the request: {0}")]
    Head(&'static str),
}

/// Header fields by which apps let a POST be something else. Rules are asked about those methods, too.
const METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

// Made when this is compiled: a name in text would be parsed anew with each request.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Arrival {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Malformed`] says which rule it breaks.
    pub fn read(
        request: &request::Parts,
        request_id: &str,
        peer: &Peer,
        trusted: &TrustedProxies,
        limits: &ArrivalLimits,
    ) -> Result<Self, Malformed> {
        let headers = &request.headers;
        if headers.len() > limits.header_count {
            return Err(Malformed::Headers);
        }
        check_method(&request.method)?;
        check_framing(request)?;
        let (host, port) = read_host(request)?;
        let path_and_query = request.uri.path_and_query().ok_or(Malformed::Target)?;
        if path_and_query.as_str().len() > limits.uri_bytes {
            return Err(Malformed::TooLong);
        }
        if !path_and_query.path().starts_with('/') {
            return Err(Malformed::Target);
        }
        let path = CleanPath::of(path_and_query).map_err(Malformed::Path)?;
        let by_trusted_proxy = trusted.contains(peer.address.ip());
        let peer_address = peer.address.ip().to_canonical();
        Ok(Self {
            request_id: request_id.to_owned(),
            host,
            port,
            path,
            query: path_and_query.query().map(str::to_owned),
            method: request.method.clone(),
            version: request.version,
            overrides: overrides(headers),
            peer: peer_address,
            client: if by_trusted_proxy { trusted.client(peer_address, headers) } else { peer_address },
            by_trusted_proxy,
            wish: Wish::read(&request.method, headers),
        })
    }

    /// Path and query as sent.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path.raw()),
            None => self.path.raw().to_owned(),
        }
    }

    /// The origin that the browser sees: `https://host[:port]`.
    pub fn origin(&self) -> String {
        match self.port {
            Some(port) => format!("https://{}:{port}", self.host),
            None => format!("https://{}", self.host),
        }
    }

    /// The methods that rules are asked about.
    pub fn methods(&self) -> Vec<&str> {
        std::iter::once(self.method.as_str()).chain(self.overrides.iter().map(String::as_str)).collect()
    }
}

impl Wish {
    /// What the client wants back.
    pub fn read(method: &Method, headers: &HeaderMap) -> Self {
        if headers.contains_key(UPGRADE) {
            return Self::Data;
        }
        if let Some(mode) = headers.get(SEC_FETCH_MODE) {
            return if mode.as_bytes() == b"navigate" { Self::Page } else { Self::Data };
        }
        let html = headers.get_all(ACCEPT).iter().any(|accept| {
            accept.as_bytes().split(|byte| *byte == b',').any(|range| {
                let media = range.split(|byte| *byte == b';').next().unwrap_or_default();
                media.trim_ascii().eq_ignore_ascii_case(b"text/html")
            })
        });
        let plain = method == Method::GET || method == Method::HEAD;
        if plain && html && !headers.contains_key(X_REQUESTED_WITH) { Self::Page } else { Self::Data }
    }
}

/// Whether two origins are the same. Browsers leave the default port out; other clients may not.
pub fn same_origin(a: &str, b: &str) -> bool {
    let strip = |text: &str| text.strip_suffix(":443").unwrap_or(text).to_ascii_lowercase();
    strip(a) == strip(b)
}

fn check_method(method: &Method) -> Result<(), Malformed> {
    // CONNECT would make a tunnel of us, TRACE shows cookies to scripts (RFC 9110 §9.3.8), TRACK is its old copy.
    match method.as_str() {
        "CONNECT" | "TRACE" | "TRACK" => Err(Malformed::Method),
        _ => Ok(()),
    }
}

/// RFC 9112 §6.3. What hyper accepts beyond exactly one `chunked` (`gzip, chunked`, two lines, …) is refused: a program
/// behind us might see another end of the message.
fn check_framing(request: &request::Parts) -> Result<(), Malformed> {
    let headers = &request.headers;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() || headers.contains_key(CONTENT_LENGTH) {
            return Err(Malformed::Framing);
        }
    }
    if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Malformed::Framing);
    }
    // RFC 9110 §10.1.1
    let mut expectations = headers.get_all(EXPECT).iter();
    if expectations.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Malformed::Expectation);
    }
    Ok(())
}

/// RFC 9112 §3.2 and RFC 9113 §8.3.1: exactly one host, and every place that names it agrees.
fn read_host(request: &request::Parts) -> Result<(Host, Option<u16>), Malformed> {
    let mut lines = request.headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(Malformed::Host);
    }
    let field = line.map(|value| parse_host(value.as_bytes())).transpose()?;
    let uri = &request.uri;
    match (uri.scheme(), uri.authority()) {
        (None, None) => {}
        (Some(scheme), Some(_)) if *scheme == Scheme::HTTPS => {}
        _ => return Err(Malformed::Target),
    }
    let authority = uri.authority().map(|authority| parse_host(authority.as_str().as_bytes())).transpose()?;
    let both = match (field, authority) {
        (Some(field), Some(authority)) if same_host(&field, &authority) => field,
        (Some(_), Some(_)) | (None, None) => return Err(Malformed::Host),
        // HTTP/1.1 demands the field even beside an absolute URL; HTTP/2 has the authority instead.
        (None, Some(authority)) if request.version == Version::HTTP_2 => authority,
        (None, Some(_)) => return Err(Malformed::Host),
        (Some(field), None) => field,
    };
    Ok(both)
}

fn parse_host(bytes: &[u8]) -> Result<(Host, Option<u16>), Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Host)?;
    Host::parse_with_port(text).map_err(|_| Malformed::Host)
}

fn same_host(a: &(Host, Option<u16>), b: &(Host, Option<u16>)) -> bool {
    a.0 == b.0 && a.1.unwrap_or(443) == b.1.unwrap_or(443)
}

fn overrides(headers: &HeaderMap) -> Vec<String> {
    let mut methods = Vec::new();
    for name in METHOD_OVERRIDES {
        for value in headers.get_all(name) {
            // A name that is no text cannot be a rule's method; apps compare without regard to case.
            methods.push(String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_uppercase());
        }
    }
    methods
}

/// The id of the connection's request number `number`: ours, or what a trusted proxy calls it.
pub fn request_id(headers: &HeaderMap, peer: &Peer, number: u64, trusted: &TrustedProxies) -> String {
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    match given.filter(sane) {
        Some(id) if trusted.contains(peer.address.ip()) => id.to_owned(),
        _ => format!("{}-{number}", peer.connection_id),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LIMITS: ArrivalLimits = ArrivalLimits { uri_bytes: 100, header_count: 20 };

    fn read(request: Request<()>) -> Result<Arrival, Malformed> {
        read_trusting(request, &[])
    }

    fn read_trusting(request: Request<()>, trusted: &[&str]) -> Result<Arrival, Malformed> {
        let trusted = TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let peer = Peer { address: "192.0.2.1:5000".parse().unwrap(), tls_name: None, connection_id: "c".into() };
        let parts = request.into_parts().0;
        Arrival::read(&parts, &request_id(&parts.headers, &peer, 7, &trusted), &peer, &trusted, &LIMITS)
    }

    fn http1(target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::get(target).version(Version::HTTP_11);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn a_plain_request_is_read() {
        let arrival = read(http1("/a/b?c=d", &[("host", "A.test:8443")])).unwrap();
        assert_eq!((arrival.host.as_str(), arrival.port), ("a.test", Some(8443)));
        assert_eq!((arrival.path.raw(), arrival.query.as_deref()), ("/a/b", Some("c=d")));
        assert_eq!((arrival.request_id.as_str(), arrival.target().as_str()), ("c-7", "/a/b?c=d"));
        assert_eq!(arrival.client, "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn the_host_is_exactly_one_and_agrees_with_the_target() {
        let ok = http1("https://a.test/x", &[("host", "a.test:443")]);
        assert_eq!(read(ok).unwrap().host.as_str(), "a.test");
        for (target, hosts) in [
            ("/", &[][..]),
            ("/", &["a.test", "a.test"]),
            ("/", &["a.test, b.test"]),
            ("/", &["user@a.test"]),
            ("/", &[""]),
            ("https://a.test/", &[]),
            ("https://a.test/", &["b.test"]),
            ("https://a.test:444/", &["a.test"]),
            ("https://user@a.test/", &["a.test"]),
        ] {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(read(http1(target, &headers)).unwrap_err(), Malformed::Host, "{target} {hosts:?}");
        }
        for target in ["http://a.test/", "a.test:80", "*"] {
            assert_eq!(read(http1(target, &[("host", "a.test")])).unwrap_err(), Malformed::Target, "{target}");
        }
    }

    #[test]
    fn http2_may_leave_the_host_field_out_but_not_contradict_it() {
        let http2 = |host: Option<&str>| {
            let mut builder = Request::get("https://a.test/").version(Version::HTTP_2);
            if let Some(host) = host {
                builder = builder.header("host", host);
            }
            read(builder.body(()).unwrap())
        };
        assert!(http2(None).is_ok() && http2(Some("a.test")).is_ok());
        assert_eq!(http2(Some("b.test")).unwrap_err(), Malformed::Host);
    }

    #[test]
    fn framing_that_has_two_readings_is_refused() {
        let codings: &[&[(&str, &str)]] = &[
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "identity")],
            &[("transfer-encoding", ", chunked")],
            &[("transfer-encoding", "chunked"), ("content-length", "3")],
            &[("content-length", "3"), ("content-length", "3")],
        ];
        for headers in codings {
            let headers: Vec<_> = [("host", "a.test")].iter().chain(*headers).copied().collect();
            assert_eq!(read(http1("/", &headers)).unwrap_err(), Malformed::Framing, "{headers:?}");
        }
        assert!(read(http1("/", &[("host", "a.test"), ("transfer-encoding", "Chunked")])).is_ok());
        let odd = http1("/", &[("host", "a.test"), ("expect", "200-maybe")]);
        assert_eq!(read(odd).unwrap_err(), Malformed::Expectation);
    }

    #[test]
    fn limits_hold() {
        let long = http1(&format!("/{}", "a".repeat(100)), &[("host", "a.test")]);
        assert_eq!(read(long).unwrap_err(), Malformed::TooLong);
        let many: Vec<_> = std::iter::once(("host", "a.test")).chain((0..20).map(|_| ("x", "y"))).collect();
        assert_eq!(read(http1("/", &many)).unwrap_err(), Malformed::Headers);
    }

    #[test]
    fn only_people_navigate() {
        for (headers, wish) in [
            (&[("sec-fetch-mode", "navigate")][..], Wish::Page),
            (&[("sec-fetch-mode", "cors"), ("accept", "text/html")], Wish::Data),
            (&[("accept", "text/html,application/xml;q=0.9")], Wish::Page),
            (&[("accept", "application/json, Text/HTML;q=0.1")], Wish::Page),
            (&[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")], Wish::Data),
            (&[("accept", "*/*")], Wish::Data),
            (&[("accept", "text/htmlx")], Wish::Data),
            (&[], Wish::Data),
            (&[("sec-fetch-mode", "navigate"), ("upgrade", "websocket")], Wish::Data),
        ] {
            let headers: Vec<_> = [("host", "a.test")].iter().chain(headers).copied().collect();
            assert_eq!(read(http1("/", &headers)).unwrap().wish, wish, "{headers:?}");
        }
    }

    #[test]
    fn only_trusted_peers_name_their_clients_and_requests() {
        let headers = [("host", "a.test"), ("x-forwarded-for", "203.0.113.9"), ("x-request-id", "theirs")];
        let untrusted = read(http1("/", &headers)).unwrap();
        assert_eq!((untrusted.client.to_string().as_str(), untrusted.request_id.as_str()), ("192.0.2.1", "c-7"));
        let trusted = read_trusting(http1("/", &headers), &["192.0.2.0/24"]).unwrap();
        assert_eq!((trusted.client.to_string().as_str(), trusted.request_id.as_str()), ("203.0.113.9", "theirs"));
    }

    #[test]
    fn a_method_override_is_a_method_that_rules_must_allow() {
        let arrival = read(http1("/", &[("host", "a.test"), ("x-http-method-override", "delete")])).unwrap();
        assert_eq!(arrival.methods(), ["GET", "DELETE"]);
        let trace = Request::builder().method("TRACE").uri("/").header("host", "a").body(()).unwrap();
        assert_eq!(read(trace).unwrap_err(), Malformed::Method);
    }
}
