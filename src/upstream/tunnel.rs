//! WebSocket (RFC 6455): after a true 101, bytes go both ways until one side ends or nothing moves any more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, request};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use crate::crypto;
use crate::web::body::Tunnel;
use crate::web::websocket;

/// Small, because most tunnels are quiet most of the time and there may be many.
const BUFFER_BYTES: usize = 4 * 1024;

/// A client's handshake, as far as the answer must fit it.
pub(super) struct Handshake {
    key: HeaderValue,
}

impl Handshake {
    /// Whether a request is a WebSocket handshake (RFC 6455 §4.2.1). Anything less is forwarded without its `Upgrade`.
    pub(super) fn read(request: &request::Parts) -> Option<Self> {
        let headers = &request.headers;
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24)?;
        let fits = request.method == Method::GET
            && (request.version == Version::HTTP_11 || websocket::is_by_stream(&request.extensions))
            && names_websocket(headers)
            && has_token(headers, b"upgrade")
            && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        fits.then(|| Self { key: key.clone() })
    }

    /// Asks the app for the upgrade, after everything of the kind that the client said has been removed.
    pub(super) fn ask(headers: &mut HeaderMap) {
        headers.remove(TE);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }

    /// Whether the app's answer accepts this handshake and no other (RFC 6455 §4.1). Without that, what follows a 101
    /// might be anything.
    pub(super) fn is_accepted_by<B>(&self, response: &Response<B>) -> bool {
        let expected = crypto::websocket_accept(self.key.as_bytes());
        response.status() == StatusCode::SWITCHING_PROTOCOLS
            && names_websocket(response.headers())
            && response
                .headers()
                .get(SEC_WEBSOCKET_ACCEPT)
                .is_some_and(|accept| accept.as_bytes() == expected.as_bytes())
    }
}

fn names_websocket(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(UPGRADE).iter();
    matches!((lines.next(), lines.next()), (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn has_token(headers: &HeaderMap, token: &[u8]) -> bool {
    let mut tokens = headers.get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token))
}

/// Copies both ways once both sides have switched. Ends when one side does, or after `patience` without a byte.
pub(super) fn dig(client: OnUpgrade, app: OnUpgrade, patience: Duration) -> Tunnel {
    Tunnel::new(async move {
        let (client, app) = match tokio::try_join!(client, app) {
            Ok((client, app)) => (TokioIo::new(client), TokioIo::new(app)),
            Err(error) => {
                tracing::debug!(%error, "a tunnel did not come about");
                return;
            }
        };
        let moved = Arc::new(AtomicU64::new(0));
        let mut client = Counted { stream: client, moved: Arc::clone(&moved) };
        let mut app = app;
        let copied = copy_bidirectional_with_sizes(&mut client, &mut app, BUFFER_BYTES, BUFFER_BYTES);
        tokio::select! {
            copied = copied => {
                if let Err(error) = copied {
                    tracing::debug!(%error, "a tunnel ended");
                }
            }
            () = silence(&moved, patience) => tracing::debug!("a tunnel was quiet for too long"),
        }
    })
}

async fn silence(moved: &AtomicU64, patience: Duration) {
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::time::sleep(patience).await;
        if moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// Notes that bytes have moved.
struct Counted<S> {
    stream: S,
    moved: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.moved.fetch_add(u64::from(read.is_ready()), Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.moved.fetch_add(u64::from(written.is_ready()), Ordering::Relaxed);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
