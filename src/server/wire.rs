//! The bytes below HTTP: looked at where hyper cannot tell us, and never waited for without end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use super::head::HeadReader;
use super::settings::LimitSettings;
use crate::web::arrival::Malformed;
use crate::web::body::{Body, BodyError, Tunnel};

/// So many more requests given up than answered are no impatient person's doing (CVE-2023-44487).
const MOST_GIVEN_UP: u64 = 100;

/// How long, and for how many bytes, a client that is still sending is listened to after its last answer.
const LINGER: Duration = Duration::from_secs(1);
const MOST_DISCARDED: usize = 1024 * 1024;

/// Fewer bytes than this in the time of a limit are acknowledgements and the like, no answer.
const SMALL_TALK: u64 = 16 * 1024;

/// What the wire and the requests of one connection tell each other.
#[derive(Default)]
pub(super) struct WireState {
    begun: AtomicU64,
    answered: AtomicU64,
    given_up: AtomicU64,
    too_many_given_up: Notify,
    under_way: AtomicUsize,
    /// Answers of which the client has been handed a piece and has not made room for the next.
    unread: AtomicUsize,
    /// Pieces of answers handed to the client.
    pieces: AtomicU64,
    /// Bytes that the client's side took.
    written: AtomicU64,
    flaw: OnceLock<(u64, Malformed)>,
    tunnel: Mutex<Option<Tunnel>>,
    tunnelling: AtomicBool,
    streams: Mutex<JoinSet<()>>,
}

/// One request under way, until its answer has been handed on to its end or its client has gone.
pub(super) struct Exchange {
    _under_way: UnderWay,
    state: Arc<WireState>,
    number: u64,
    answered: bool,
    unread: bool,
}

impl WireState {
    /// Counts a request.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        Exchange { _under_way: UnderWay::new(self), state: Arc::clone(self), number, answered: false, unread: false }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
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

    /// Runs a tunnel over one stream of the connection, beside the requests over others; it is under way like them.
    pub(super) fn run_stream(self: &Arc<Self>, tunnel: Tunnel) {
        let under_way = UnderWay::new(self);
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(async move {
            let _under_way = under_way;
            tunnel.run().await;
        });
    }

    /// Ends the tunnels over streams, whose connection has ended.
    pub(super) fn end_streams(&self) {
        drop(std::mem::take(&mut *self.streams.lock().unwrap_or_else(PoisonError::into_inner)));
    }

    /// What was wrong with the raw head of this request.
    pub(super) fn flaw_of(&self, number: u64) -> Option<Malformed> {
        // Whatever follows a flawed head is not to be trusted either.
        self.flaw.get().filter(|(flawed, _)| number >= *flawed).map(|(_, flaw)| *flaw)
    }

    /// Returns when for as long as `patience` nothing was under way or begun.
    pub(super) async fn asleep(&self, patience: Duration) {
        loop {
            let before = self.begun.load(Ordering::Relaxed);
            sleep(patience).await;
            if self.is_idle() && self.begun.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }

    /// As [`asleep`](Self::asleep), and the client has taken what was left to write, or has given up taking it.
    pub(super) async fn dead(&self, patience: Duration) {
        loop {
            let before = self.written.load(Ordering::Relaxed);
            self.asleep(patience).await;
            if self.written.load(Ordering::Relaxed) - before < SMALL_TALK {
                return;
            }
        }
    }

    /// Returns when for as long as `patience` the client made no room for more of its answers, of which there is more.
    /// Over HTTP/2 a client does so without the wire ever being full.
    pub(super) async fn unread(&self, patience: Duration) {
        loop {
            let (pieces, written) = (self.pieces.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
            let was_unread = self.unread.load(Ordering::Relaxed) > 0;
            sleep(patience).await;
            let is_unread = was_unread && self.unread.load(Ordering::Relaxed) > 0;
            let stood_still = self.pieces.load(Ordering::Relaxed) == pieces;
            if is_unread && stood_still && self.written.load(Ordering::Relaxed) - written < SMALL_TALK {
                return;
            }
        }
    }

    /// Returns when the client has asked for much and waited for little.
    pub(super) async fn abused(&self) {
        self.too_many_given_up.notified().await;
    }
}

/// For as long as there is one, the connection is not idle.
struct UnderWay(Arc<WireState>);

impl UnderWay {
    fn new(state: &Arc<WireState>) -> Self {
        state.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exchange {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The head of the answer is there.
    pub(super) fn answer(&mut self) {
        self.answered = true;
        self.state.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// The client has been handed a piece of its answer.
    fn hand(&mut self) {
        self.unread = true;
        self.state.unread.fetch_add(1, Ordering::Relaxed);
        self.state.pieces.fetch_add(1, Ordering::Relaxed);
    }

    /// The client has made room for another.
    fn make_room(&mut self) {
        if std::mem::take(&mut self.unread) {
            self.state.unread.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.make_room();
        if self.answered {
            return;
        }
        let given_up = self.state.given_up.fetch_add(1, Ordering::Relaxed) + 1;
        if given_up > MOST_GIVEN_UP + self.state.answered.load(Ordering::Relaxed) {
            self.state.too_many_given_up.notify_one();
        }
    }
}

/// The body of an answer, and the exchange that ends with it.
pub(super) struct Answered {
    pub(super) body: Body,
    pub(super) exchange: Exchange,
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        this.exchange.make_room();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            this.exchange.hand();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream with deadlines, and for HTTP/1 with a look at each head.
pub(super) struct Wire<S> {
    stream: S,
    heads: Option<HeadReader>,
    state: Arc<WireState>,
    head: Deadline,
    write: Deadline,
    lingering: Deadline,
    to_discard: usize,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, limits: &LimitSettings, state: Arc<WireState>, http1: bool) -> Self {
        Self {
            stream,
            heads: http1.then(|| HeadReader::new(limits.header_bytes)),
            state,
            head: Deadline::new(limits.header_timeout),
            write: Deadline::new(limits.write_timeout),
            lingering: Deadline::new(LINGER),
            to_discard: MOST_DISCARDED,
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

    /// Counts what has been written; a write that waits too long fails.
    fn note_written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.state.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        self.write.guard(cx, written)
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

impl<S: AsyncRead + Unpin> Wire<S> {
    /// A client that is still sending when we close may lose the answer that tells it why: the system discards what
    /// has arrived there when more arrives here (RFC 9112 §9.6). So we listen a little longer, to nobody's use.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let still_sending = self.heads.as_ref().is_some_and(HeadReader::within_body) || self.state.flaw.get().is_some();
        if !still_sending {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; 8 * 1024];
        while self.to_discard > 0 {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return self.lingering.poll(cx, "").map(|_: io::Result<()>| Ok(())),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.to_discard = self.to_discard.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.note_written(cx, written)
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
        ready!(this.write.guard(cx, closed))?;
        this.linger(cx)
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
