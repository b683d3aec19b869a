//! One connection from a browser: TLS handshake, HTTP, the gate; with a deadline for everything that could stand still.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::listener::Stopping;
use super::proxy_protocol;
use super::settings::LimitSettings;
use super::wire::{Answered, Wire, WireState};
use crate::crypto;
use crate::gate::{Gate, answer};
use crate::upstream::Connections;
use crate::web::arrival::Peer;
use crate::web::host::Host;
use crate::web::inbound::Inbound;
use crate::web::websocket;

/// What every connection of one worker needs.
pub(super) struct Door {
    pub(super) gate: Arc<Gate>,
    pub(super) connections: Connections,
    pub(super) tls: TlsAcceptor,
    pub(super) limits: LimitSettings,
    pub(super) handshakes: Arc<Semaphore>,
    pub(super) https_port: u16,
    /// Whether connections begin with a PROXY header.
    pub(super) proxy_protocol: bool,
}

/// HTTP/2 settings that bound what one connection can make us keep.
const STREAM_SEND_BYTES: usize = 64 * 1024;
const STREAM_RECEIVE_BYTES: u32 = 256 * 1024;
const CONNECTION_RECEIVE_BYTES: u32 = 1024 * 1024;
const RESETS_BEFORE_ACCEPT: usize = 20;
const RESETS_OF_OURS: usize = 64;

pub(super) async fn serve(door: Arc<Door>, mut stream: TcpStream, address: SocketAddr, stopping: Stopping) {
    let _ = stream.set_nodelay(true);
    let Some(address) = whose(&door, &mut stream, address).await else {
        return;
    };
    let Some(stream) = shake_hands(&door, stream).await else {
        return;
    };
    let session = stream.get_ref().1;
    let peer = Arc::new(Peer {
        address,
        tls_name: session.server_name().and_then(|name| Host::parse(name).ok()),
        connection_id: crypto::to_base64url(&crypto::random::<9>()),
    });
    if session.alpn_protocol() == Some(b"h2") {
        serve_http2(door, stream, peer, stopping).await;
    } else {
        serve_http1(door, stream, peer, stopping).await;
    }
}

/// Whose connection it is, by the word of a trusted peer if there is a PROXY header to be. None: it ends here.
pub(super) async fn whose(door: &Door, stream: &mut TcpStream, peer: SocketAddr) -> Option<SocketAddr> {
    if !door.proxy_protocol {
        return Some(peer);
    }
    if !door.gate.trusted.contains(peer.ip()) {
        tracing::debug!(%peer, "a connection that is not from a trusted proxy was closed");
        return None;
    }
    match timeout(door.limits.handshake_timeout, proxy_protocol::read(stream)).await {
        Ok(Ok(client)) => Some(client.unwrap_or(peer)),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a connection without a PROXY header was closed");
            None
        }
        Err(_) => None,
    }
}

async fn shake_hands(door: &Door, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let limit = door.limits.handshake_timeout;
    let shaken = timeout(limit, async {
        // A handshake costs more than a hundred requests: only so many at once, the others wait their turn.
        let _turn = door.handshakes.acquire().await.ok()?;
        door.tls.accept(stream).await.map_err(|error| tracing::debug!(%error, "a TLS handshake failed")).ok()
    });
    shaken.await.ok().flatten()
}

async fn serve_http1(door: Arc<Door>, stream: TlsStream<TcpStream>, peer: Arc<Peer>, stopping: Stopping) {
    let state = Arc::new(WireState::default());
    let io = TokioIo::new(Wire::new(stream, &door.limits, Arc::clone(&state), true));
    let service = service_fn(|request| respond(Arc::clone(&door), Arc::clone(&peer), Arc::clone(&state), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The wire has the deadline for a head; hyper's clock would also run between requests.
        .header_read_timeout(None)
        .max_buf_size(door.limits.head_buffer())
        .max_headers(door.limits.header_count)
        .half_close(false)
        .serve_connection(io, service)
        .with_upgrades();
    drive(pin!(connection), |connection| connection.graceful_shutdown(), stopping, &state, &door.limits).await;
    if let Some(tunnel) = state.take_tunnel() {
        tunnel.run().await;
    }
}

async fn serve_http2(door: Arc<Door>, stream: TlsStream<TcpStream>, peer: Arc<Peer>, stopping: Stopping) {
    let state = Arc::new(WireState::default());
    let io = TokioIo::new(Wire::new(stream, &door.limits, Arc::clone(&state), false));
    let service = service_fn(|request| respond(Arc::clone(&door), Arc::clone(&peer), Arc::clone(&state), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(door.limits.http2_streams)
        .max_header_list_size(door.limits.http2_header_list())
        .max_pending_accept_reset_streams(RESETS_BEFORE_ACCEPT)
        .max_local_error_reset_streams(RESETS_OF_OURS)
        .max_send_buf_size(STREAM_SEND_BYTES)
        .initial_stream_window_size(STREAM_RECEIVE_BYTES)
        .initial_connection_window_size(CONNECTION_RECEIVE_BYTES)
        .serve_connection(io, service);
    drive(pin!(connection), http2::Connection::graceful_shutdown, stopping, &state, &door.limits).await;
    state.end_streams();
}

async fn respond(
    door: Arc<Door>,
    peer: Arc<Peer>,
    state: Arc<WireState>,
    mut request: Request<Incoming>,
) -> Result<Response<Answered>, Infallible> {
    let mut exchange = state.begin();
    let flaw = state.flaw_of(exchange.number());
    let by_stream = websocket::unfold(&mut request);
    let request = Inbound::of(request);
    let mut response = answer::answer(&door.gate, &door.connections, &peer, exchange.number(), flaw, request).await;
    exchange.answer();
    if let Some(tunnel) = response.body_mut().take_tunnel() {
        if by_stream {
            websocket::fold(&mut response);
            state.run_stream(tunnel);
        } else {
            state.begin_tunnel(tunnel);
        }
    }
    Ok(response.map(|body| Answered { body, exchange }))
}

/// Serves until the connection ends, is asked to end, or has earned to be cut.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    say_goodbye: impl FnOnce(Pin<&mut C>),
    mut stopping: Stopping,
    state: &WireState,
    limits: &LimitSettings,
) {
    let mut cut = pin!(async {
        tokio::select! {
            () = state.unread(limits.write_timeout) => "its answers are not read",
            () = state.abused() => "too many requests were given up",
        }
    });
    tokio::select! {
        ended = connection.as_mut() => return note_end(ended),
        reason = cut.as_mut() => return note_cut(reason),
        _ = stopping.wait_for(Option::is_some) => {}
        () = state.asleep(limits.idle_timeout) => {}
    }
    say_goodbye(connection.as_mut());
    // HTTP/2 waits for the client to agree, which may never happen (RFC 9113 §6.8).
    tokio::select! {
        ended = connection => note_end(ended),
        reason = cut => note_cut(reason),
        () = state.dead(limits.handshake_timeout) => note_cut("it did not take leave"),
    }
}

fn note_cut(reason: &'static str) {
    tracing::debug!(reason, "a connection was cut");
}

fn note_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
