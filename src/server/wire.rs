//! The bytes below HTTP: looked at where hyper cannot tell us, and never waited for without end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::head::HeadReader;
use super::settings::LimitSettings;
use crate::web::arrival::Malformed;
use crate::web::body::Tunnel;

/// What the wire and the requests of one connection tell each other.
#[derive(Default)]
pub(super) struct WireState {
    begun: AtomicU64,
    under_way: AtomicUsize,
    writes: AtomicU64,
    flaw: OnceLock<(u64, Malformed)>,
    tunnel: Mutex<Option<Tunnel>>,
    tunnelling: AtomicBool,
}

/// One request under way.
pub(super) struct Exchange {
    state: Arc<WireState>,
    number: u64,
}

impl WireState {
    /// Counts a request.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Exchange { number: self.begun.fetch_add(1, Ordering::Relaxed) + 1, state: Arc::clone(self) }
    }

    pub(super) fn exchanges(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// How often bytes have gone out.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// From now on the bytes are no requests.
    pub(super) fn begin_tunnel(&self, tunnel: Tunnel) {
        self.tunnelling.store(true, Ordering::Relaxed);
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// What is to go on when HTTP has ended.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What was wrong with the raw head of this request.
    pub(super) fn flaw_of(&self, number: u64) -> Option<Malformed> {
        // Whatever follows a flawed head is not to be trusted either.
        self.flaw.get().filter(|(flawed, _)| number >= *flawed).map(|(_, flaw)| *flaw)
    }
}

impl Exchange {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.state.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream with deadlines, and for HTTP/1 with a look at each head.
pub(super) struct Wire<S> {
    stream: S,
    heads: Option<HeadReader>,
    state: Arc<WireState>,
    head: Deadline,
    write: Deadline,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, limits: &LimitSettings, state: Arc<WireState>, http1: bool) -> Self {
        Self {
            stream,
            heads: http1.then(|| HeadReader::new(limits.header_bytes)),
            state,
            head: Deadline::new(limits.header_timeout),
            write: Deadline::new(limits.write_timeout),
        }
    }

    fn look_at(&mut self, bytes: &[u8]) {
        if self.state.tunnelling.load(Ordering::Relaxed) {
            self.heads = None;
        }
        let Some(heads) = &mut self.heads else { return };
        let before = heads.heads();
        if let Err(flaw) = heads.read(bytes) {
            let _ = self.state.flaw.set((heads.heads(), flaw));
            self.heads = None;
            self.head.clear();
        } else if !heads.within_head() || heads.heads() != before {
            // The time for a head counts from its first byte, not from the last one that came.
            self.head.clear();
        }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        if written.is_ready() {
            self.state.writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn within_head(&self) -> bool {
        self.heads.as_ref().is_some_and(HeadReader::within_head)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                this.look_at(&buffer.filled()[before..]);
                Poll::Ready(result)
            }
            Poll::Pending if this.within_head() => this.head.poll(cx, "the head of a request did not arrive in time"),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note(&written);
        this.write.guard(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.note(&written);
        this.write.guard(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.write.guard(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let closed = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.write.guard(cx, closed)
    }
}

/// A time that begins to run when something is waited for. Most waits need no timer, so none is made before.
struct Deadline {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    fn clear(&mut self) {
        self.timer = None;
    }

    fn poll<T>(&mut self, cx: &mut Context<'_>, what: &'static str) -> Poll<io::Result<T>> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }

    /// Lets a wait for the other side to read run out.
    fn guard<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.clear();
            return done;
        }
        self.poll(cx, "the other side does not read")
    }
}
