use super::*;
use crate::secret::Secret;

const START: Moment = Moment::from_unix_millis(1_700_000_000_000);

fn attempt(user: &str, address: &str) -> PasswordAttempt {
    PasswordAttempt {
        user: user.to_owned(),
        password: Secret::new("x".to_owned()),
        address: address.parse().unwrap(),
        known_device: false,
    }
}

fn known(user: &str, address: &str) -> PasswordAttempt {
    PasswordAttempt { known_device: true, ..attempt(user, address) }
}

fn throttle() -> Throttle {
    Throttle::new(ThrottleSettings::default())
}

/// Tries without success until told to wait; how often, and how long the wait is.
fn fail_until_told_to_wait(throttle: &Throttle, attempt: &PasswordAttempt, now: Moment) -> (u32, u64) {
    for tries in 0..1000 {
        if let Err(too_many) = throttle.begin(attempt, now) {
            return (tries, too_many.retry_after.as_secs());
        }
    }
    panic!("never told to wait");
}

/// Gets in as soon as allowed; how long that took.
fn time_to_get_in(throttle: &Throttle, attempt: &PasswordAttempt, mut now: Moment) -> Duration {
    let start = now;
    for _ in 0..10 {
        match throttle.begin(attempt, now) {
            Ok(ticket) => {
                ticket.succeeded();
                return now.since(start);
            }
            Err(TooMany { retry_after }) => now = now.plus(retry_after),
        }
    }
    panic!("never got in");
}

/// A thousand wrong passwords for alice, from many addresses, each as soon as it is allowed.
fn thousand_failures(throttle: &Throttle) -> Moment {
    let mut now = START;
    for number in 0..1000 {
        let from = attempt("alice", &format!("10.0.{}.{}", number % 7, number % 251));
        while let Err(TooMany { retry_after }) = throttle.begin(&from, now) {
            now = now.plus(retry_after.min(Duration::from_secs(30)));
        }
    }
    now
}

#[test]
fn guesses_for_one_user_from_one_address_get_slower() {
    let throttle = throttle();
    let guess = attempt("alice", "192.0.2.1");
    assert_eq!(fail_until_told_to_wait(&throttle, &guess, START), (5, 1));
    let now = START.plus(Duration::from_secs(1));
    assert_eq!(fail_until_told_to_wait(&throttle, &guess, now), (1, 2));
    assert!(throttle.begin(&attempt("alice", "192.0.2.2"), now).is_ok());
    assert!(throttle.begin(&attempt("bob", "192.0.2.1"), now).is_ok());
}

#[test]
fn being_told_to_wait_makes_the_wait_no_longer() {
    let throttle = throttle();
    let guess = attempt("alice", "192.0.2.1");
    fail_until_told_to_wait(&throttle, &guess, START);
    for _ in 0..100 {
        assert!(throttle.begin(&guess, START).is_err());
    }
    assert!(throttle.begin(&guess, START.plus(Duration::from_secs(1))).is_ok());
}

#[test]
fn a_success_clears_the_user_and_not_the_address() {
    let throttle = throttle();
    for round in 0..6 {
        for _ in 0..4 {
            let _ = throttle.begin(&attempt(&format!("victim-{round}"), "192.0.2.1"), START).unwrap();
        }
        throttle.begin(&attempt("mallory", "192.0.2.1"), START).unwrap().succeeded();
    }
    let (tries, _) = fail_until_told_to_wait(&throttle, &attempt("mallory", "192.0.2.1"), START);
    assert_eq!(tries, 5);
    let (tries, wait) = fail_until_told_to_wait(&throttle, &attempt("carol", "192.0.2.1"), START);
    assert_eq!((tries, wait), (1, 1));
}

#[test]
fn one_colleague_does_not_lock_out_the_office() {
    let throttle = throttle();
    let colleague = attempt("colleague", "192.0.2.1");
    let mut now = START;
    for _ in 0..500 {
        now = now.plus(throttle.begin(&colleague, now).err().map_or(Duration::ZERO, |too_many| too_many.retry_after));
    }
    assert_eq!(time_to_get_in(&throttle, &attempt("alice", "192.0.2.1"), now), Duration::ZERO);
}

#[test]
fn guesses_for_many_users_from_one_address_get_slower() {
    let throttle = throttle();
    for number in 0..30 {
        let _ = throttle.begin(&attempt(&format!("u{number}"), "2001:db8::1"), START).unwrap();
    }
    let waits = |address: &str| throttle.begin(&attempt("new", address), START).is_err();
    assert!(waits("2001:db8::1") && waits("2001:db8::ffff:1"), "one /64 is one party");
    assert!(!waits("2001:db8:0:1::1"));
}

#[test]
fn an_ipv4_address_has_one_spelling() {
    assert_eq!(prefix("::ffff:192.0.2.1".parse().unwrap()), prefix("192.0.2.1".parse().unwrap()));
}

#[test]
fn a_victim_gets_in_from_elsewhere_after_one_wait_at_most() {
    let throttle = throttle();
    let now = thousand_failures(&throttle);
    let elsewhere = attempt("alice", "198.51.100.1");
    // The guessing goes on while she waits, and moves nothing.
    let TooMany { retry_after } = throttle.begin(&elsewhere, now).unwrap_err();
    assert!(retry_after <= Duration::from_secs(30));
    for number in 0..100 {
        let _ = throttle.begin(&attempt("alice", &format!("10.9.9.{number}")), now.plus(Duration::from_secs(1)));
    }
    throttle.begin(&elsewhere, now.plus(retry_after)).unwrap().succeeded();
}

#[test]
fn a_thousand_guesses_from_one_address_cost_the_victim_no_more_than_one_wait() {
    let throttle = throttle();
    let mut now = START;
    for _ in 0..1000 {
        while let Err(TooMany { retry_after }) = throttle.begin(&attempt("alice", "192.0.2.1"), now) {
            now = now.plus(retry_after);
        }
    }
    let waited = time_to_get_in(&throttle, &attempt("alice", "198.51.100.1"), now);
    assert!(waited <= Duration::from_secs(30), "{waited:?}");
}

#[test]
fn whoever_waited_once_need_not_wait_again_soon() {
    let throttle = throttle();
    let now = thousand_failures(&throttle);
    let elsewhere = attempt("alice", "198.51.100.1");
    let waited = time_to_get_in(&throttle, &elsewhere, now);
    assert_eq!(waited, Duration::from_secs(30));
    let later = now.plus(waited).plus(Duration::from_secs(60));
    for number in 0..120 {
        let _ = throttle.begin(&attempt("alice", &format!("10.8.{number}.1")), later);
    }
    assert_eq!(time_to_get_in(&throttle, &elsewhere, later), Duration::ZERO);
}

#[test]
fn a_known_device_has_a_budget_of_its_own() {
    let throttle = throttle();
    let now = thousand_failures(&throttle);
    for number in 0..40 {
        let _ = throttle.begin(&attempt(&format!("u{number}"), "198.51.100.1"), now);
    }
    assert_eq!(time_to_get_in(&throttle, &known("alice", "198.51.100.1"), now), Duration::ZERO);
    assert_eq!(fail_until_told_to_wait(&throttle, &known("alice", "198.51.100.1"), now), (5, 1));
    assert!(throttle.begin(&known("alice", "203.0.113.1"), now).is_err(), "the budget is the user's");
}

#[test]
fn an_outage_costs_nothing() {
    let throttle = throttle();
    let guess = attempt("alice", "192.0.2.1");
    for _ in 0..50 {
        throttle.begin(&guess, START).unwrap().refund();
    }
    assert_eq!(fail_until_told_to_wait(&throttle, &guess, START), (5, 1));
}

#[test]
fn guesses_at_the_same_time_see_each_other() {
    let throttle = throttle();
    let allowed: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| {
                scope
                    .spawn(|| (0..50).filter(|_| throttle.begin(&attempt("alice", "192.0.2.1"), START).is_ok()).count())
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(allowed, 5);
}

#[test]
fn strangers_cannot_make_it_grow() {
    let throttle = Throttle::new(ThrottleSettings { entries: 100, ..ThrottleSettings::default() });
    for number in 0..5_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(number).to_string();
        let _ = throttle.begin(&attempt(&format!("u{number}"), &address), START);
    }
    for counters in [&throttle.pairs, &throttle.addresses, &throttle.users] {
        counters.run_pending_tasks();
        assert!(counters.entry_count() <= 100);
    }
}
