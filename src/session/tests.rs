use std::time::Duration;

use super::*;
use crate::identity::AuthMethod;

const MINUTE: Duration = Duration::from_secs(60);
const START: Moment = Moment::from_unix_millis(1_800_000_000_000);

fn settings() -> SessionSettings {
    SessionSettings::default()
}

fn identity(user: &str) -> Identity {
    Identity {
        user: UserName::parse(user).unwrap(),
        name: None,
        email: None,
        groups: [].into(),
        method: AuthMethod::Password,
        authenticated_at: START,
    }
}

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

/// Opens a session for ann on a.test and asks for it with the session's own limits.
struct Visit {
    sessions: Sessions,
    token: SessionToken,
    id: SessionId,
}

impl Visit {
    fn new(settings: &SessionSettings) -> Self {
        let sessions = Sessions::new(settings);
        let (token, live) = sessions.open(identity("ann"), &host("a.test"), START);
        Self { sessions, token, id: live.id() }
    }

    fn at(&self, after: Duration, touch: Touch) -> Result<UserName, Option<EndReason>> {
        self.with(&self.sessions.limits, after, touch)
    }

    fn with(&self, limits: &Limits, after: Duration, touch: Touch) -> Result<UserName, Option<EndReason>> {
        match self.sessions.resume(&self.token, &host("a.test"), limits, touch, START.plus(after)) {
            Resumed::Live(live) => Ok(live.identity().user.clone()),
            Resumed::Ended(reason) => Err(Some(reason)),
            Resumed::Unknown => Err(None),
        }
    }
}

#[test]
fn a_session_is_idle_after_the_idle_timeout_to_the_second() {
    let visit = Visit::new(&settings());
    assert!(visit.at(30 * MINUTE - Duration::from_secs(1), Touch::Background).is_ok());
    assert_eq!(visit.at(30 * MINUTE, Touch::Activity), Err(Some(EndReason::Idle)));
    assert_eq!(visit.at(30 * MINUTE, Touch::Activity), Err(Some(EndReason::Idle)), "the reason is remembered");
    assert_eq!(visit.sessions.count(), 0);
}

#[test]
fn activity_extends_and_background_requests_do_not() {
    let visit = Visit::new(&settings());
    assert!(visit.at(20 * MINUTE, Touch::Activity).is_ok());
    assert!(visit.at(45 * MINUTE, Touch::Background).is_ok());
    assert_eq!(visit.at(50 * MINUTE, Touch::Background), Err(Some(EndReason::Idle)));
}

#[test]
fn no_activity_outlives_the_absolute_timeout() {
    let visit = Visit::new(&settings());
    let mut after = Duration::ZERO;
    while after < 12 * 60 * MINUTE {
        assert!(visit.at(after, Touch::Activity).is_ok(), "{after:?}");
        after += 15 * MINUTE;
    }
    assert_eq!(visit.at(after, Touch::Activity), Err(Some(EndReason::TooOld)));
}

#[test]
fn a_shorter_app_timeout_holds_even_after_a_visit_to_another_app() {
    let visit = Visit::new(&settings());
    let strict = Limits { idle: 10 * MINUTE, ..visit.sessions.limits };
    assert!(visit.with(&strict, 9 * MINUTE, Touch::Activity).is_ok());
    assert!(visit.at(25 * MINUTE, Touch::Activity).is_ok(), "the other app is more patient");
    assert_eq!(visit.with(&strict, 26 * MINUTE, Touch::Activity), Err(Some(EndReason::Idle)));
    assert!(visit.at(26 * MINUTE, Touch::Activity).is_ok(), "and stays open");
}

#[test]
fn a_token_is_good_on_its_own_host_only_and_the_session_may_have_several() {
    let visit = Visit::new(&settings());
    let limits = visit.sessions.limits;
    let elsewhere =
        |token: &SessionToken, name: &str| visit.sessions.resume(token, &host(name), &limits, Touch::Activity, START);
    assert!(matches!(elsewhere(&visit.token, "b.test"), Resumed::Unknown));
    let Resumed::Live(live) = elsewhere(&visit.token, "a.test") else { panic!("not live") };
    let second = visit.sessions.add_token(&live, &host("b.test"));
    assert!(matches!(elsewhere(&second, "b.test"), Resumed::Live(same) if same.id() == visit.id));
    assert!(visit.sessions.close(&visit.id, EndReason::SignedOut));
    for (token, name) in [(&visit.token, "a.test"), (&second, "b.test")] {
        assert!(matches!(elsewhere(token, name), Resumed::Ended(EndReason::SignedOut)), "{name}");
    }
    assert!(!visit.sessions.close(&visit.id, EndReason::SignedOut), "it ends once");
}

#[test]
fn all_sessions_of_one_user_are_listed_and_ended_and_no_others() {
    let sessions = Sessions::new(&settings());
    for user in ["ann", "ann", "bob"] {
        sessions.open(identity(user), &host("a.test"), START);
    }
    let (ann, bob) = (UserName::parse("ann").unwrap(), UserName::parse("bob").unwrap());
    assert_eq!(sessions.list(&ann).len(), 2);
    assert_eq!(sessions.close_all(&ann, EndReason::UserGone), 2);
    assert_eq!((sessions.list(&ann).len(), sessions.list(&bob).len(), sessions.count()), (0, 1, 1));
}

#[test]
fn a_changed_identity_is_seen_by_the_next_request() {
    let visit = Visit::new(&settings());
    let ann = UserName::parse("ann").unwrap();
    visit.sessions.update(&ann, |old| Identity { email: Some("ann@a.test".into()), ..old.clone() });
    assert_eq!(visit.sessions.list(&ann)[0].identity().email.as_deref(), Some("ann@a.test"));
}

#[test]
fn beyond_max_per_user_the_oldest_ends() {
    let visit = Visit::new(&SessionSettings { max_per_user: 2, ..settings() });
    visit.sessions.open(identity("ann"), &host("a.test"), START);
    assert!(visit.at(MINUTE, Touch::Activity).is_ok());
    visit.sessions.open(identity("ann"), &host("a.test"), START);
    assert_eq!(visit.at(MINUTE, Touch::Activity), Err(Some(EndReason::TooMany)));
    assert_eq!(visit.sessions.count(), 2);
}

#[test]
fn a_full_house_drops_the_least_recently_used_never_the_newcomer() {
    let sessions = Sessions::new(&SessionSettings { max_sessions: 100, ..settings() });
    let limits = sessions.limits;
    let is_live = |token: &SessionToken| {
        matches!(sessions.resume(token, &host("a.test"), &limits, Touch::Background, START), Resumed::Live(_))
    };
    let (favourite, _) = sessions.open(identity("ann"), &host("a.test"), START);
    for round in 0..1_000 {
        let (newcomer, _) = sessions.open(identity("bob"), &host("a.test"), START);
        sessions.near.settle();
        assert!(is_live(&newcomer) && is_live(&favourite), "round {round}");
    }
    sessions.near.settle();
    assert_eq!(sessions.count(), 100);
    assert_eq!(sessions.evictions(), 901);
    assert_eq!(sessions.list(&UserName::parse("bob").unwrap()).len(), 99);
}

#[test]
fn the_sweep_ends_what_is_due_in_small_steps() {
    let sessions = Sessions::new(&settings());
    for _ in 0..2_500 {
        sessions.open(identity("ann"), &host("a.test"), START);
    }
    let (active, _) = sessions.open(identity("bob"), &host("a.test"), START);
    let later = START.plus(20 * MINUTE);
    sessions.resume(&active, &host("a.test"), &sessions.limits, Touch::Activity, later);

    assert!(!sessions.sweep(START.plus(30 * MINUTE - Duration::from_millis(1)), 1_000), "nothing is due");
    let due = START.plus(30 * MINUTE);
    assert!(sessions.sweep(due, 1_000));
    assert!([1_501, 1_502].contains(&sessions.count()), "a thousand were looked at, bob's perhaps among them");
    while sessions.sweep(due, 1_000) {}
    assert_eq!(sessions.count(), 1, "bob was active");
    assert!(!sessions.sweep(START.plus(50 * MINUTE), 1_000));
    assert_eq!(sessions.count(), 0, "but bob's time comes too");
}

#[test]
fn unknown_tokens_leave_nothing_behind() {
    let sessions = Sessions::new(&settings());
    for _ in 0..10_000 {
        let token = SessionToken::generate();
        let found = sessions.resume(&token, &host("a.test"), &sessions.limits, Touch::Activity, START);
        assert!(matches!(found, Resumed::Unknown));
    }
    assert_eq!(sessions.count(), 0);
    assert_eq!(sessions.near.sizes(), (0, 0));
}
