//! Protects our forms from other sites (cross-site request forgery, for sign-in as well).
//!
//! A browser gets one small random cookie; a form carries a tag of that cookie, made with our key. Nothing is kept on
//! the server, any number of tabs share the one cookie, and another site can neither read nor set it (`__Host-`).

use std::time::Duration;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::Failure;
use crate::crypto::{self, TagKey};
use crate::names::UserName;
use crate::web::arrival::{Arrival, same_origin};
use crate::web::cookies;
use crate::web::inbound::Inbound;

/// The browser-binding cookie.
pub(super) const COOKIE: &str = "__Host-vestibule-browser";

const MOST_FORM_BYTES: usize = 16 * 1024;
const LONGEST_WAIT: Duration = Duration::from_secs(15);
const REMEMBERED_DAYS: u32 = 90;

#[derive(Debug)]
pub(super) struct FormGuard {
    key: TagKey,
}

/// One browser, known by its cookie: 16 random bytes, and after a sign-in the proof of it.
#[derive(Clone, Debug)]
pub(super) struct Browser {
    id: [u8; 16],
    proof: Option<[u8; 32]>,
    is_new: bool,
}

/// The fields of a form of ours.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl FormGuard {
    pub(super) fn new(key: TagKey) -> Self {
        Self { key }
    }

    /// The browser a request came from; a new one if it carries no (readable) cookie.
    pub(super) fn browser(&self, headers: &HeaderMap) -> Browser {
        let mut known = cookies::named(headers, COOKIE).filter_map(Browser::parse);
        known.next().unwrap_or_else(|| Browser { id: crypto::random(), proof: None, is_new: true })
    }

    /// The value that a form for `purpose` must carry in this browser.
    pub(super) fn token(&self, purpose: &str, browser: &Browser, arrival: &Arrival) -> String {
        let parts: [&[u8]; 3] = [purpose.as_bytes(), &browser.id, arrival.host.as_str().as_bytes()];
        crypto::to_base64url(&self.key.tag(&parts))
    }

    pub(super) fn is_genuine(&self, purpose: &str, browser: &Browser, arrival: &Arrival, form: &Form) -> bool {
        !browser.is_new
            && crypto::same(self.token(purpose, browser, arrival).as_bytes(), form.field("csrf_token").as_bytes())
    }

    /// Whether this user has signed in with this browser before.
    pub(super) fn knows(&self, browser: &Browser, user: &str) -> bool {
        browser.proof.is_some_and(|proof| crypto::same(&proof, &self.proof(browser, user)))
    }

    /// `Set-Cookie` for a browser that has none yet.
    pub(super) fn introduce(browser: &Browser) -> Option<HeaderValue> {
        browser.is_new.then(|| browser.cookie(""))
    }

    /// `Set-Cookie` that lets the browser prove later that this user has signed in with it.
    pub(super) fn remember(&self, browser: &Browser, user: &UserName) -> HeaderValue {
        let known = Browser { proof: Some(self.proof(browser, user.as_str())), ..browser.clone() };
        known.cookie(&format!("; Max-Age={}", REMEMBERED_DAYS * 86_400))
    }

    fn proof(&self, browser: &Browser, user: &str) -> [u8; 32] {
        self.key.tag(&[b"known device", &browser.id, user.as_bytes()])
    }
}

impl Browser {
    /// 22 characters, or those, a dot and 43 more.
    fn parse(value: &[u8]) -> Option<Self> {
        let (id, proof) = match value.iter().position(|byte| *byte == b'.') {
            Some(dot) => (&value[..dot], Some(crypto::from_base64url(&value[dot + 1..])?)),
            None => (value, None),
        };
        Some(Self { id: crypto::from_base64url(id)?, proof, is_new: false })
    }

    fn cookie(&self, more: &str) -> HeaderValue {
        let mut value = crypto::to_base64url(&self.id);
        if let Some(proof) = &self.proof {
            value.push('.');
            value.push_str(&crypto::to_base64url(proof));
        }
        let text = format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{more}");
        let mut value = HeaderValue::from_str(&text).expect("base64url and our own words");
        value.set_sensitive(true);
        value
    }
}

/// Refuses what browsers say another site caused (Fetch Metadata; RFC 6454 §7).
pub(super) fn check_origin(arrival: &Arrival, headers: &HeaderMap) -> Result<(), Failure> {
    let elsewhere = |site: &HeaderValue| !matches!(site.as_bytes(), b"same-origin" | b"none");
    if headers.get("sec-fetch-site").is_some_and(elsewhere) {
        return Err(Failure::CrossSite);
    }
    let own = arrival.origin();
    if headers.get_all(ORIGIN).iter().any(|origin| !origin.to_str().is_ok_and(|origin| same_origin(origin, &own))) {
        return Err(Failure::CrossSite);
    }
    Ok(())
}

/// Reads a form, within limits of size and time.
pub(super) async fn read_form(request: Request<Inbound>) -> Result<Form, Failure> {
    let kind = request.headers().get(http::header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
    if !kind.is_some_and(|kind| kind.starts_with(b"application/x-www-form-urlencoded")) {
        return Err(Failure::BadForm);
    }
    let body = Limited::new(request.into_body(), MOST_FORM_BYTES).collect();
    let body = tokio::time::timeout(LONGEST_WAIT, body).await.map_err(|_| Failure::FormTooSlow)?;
    let bytes =
        body.map_err(|error| if error.is::<LengthLimitError>() { Failure::FormTooLarge } else { Failure::BadForm })?;
    Ok(Form(form_urlencoded::parse(&bytes.to_bytes()).into_owned().collect()))
}

impl Form {
    /// The first value under a name; empty if there is none.
    pub(super) fn field(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Forms carry passwords.
impl Drop for Form {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.0.iter_mut().for_each(|(_, value)| value.zeroize());
    }
}
