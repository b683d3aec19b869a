//! Signing out: a page that asks, and a form that does it. A mere link ends nobody's session.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::form_guard::{FormGuard, check_origin, read_form};
use super::page::{self, SignOutPage};
use super::{Failure, Story, redirect};
use crate::clock::Moment;
use crate::gate::{Gate, Visitor};
use crate::session::{EndReason, LiveSession, Touch};
use crate::web::arrival::Arrival;
use crate::web::body::Body;
use crate::web::inbound::Inbound;

pub(super) fn show(
    gate: &Gate,
    arrival: &Arrival,
    headers: &HeaderMap,
    now: Moment,
) -> Result<Response<Body>, Failure> {
    let Visitor::Live(live) = gate.resume(headers, &arrival.host, &gate.limits, Touch::Background, now) else {
        return signed_out(gate);
    };
    ask(gate, arrival, headers, &live)
}

pub(super) async fn submit(
    gate: &Gate,
    arrival: &Arrival,
    request: Request<Inbound>,
    now: Moment,
    story: &mut Story,
) -> Result<Response<Body>, Failure> {
    check_origin(arrival, request.headers())?;
    let headers = request.headers().clone();
    let Visitor::Live(live) = gate.resume(&headers, &arrival.host, &gate.limits, Touch::Background, now) else {
        return signed_out(gate);
    };
    story.meet(&live);
    let form = read_form(request).await?;
    let guard = &gate.portal.guard;
    if !guard.is_genuine(&purpose(&live), &guard.browser(&headers), arrival, &form) {
        return Ok(redirect("/.vestibule/logout"));
    }
    gate.sessions.close(&live.id(), EndReason::SignedOut);
    story.decision = "signed out";
    tracing::info!(
        target: "audit", event = "sign_out", user = %live.identity().user, session_id = %live.id(),
        client = %arrival.client, host = %arrival.host, request_id = arrival.request_id,
    );
    signed_out(gate)
}

fn ask(gate: &Gate, arrival: &Arrival, headers: &HeaderMap, live: &LiveSession) -> Result<Response<Body>, Failure> {
    let browser = gate.portal.guard.browser(headers);
    let csrf_token = gate.portal.guard.token(&purpose(live), &browser, arrival);
    let identity = live.identity();
    let user = identity.name.as_deref().unwrap_or(identity.user.as_str());
    let mut response =
        page::sign_out(SignOutPage { site: arrival.host.as_str(), user, csrf_token: &csrf_token, style: "" })?;
    if let Some(cookie) = FormGuard::introduce(&browser) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The form is good for this session alone.
fn purpose(live: &LiveSession) -> String {
    format!("sign out {}", live.id())
}

fn signed_out(gate: &Gate) -> Result<Response<Body>, Failure> {
    let mut response =
        page::message("You are signed out", "Your session has ended on this site.", ("/", "Sign in again"))?;
    let headers = response.headers_mut();
    headers.append(SET_COOKIE, gate.cookie.clear());
    // What the app left in the browser was the former user's.
    headers.insert(HeaderName::from_static("clear-site-data"), HeaderValue::from_static("\"cache\", \"storage\""));
    Ok(response)
}
