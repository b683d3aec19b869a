//! Bodies on their way: a client's to an app, an app's to a client. Nothing is buffered but what is under way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::web::inbound::Inbound;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::pool::Lease;
use super::trailers::Trailing;
use crate::web::body::BodyError;

/// What became of a client's body, and how far it has come.
#[derive(Clone, Debug)]
pub(super) struct UploadState(Arc<Progress>);

#[derive(Debug)]
struct Progress {
    outcome: AtomicU8,
    frames: AtomicU64,
    waits: AtomicBool,
}

const UNDER_WAY: u8 = 0;
const DONE: u8 = 1;
const OVERRAN: u8 = 2;
const STALLED: u8 = 3;

impl UploadState {
    pub(super) fn done(&self) -> bool {
        self.is(DONE)
    }

    pub(super) fn overran(&self) -> bool {
        self.is(OVERRAN)
    }

    pub(super) fn stalled(&self) -> bool {
        self.is(STALLED)
    }

    /// How many pieces have been handed on.
    pub(super) fn frames(&self) -> u64 {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// Whether it is the client that is waited for, which has a limit of its own.
    pub(super) fn waits_for_client(&self) -> bool {
        self.0.waits.load(Ordering::Relaxed)
    }

    fn is(&self, outcome: u8) -> bool {
        self.0.outcome.load(Ordering::Relaxed) == outcome
    }

    fn set(&self, outcome: u8) {
        self.0.outcome.store(outcome, Ordering::Relaxed);
    }
}

/// A client's body: bounded in size, and in how long it may stand still. Of its trailers come those that the app lists.
pub(super) struct Upload {
    /// None: an empty body.
    incoming: Option<Inbound>,
    left: Option<u64>,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    state: UploadState,
    trailing: Trailing,
}

impl Upload {
    pub(super) fn new(
        incoming: Inbound,
        most: Option<u64>,
        patience: Duration,
        trailing: Trailing,
    ) -> (Self, UploadState) {
        let empty = incoming.is_end_stream();
        let outcome = AtomicU8::new(if empty { DONE } else { UNDER_WAY });
        let state =
            UploadState(Arc::new(Progress { outcome, frames: AtomicU64::new(0), waits: AtomicBool::new(false) }));
        let incoming = (!empty).then_some(incoming);
        (Self { incoming, left: most, patience, timer: None, state: state.clone(), trailing }, state)
    }

    /// The same once more, if it is empty.
    pub(super) fn repeat(&self) -> Option<Self> {
        let (state, trailing) = (self.state.clone(), self.trailing.clone());
        let repeated = Self { incoming: None, left: None, patience: self.patience, timer: None, state, trailing };
        self.incoming.is_none().then_some(repeated)
    }

    pub(super) fn state(&self) -> UploadState {
        self.state.clone()
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        self.timer.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx)
    }

    /// Counts the data against the app's limit.
    fn admit(&mut self, data: Bytes) -> Result<Frame<Bytes>, BodyError> {
        self.state.0.frames.fetch_add(1, Ordering::Relaxed);
        if let Some(left) = self.left {
            let Some(rest) = left.checked_sub(data.len() as u64) else {
                self.state.set(OVERRAN);
                return Err("the client sent more than the app takes".into());
            };
            self.left = Some(rest);
        }
        if self.is_end_stream() {
            self.state.set(DONE);
        }
        Ok(Frame::data(data))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
            self.state.0.waits.store(true, Ordering::Relaxed);
            ready!(self.poll_stalled(cx));
            self.state.set(STALLED);
            return Poll::Ready(Some(Err("the client stopped sending".into())));
        };
        self.timer = None;
        self.state.0.waits.store(false, Ordering::Relaxed);
        let Some(frame) = frame.transpose()? else {
            self.state.set(DONE);
            return Poll::Ready(None);
        };
        match frame.into_data() {
            Ok(data) => Poll::Ready(Some(self.admit(data))),
            Err(frame) => {
                self.state.set(DONE);
                Poll::Ready(self.trailing.filter(frame).map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// An app's body. When it has come to its end the connection goes back to the pool; when it is dropped before, the
/// connection ends with it. Of its trailers come those that may.
pub(super) struct Download {
    incoming: Incoming,
    lease: Option<Lease>,
    upload: UploadState,
    trailing: Trailing,
}

impl Download {
    pub(super) fn new(incoming: Incoming, lease: Lease, upload: UploadState, trailing: Trailing) -> Self {
        let mut download = Self { incoming, lease: Some(lease), upload, trailing };
        if download.incoming.is_end_stream() {
            download.give_back();
        }
        download
    }

    fn give_back(&mut self) {
        // An app that answered before it had read the whole request would take the rest for the next one.
        if let Some(lease) = self.lease.take()
            && self.upload.done()
        {
            lease.give_back();
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)).transpose() {
            Ok(frame) => frame,
            Err(error) => {
                self.lease = None;
                return Poll::Ready(Some(Err(error.into())));
            }
        };
        // Nobody asks again after trailers.
        if !frame.as_ref().is_some_and(Frame::is_data) || self.incoming.is_end_stream() {
            self.give_back();
        }
        let passes = |frame: Frame<Bytes>| if frame.is_data() { Some(frame) } else { self.trailing.filter(frame) };
        Poll::Ready(frame.and_then(passes).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
