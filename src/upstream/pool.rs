//! Connections to apps that wait for their next request. Each worker thread has its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::OwnedSemaphorePermit;

use super::client::UnderWay;
use super::sender::Sender;
use super::transfer::Upload;
use crate::clock::{Clock, Moment};

/// What may wait for one server.
#[derive(Clone, Copy, Debug)]
pub struct IdleLimits {
    /// At most this many connections wait; more are closed when their exchange is done.
    pub most: usize,
    /// A connection that has waited longer is not used again: the server may be about to close it.
    pub longest: Duration,
}

/// The waiting connections of one worker.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Waiting>);

#[derive(Debug)]
struct Waiting {
    clock: Clock,
    by_endpoint: Mutex<HashMap<u64, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    idle: Vec<Idle>,
    /// The one HTTP/2 connection, which all requests share.
    shared: Option<http2::SendRequest<Upload>>,
    /// Held by whoever makes that connection.
    dialling: Arc<tokio::sync::Mutex<()>>,
}

/// A connection, and since when it waits.
type Idle = (http1::SendRequest<Upload>, Moment);

impl Connections {
    /// None yet.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Waiting { clock, by_endpoint: Mutex::default() }))
    }

    pub(super) fn now(&self) -> Moment {
        self.0.clock.now()
    }

    /// The connection that is shared, or was used last: the others may then grow old and be closed.
    pub(super) fn take(&self, endpoint: u64, limits: IdleLimits) -> Option<Sender<Upload>> {
        let now = self.now();
        self.with(endpoint, |kept| {
            if let Some(shared) = kept.shared.take_if(|shared| !shared.is_closed()) {
                kept.shared = Some(shared.clone());
                return Some(Sender::Http2(shared));
            }
            while let Some((sender, since)) = kept.idle.pop() {
                if now.since(since) >= limits.longest {
                    kept.idle.clear();
                    return None;
                }
                if !sender.is_closed() {
                    return Some(Sender::Http1(sender));
                }
            }
            None
        })
    }

    /// Whoever holds it makes the connection that all share; the others wait and find it made.
    pub(super) fn dialling(&self, endpoint: u64) -> Arc<tokio::sync::Mutex<()>> {
        self.with(endpoint, |kept| Arc::clone(&kept.dialling))
    }

    pub(super) fn share(&self, endpoint: u64, sender: &http2::SendRequest<Upload>) {
        self.with(endpoint, |kept| kept.shared = Some(sender.clone()));
    }

    /// After trouble with a shared connection, a new one is made. What is under way on the old one goes on.
    pub(super) fn forget_shared(&self, endpoint: u64) {
        self.with(endpoint, |kept| kept.shared = None);
    }

    pub(super) fn lease(
        &self,
        endpoint: u64,
        limits: IdleLimits,
        sender: Sender<Upload>,
        under_way: UnderWay,
    ) -> Lease {
        Lease { connections: self.clone(), endpoint, limits, sender, under_way, _place: None }
    }

    fn put(&self, endpoint: u64, limits: IdleLimits, sender: http1::SendRequest<Upload>) {
        if sender.is_closed() {
            return;
        }
        let now = self.now();
        self.with(endpoint, |kept| {
            if kept.idle.len() < limits.most {
                kept.idle.push((sender, now));
            }
        });
    }

    fn with<T>(&self, endpoint: u64, act: impl FnOnce(&mut Kept) -> T) -> T {
        let mut by_endpoint = self.0.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        act(by_endpoint.entry(endpoint).or_default())
    }
}

/// A connection in use. Dropped, it is closed, unless others share it; given back, it waits for the next request.
pub(super) struct Lease {
    connections: Connections,
    endpoint: u64,
    limits: IdleLimits,
    sender: Sender<Upload>,
    under_way: UnderWay,
    _place: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Keeps this place until the exchange is done.
    pub(super) fn hold(&mut self, place: OwnedSemaphorePermit) {
        self._place = Some(place);
    }

    pub(super) fn give_back(self) {
        match self.sender {
            Sender::Http1(sender) => self.connections.put(self.endpoint, self.limits, sender),
            Sender::Http2(_) => {}
        }
    }

    /// What keeps the exchange counted, for one that goes on without its connection.
    pub(super) fn into_under_way(self) -> UnderWay {
        self.under_way
    }
}
