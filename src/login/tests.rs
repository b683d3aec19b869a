use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::attempt::BoxFuture;
use super::*;
use crate::login::throttle::ThrottleSettings;
use crate::secret::Secret;

const CHEAP: HashCost = HashCost { memory_kib: 8, iterations: 1, parallelism: 1 };
const NOW: Moment = Moment::from_unix_millis(1_800_000_000_000);

struct House {
    folder: tempfile::TempDir,
    logins: Logins,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_user(&folder.path().join("users.toml"), "alice");
        let logins = Logins::open_at(&settings(folder.path()), Path::new("v.toml"), None, CHEAP).unwrap();
        Self { folder, logins }
    }
}

fn write_user(path: &Path, name: &str) {
    let hash = stored::make(&Secret::new("right".to_owned()), CHEAP, &mut Vec::new());
    std::fs::write(path, format!("[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn settings(folder: &Path) -> LoginSettings {
    LoginSettings { hash_threads: 1, ..LoginSettings::read(None, folder) }
}

fn attempt(user: &str, password: &str, address: &str) -> PasswordAttempt {
    PasswordAttempt {
        user: user.into(),
        password: Secret::new(password.into()),
        address: address.parse().unwrap(),
        known_device: false,
    }
}

/// A way in that always says the same, and counts how often it was asked.
struct Fake(fn() -> Result<Verdict, LoginDown>, AtomicU32);

impl PasswordCheck for Fake {
    fn check<'a>(&'a self, _: &'a PasswordAttempt, _: Moment) -> BoxFuture<'a, Result<Verdict, LoginDown>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { (self.0)() })
    }
}

fn with_ways(mut logins: Logins, ways: &[&Arc<Fake>]) -> Logins {
    logins.ways = ways.iter().map(|way| Arc::clone(way) as Arc<dyn PasswordCheck>).collect();
    logins
}

fn fake(says: fn() -> Result<Verdict, LoginDown>) -> Arc<Fake> {
    Arc::new(Fake(says, AtomicU32::new(0)))
}

#[tokio::test]
async fn a_victim_of_a_thousand_guesses_gets_in_from_elsewhere() {
    let House { logins, folder: _folder } = House::new();
    let mut now = NOW;
    for _ in 0..1000 {
        while let SignIn::TooMany { retry_after } =
            logins.sign_in(&attempt("alice", "wrong", "192.0.2.1"), now).await.unwrap()
        {
            now = now.plus(retry_after);
        }
    }
    let alice = attempt("alice", "right", "198.51.100.1");
    if let SignIn::TooMany { retry_after } = logins.sign_in(&alice, now).await.unwrap() {
        assert!(retry_after <= Duration::from_secs(30));
        now = now.plus(retry_after);
    }
    assert!(matches!(logins.sign_in(&alice, now).await.unwrap(), SignIn::Accept(_)));
}

#[tokio::test]
async fn known_and_unknown_names_get_the_same_answers() {
    let House { logins, folder: _folder } = House::new();
    for (name, address) in [("alice", "192.0.2.1"), ("nobody", "192.0.2.2"), ("no,name", "192.0.2.3")] {
        let mut answers = Vec::new();
        for _ in 0..7 {
            answers.push(logins.sign_in(&attempt(name, "wrong", address), NOW).await.unwrap());
        }
        let slow = SignIn::TooMany { retry_after: Duration::from_secs(1) };
        assert_eq!(answers, [vec![SignIn::Reject; 5], vec![slow; 2]].concat(), "{name}");
    }
}

#[tokio::test]
async fn what_is_too_long_is_rejected_unseen_and_counts_as_a_failure() {
    let house = House::new();
    let way = fake(|| panic!("must not be asked"));
    let logins = with_ways(house.logins, &[&way]);
    for (user, password) in [("alice".to_owned(), "x".repeat(1025)), ("a".repeat(1025), "right".to_owned())] {
        let attempt = attempt(&user, &password, "192.0.2.1");
        for _ in 0..5 {
            assert_eq!(logins.sign_in(&attempt, NOW).await.unwrap(), SignIn::Reject);
        }
        assert!(matches!(logins.sign_in(&attempt, NOW).await.unwrap(), SignIn::TooMany { .. }));
    }
}

#[tokio::test]
async fn an_outage_is_neither_a_no_nor_a_failure() {
    let house = House::new();
    let first = fake(|| Ok(Verdict::NotMine));
    let down = fake(|| Err(LoginDown::Busy { retry_after: Duration::from_secs(1) }));
    let last = fake(|| Ok(Verdict::Reject));
    let logins = with_ways(house.logins, &[&first, &down, &last]);
    for _ in 0..20 {
        let answer = logins.sign_in(&attempt("alice", "right", "192.0.2.1"), NOW).await;
        assert!(matches!(answer, Err(LoginDown::Busy { .. })));
    }
    assert_eq!(last.1.load(Ordering::SeqCst), 0, "whoever knows the name may be the one that is down");
}

#[tokio::test]
async fn the_first_way_in_that_knows_the_name_decides() {
    let house = House::new();
    let (not_mine, no, never) =
        (fake(|| Ok(Verdict::NotMine)), fake(|| Ok(Verdict::Reject)), fake(|| panic!("must not be asked")));
    let logins = with_ways(house.logins, &[&not_mine, &no, &never]);
    assert_eq!(logins.sign_in(&attempt("alice", "x", "192.0.2.1"), NOW).await.unwrap(), SignIn::Reject);
    assert_eq!(not_mine.1.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn opening_again_keeps_users_and_failures() {
    let House { folder, logins } = House::new();
    let guess = attempt("alice", "wrong", "192.0.2.1");
    for _ in 0..5 {
        logins.sign_in(&guess, NOW).await.unwrap();
    }
    let again =
        |settings: &LoginSettings| Logins::open_at(settings, Path::new("v.toml"), Some(&logins), CHEAP).unwrap();
    let same = again(&settings(folder.path()));
    assert!(Arc::ptr_eq(same.users(), logins.users()));
    assert!(matches!(same.sign_in(&guess, NOW).await.unwrap(), SignIn::TooMany { .. }));

    let other = folder.path().join("other.toml");
    write_user(&other, "bob");
    let throttle = ThrottleSettings { free_failures: 9, ..ThrottleSettings::default() };
    let moved = again(&LoginSettings { users: other, throttle, ..settings(folder.path()) });
    let alice = crate::names::UserName::parse("alice").unwrap();
    assert_eq!(moved.users().changes_since(logins.users()), [local::Change::Gone(alice)]);
    assert_eq!(moved.sign_in(&guess, NOW).await.unwrap(), SignIn::Reject);
}
