//! One exchange with one of an app's servers: a connection from the pool or a new one, the request, the head of the answer.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body;
use http_body_util::Empty;
use hyper::body::Incoming;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::health::Health;
use super::pool::{Connections, Lease};
use super::sender::Sender;
use super::settings::{Address, Protocol, UpstreamSettings};
use super::transfer::{Upload, UploadState};
use super::{UpstreamError, demo, sticky};
use crate::web::body::BodyError;

/// One server of an app.
#[derive(Debug)]
pub(super) struct Endpoint {
    id: u64,
    address: Address,
    mark: String,
    protocol: Protocol,
    tls: Option<Arc<rustls::ClientConfig>>,
    under_way: Arc<AtomicUsize>,
    pub(super) health: Health,
}

/// One exchange that its server is counted with until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The head of an answer, and the connection that its body comes over.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    /// Which server it is, as the cookie names it.
    pub(super) mark: String,
    pub(super) address: String,
}

/// Distinguishes servers in the pools, which outlive any one configuration.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Endpoint {
    pub(super) fn new(address: Address, protocol: Protocol, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let tls = tls.map(|tls| match protocol {
            Protocol::Http1 => tls,
            Protocol::Http2 => {
                let mut tls = (*tls).clone();
                tls.alpn_protocols = vec![b"h2".to_vec()];
                Arc::new(tls)
            }
        });
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let mark = sticky::mark(&address.to_string());
        Self { id, address, mark, protocol, tls, under_way: Arc::default(), health: Health::default() }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Its name in the cookie that keeps browsers with it.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    fn count(&self) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.under_way))
    }

    async fn connect(
        &self,
        connections: &Connections,
        settings: &UpstreamSettings,
    ) -> Result<Sender<Upload>, UpstreamError> {
        let limit = settings.connect_timeout;
        let connected = match self.protocol {
            Protocol::Http1 => timeout(limit, self.dial()).await,
            Protocol::Http2 => timeout(limit, self.dial_once(connections, settings)).await,
        };
        let connected = connected.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}")))
        });
        match connected {
            Ok(sender) => {
                self.health.accept();
                Ok(sender)
            }
            Err(source) => {
                self.health.refuse(connections.now());
                Err(UpstreamError::Unreachable { address: self.address.to_string(), source })
            }
        }
    }

    /// Makes the connection that all requests of a worker share, unless somebody else has meanwhile.
    async fn dial_once(&self, connections: &Connections, settings: &UpstreamSettings) -> io::Result<Sender<Upload>> {
        let dialling = connections.dialling(self.id);
        let _turn = dialling.lock().await;
        if let Some(sender) = connections.take(self.id, settings.servers.idle) {
            return Ok(sender);
        }
        let sender = self.dial().await?;
        if let Sender::Http2(shared) = &sender {
            connections.share(self.id, shared);
        }
        Ok(sender)
    }

    async fn dial<B>(&self) -> io::Result<Sender<B>>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        match &self.address {
            Address::Http { host, port } => Sender::start(dial_tcp(host, *port).await?, self.protocol).await,
            Address::Https { host, port } => {
                let tls = self.tls.clone().ok_or_else(|| io::Error::other("no TLS settings"))?;
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
                let stream = TlsConnector::from(tls).connect(name, dial_tcp(host, *port).await?).await?;
                if self.protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(io::Error::other("the server does not speak HTTP/2"));
                }
                Sender::start(stream, self.protocol).await
            }
            Address::Unix { path } => Sender::start(UnixStream::connect(path).await?, self.protocol).await,
            Address::Demo => Sender::start(demo::dial(), Protocol::Http1).await,
        }
    }

    /// Asks over a connection of its own whether the server is well.
    pub(super) async fn check(&self, path: &PathAndQuery) -> Result<StatusCode, BodyError> {
        let mut sender = self.dial::<Empty<Bytes>>().await?;
        sender.ready().await?;
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = path.clone().into();
        parts.headers.insert(HOST, HeaderValue::from_str(&self.address.authority())?);
        parts.headers.insert(USER_AGENT, HeaderValue::from_static("vestibule"));
        let answer = sender.send(parts, Empty::new(), &self.address).await;
        Ok(answer.map_err(|error| error.into_error())?.status())
    }
}

async fn dial_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
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
        let _under_way = endpoint.count();
        if let Some(sender) = connections.take(endpoint.id, settings.servers.idle) {
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
        let sender = match endpoint.connect(connections, settings).await {
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
    mut sender: Sender<Upload>,
    parts: request::Parts,
    body: Upload,
) -> Result<Exchange, Failed> {
    if sender.ready().await.is_err() {
        connections.forget_shared(endpoint.id);
        return Err(Failed::Unsent(Box::new(parts), body));
    }
    let (repeated, state) = (body.repeat(), body.state());
    let address = || endpoint.address.to_string();
    let sent = in_time(sender.send(parts, body, &endpoint.address), settings.response_timeout, &state).await;
    match sent {
        Ok(Ok(response)) => {
            let lease = connections.lease(endpoint.id, settings.servers.idle, sender, endpoint.count());
            Ok(Exchange { response, lease, mark: endpoint.mark.clone(), address: address() })
        }
        Ok(Err(mut error)) => {
            connections.forget_shared(endpoint.id);
            Err(match error.take_message() {
                Some(request) => {
                    let (parts, body) = request.into_parts();
                    Failed::Unsent(Box::new(parts), body)
                }
                None => {
                    Failed::Sent(UpstreamError::Broken { address: address(), source: error.into_error() }, repeated)
                }
            })
        }
        Err(_) => {
            let waited = settings.response_timeout;
            Err(Failed::Sent(UpstreamError::TooSlow { address: address(), waited }, None))
        }
    }
}

/// Waits for an answer for as long as the body moves or the client is to send more of it, and `patience` from then on.
async fn in_time<T>(answer: impl Future<Output = T>, patience: Duration, upload: &UploadState) -> Result<T, Elapsed> {
    let mut answer = pin!(answer);
    loop {
        let before = upload.frames();
        match timeout(patience, answer.as_mut()).await {
            Err(_) if upload.frames() != before || upload.waits_for_client() => {}
            done => return done,
        }
    }
}
