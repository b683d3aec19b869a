//! The pages as people see them, and the headers that protect all our answers.

use askama::Template;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::assets::{ONWARD, SCRIPT, STYLE};
use crate::web::body::Body;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";
/// The same without `form-action`.
const SIGN_IN_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                              frame-ancestors 'none'; base-uri 'none'";

#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage<'a> {
    pub(super) site: &'a str,
    pub(super) notice: &'a str,
    pub(super) error: &'a str,
    pub(super) username: &'a str,
    pub(super) return_to: &'a str,
    pub(super) csrf_token: &'a str,
    pub(super) script: &'a str,
    pub(super) style: &'a str,
}

#[derive(Template)]
#[template(path = "sign_out.html")]
pub(super) struct SignOutPage<'a> {
    pub(super) site: &'a str,
    pub(super) user: &'a str,
    pub(super) csrf_token: &'a str,
    pub(super) style: &'a str,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    title: &'a str,
    text: &'a str,
    link: Option<(&'a str, &'a str)>,
    request_id: &'a str,
    /// The script that follows the link at once; none: empty.
    onward: &'a str,
    style: &'a str,
}

pub(super) fn sign_in(page: SignInPage<'_>, status: StatusCode) -> Result<Response<Body>, askama::Error> {
    let page = SignInPage { script: &SCRIPT.path(), style: &STYLE.path(), ..page };
    let mut response = html(status, page.render()?);
    // Chromium holds `form-action` against every redirect that follows the form, and where an app sends people once
    // they are in is the app's affair: to another site, perhaps, that waits for them to come back with a code.
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SIGN_IN_POLICY));
    Ok(response)
}

pub(super) fn sign_out(page: SignOutPage<'_>) -> Result<Response<Body>, askama::Error> {
    Ok(html(StatusCode::OK, SignOutPage { style: &STYLE.path(), ..page }.render()?))
}

pub(super) fn message(title: &str, text: &str, link: (&str, &str)) -> Result<Response<Body>, askama::Error> {
    let style = &STYLE.path();
    let page = MessagePage { title, text, link: Some(link), request_id: "", onward: "", style };
    Ok(html(StatusCode::OK, page.render()?))
}

/// A page that leads on at once, by a step of our own site's.
pub(super) fn onward(target: &str) -> Result<Response<Body>, askama::Error> {
    let (style, script) = (&STYLE.path(), &ONWARD.path());
    let link = Some((target, "Go on"));
    let page = MessagePage { title: "One moment", text: "", link, request_id: "", onward: script, style };
    Ok(html(StatusCode::OK, page.render()?))
}

pub(super) fn error(
    status: StatusCode,
    title: &str,
    text: &str,
    request_id: &str,
) -> Result<Response<Body>, askama::Error> {
    let style = &STYLE.path();
    let page = MessagePage { title, text, link: None, request_id, onward: "", style };
    Ok(html(status, page.render()?))
}

fn html(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    protect(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// What every answer of ours says: keep nothing, run nothing that is not ours, be in nobody's frame.
pub(super) fn protect(headers: &mut HeaderMap) {
    const FIELDS: [(HeaderName, &str); 7] = [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
