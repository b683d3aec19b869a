//! The body of a request, which is always seen to its end: whoever answers early still reads on for a while.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long, and how much, we read of a body that nobody wants.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// What a client sends after the head.
///
/// A client that is still sending when the connection is closed gets a reset, and with it loses the answer that says
/// why (RFC 9112 §9.6). So what has not been read when this is dropped is read and thrown away, within limits.
#[derive(Debug)]
pub struct Inbound {
    /// None only while being dropped.
    body: Option<Incoming>,
    /// The client sends nothing before it is told to, and a first look at the body would tell it (RFC 9110 §10.1.1).
    waits_to_be_asked: bool,
}

impl Inbound {
    /// The same request, whose body is seen to its end.
    pub fn of(request: Request<Incoming>) -> Request<Self> {
        let waits_to_be_asked = request.version() < Version::HTTP_2 && request.headers().contains_key(EXPECT);
        request.map(|body| Self { body: Some(body), waits_to_be_asked })
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits_to_be_asked = false;
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream() && !self.waits_to_be_asked) else {
            return;
        };
        // It ends with the connection, and by itself soon.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(PATIENCE, see_out(body)));
        }
    }
}

async fn see_out(body: Incoming) {
    let mut body = pin!(body);
    let mut left = MOST_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else {
            return;
        };
        left = rest;
    }
}
