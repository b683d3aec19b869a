//! The moka cache in this process: from a token's digest to its host and session, bounded by number.
//!
//! Least recently used goes first. moka's default policy may refuse a *new* key in favour of popular old ones, which
//! would throw out somebody who has just signed in.

use std::sync::Arc;

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::session::{EndReason, Session};
use super::token::TokenDigest;
use crate::web::host::Host;

/// A token's digest leads to this.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The one host the token is good on.
    pub(super) host: Host,
    pub(super) session: Arc<Session>,
}

#[derive(Debug)]
pub(super) struct Near {
    here: Cache<TokenDigest, Entry>,
    /// Why tokens are no longer good, so that people can be told. Only tokens that were good get in.
    gone: Cache<TokenDigest, EndReason>,
}

impl Near {
    pub(super) fn new(most: u64, evicted: impl Fn(&Arc<Session>) + Send + Sync + 'static) -> Self {
        let here = Cache::builder()
            .max_capacity(most)
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, entry: Entry, cause| {
                if cause == RemovalCause::Size {
                    evicted(&entry.session);
                }
            })
            .build();
        let gone = Cache::builder()
            .max_capacity((most / 10).clamp(1_000, 100_000))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { here, gone }
    }

    pub(super) fn get(&self, digest: &TokenDigest) -> Option<Entry> {
        self.here.get(digest)
    }

    pub(super) fn put(&self, digest: TokenDigest, entry: Entry) {
        self.here.insert(digest, entry);
    }

    /// Takes a token out and remembers why.
    pub(super) fn forget(&self, digest: TokenDigest, reason: EndReason) {
        self.gone.insert(digest, reason);
        self.here.invalidate(&digest);
    }

    pub(super) fn why_gone(&self, digest: &TokenDigest) -> Option<EndReason> {
        self.gone.get(digest)
    }

    /// Does the book-keeping that is pending.
    pub(super) fn settle(&self) {
        self.here.run_pending_tasks();
        self.gone.run_pending_tasks();
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (u64, u64) {
        self.settle();
        (self.here.entry_count(), self.gone.entry_count())
    }
}
