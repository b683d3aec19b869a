//! The operators' door: is the process alive, is it ready. On a socket of its own, never on an app's host.

mod settings;

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

pub use settings::{AdminAddress, AdminSettings};

use crate::gate::Gate;

const MOST_CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the operators' door cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the admin listener {address}")]
pub struct AdminError {
    address: String,
    source: io::Error,
}

/// A listener that is bound.
pub enum AdminListener {
    /// A socket in the file system, for its owner only.
    Unix(UnixListener),
    /// A port.
    Tcp(TcpListener),
}

impl AdminListener {
    /// Binds. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// [`AdminError`] names the address.
    pub async fn bind(address: &AdminAddress) -> Result<Self, AdminError> {
        let failed = |source| AdminError { address: address.to_string(), source };
        match address {
            AdminAddress::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp).map_err(failed),
            AdminAddress::Unix(path) => bind_unix(path).await.map(Self::Unix).map_err(failed),
        }
    }

    /// Answers until it is dropped.
    pub async fn serve(self, gate: Arc<Gate>) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let gate = Arc::clone(&gate);
            let accepted = match &self {
                Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            };
            let Ok(stream) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            tokio::spawn(async move {
                match stream {
                    Stream::Unix(stream) => converse(gate, stream).await,
                    Stream::Tcp(stream) => converse(gate, stream).await,
                }
                drop(place);
            });
        }
    }
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(gate: Arc<Gate>, stream: S) {
    let service = service_fn(|request| {
        let answer = answer(&gate, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection ended");
    }
}

fn answer(gate: &Gate, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return say(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    }
    match request.uri().path() {
        "/healthz" => say(StatusCode::OK, "ok\n"),
        "/readyz" if gate.is_draining() => say(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" => say(StatusCode::OK, "ready\n"),
        _ => say(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn say(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
