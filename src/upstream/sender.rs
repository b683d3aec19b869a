//! One connection's end that requests go in at, whatever version of HTTP it speaks.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version, request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::listening::Listening;
use super::settings::{Address, Protocol};
use crate::web::body::BodyError;

/// An HTTP/2 connection on which something is under way is asked for a sign of life this often, since all requests to a
/// server share it.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// Sends requests over one connection.
pub(super) enum Sender<B> {
    /// One after the other.
    Http1(http1::SendRequest<B>),
    /// Many at once, from any number of clones.
    Http2(http2::SendRequest<B>),
}

impl<B> Sender<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    /// Speaks over this stream. The connection ends when the last sender is dropped or the server closes it; each
    /// exchange reports its own trouble.
    pub(super) async fn start<S>(stream: S, protocol: Protocol) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let ended = |result: hyper::Result<()>| {
            if let Err(error) = result {
                tracing::debug!(%error, "a connection to an app ended");
            }
        };
        match protocol {
            Protocol::Http1 => {
                let io = TokioIo::new(Listening::new(stream));
                let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
                tokio::spawn(async move { ended(connection.with_upgrades().await) });
                Ok(Self::Http1(sender))
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_PATIENCE);
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
                tokio::spawn(async move { ended(connection.await) });
                Ok(Self::Http2(sender))
            }
        }
    }

    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        }
    }

    pub(super) async fn send(
        &mut self,
        mut parts: request::Parts,
        body: B,
        address: &Address,
    ) -> Result<Response<Incoming>, TrySendError<Request<B>>> {
        match self {
            Self::Http1(sender) => {
                parts.uri = origin_form(&parts.uri);
                parts.version = Version::HTTP_11;
                sender.try_send_request(Request::from_parts(parts, body)).await
            }
            Self::Http2(sender) => {
                write_authority(&mut parts, address);
                sender.try_send_request(Request::from_parts(parts, body)).await
            }
        }
    }
}

/// Origin form (RFC 9112 §3.2.1): path and query exactly as they came.
fn origin_form(uri: &Uri) -> Uri {
    Uri::from(path_of(uri))
}

fn path_of(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// HTTP/2 has `:authority` in place of `Host` (RFC 9113 §8.3.1).
fn write_authority(parts: &mut request::Parts, address: &Address) {
    let host = parts.headers.remove(HOST).or_else(|| parts.uri.host().and_then(|host| host.parse().ok()));
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if matches!(address, Address::Https { .. }) { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(authority.unwrap_or_else(|| Authority::from_static("localhost")));
    uri.path_and_query = Some(path_of(&parts.uri));
    parts.uri = Uri::from_parts(uri).expect("scheme, authority and path are all that it takes");
    parts.version = Version::HTTP_2;
}
