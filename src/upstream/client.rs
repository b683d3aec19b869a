//! One exchange with one of an app's servers: a connection from the pool or a new one, the request, the head of the answer.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version, request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::listening::Listening;
use super::pool::{Connections, Lease};
use super::settings::{Address, UpstreamSettings};
use super::transfer::{Upload, UploadState};
use super::{UpstreamError, demo};

/// One server of an app.
#[derive(Debug)]
pub(super) struct Endpoint {
    id: u64,
    address: Address,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// The head of an answer, and the connection that its body comes over.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    pub(super) address: String,
}

/// Distinguishes servers in the pools, which outlive any one configuration.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Endpoint {
    pub(super) fn new(address: Address, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), address, tls }
    }

    async fn connect(&self, settings: &UpstreamSettings) -> Result<SendRequest<Upload>, UpstreamError> {
        let unreachable = |source| UpstreamError::Unreachable { address: self.address.to_string(), source };
        let limit = settings.connect_timeout;
        match timeout(limit, self.dial()).await {
            Ok(dialled) => dialled.map_err(unreachable),
            Err(_) => {
                Err(unreachable(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}"))))
            }
        }
    }

    async fn dial(&self) -> io::Result<SendRequest<Upload>> {
        match &self.address {
            Address::Http { host, port } => start(dial_tcp(host, *port).await?).await,
            Address::Https { host, port } => {
                let tls = self.tls.clone().ok_or_else(|| io::Error::other("no TLS settings"))?;
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
                start(TlsConnector::from(tls).connect(name, dial_tcp(host, *port).await?).await?).await
            }
            Address::Unix { path } => start(UnixStream::connect(path).await?).await,
            Address::Demo => start(demo::dial()).await,
        }
    }
}

async fn dial_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn start<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> io::Result<SendRequest<Upload>> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(Listening::new(stream))).await.map_err(io::Error::other)?;
    // It ends when the sender is dropped or the server closes; each exchange reports its own trouble.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to an app ended");
        }
    });
    Ok(sender)
}

/// Sends the request to the first server that accepts a connection.
///
/// A connection from the pool may die just as it is used. If the server cannot have read a word of the request, or if the
/// request may be repeated (RFC 9110 §9.2.2) and has no body, it is sent once more over a new connection.
pub(super) async fn exchange<'a>(
    endpoints: impl Iterator<Item = &'a Endpoint>,
    connections: &Connections,
    settings: &UpstreamSettings,
    parts: request::Parts,
    body: Upload,
) -> Result<Exchange, UpstreamError> {
    let mut failure = None;
    let mut unsent = Some((parts, body));
    for endpoint in endpoints {
        let Some((parts, body)) = unsent.take() else { break };
        if let Some(sender) = connections.take(endpoint.id) {
            let spare = may_repeat(&parts, &body).then(|| parts.clone());
            match send(endpoint, connections, settings, sender, parts, body).await {
                Ok(exchange) => return Ok(exchange),
                Err(Failed::Unsent(parts, body)) => unsent = Some((*parts, body)),
                Err(Failed::Sent(error @ UpstreamError::Broken { .. }, body)) => match spare.zip(body) {
                    Some((parts, body)) => unsent = Some((parts, body)),
                    None => return Err(error),
                },
                Err(Failed::Sent(error, _)) => return Err(error),
            }
        } else {
            unsent = Some((parts, body));
        }
        let sender = match endpoint.connect(settings).await {
            Ok(sender) => sender,
            Err(error) => {
                failure = Some(error);
                continue;
            }
        };
        let Some((parts, body)) = unsent.take() else { break };
        match send(endpoint, connections, settings, sender, parts, body).await {
            Ok(exchange) => return Ok(exchange),
            Err(Failed::Sent(error, _)) => return Err(error),
            Err(Failed::Unsent(parts, body)) => {
                let source = io::Error::new(io::ErrorKind::ConnectionReset, "closed before the request was sent");
                failure = Some(UpstreamError::Unreachable { address: endpoint.address.to_string(), source });
                unsent = Some((*parts, body));
            }
        }
    }
    Err(failure.unwrap_or_else(|| UpstreamError::Unreachable {
        address: "no server".into(),
        source: io::Error::other("the app has no servers"),
    }))
}

enum Failed {
    /// The request was not sent, and can be sent elsewhere.
    Unsent(Box<request::Parts>, Upload),
    /// It may have been sent. The body is there only if it was empty.
    Sent(UpstreamError, Option<Upload>),
}

fn may_repeat(parts: &request::Parts, body: &Upload) -> bool {
    let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(&parts.method);
    idempotent && body.is_end_stream()
}

async fn send(
    endpoint: &Endpoint,
    connections: &Connections,
    settings: &UpstreamSettings,
    mut sender: SendRequest<Upload>,
    mut parts: request::Parts,
    body: Upload,
) -> Result<Exchange, Failed> {
    if sender.ready().await.is_err() {
        return Err(Failed::Unsent(Box::new(parts), body));
    }
    let (repeated, state) = (body.repeat(), body.state());
    parts.uri = target(&parts.uri);
    parts.version = Version::HTTP_11;
    let sent = sender.try_send_request(Request::from_parts(parts, body));
    let broken = |source| UpstreamError::Broken { address: endpoint.address.to_string(), source };
    match in_time(sent, settings.response_timeout, &state).await {
        Ok(Ok(response)) => {
            let lease = connections.lease(endpoint.id, sender);
            Ok(Exchange { response, lease, address: endpoint.address.to_string() })
        }
        Ok(Err(mut error)) => Err(match error.take_message() {
            Some(request) => {
                let (parts, body) = request.into_parts();
                Failed::Unsent(Box::new(parts), body)
            }
            None => Failed::Sent(broken(error.into_error()), repeated),
        }),
        Err(_) => {
            let address = endpoint.address.to_string();
            Err(Failed::Sent(UpstreamError::TooSlow { address, waited: settings.response_timeout }, None))
        }
    }
}

/// Waits for an answer for as long as the body moves, and `patience` from then on.
async fn in_time<T>(answer: impl Future<Output = T>, patience: Duration, upload: &UploadState) -> Result<T, Elapsed> {
    let mut answer = pin!(answer);
    loop {
        let before = upload.frames();
        match timeout(patience, answer.as_mut()).await {
            Err(_) if upload.frames() != before => {}
            done => return done,
        }
    }
}

/// Origin form (RFC 9112 §3.2.1): path and query exactly as they came.
fn target(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(path)
}
