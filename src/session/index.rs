//! Which sessions there are: by id, by user, and by when they fall due. Looked at when sessions begin and end, and by
//! the sweep; never by an admitted request.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::session::{EndReason, Session};
use super::token::SessionId;
use crate::clock::Moment;
use crate::names::UserName;

#[derive(Debug, Default)]
pub(super) struct Index(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    by_id: HashMap<SessionId, Arc<Session>>,
    by_user: HashMap<UserName, Vec<Arc<Session>>>,
    /// One reminder for each session. It may be early, since activity does not move it; never late.
    due: BTreeSet<(Moment, SessionId)>,
}

impl Index {
    /// Adds a session. If its user has more than `most` (0: no limit), the oldest others are ended and returned.
    pub(super) fn add(&self, session: &Arc<Session>, due: Moment, most: usize) -> Vec<Arc<Session>> {
        let mut lists = self.lists();
        let user = session.identity().user.clone();
        lists.by_id.insert(session.id(), Arc::clone(session));
        lists.due.insert((due, session.id()));
        let mine = lists.by_user.entry(user).or_default();
        mine.push(Arc::clone(session));
        let surplus = if most == 0 { 0 } else { mine.len().saturating_sub(most) };
        let oldest: Vec<_> = mine[..surplus].to_vec();
        drop(lists);
        oldest.into_iter().filter(|session| self.end(session, EndReason::TooMany).is_some()).collect()
    }

    /// Marks the end, forgets the session and writes the audit line; none if it had ended before.
    pub(super) fn end(&self, session: &Arc<Session>, reason: EndReason) -> Option<()> {
        if !session.mark_ended(reason) {
            return None;
        }
        let user = session.identity().user.clone();
        let mut lists = self.lists();
        lists.by_id.remove(&session.id());
        if let Some(mine) = lists.by_user.get_mut(&user) {
            mine.retain(|other| other.id() != session.id());
            if mine.is_empty() {
                lists.by_user.remove(&user);
            }
        }
        drop(lists);
        tracing::info!(
            target: "audit", event = "session_end", user = %user, session_id = %session.id(), reason = reason.as_str(),
        );
        Some(())
    }

    pub(super) fn find(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.lists().by_id.get(id).cloned()
    }

    pub(super) fn of_user(&self, user: &UserName) -> Vec<Arc<Session>> {
        self.lists().by_user.get(user).cloned().unwrap_or_default()
    }

    pub(super) fn count(&self) -> usize {
        self.lists().by_id.len()
    }

    /// Takes at most `most` reminders that are due. Those of sessions that have ended are dropped on the way.
    pub(super) fn due(&self, now: Moment, most: usize) -> Vec<Arc<Session>> {
        let mut lists = self.lists();
        let mut found = Vec::new();
        while found.len() < most && lists.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = lists.due.pop_first() else { break };
            found.extend(lists.by_id.get(&id).cloned());
        }
        found
    }

    pub(super) fn remind(&self, session: &Session, due: Moment) {
        let mut lists = self.lists();
        // It may have ended meanwhile; a reminder of it would do no harm, but stay.
        if lists.by_id.contains_key(&session.id()) {
            lists.due.insert((due, session.id()));
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        // Every change above is complete before anything in it can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
