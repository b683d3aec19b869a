//! From a request to a decision: every way the request may be understood is asked about, and the strictest answer wins.

use std::borrow::Cow;

use crate::identity::Identity;
use crate::names::AppName;
use crate::session::LiveSession;

use super::rule::Allow;
use super::settings::Rules;

/// What proves who somebody is: a live session.
///
/// An implementation must not exist for somebody whose session has ended; the rules ask no further.
pub trait Proof {
    /// Who it is.
    fn identity(&self) -> &Identity;
}

impl Proof for LiveSession {
    fn identity(&self) -> &Identity {
        LiveSession::identity(self)
    }
}

/// What the rules say.
#[derive(Debug)]
pub enum Decision<S> {
    /// Hand the request to the app.
    Forward(Pass<S>),
    /// Nobody is signed in, and somebody must be.
    SignIn,
    /// Whoever it is may not.
    Refuse,
}

/// Proof that the rules allowed a request, and for whom. Only a decision makes one, and nothing is forwarded without.
#[derive(Clone, Debug)]
pub struct Pass<S> {
    app: AppName,
    session: Option<S>,
}

impl<S: Proof> Pass<S> {
    /// The app that the request may go to, and no other.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// The session of whoever is signed in.
    pub fn session(&self) -> Option<&S> {
        self.session.as_ref()
    }

    /// Who is signed in; nobody where a rule lets anyone in.
    pub fn identity(&self) -> Option<&Identity> {
        self.session.as_ref().map(S::identity)
    }
}

/// Decides about a request.
///
/// `asked` has the readings of its path, each with the rules of the app that such a path belongs to. `methods` has the
/// request's method, and whatever fields such as `X-HTTP-Method-Override` say in its place. An empty `asked` or
/// `methods` is a request that no rule was asked about, and refused.
pub fn decide<'a, S: Proof>(
    app: &AppName,
    asked: impl Iterator<Item = (&'a Rules, &'a str)>,
    methods: &[&str],
    session: Option<S>,
) -> Decision<S> {
    let identity = session.as_ref().map(S::identity);
    let strictest = asked.map(|(rules, reading)| strictest_of(rules, reading, methods, identity)).max();
    match strictest.unwrap_or(Answer::Refuse) {
        Answer::Forward => Decision::Forward(Pass { app: app.clone(), session }),
        Answer::SignIn => Decision::SignIn,
        Answer::Refuse => Decision::Refuse,
    }
}

/// What one rule says to one visitor; the stricter, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Forward,
    SignIn,
    Refuse,
}

fn strictest_of(rules: &Rules, reading: &str, methods: &[&str], identity: Option<&Identity>) -> Answer {
    let spelled = rules.spell(reading);
    let answers = methods.iter().flat_map(|method| {
        // Methods are case-sensitive (RFC 9110 §9.1), but not to every app: to some `delete` is `DELETE`.
        let upper = method.bytes().any(|byte| byte.is_ascii_lowercase()).then(|| method.to_ascii_uppercase());
        [Some(Cow::Borrowed(*method)), upper.map(Cow::Owned)].into_iter().flatten()
    });
    answers.map(|method| answer(rules.allow(&spelled, &method), identity)).max().unwrap_or(Answer::Refuse)
}

fn answer(allow: &Allow, identity: Option<&Identity>) -> Answer {
    match (identity, allow) {
        (None, Allow::Anyone) => Answer::Forward,
        (None, Allow::Nobody) => Answer::Refuse,
        (None, Allow::SignedIn | Allow::Only { .. }) => Answer::SignIn,
        (Some(identity), allow) if allow.includes(identity) => Answer::Forward,
        (Some(_), _) => Answer::Refuse,
    }
}

#[cfg(test)]
mod tests;
