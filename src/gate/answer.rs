//! One request from top to bottom.

use http::header::{CONNECTION, STRICT_TRANSPORT_SECURITY, UPGRADE};
use http::{HeaderValue, Request, Response, Version};

use super::failure::Failure;
use super::portal;
use super::story::{Story, Told};
use super::{Gate, Visitor};
use crate::access::{self, Decision};
use crate::clock::Moment;
use crate::session::Touch;
use crate::upstream::{self, Connections};
use crate::web::arrival::{Arrival, Malformed, Peer, Wish, request_id};
use crate::web::body::Body;
use crate::web::inbound::Inbound;
use crate::web::websocket;

/// Answers one request. It cannot fail: whatever goes wrong is a response too.
///
/// `flaw` is what a look at the raw head has found that the parsed request no longer shows.
pub async fn answer(
    gate: &Gate,
    connections: &Connections,
    peer: &Peer,
    number: u64,
    flaw: Option<Malformed>,
    request: Request<Inbound>,
) -> Response<Body> {
    let now = gate.clock.now();
    let (parts, body) = request.into_parts();
    let id = request_id(&parts.headers, peer, number, &gate.trusted);
    let wish = Wish::read(&parts.method, &parts.headers);
    let (method, version) = (parts.method.clone(), parts.version);
    let mut story = Story::default();
    let read = match flaw {
        Some(flaw) => Err(flaw.into()),
        None => Arrival::read(&parts, &id, peer, &gate.trusted, &gate.arrival_limits).map_err(Failure::from),
    };
    let (arrival, served) = match read {
        Ok(arrival) => {
            let request = Request::from_parts(parts, body);
            let served = serve(gate, connections, peer, &arrival, request, now, &mut story).await;
            (Some(arrival), served)
        }
        Err(failure) => (None, Err(failure)),
    };
    let mut response = served.unwrap_or_else(|failure| {
        story.decision = failure.decision();
        portal::fail(&failure, wish, &id, story.app.as_ref(), version)
    });
    if let Some(hsts) = &gate.hsts {
        response.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
    }
    if gate.is_draining() && version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let protocol = if version == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1" };
    let told = Told { id: &id, peer: peer.address.ip(), method: &method, protocol, arrival: arrival.as_ref() };
    story.tell(gate, &told, response.status().as_u16(), now);
    response
}

async fn serve(
    gate: &Gate,
    connections: &Connections,
    peer: &Peer,
    arrival: &Arrival,
    request: Request<Inbound>,
    now: Moment,
    story: &mut Story,
) -> Result<Response<Body>, Failure> {
    // A browser may use one connection for several names of a certificate; it opens another when told so (RFC 9110 §15.5.20).
    if peer.tls_name.as_ref().is_some_and(|name| *name != arrival.host) {
        return Err(Failure::Misdirected);
    }
    let site = gate.apps.at(&arrival.host).ok_or(Failure::UnknownHost)?;
    if portal::is_ours(arrival) {
        // None of our pages is a WebSocket, and over HTTP/2 each would look like one that has opened.
        if websocket::is_by_stream(request.extensions()) {
            return Err(Failure::WrongMethod);
        }
        return portal::serve(gate, &site, arrival, request, now, story).await;
    }
    let app = site.app_at(arrival.path.primary()).ok_or(Failure::NotFound)?;
    story.app = Some(app.name.clone());
    if app.rules.rejects(&arrival.path) {
        return Err(Failure::EncodedSlash);
    }

    // Browsers send cookies along when another site's script opens a WebSocket, and no CORS rule stops it (RFC 6455 §10.2).
    if request.headers().contains_key(UPGRADE) && !app.admits_origin(arrival, request.headers()) {
        return Err(Failure::CrossSite);
    }

    // Another program may read the path as another app's; then that app's rules and timeouts must agree.
    let asked: Vec<_> = arrival.path.readings().filter_map(|reading| Some((site.app_at(reading)?, reading))).collect();
    let limits = asked.iter().fold(app.limits, |limits, (app, _)| limits.strictest(&app.limits));
    let background = app.is_background(arrival.path.primary());
    let touch = if background { Touch::Background } else { Touch::Activity };
    let visitor = gate.resume(request.headers(), &arrival.host, &limits, touch, now);
    let (session, ended) = match visitor {
        Visitor::Live(session) => (Some(session), None),
        Visitor::Ended(reason) => (None, Some(reason)),
        Visitor::Stranger => (None, None),
    };
    if let Some(session) = &session {
        story.meet(session);
    }

    let rules = asked.iter().map(|(app, reading)| (&app.rules, *reading));
    match access::decide(&app.name, rules, &arrival.methods(), session) {
        Decision::Forward(pass) => {
            story.decision = "forward";
            let response =
                upstream::forward(&app.upstream, connections, &gate.transfer_limits, arrival, request, pass).await;
            story.upstream_took = Some(gate.clock.now().since(now));
            Ok(response?)
        }
        Decision::SignIn => {
            story.decision = "sign in";
            portal::invite(arrival, request.headers(), app, ended)
        }
        Decision::Refuse => {
            tracing::info!(
                target: "audit", event = "access_refused", request_id = arrival.request_id, app = %app.name,
                user = story.user.as_ref().map(tracing::field::display), client = %arrival.client,
                method = %arrival.method, path = arrival.path.raw(),
            );
            Err(Failure::Forbidden)
        }
    }
}
