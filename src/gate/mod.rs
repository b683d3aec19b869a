//! The organs in concert. [`answer`](answer::answer) is one request from top to bottom.

pub mod answer;
mod app;
mod apps;
mod failure;
mod portal;
mod story;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderValue};

pub use app::App;
pub use apps::{Apps, HostPattern};
pub use portal::Portal;

use crate::clock::{Clock, Moment};
use crate::login::Logins;
use crate::login::local::Change;
use crate::session::{EndReason, Limits, LiveSession, Resumed, SessionCookie, Sessions, Touch};
use crate::upstream::TransferLimits;
use crate::web::arrival::ArrivalLimits;
use crate::web::host::Host;
use crate::web::trusted::TrustedProxies;

/// Everything that is needed to answer a request.
pub struct Gate {
    /// The protected apps.
    pub apps: Apps,
    /// The ways to sign in.
    pub logins: Logins,
    /// Our own pages.
    pub portal: Portal,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// The session's own timeouts.
    pub limits: Limits,
    /// The session cookie.
    pub cookie: SessionCookie,
    /// Who may speak for clients.
    pub trusted: TrustedProxies,
    /// What a request may not exceed.
    pub arrival_limits: ArrivalLimits,
    /// What an exchange with an app may not exceed.
    pub transfer_limits: TransferLimits,
    /// The `Strict-Transport-Security` field of every answer over TLS (RFC 6797).
    pub hsts: Option<HeaderValue>,
    /// Whether each request gets a line in the log.
    pub access_log: bool,
    /// The time.
    pub clock: Clock,
    /// Set once, when the process is about to stop.
    pub draining: AtomicBool,
}

/// Whom the cookies of a request show.
#[derive(Debug)]
pub(crate) enum Visitor {
    /// Somebody whose session stands.
    Live(LiveSession),
    /// Somebody whose session has ended, and why.
    Ended(EndReason),
    /// Nobody we know.
    Stranger,
}

impl Gate {
    /// Whether the process is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Finds out who is there. Several session cookies count only if they do not contradict each other.
    pub(crate) fn resume(
        &self,
        headers: &HeaderMap,
        host: &Host,
        limits: &Limits,
        touch: Touch,
        now: Moment,
    ) -> Visitor {
        self.follow_users_file(now);
        let mut visitor = Visitor::Stranger;
        for token in self.cookie.tokens(headers) {
            match (self.sessions.resume(&token, host, limits, touch, now), &visitor) {
                (Resumed::Live(live), Visitor::Live(other)) if live.id() != other.id() => {
                    tracing::warn!(%host, "two different live sessions in one request; neither counts");
                    return Visitor::Stranger;
                }
                (Resumed::Live(live), _) => visitor = Visitor::Live(live),
                (Resumed::Ended(reason), Visitor::Stranger) => visitor = Visitor::Ended(reason),
                (Resumed::Ended(_) | Resumed::Unknown, _) => {}
            }
        }
        visitor
    }

    /// Lets changes of the users file bite: before every look at a session, so at the next request.
    pub(crate) fn follow_users_file(&self, now: Moment) {
        for change in self.logins.users().refresh(now) {
            match change {
                Change::Gone(user) => {
                    self.sessions.close_all(&user, EndReason::UserGone);
                }
                Change::PasswordChanged(user) => {
                    self.sessions.close_all(&user, EndReason::PasswordChanged);
                }
                Change::Identity(user, _) => {
                    self.sessions.update(&user, |old| {
                        self.logins.users().current(&user, old.authenticated_at).unwrap_or_else(|| old.clone())
                    });
                }
            }
        }
    }

    /// Ends the sessions that are due, in steps so small that no request waits for one.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.follow_users_file(now);
        const STEP: usize = 1_000;
        const STEPS: usize = 20;
        for _ in 0..STEPS {
            if !self.sessions.sweep(now, STEP) {
                return;
            }
        }
    }
}
