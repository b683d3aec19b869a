//! The cookie that keeps a browser with one server of each app. It names servers by marks that say nothing to others.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};

use super::client::Endpoint;
use crate::crypto;
use crate::web::cookies;

/// Its name. Apps neither see nor set it.
pub const COOKIE: &str = "__Host-vestibule-upstream";

const MARK_BYTES: usize = 9;

/// The apps of one host share the cookie; more than so many are no browser's doing.
const MOST_MARKS: usize = 16;

/// A server's name in the cookie.
pub(super) fn mark(address: &str) -> String {
    crypto::to_base64url(&crypto::sha256(address.as_bytes())[..MARK_BYTES])
}

/// What a browser's cookie says: one mark for each app that has answered it.
#[derive(Debug)]
pub(super) struct Marks(Vec<String>);

impl Marks {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let values = cookies::named(headers, COOKIE).flat_map(|value| value.split(|byte| *byte == b'.'));
        let genuine = values.filter(|mark| crypto::from_base64url::<MARK_BYTES>(mark).is_some());
        let texts = genuine.filter_map(|mark| std::str::from_utf8(mark).ok()).map(str::to_owned);
        Self(texts.take(MOST_MARKS).collect())
    }

    /// The server among these that the browser was with.
    pub(super) fn among(&self, endpoints: &[Endpoint]) -> Option<usize> {
        endpoints.iter().position(|endpoint| self.0.iter().any(|mark| mark == endpoint.mark()))
    }

    /// Notes in an answer which server gave it, unless the browser knows.
    pub(super) fn note(&self, server: &str, endpoints: &[Endpoint], answer: &mut HeaderMap) {
        if self.0.iter().any(|mark| mark == server) {
            return;
        }
        let of_others = |mark: &&str| !endpoints.iter().any(|endpoint| endpoint.mark() == *mark);
        let others = self.0.iter().map(String::as_str).filter(of_others);
        let marks: Vec<_> = std::iter::once(server).chain(others).take(MOST_MARKS).collect();
        let text = format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax", marks.join("."));
        answer.append(SET_COOKIE, HeaderValue::from_str(&text).expect("base64url and our own words"));
    }
}
