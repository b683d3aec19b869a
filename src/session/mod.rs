//! Sessions: open, resume, end, list. This is the only door to them, and the only place that makes a [`LiveSession`].
//!
//! moka bounds the memory and nothing else: whether a session still stands is judged by [`Limits`] and a
//! [`Moment`](crate::clock::Moment) on every use, and a sweep takes out what is due in small steps.

mod cookie;
mod index;
mod near;
#[expect(clippy::module_inception, reason = "a file is named after the one thing in it")]
mod session;
mod settings;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use cookie::{SameSite, SessionCookie};
pub use session::{EndReason, Limits, LiveSession, Session};
pub use settings::SessionSettings;
pub use token::{SessionId, SessionToken, TokenDigest};

use crate::clock::Moment;
use crate::identity::Identity;
use crate::names::UserName;
use crate::web::host::Host;
use index::Index;
use near::{Entry, Near};
use session::Standing;

/// All sessions of this process.
#[derive(Debug)]
pub struct Sessions {
    limits: Limits,
    max_per_user: usize,
    near: Near,
    index: Arc<Index>,
    evictions: Arc<AtomicU64>,
}

/// moka does its book-keeping in whatever thread comes next. Done here and often, it is never much, and no request
/// pays for a thousand sessions that fell due together.
const SETTLE_EVERY: usize = 64;

/// What a token turned out to be.
#[derive(Debug)]
pub enum Resumed {
    /// A session that stands.
    Live(LiveSession),
    /// A session that ended, or is over for the app that asks; and why.
    Ended(EndReason),
    /// No session that this gate knows of on this host.
    Unknown,
}

/// Whether a request means that a person is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// A person did something: the idle timeout starts anew.
    Activity,
    /// Nobody did anything.
    Background,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(settings: &SessionSettings) -> Self {
        let index = Arc::new(Index::default());
        let evictions = Arc::new(AtomicU64::new(0));
        let near = Near::new(settings.max_sessions, {
            let (index, evictions) = (Arc::clone(&index), Arc::clone(&evictions));
            move |session| {
                if index.end(session, EndReason::Evicted).is_some() {
                    let total = evictions.fetch_add(1, Ordering::Relaxed) + 1;
                    tracing::warn!(target: "vestibule", total, "a session was dropped: max_sessions is reached");
                }
            }
        });
        Self { limits: settings.limits, max_per_user: settings.max_per_user, near, index, evictions }
    }

    /// Begins a session for somebody who has just signed in, with a first token, good on `host`.
    pub fn open(&self, who: Identity, host: &Host, now: Moment) -> (SessionToken, LiveSession) {
        let token = SessionToken::generate();
        let digest = token.digest();
        let session = Arc::new(Session::new(SessionId::of(&digest), who, digest, now));
        for oldest in self.index.add(&session, session.next_due(&self.limits), self.max_per_user) {
            self.finish(&oldest, EndReason::TooMany);
        }
        self.near.put(digest, Entry { host: host.clone(), session: Arc::clone(&session) });
        (token, LiveSession::of(session))
    }

    /// Another token for the same session, good on another host.
    pub fn add_token(&self, live: &LiveSession, host: &Host) -> SessionToken {
        let token = SessionToken::generate();
        let session = live.session();
        session.add_token(token.digest());
        self.near.put(token.digest(), Entry { host: host.clone(), session: Arc::clone(session) });
        token
    }

    /// Finds the session of a token presented on `host`, and judges it by the limits of the app that asks.
    pub fn resume(&self, token: &SessionToken, host: &Host, limits: &Limits, touch: Touch, now: Moment) -> Resumed {
        let digest = token.digest();
        let Some(entry) = self.near.get(&digest) else {
            return self.near.why_gone(&digest).map_or(Resumed::Unknown, Resumed::Ended);
        };
        if entry.host != *host {
            return Resumed::Unknown;
        }
        let session = entry.session;
        match session.standing(limits, now) {
            Standing::Live => {
                if touch == Touch::Activity {
                    session.touch(now);
                }
                Resumed::Live(LiveSession::of(session))
            }
            Standing::Over(reason) => {
                // An app may have a shorter patience than the session: then it is over for this app alone.
                if let Standing::Over(reason) = session.standing(&self.limits, now) {
                    self.end(&session, reason);
                }
                Resumed::Ended(reason)
            }
        }
    }

    /// Ends the session of a token that its browser replaces with a new one.
    pub fn replace(&self, token: &SessionToken, host: &Host) {
        if let Some(entry) = self.near.get(&token.digest()).filter(|entry| entry.host == *host) {
            self.end(&entry.session, EndReason::Replaced);
        }
    }

    /// Ends a session. False if it had ended before.
    pub fn close(&self, id: &SessionId, reason: EndReason) -> bool {
        self.index.find(id).is_some_and(|session| self.end(&session, reason))
    }

    /// Ends all sessions of a user, and says how many.
    pub fn close_all(&self, user: &UserName, reason: EndReason) -> usize {
        self.index.of_user(user).iter().filter(|session| self.end(session, reason)).count()
    }

    /// All sessions of a user, oldest first.
    pub fn list(&self, user: &UserName) -> Vec<Arc<Session>> {
        self.index.of_user(user)
    }

    /// What is known of a user has changed: their sessions say so from the next request on.
    pub fn update(&self, user: &UserName, change: impl Fn(&Identity) -> Identity) {
        for session in self.index.of_user(user) {
            session.replace_identity(change(&session.identity()));
        }
    }

    /// Ends sessions that are due, at most `most` looked at, so that no request waits long for it. True if more may be due.
    pub fn sweep(&self, now: Moment, most: usize) -> bool {
        let due = self.index.due(now, most);
        let more = due.len() == most;
        for some in due.chunks(SETTLE_EVERY) {
            for session in some {
                match session.standing(&self.limits, now) {
                    Standing::Live => self.index.remind(session, session.next_due(&self.limits)),
                    Standing::Over(reason) => {
                        self.end(session, reason);
                    }
                }
            }
            self.near.settle();
        }
        more
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.index.count()
    }

    /// How many sessions were dropped because there was no room.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    fn end(&self, session: &Arc<Session>, reason: EndReason) -> bool {
        if self.index.end(session, reason).is_none() {
            return false;
        }
        self.finish(session, reason);
        true
    }

    /// Takes the tokens of an ended session out of the near cache; `Session::standing` refuses it already.
    fn finish(&self, session: &Session, reason: EndReason) {
        for digest in session.tokens() {
            self.near.forget(digest, reason);
        }
    }
}

#[cfg(test)]
mod tests;
