//! One protected application: where it is reached, who may enter, how long, and where it runs.

use http::HeaderMap;
use http::header::ORIGIN;

use crate::access::Rules;
use crate::names::AppName;
use crate::session::Limits;
use crate::upstream::Upstream;
use crate::web::arrival::{Arrival, same_origin};
use crate::web::path::{fold, is_under};

use super::apps::HostPattern;

/// One protected application.
#[derive(Debug)]
pub struct App {
    /// Its name in logs and messages.
    pub name: AppName,
    /// The hosts it is reached at.
    pub hosts: Vec<HostPattern>,
    /// The prefix of its paths, on segment boundaries.
    pub path: String,
    /// Who may enter.
    pub rules: Rules,
    /// Its timeouts.
    pub limits: Limits,
    /// Paths that no person asks for.
    pub background: Vec<String>,
    /// Origins besides its own whose scripts may open WebSockets.
    pub websocket_origins: Vec<String>,
    /// Its servers.
    pub upstream: Upstream,
}

impl App {
    /// Whether a reading of a path lies under this app's prefix.
    pub(super) fn holds(&self, reading: &str) -> bool {
        self.is_under(reading, &self.path)
    }

    /// Whether a path is one that no person asks for.
    pub(super) fn is_background(&self, reading: &str) -> bool {
        self.background.iter().any(|prefix| self.is_under(reading, prefix))
    }

    /// Whether a WebSocket may be opened from where the browser says it was. Other clients say nothing.
    pub(super) fn admits_origin(&self, arrival: &Arrival, headers: &HeaderMap) -> bool {
        headers.get_all(ORIGIN).iter().all(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            same_origin(origin, &arrival.origin())
                || self.websocket_origins.iter().any(|known| same_origin(origin, known))
        })
    }

    fn is_under(&self, reading: &str, prefix: &str) -> bool {
        if self.rules.case_blind() { is_under(&fold(reading), &fold(prefix)) } else { is_under(reading, prefix) }
    }
}
