//! The session as data, for scripts: who, since when, how much longer.

use http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use super::form_guard::check_origin;
use super::{Failure, json_response, problem};
use crate::clock::Moment;
use crate::gate::{Gate, Visitor};
use crate::names::Group;
use crate::session::{LiveSession, Touch};
use crate::web::arrival::Arrival;
use crate::web::body::Body;

pub(super) fn show(
    gate: &Gate,
    arrival: &Arrival,
    headers: &HeaderMap,
    now: Moment,
) -> Result<Response<Body>, Failure> {
    Ok(tell(gate, arrival, headers, Touch::Background, now))
}

/// "I am still here."
pub(super) fn extend(
    gate: &Gate,
    arrival: &Arrival,
    headers: &HeaderMap,
    now: Moment,
) -> Result<Response<Body>, Failure> {
    check_origin(arrival, headers)?;
    Ok(tell(gate, arrival, headers, Touch::Activity, now))
}

fn tell(gate: &Gate, arrival: &Arrival, headers: &HeaderMap, touch: Touch, now: Moment) -> Response<Body> {
    let ended = match gate.resume(headers, &arrival.host, &gate.limits, touch, now) {
        Visitor::Live(live) => return json_response(StatusCode::OK, "application/json", &describe(gate, &live, now)),
        Visitor::Ended(reason) => Some(reason),
        Visitor::Stranger => None,
    };
    let detail = ended.map_or("no session".to_owned(), |reason| format!("session ended: {}", reason.as_str()));
    let body = json!({
        "type": "about:blank", "title": "Sign-in required", "status": 401, "detail": detail,
        "login_url": "/.vestibule/login", "request_id": arrival.request_id,
    });
    let mut response = problem(StatusCode::UNAUTHORIZED, &body);
    let challenge = http::HeaderValue::from_static("Vestibule realm=\"session\"");
    response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
    response
}

fn describe(gate: &Gate, live: &LiveSession, now: Moment) -> serde_json::Value {
    let identity = live.identity();
    let left = live.time_left(&gate.limits, now);
    json!({
        "user": identity.user.as_str(),
        "name": identity.name.as_deref(),
        "email": identity.email.as_deref(),
        "groups": identity.groups.iter().map(Group::as_str).collect::<Vec<_>>(),
        "session_id": live.id().to_string(),
        "created_at": live.opened().unix_seconds(),
        "idle_expires_in": left.idle.as_secs(),
        "absolute_expires_in": left.absolute.as_secs(),
    })
}
