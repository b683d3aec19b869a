//! The sign-in page: show the form, check it, open a session, go on to where the visitor wanted to be.

use std::time::Duration;

use http::header::{RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use super::form_guard::{Browser, FormGuard, check_origin, read_form};
use super::page::{self, SignInPage};
use super::{Failure, OURS, Story, redirect, whole_seconds};
use crate::clock::Moment;
use crate::gate::apps::Site;
use crate::gate::{Gate, Visitor};
use crate::identity::Identity;
use crate::login::{LoginDown, PasswordAttempt, SignIn};
use crate::names::UserName;
use crate::secret::Secret;
use crate::session::{EndReason, Limits, SameSite, Touch};
use crate::web::arrival::Arrival;
use crate::web::body::Body;
use crate::web::inbound::Inbound;
use crate::web::path::CleanPath;
use crate::web::return_to::ReturnTo;

const PURPOSE: &str = "sign in";
/// Begins the query of an address that our own page leads to.
const LED_BY_US: &str = "again";

pub(super) fn show(
    gate: &Gate,
    site: &Site,
    arrival: &Arrival,
    headers: &HeaderMap,
    now: Moment,
) -> Result<Response<Body>, Failure> {
    let return_to = wanted(arrival);
    let visitor = gate.resume(headers, &arrival.host, &limits_at(gate, site, &return_to), Touch::Background, now);
    let ended = match visitor {
        // Somebody signed in elsewhere, in another tab perhaps: simply go on.
        Visitor::Live(_) => return Ok(redirect(return_to.as_str())),
        Visitor::Ended(reason) => Some(reason),
        Visitor::Stranger => None,
    };
    let from_elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let led_by_us = arrival.query.as_deref().is_some_and(|query| query.starts_with(LED_BY_US));
    let held_back = from_elsewhere && !led_by_us && gate.cookie.tokens(headers).is_empty();
    if gate.cookie.same_site == SameSite::Strict && held_back {
        // The browser held the cookie back because another site led here. Led by our own page, it will send it. Another
        // address, because a page that reloads itself is still the other site's doing; and this is done but once.
        return Ok(page::onward(&format!("{OURS}/login?{LED_BY_US}&return_to={}", return_to.percent_encoded()))?);
    }
    let form = Shown { return_to, notice: ended.map_or("", notice), ..Shown::default() };
    let mut response = form.page(gate, arrival, &gate.portal.guard.browser(headers), StatusCode::OK)?;
    // A session that is over for this app alone may go on for others.
    let over = !matches!(gate.resume(headers, &arrival.host, &gate.limits, Touch::Background, now), Visitor::Live(_));
    if ended.is_some() && over {
        response.headers_mut().append(SET_COOKIE, gate.cookie.clear());
    }
    Ok(response)
}

pub(super) async fn submit(
    gate: &Gate,
    site: &Site,
    arrival: &Arrival,
    request: Request<Inbound>,
    now: Moment,
    story: &mut Story,
) -> Result<Response<Body>, Failure> {
    check_origin(arrival, request.headers())?;
    let headers = request.headers().clone();
    let form = read_form(request).await?;
    let guard = &gate.portal.guard;
    let browser = guard.browser(&headers);
    let return_to = ReturnTo::parse(form.field("return_to")).unwrap_or_else(|| wanted(arrival));
    let username = form.field("username");
    if !guard.is_genuine(PURPOSE, &browser, arrival, &form) {
        let limits = limits_at(gate, site, &return_to);
        if let Visitor::Live(_) = gate.resume(&headers, &arrival.host, &limits, Touch::Background, now) {
            return Ok(redirect(return_to.as_str()));
        }
        let error = if headers.contains_key(http::header::COOKIE) {
            "This page was out of date. Please sign in once more."
        } else {
            "Your browser sent no cookie back. Please allow cookies for this site and sign in once more."
        };
        let shown = Shown { return_to, error, username, ..Shown::default() };
        return shown.page(gate, arrival, &browser, StatusCode::FORBIDDEN);
    }
    let attempt = PasswordAttempt {
        user: username.to_owned(),
        password: Secret::new(form.field("password").to_owned()),
        address: arrival.client,
        known_device: guard.knows(&browser, username),
    };
    // People type passwords into the wrong field: what is no user's name stays out of the log.
    let named = UserName::parse(username).ok().filter(|name| gate.logins.users().current(name, now).is_some());
    let refused = |reason: &str| {
        let user = named.as_ref().map(tracing::field::display);
        tracing::info!(
            target: "audit", event = "sign_in_refused", user, client = %arrival.client, host = %arrival.host,
            request_id = arrival.request_id, reason,
        );
    };
    match gate.logins.sign_in(&attempt, now).await {
        Ok(SignIn::Accept(identity)) => welcome(gate, arrival, &headers, &browser, identity, &return_to, story),
        Ok(SignIn::Reject) => {
            refused("wrong user or password");
            story.decision = "refuse";
            let error = "Wrong user name or password.";
            let shown = Shown { return_to, error, username, ..Shown::default() };
            shown.page(gate, arrival, &browser, StatusCode::FORBIDDEN)
        }
        Ok(SignIn::TooMany { retry_after }) => {
            refused("too many attempts");
            story.decision = "refuse";
            let error = format!("Too many attempts. Please try again in {}.", in_words(retry_after));
            let shown = Shown { return_to, error: &error, username, ..Shown::default() };
            let response = shown.page(gate, arrival, &browser, StatusCode::TOO_MANY_REQUESTS)?;
            Ok(with_retry_after(response, retry_after))
        }
        Err(down) => {
            refused("sign-in was not possible");
            tracing::warn!(error = %down, "sign-in was not possible");
            let retry_after = match down {
                LoginDown::Busy { retry_after } => retry_after,
                LoginDown::Broken { .. } => Duration::from_secs(10),
            };
            let error = "Signing in is not possible right now. Please try again in a moment.";
            let shown = Shown { return_to, error, username, ..Shown::default() };
            let response = shown.page(gate, arrival, &browser, StatusCode::SERVICE_UNAVAILABLE)?;
            Ok(with_retry_after(response, retry_after))
        }
    }
}

/// Opens the session, under a new token; what the browser had before ends.
fn welcome(
    gate: &Gate,
    arrival: &Arrival,
    headers: &HeaderMap,
    browser: &Browser,
    identity: Identity,
    return_to: &ReturnTo,
    story: &mut Story,
) -> Result<Response<Body>, Failure> {
    let now = gate.clock.now();
    for token in gate.cookie.tokens(headers) {
        gate.sessions.replace(&token, &arrival.host);
    }
    let user = identity.user.clone();
    let (token, live) = gate.sessions.open(identity, &arrival.host, now);
    // The users file may have changed while the password was being checked: then its word counts.
    gate.follow_users_file(now);
    if gate.logins.users().current(&user, now).is_none() {
        gate.sessions.close(&live.id(), EndReason::UserGone);
    }
    story.meet(&live);
    story.decision = "signed in";
    tracing::info!(
        target: "audit", event = "sign_in", user = %user, session_id = %live.id(), client = %arrival.client,
        host = %arrival.host, request_id = arrival.request_id, method = live.identity().method.as_str(),
    );
    let mut response = redirect(return_to.as_str());
    response.headers_mut().append(SET_COOKIE, gate.cookie.set(&token));
    response.headers_mut().append(SET_COOKIE, gate.portal.guard.remember(browser, &user));
    Ok(response)
}

/// The form and what it says.
struct Shown<'a> {
    return_to: ReturnTo,
    notice: &'a str,
    error: &'a str,
    username: &'a str,
}

impl Default for Shown<'_> {
    fn default() -> Self {
        Self { return_to: ReturnTo::root(), notice: "", error: "", username: "" }
    }
}

impl Shown<'_> {
    fn page(
        &self,
        gate: &Gate,
        arrival: &Arrival,
        browser: &Browser,
        status: StatusCode,
    ) -> Result<Response<Body>, Failure> {
        let csrf_token = gate.portal.guard.token(PURPOSE, browser, arrival);
        let page = SignInPage {
            site: arrival.host.as_str(),
            notice: self.notice,
            error: self.error,
            // What is longer than any name is not shown again.
            username: if self.username.len() <= 256 { self.username } else { "" },
            return_to: self.return_to.as_str(),
            csrf_token: &csrf_token,
            script: "",
            style: "",
        };
        let mut response = page::sign_in(page, status)?;
        if let Some(cookie) = FormGuard::introduce(browser) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(response)
    }
}

/// Where the query says the visitor wanted to be.
fn wanted(arrival: &Arrival) -> ReturnTo {
    let query = arrival.query.as_deref().unwrap_or_default();
    let value = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return_to");
    value.and_then(|(_, value)| ReturnTo::parse(&value)).unwrap_or_else(ReturnTo::root)
}

/// Whether somebody is signed in depends on the app they want: asked otherwise, a stricter app would send them back
/// here for ever.
fn limits_at(gate: &Gate, site: &Site, return_to: &ReturnTo) -> Limits {
    let Ok(path) = CleanPath::parse(return_to.path()) else {
        return gate.limits;
    };
    let apps = path.readings().filter_map(|reading| site.app_at(reading));
    apps.fold(gate.limits, |limits, app| limits.strictest(&app.limits))
}

fn notice(reason: EndReason) -> &'static str {
    match reason {
        EndReason::SignedOut => "You have signed out.",
        EndReason::Idle => "You were signed out because nothing happened for a while.",
        EndReason::TooOld => "Your session reached its longest duration. Please sign in again.",
        EndReason::Replaced => "You signed in again in another tab. Please sign in here once more.",
        EndReason::TooMany => "You signed in in too many places; your oldest session was ended.",
        EndReason::Evicted => "Your session was ended because too many people are signed in.",
        EndReason::UserGone => "Your session was ended by the operator of this site.",
        EndReason::PasswordChanged => "Your session was ended because your password was changed.",
    }
}

fn in_words(wait: Duration) -> String {
    match whole_seconds(wait) {
        0 | 1 => "a second".into(),
        seconds if seconds < 120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds.div_ceil(60)),
    }
}

fn with_retry_after(mut response: Response<Body>, wait: Duration) -> Response<Body> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait).max(1)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_words_that_are_not_too_short() {
        for (millis, words) in
            [(200, "a second"), (2_001, "3 seconds"), (119_000, "119 seconds"), (121_000, "3 minutes")]
        {
            assert_eq!(in_words(Duration::from_millis(millis)), words);
        }
    }
}
