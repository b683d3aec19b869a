//! The servers behind an app, and the one way to reach them: [`forward`], which takes a [`Pass`].

mod choose;
mod client;
mod demo;
mod headers;
mod health;
mod identity_headers;
mod listening;
mod places;
mod pool;
mod sender;
mod settings;
mod sticky;
mod trailers;
mod transfer;
mod tunnel;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

pub use choose::Balance;
pub use headers::{FORWARDING_NAMES, Reserved};
pub use health::{HealthSettings, watch};
pub use identity_headers::IdentityHeaders;
pub use pool::{Connections, IdleLimits};
pub use settings::{Address, Protocol, ServerSettings, UpstreamSettings};
pub use sticky::COOKIE;
use trailers::Trailing;
use transfer::{Download, Upload, UploadState};
use tunnel::Handshake;

use crate::access::Pass;
use crate::session::LiveSession;
use crate::web::arrival::Arrival;
use crate::web::body::{Body, Tunnel};
use crate::web::inbound::Inbound;
use crate::web::websocket;
use choose::{Choice, Server};
use client::{Endpoint, Exchange};
use places::Places;
use sticky::Marks;

/// One app's servers and how to talk to them.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    endpoints: Vec<Endpoint>,
    next: AtomicUsize,
    /// Whether a request tries one of the servers while all of them rest.
    probing: AtomicBool,
    places: Places,
    reserved: Arc<Reserved>,
    request_trailers: Arc<[HeaderName]>,
}

/// Limits that hold for every exchange with an app.
#[derive(Clone, Copy, Debug)]
pub struct TransferLimits {
    /// How long a client may send nothing of a body it announced.
    pub body_timeout: Duration,
    /// How long a tunnel may stand in which nothing moves.
    pub tunnel_timeout: Duration,
}

/// Why an app gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No server of the app accepted a connection.
    #[error("no connection to {address}")]
    Unreachable {
        /// The server tried last.
        address: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// All servers of the app are known to be down, and nothing has changed since.
    #[error("no server of the app is reachable")]
    AllDown {
        /// When there may be one again.
        retry_after: Duration,
        /// What one of them said just now.
        source: Option<Box<UpstreamError>>,
    },
    /// The app has as many requests as it may have, and none was done in time.
    #[error("the app has {most} requests under way, which is all that it may have")]
    Busy {
        /// The app's limit.
        most: usize,
        /// When there may be a place.
        retry_after: Duration,
    },
    /// The server did not begin to answer in time.
    #[error("{address} did not answer within {waited:?}")]
    TooSlow {
        /// The server.
        address: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("the exchange with {address} broke")]
    Broken {
        /// The server.
        address: String,
        /// What went wrong.
        source: hyper::Error,
    },
    /// The server said that it switched protocols, but not to the one it was asked for.
    #[error("{address} switched to something that it was not asked for")]
    BadUpgrade {
        /// The server.
        address: String,
    },
    /// The server answered as if it had been asked for a page, which would open a stream that leads nowhere.
    #[error("{address} did not switch to WebSocket")]
    NoUpgrade {
        /// The server.
        address: String,
    },
    /// The client sent more than the app takes.
    #[error("the request's body is larger than {limit} bytes")]
    TooLarge {
        /// The app's limit in bytes.
        limit: u64,
    },
    /// The client stopped sending in the middle of a body.
    #[error("the client sent nothing of its body for {waited:?}")]
    ClientStalled {
        /// How long we waited.
        waited: Duration,
    },
}

impl Upstream {
    /// Ready to forward. `tls` is asked for only if an address begins with `https://`.
    pub fn new(settings: UpstreamSettings, reserved: Arc<Reserved>, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let protocol = settings.servers.protocol;
        let endpoints = settings.addresses.iter().map(|address| Endpoint::new(address.clone(), protocol, tls.clone()));
        let (endpoints, places) = (endpoints.collect(), Places::new(settings.servers.max_requests));
        let (next, probing) = (AtomicUsize::new(0), AtomicBool::new(false));
        // What another app's table reserves, no list of this one gives away.
        let listed = settings.request_trailers.iter().filter(|name| trailers::may_trail(name, &reserved)).cloned();
        let request_trailers = listed.collect();
        Self { settings, endpoints, next, probing, places, reserved, request_trailers }
    }

    /// What the app is configured with.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// The headers that the app would get for the holder of this pass, identity only.
    pub fn identity_for(&self, pass: &Pass<LiveSession>) -> Vec<(HeaderName, HeaderValue)> {
        self.settings.identity.write(pass)
    }

    fn choose(&self, marks: Option<&Marks>, connections: &Connections) -> Choice {
        let (now, health) = (connections.now(), &self.settings.servers.health);
        let servers = self.endpoints.iter().map(|endpoint| Server {
            under_way: endpoint.under_way(),
            standing: endpoint.health.standing(now, health),
        });
        let servers: Vec<_> = servers.collect();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let sticky = marks.and_then(|marks| marks.among(&self.endpoints));
        choose::choose(self.settings.servers.balance, turn, sticky, &servers)
    }

    /// The right to try a server although all of them rest; one request at a time has it.
    fn probe(&self) -> Option<Probing<'_>> {
        (!self.probing.swap(true, Ordering::Relaxed)).then_some(Probing(&self.probing))
    }

    async fn exchange(
        &self,
        connections: &Connections,
        marks: Option<&Marks>,
        parts: http::request::Parts,
        body: Upload,
    ) -> Result<Exchange, UpstreamError> {
        let (probe, retry_after) = match self.choose(marks, connections) {
            Choice::Ask(order) => {
                let order = order.into_iter().map(|at| &self.endpoints[at]);
                return client::exchange(order, connections, &self.settings, parts, body).await;
            }
            Choice::Nobody { probe, retry_after } => (probe, retry_after),
        };
        let Some((at, _probing)) = probe.zip(self.probe()) else {
            return Err(UpstreamError::AllDown { retry_after, source: None });
        };
        let order = std::iter::once(&self.endpoints[at]);
        client::exchange(order, connections, &self.settings, parts, body).await.map_err(|error| match error {
            UpstreamError::Unreachable { .. } => UpstreamError::AllDown { retry_after, source: Some(Box::new(error)) },
            error => error,
        })
    }
}

/// Dropped when the attempt is over, however it ended.
struct Probing<'a>(&'a AtomicBool);

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Sends a request to an app and returns its answer, streaming both ways. If the future is dropped, so is the exchange.
///
/// # Errors
/// [`UpstreamError`]; nothing of an answer has been returned then.
pub async fn forward(
    upstream: &Upstream,
    connections: &Connections,
    limits: &TransferLimits,
    arrival: &Arrival,
    mut request: Request<Inbound>,
    pass: Pass<LiveSession>,
) -> Result<Response<Body>, UpstreamError> {
    let most = upstream.settings.max_body_size;
    let switching = hyper::upgrade::on(&mut request);
    let (mut parts, incoming) = request.into_parts();
    if let (Some(limit), Some(announced)) = (most, http_body::Body::size_hint(&incoming).exact())
        && announced > limit
    {
        return Err(UpstreamError::TooLarge { limit });
    }
    let most_requests = upstream.settings.servers.max_requests;
    let busy = UpstreamError::Busy { most: most_requests, retry_after: places::LONGEST_WAIT };
    let place = upstream.places.take().await.ok_or(busy)?;
    // Over HTTP/2 nobody switches protocols (RFC 9113 §8.6).
    let handshake = Handshake::read(&parts).filter(|_| upstream.settings.servers.protocol == Protocol::Http1);
    let marks = (upstream.settings.servers.balance == Balance::Cookie).then(|| Marks::read(&parts.headers));
    let by_stream = websocket::is_by_stream(&parts.extensions);
    headers::prepare(&mut parts.headers, arrival, &upstream.reserved, &upstream.settings, &pass);
    if handshake.is_some() {
        Handshake::ask(&mut parts.headers);
    }
    // Over HTTP/2 a client need not say beforehand what will follow; without it HTTP/1.1 lets nothing follow.
    if http_body::Body::size_hint(&incoming).exact().is_none() {
        trailers::announce(&mut parts.headers, upstream.request_trailers.iter());
    }
    let trailing = Trailing::Listed(Arc::clone(&upstream.request_trailers));
    let (body, state) = Upload::new(incoming, most, limits.body_timeout, trailing);
    let exchanged = upstream.exchange(connections, marks.as_ref(), parts, body).await;
    let mut exchange = exchanged.map_err(|error| blame_the_client(error, &state, most, limits))?;

    if exchange.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let accepted = handshake.is_some_and(|handshake| handshake.is_accepted_by(&exchange.response));
        if !accepted {
            return Err(UpstreamError::BadUpgrade { address: exchange.address });
        }
        let tunnel = tunnel::dig(switching, hyper::upgrade::on(&mut exchange.response), limits.tunnel_timeout);
        // It stays counted with its server, but takes no place from the requests: it may stand for days.
        let under_way = exchange.lease.into_under_way();
        let tunnel = Tunnel::new(async move {
            tunnel.run().await;
            drop(under_way);
        });
        let mut parts = exchange.response.into_parts().0;
        headers::clean_response(&mut parts.headers, &upstream.reserved);
        if let Some(marks) = marks {
            marks.note(&exchange.mark, &upstream.endpoints, &mut parts.headers);
        }
        Handshake::ask(&mut parts.headers);
        return Ok(Response::from_parts(parts, Body::tunnel(tunnel)));
    }
    if by_stream && exchange.response.status().is_success() {
        return Err(UpstreamError::NoUpgrade { address: exchange.address });
    }
    let (mut parts, incoming) = exchange.response.into_parts();
    headers::clean_response(&mut parts.headers, &upstream.reserved);
    if let Some(marks) = marks {
        marks.note(&exchange.mark, &upstream.endpoints, &mut parts.headers);
    }
    parts.version = http::Version::default();
    exchange.lease.hold(place);
    let download = Download::new(incoming, exchange.lease, state, Trailing::Harmless(Arc::clone(&upstream.reserved)));
    Ok(Response::from_parts(parts, Body::stream(download)))
}

/// A broken exchange may be the doing of the client's body.
fn blame_the_client(
    error: UpstreamError,
    state: &UploadState,
    most: Option<u64>,
    limits: &TransferLimits,
) -> UpstreamError {
    match most {
        Some(limit) if state.overran() => UpstreamError::TooLarge { limit },
        _ if state.stalled() => UpstreamError::ClientStalled { waited: limits.body_timeout },
        _ => error,
    }
}
