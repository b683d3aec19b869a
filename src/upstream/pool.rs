//! Connections to apps that wait for their next request. Each worker thread has its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::client::conn::http1::SendRequest;

use super::transfer::Upload;
use crate::clock::{Clock, Moment};

/// At most this many connections wait for one server; more are closed when their exchange is done.
const MOST_IDLE: usize = 256;

/// A connection that has waited longer is not used again: the server may be about to close it.
const LONGEST_IDLE: std::time::Duration = std::time::Duration::from_secs(30);

/// The waiting connections of one worker.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Waiting>);

#[derive(Debug)]
struct Waiting {
    clock: Clock,
    by_endpoint: Mutex<HashMap<u64, Vec<Idle>>>,
}

/// A connection, and since when it waits.
type Idle = (SendRequest<Upload>, Moment);

impl Connections {
    /// None yet.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Waiting { clock, by_endpoint: Mutex::default() }))
    }

    /// The connection that was used last: the others may then grow old and be closed.
    pub(super) fn take(&self, endpoint: u64) -> Option<SendRequest<Upload>> {
        let now = self.0.clock.now();
        let mut by_endpoint = self.0.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = by_endpoint.get_mut(&endpoint)?;
        while let Some((sender, since)) = waiting.pop() {
            if now.since(since) >= LONGEST_IDLE {
                waiting.clear();
                return None;
            }
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    pub(super) fn lease(&self, endpoint: u64, sender: SendRequest<Upload>) -> Lease {
        Lease { connections: self.clone(), endpoint, sender }
    }

    fn put(&self, endpoint: u64, sender: SendRequest<Upload>) {
        if sender.is_closed() {
            return;
        }
        let now = self.0.clock.now();
        let mut by_endpoint = self.0.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = by_endpoint.entry(endpoint).or_default();
        if waiting.len() < MOST_IDLE {
            waiting.push((sender, now));
        }
    }
}

/// A connection in use. Dropped, it is closed; given back, it waits for the next request.
#[derive(Debug)]
pub(super) struct Lease {
    connections: Connections,
    endpoint: u64,
    sender: SendRequest<Upload>,
}

impl Lease {
    pub(super) fn give_back(self) {
        self.connections.put(self.endpoint, self.sender);
    }
}
