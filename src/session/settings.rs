//! The `[session]` section.

use std::time::Duration;

use super::cookie::{SameSite, SessionCookie};
use super::session::Limits;
use crate::problems::Problem;
use crate::section::{Section, show_duration};

const DAY: Duration = Duration::from_secs(86_400);
const SHORTEST: Duration = Duration::from_secs(1);

/// The checked `[session]` section.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// The two timeouts. 30 minutes idle and 12 hours in all fit NIST SP 800-63B-4 AAL2 (§2.2.3).
    pub limits: Limits,
    /// At most this many sessions; then the one used longest ago goes.
    pub max_sessions: u64,
    /// At most this many sessions of one user, then the oldest ends; 0: no limit.
    pub max_per_user: usize,
    /// The session cookie.
    pub cookie: SessionCookie,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            limits: Limits { idle: Duration::from_secs(30 * 60), absolute: DAY / 2 },
            max_sessions: 1_000_000,
            max_per_user: 0,
            cookie: SessionCookie { name: "__Host-vestibule".into(), same_site: SameSite::Lax },
        }
    }
}

impl SessionSettings {
    /// Reads the section; without it, the defaults hold.
    pub fn read(section: Option<&Section<'_>>) -> Self {
        let default = Self::default();
        let Some(section) = section else {
            return default;
        };
        if let Some(store) = section.string("store").filter(|store| store.value != "memory") {
            let problem =
                Problem::at(&store.place, format!("`store` = {:?} is not available in this version", store.value));
            section.problem(problem.hint("use \"memory\"; sessions then end with the process"));
        }
        let limits = Limits {
            idle: section.duration("idle_timeout", SHORTEST..=365 * DAY).unwrap_or(default.limits.idle),
            absolute: section.duration("absolute_timeout", SHORTEST..=365 * DAY).unwrap_or(default.limits.absolute),
        };
        if limits.idle > limits.absolute {
            let problem =
                Problem::at(&section.place_of("idle_timeout"), "`idle_timeout` is longer than `absolute_timeout`");
            let at_most = show_duration(limits.absolute);
            section
                .problem(problem.hint(format!("use at most {at_most:?}: the absolute timeout ends the session first")));
        }
        let max_per_user = section.integer("max_per_user", 0..=1_000_000).unwrap_or(0);
        Self {
            limits,
            max_sessions: section.integer("max_sessions", 1..=100_000_000).unwrap_or(default.max_sessions),
            max_per_user: usize::try_from(max_per_user).unwrap_or(usize::MAX),
            cookie: section.table("cookie").map_or(default.cookie, |section| read_cookie(&section)),
        }
    }
}

impl Limits {
    /// An app's own timeouts, which may only be shorter than the session's.
    pub fn read_for_app(app: &Section<'_>, session: &Limits) -> Self {
        Self {
            idle: app.duration("idle_timeout", SHORTEST..=session.idle).unwrap_or(session.idle),
            absolute: app.duration("absolute_timeout", SHORTEST..=session.absolute).unwrap_or(session.absolute),
        }
    }
}

fn read_cookie(section: &Section<'_>) -> SessionCookie {
    let mut cookie = SessionSettings::default().cookie;
    let words = [("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)];
    if let Some(same_site) = section.word("same_site", &words) {
        cookie.same_site = same_site;
    }
    if let Some(name) = section.string("name") {
        // With this prefix browsers accept the cookie only over TLS, from this very host, for all paths.
        let rest = name.value.strip_prefix("__Host-").unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        // Those are other cookies of ours.
        let taken = rest.starts_with("vestibule-");
        if taken || rest.is_empty() || rest.len() > 64 || !rest.bytes().all(plain) {
            let problem = Problem::at(&name.place, format!("{:?} cannot be the session cookie's name", name.value));
            section.problem(problem.hint("use \"__Host-\" and then 1 to 64 letters, digits, \"-\" and \"_\""));
        } else {
            cookie.name = name.value;
        }
    }
    cookie
}
