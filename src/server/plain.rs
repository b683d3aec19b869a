//! The plain-text listener. It sends browsers to `https` and does nothing else: no cookie is set or read here, and
//! nothing reaches an app.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::connection::{self, Door};
use super::listener::Stopping;
use super::wire::{Wire, WireState};
use crate::web::host::Host;

pub(super) async fn serve(door: Arc<Door>, mut stream: TcpStream, peer: SocketAddr, mut stopping: Stopping) {
    if connection::whose(&door, &mut stream, peer).await.is_none() {
        return;
    }
    let io = TokioIo::new(Wire::new(stream, &door.limits, Arc::new(WireState::default()), true));
    let service = service_fn(|request| {
        let answer = answer(&door, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.limits.header_timeout)
        .max_buf_size(door.limits.head_buffer())
        .keep_alive(false)
        .serve_connection(io, service);
    let ended = tokio::select! {
        ended = connection => ended,
        _ = stopping.wait_for(Option::is_some) => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a plain connection ended");
    }
}

fn answer(door: &Door, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    // What was sent in clear is known to others now; sending it again over TLS would only hide that (ASVS 4.1.2).
    let secret = request.headers().contains_key(AUTHORIZATION);
    if secret || (request.method() != Method::GET && request.method() != Method::HEAD) {
        return say(StatusCode::FORBIDDEN, "Use https.\n");
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return say(StatusCode::BAD_REQUEST, "Which host?\n");
    };
    let parsed = host.to_str().ok().and_then(|text| Host::parse_with_port(text).ok());
    let Some((host, _)) = parsed else {
        return say(StatusCode::BAD_REQUEST, "Which host?\n");
    };
    if door.gate.apps.at(&host).is_none() {
        return say(StatusCode::MISDIRECTED_REQUEST, "There is no such site here.\n");
    }
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let port = match door.https_port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let location = HeaderValue::from_str(&format!("https://{host}{port}{path}"));
    match location {
        Ok(location) if path.starts_with('/') => {
            let mut response = say(StatusCode::PERMANENT_REDIRECT, "");
            response.headers_mut().insert(LOCATION, location);
            response
        }
        _ => say(StatusCode::BAD_REQUEST, "Which page?\n"),
    }
}

fn say(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
