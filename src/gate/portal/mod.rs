//! The few pages we serve ourselves, under `/.vestibule/`.

mod assets;
mod form_guard;
mod page;
mod session;
mod sign_in;
mod sign_out;

use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, LOCATION, REFERER, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use serde_json::json;

use super::Gate;
use super::app::App;
use super::apps::Site;
use super::failure::{Blame, Failure};
use super::story::Story;
use crate::clock::Moment;
use crate::crypto::TagKey;
use crate::names::AppName;
use crate::session::EndReason;
use crate::web::arrival::{Arrival, Wish};
use crate::web::body::Body;
use crate::web::inbound::Inbound;
use crate::web::path::is_under;
use crate::web::return_to::ReturnTo;
use assets::Assets;
use form_guard::FormGuard;

/// Everything below this path on every app's host is ours.
const OURS: &str = "/.vestibule";

/// What our own pages need.
#[derive(Debug)]
pub struct Portal {
    guard: FormGuard,
    assets: Assets,
}

impl Portal {
    /// Forms are protected with this key.
    pub fn new(key: TagKey) -> Self {
        Self { guard: FormGuard::new(key), assets: Assets::new() }
    }

    /// The cookies that this part of us sets.
    pub fn cookie_names() -> Vec<String> {
        vec![form_guard::COOKIE.to_owned()]
    }
}

/// Whether a request is for us. However somebody spells it, it never reaches an app.
pub(super) fn is_ours(arrival: &Arrival) -> bool {
    arrival.path.readings().any(|reading| is_under(&reading.to_ascii_lowercase(), OURS))
}

pub(super) async fn serve(
    gate: &Gate,
    site: &Site,
    arrival: &Arrival,
    request: Request<Inbound>,
    now: Moment,
    story: &mut Story,
) -> Result<Response<Body>, Failure> {
    story.decision = "own page";
    let page = arrival.path.raw().strip_prefix("/.vestibule/").ok_or(Failure::NotFound)?;
    let reads = arrival.method == Method::GET || arrival.method == Method::HEAD;
    let posts = arrival.method == Method::POST;
    match page {
        "login" if reads => sign_in::show(gate, site, arrival, request.headers(), now),
        "login" if posts => sign_in::submit(gate, site, arrival, request, now, story).await,
        "logout" if reads => sign_out::show(gate, arrival, request.headers(), now),
        "logout" if posts => sign_out::submit(gate, arrival, request, now, story).await,
        "session" if reads => session::show(gate, arrival, request.headers(), now),
        "session/extend" if posts => session::extend(gate, arrival, request.headers(), now),
        "login" | "logout" | "session" | "session/extend" => Err(Failure::WrongMethod),
        other => match other.strip_prefix("assets/") {
            Some(name) if reads => gate.portal.assets.serve(name).ok_or(Failure::NotFound),
            _ => Err(Failure::NotFound),
        },
    }
}

/// What a request without a session gets.
pub(super) fn invite(
    arrival: &Arrival,
    headers: &HeaderMap,
    app: &App,
    ended: Option<EndReason>,
) -> Result<Response<Body>, Failure> {
    if arrival.wish == Wish::Page {
        let back = where_to_return(arrival, headers);
        let location = format!("{OURS}/login?return_to={}", back.percent_encoded());
        return Ok(redirect(&location));
    }
    let mut body = json!({
        "type": "about:blank",
        "title": "Sign-in required",
        "status": 401,
        "detail": "This request needs a session.",
        "login_url": format!("{OURS}/login"),
        "request_id": arrival.request_id,
    });
    if let Some(reason) = ended {
        body["detail"] = format!("session ended: {}", reason.as_str()).into();
    }
    let mut response = problem(StatusCode::UNAUTHORIZED, &body);
    // RFC 9110 §11.6.1 wants a challenge. Browsers ignore a scheme that they do not know and show no dialogue.
    let name: String =
        app.name.as_str().chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
    if let Ok(challenge) = HeaderValue::from_str(&format!("Vestibule realm=\"{name}\"")) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    Ok(response)
}

/// The page to come back to. What was posted cannot be asked for again; the page with the form can.
fn where_to_return(arrival: &Arrival, headers: &HeaderMap) -> ReturnTo {
    if arrival.method == Method::GET || arrival.method == Method::HEAD {
        return ReturnTo::parse(&arrival.target()).unwrap_or_else(ReturnTo::root);
    }
    let referrer = headers.get(REFERER).and_then(|value| value.to_str().ok());
    let own = referrer.and_then(|text| text.strip_prefix(&arrival.origin()));
    own.and_then(ReturnTo::parse).unwrap_or_else(ReturnTo::root)
}

/// The answer to a request that could not be served; the cause goes to the log, once.
pub(super) fn fail(
    failure: &Failure,
    wish: Wish,
    request_id: &str,
    app: Option<&AppName>,
    version: Version,
) -> Response<Body> {
    let status = failure.status();
    let cause = chain(failure);
    let app_name = app.map(tracing::field::display);
    match failure.blame() {
        Blame::Visitor => tracing::debug!(request_id, app = app_name, status = status.as_u16(), cause, "refused"),
        Blame::App => tracing::warn!(request_id, app = app_name, status = status.as_u16(), cause, "an app failed"),
        Blame::Us => tracing::error!(request_id, app = app_name, status = status.as_u16(), cause, "failed"),
    }
    let (title, text) = failure.visitor_text();
    let page = (wish == Wish::Page).then(|| page::error(status, title, text, request_id)).and_then(Result::ok);
    let mut response = page.unwrap_or_else(|| {
        let (status_code, kind) = (status.as_u16(), "about:blank");
        let body =
            json!({ "type": kind, "title": title, "status": status_code, "detail": text, "request_id": request_id });
        problem(status, &body)
    });
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    if let Some(wait) = failure.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait).max(1)));
    }
    if failure.closes_connection() && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// `Retry-After` counts whole seconds (RFC 9110 §10.2.3).
fn whole_seconds(wait: std::time::Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn redirect(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, location);
    page::protect(response.headers_mut());
    response
}

fn problem(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    json_response(status, "application/problem+json", body)
}

fn json_response(status: StatusCode, kind: &'static str, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{body}\n")));
    *response.status_mut() = status;
    page::protect(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
