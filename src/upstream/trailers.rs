//! Fields after a body, which gRPC ends every answer with. Much software merges them into the head, so that only such
//! may pass as could do no harm there.

use std::sync::Arc;

use http::header::{TE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::headers::{Reserved, fold};

/// Framing, routing, cookies, authentication, conditions, the kind of content, and how long to keep it (RFC 9110
/// §6.5.1); and methods that apps would see in place of the one that rules were asked about.
const KEPT_OUT: [&str; 38] = [
    "accept-ranges",
    "age",
    "authentication-info",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "status",
    "strict-transport-security",
    "transfer-encoding",
    "vary",
    "warning",
    "www-authenticate",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Whether a field of this name may follow a body.
pub(super) fn may_trail(name: &HeaderName, reserved: &Reserved) -> bool {
    !KEPT_OUT.contains(&&*fold(name.as_str())) && !reserved.speaks_for_us(name.as_str())
}

/// Which fields may follow one body.
#[derive(Clone, Debug)]
pub(super) enum Trailing {
    /// Those that the app lists, of a client's.
    Listed(Arc<[HeaderName]>),
    /// Those that may, of an app's.
    Harmless(Arc<Reserved>),
}

impl Trailing {
    /// Takes the others out of a frame; none if nothing is left.
    pub(super) fn filter<D>(&self, frame: Frame<D>) -> Option<Frame<D>> {
        let mut fields = frame.into_trailers().ok()?;
        let doomed: Vec<_> = fields.keys().filter(|name| !self.admits(name)).cloned().collect();
        for name in doomed {
            fields.remove(name);
        }
        (!fields.is_empty()).then(|| Frame::trailers(fields))
    }

    fn admits(&self, name: &HeaderName) -> bool {
        match self {
            Self::Listed(names) => names.contains(name),
            Self::Harmless(reserved) => may_trail(name, reserved),
        }
    }
}

/// Whether whoever sent these headers takes trailers.
pub(super) fn are_taken(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    codings.map(<[u8]>::trim_ascii).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Writes which fields may follow.
pub(super) fn announce<'n>(headers: &mut HeaderMap, names: impl Iterator<Item = &'n HeaderName>) {
    let names: Vec<_> = names.map(HeaderName::as_str).collect();
    headers.remove(TRAILER);
    if !names.is_empty() {
        let names = HeaderValue::from_str(&names.join(", ")).expect("names of fields are made of visible letters");
        headers.insert(TRAILER, names);
    }
}

/// The fields that an app says may follow, and that may.
pub(super) fn announced(headers: &HeaderMap, reserved: &Reserved) -> Vec<HeaderName> {
    let names = headers.get_all(TRAILER).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(|name| may_trail(name, reserved)).collect()
}
