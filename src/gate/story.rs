//! What became of one request, gathered on its way and told once, in the access log.

use std::time::Duration;

use http::Method;

use super::Gate;
use crate::clock::Moment;
use crate::names::{AppName, UserName};
use crate::observe::access_log::{Access, record};
use crate::session::{LiveSession, SessionId};
use crate::web::arrival::Arrival;

/// Filled in as the request is answered.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) app: Option<AppName>,
    pub(super) user: Option<UserName>,
    pub(super) session: Option<SessionId>,
    pub(super) decision: &'static str,
    pub(super) upstream_took: Option<Duration>,
}

impl Story {
    pub(super) fn meet(&mut self, session: &LiveSession) {
        self.user = Some(session.identity().user.clone());
        self.session = Some(session.id());
    }

    pub(super) fn tell(&self, gate: &Gate, request: &Told<'_>, status: u16, began: Moment) {
        if !gate.access_log {
            return;
        }
        let session_id = self.session.map(|id| id.to_string());
        let arrival = request.arrival;
        record(&Access {
            request_id: request.id,
            app: self.app.as_ref().map(AppName::as_str),
            user: self.user.as_ref().map(UserName::as_str),
            session_id: session_id.as_deref(),
            client: arrival.map_or(request.peer, |arrival| arrival.client),
            method: request.method.as_str(),
            host: arrival.map_or("", |arrival| arrival.host.as_str()),
            path: arrival.map_or("", |arrival| arrival.path.raw()),
            protocol: request.protocol,
            decision: self.decision,
            status,
            took: gate.clock.now().since(began),
            upstream_took: self.upstream_took,
        });
    }
}

/// What is known of a request even if it could not be read.
pub(super) struct Told<'a> {
    pub(super) id: &'a str,
    pub(super) peer: std::net::IpAddr,
    pub(super) method: &'a Method,
    pub(super) protocol: &'static str,
    pub(super) arrival: Option<&'a Arrival>,
}
