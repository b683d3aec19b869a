//! One session, and the pure question whether it still stands.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::token::{SessionId, TokenDigest};
use crate::clock::Moment;
use crate::identity::Identity;

/// How long a session may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ends after this long without user activity.
    pub idle: Duration,
    /// Ends this long after sign-in.
    pub absolute: Duration,
}

impl Limits {
    /// The stricter of each.
    #[must_use]
    pub fn strictest(&self, other: &Limits) -> Limits {
        Limits { idle: self.idle.min(other.idle), absolute: self.absolute.min(other.absolute) }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndReason {
    /// Its user signed out.
    SignedOut = 1,
    /// No user activity for the idle timeout.
    Idle,
    /// The absolute timeout passed.
    TooOld,
    /// The same browser signed in anew.
    Replaced,
    /// `max_per_user` was reached and this was the oldest.
    TooMany,
    /// `max_sessions` was reached and this was used longest ago.
    Evicted,
    /// The user was disabled or removed.
    UserGone,
    /// The user's password was changed.
    PasswordChanged,
}

impl EndReason {
    const ALL: [Self; 8] = [
        Self::SignedOut,
        Self::Idle,
        Self::TooOld,
        Self::Replaced,
        Self::TooMany,
        Self::Evicted,
        Self::UserGone,
        Self::PasswordChanged,
    ];

    /// The words that the logs show.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed out",
            Self::Idle => "idle",
            Self::TooOld => "too old",
            Self::Replaced => "signed in anew",
            Self::TooMany => "too many sessions of one user",
            Self::Evicted => "too many sessions in all",
            Self::UserGone => "user disabled or removed",
            Self::PasswordChanged => "password changed",
        }
    }
}

/// Whether a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Live,
    Over(EndReason),
}

/// What begins at sign-in and ends at sign-out, idleness, old age or revocation.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    identity: ArcSwap<Identity>,
    opened: Moment,
    last_active: AtomicU64,
    /// The longest time without activity so far, in milliseconds. An app with a shorter idle timeout than the session's
    /// must not let somebody in who was away that long and then touched another app.
    longest_pause: AtomicU64,
    ended: AtomicU8,
    token: TokenDigest,
    /// Those for other hosts.
    more_tokens: Mutex<Vec<TokenDigest>>,
}

impl Session {
    pub(super) fn new(id: SessionId, who: Identity, token: TokenDigest, now: Moment) -> Self {
        Self {
            id,
            identity: ArcSwap::from_pointee(who),
            opened: now,
            last_active: AtomicU64::new(now.unix_millis()),
            longest_pause: AtomicU64::new(0),
            ended: AtomicU8::new(0),
            token,
            more_tokens: Mutex::default(),
        }
    }

    /// The public handle.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Whose it is, as known now.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.load_full()
    }

    /// When its user signed in.
    pub fn opened(&self) -> Moment {
        self.opened
    }

    /// When a person last did something.
    pub fn last_active(&self) -> Moment {
        Moment::from_unix_millis(self.last_active.load(Ordering::Relaxed))
    }

    pub(super) fn standing(&self, limits: &Limits, now: Moment) -> Standing {
        if let Some(reason) = self.ended() {
            return Standing::Over(reason);
        }
        if now.since(self.opened) >= limits.absolute {
            return Standing::Over(EndReason::TooOld);
        }
        let longest = Duration::from_millis(self.longest_pause.load(Ordering::Relaxed));
        if now.since(self.last_active()).max(longest) >= limits.idle {
            return Standing::Over(EndReason::Idle);
        }
        Standing::Live
    }

    /// When the session will be over if nothing more happens.
    pub(super) fn next_due(&self, limits: &Limits) -> Moment {
        self.opened.plus(limits.absolute).min(self.last_active().plus(limits.idle))
    }

    pub(super) fn touch(&self, now: Moment) {
        let before = self.last_active.fetch_max(now.unix_millis(), Ordering::Relaxed);
        let pause = now.unix_millis().saturating_sub(before);
        if pause > self.longest_pause.load(Ordering::Relaxed) {
            self.longest_pause.fetch_max(pause, Ordering::Relaxed);
        }
    }

    fn ended(&self) -> Option<EndReason> {
        let code = self.ended.load(Ordering::Acquire);
        EndReason::ALL.into_iter().find(|reason| *reason as u8 == code)
    }

    /// Marks the end; only the first reason counts.
    pub(super) fn mark_ended(&self, reason: EndReason) -> bool {
        self.ended.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn replace_identity(&self, identity: Identity) {
        self.identity.store(Arc::new(identity));
    }

    pub(super) fn add_token(&self, digest: TokenDigest) {
        self.more_tokens.lock().unwrap_or_else(PoisonError::into_inner).push(digest);
    }

    pub(super) fn tokens(&self) -> Vec<TokenDigest> {
        let more = self.more_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(self.token).chain(more.iter().copied()).collect()
    }
}

/// A session that stood when we looked: proof of having signed in.
#[derive(Clone, Debug)]
pub struct LiveSession {
    session: Arc<Session>,
    identity: Arc<Identity>,
}

impl LiveSession {
    pub(super) fn of(session: Arc<Session>) -> Self {
        let identity = session.identity();
        Self { session, identity }
    }

    /// The public handle.
    pub fn id(&self) -> SessionId {
        self.session.id
    }

    /// Who signed in.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// When they signed in.
    pub fn opened(&self) -> Moment {
        self.session.opened
    }

    /// How much longer the session lives without activity, and at the most.
    pub fn time_left(&self, limits: &Limits, now: Moment) -> Limits {
        Limits {
            idle: limits.idle.saturating_sub(now.since(self.session.last_active())),
            absolute: limits.absolute.saturating_sub(now.since(self.session.opened)),
        }
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}
