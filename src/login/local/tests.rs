use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::login::stored::{self, HashCost};
use crate::secret::Secret;

const CHEAP: HashCost = HashCost { memory_kib: 8, iterations: 1, parallelism: 1 };
const NOW: Moment = Moment::from_unix_millis(1_800_000_000_000);

/// A users file in a folder of its own, and the users read from it. `tick` lets enough time pass to look again.
struct House {
    folder: tempfile::TempDir,
    users: Arc<LocalUsers>,
    now: Moment,
}

impl House {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("users.toml"), text);
        let users = open(folder.path()).unwrap();
        Self { folder, users, now: NOW }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("users.toml")
    }

    fn tick(&mut self) -> Vec<Change> {
        self.now = self.now.plus(LOOK_EVERY);
        self.users.refresh(self.now)
    }

    fn write(&mut self, text: &str) -> Vec<Change> {
        write(&self.path(), text);
        self.tick()
    }

    async fn try_in(&self, user: &str, password: &str) -> Verdict {
        let attempt = PasswordAttempt {
            user: user.into(),
            password: Secret::new(password.into()),
            address: [192, 0, 2, 1].into(),
            known_device: false,
        };
        self.users.check(&attempt, NOW).await.unwrap()
    }
}

fn open(folder: &Path) -> Result<Arc<LocalUsers>, Problems> {
    let hasher = Arc::new(Hasher::start(1, 8, CHEAP).unwrap());
    LocalUsers::open(&folder.join("users.toml"), hasher, Path::new("v.toml"))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn hash(password: &str) -> String {
    stored::make(&Secret::new(password.to_owned()), CHEAP, &mut Vec::new())
}

fn user(name: &str, hash: &str, more: &str) -> String {
    format!("[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\n{more}\n")
}

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

#[test]
fn a_start_without_users_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let said = || open(folder.path()).err().unwrap().to_string();
    let wanted = "hint: make the first one with `vestibule users add NAME --config v.toml`";
    assert!(said().contains("there are no users yet") && said().contains(wanted), "{}", said());
    for text in ["", "# nobody\n"] {
        write(&folder.path().join("users.toml"), text);
        assert!(said().contains("there are no users yet") && said().contains(wanted), "{}", said());
    }
}

#[test]
fn a_file_that_others_can_read_is_refused_through_a_link_too() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real.toml");
    write(&real, &user("alice", &hash("x"), ""));
    std::os::unix::fs::symlink(&real, folder.path().join("users.toml")).unwrap();
    assert!(open(folder.path()).is_ok());
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&real, fs::Permissions::from_mode(mode)).unwrap();
        let said = open(folder.path()).err().unwrap().to_string();
        assert!(said.contains(&format!("mode {mode:o}")) && said.contains("chmod 600"), "{said}");
    }
}

#[tokio::test]
async fn the_right_password_gets_in_and_nothing_else_does() {
    let house = House::with(&format!(
        "{}{}",
        user("alice", &hash("right"), "email = \"a@example.com\"\ngroups = [\"staff\"]"),
        user("carol", &hash("right"), "disabled = true")
    ));
    let Verdict::Accept(alice) = house.try_in("alice", "right").await else { panic!("alice is right") };
    assert_eq!((alice.user.as_str(), alice.email.as_deref()), ("alice", Some("a@example.com")));
    assert_eq!((alice.groups.len(), alice.authenticated_at), (1, NOW));
    for (user, password, verdict) in [
        ("alice", "wrong", Verdict::Reject),
        ("alice", "Right", Verdict::Reject),
        ("carol", "right", Verdict::Reject),
        ("bob", "right", Verdict::NotMine),
        ("Alice", "right", Verdict::NotMine),
        ("alice ", "right", Verdict::NotMine),
        ("", "", Verdict::NotMine),
    ] {
        assert_eq!(house.try_in(user, password).await, verdict, "{user} {password}");
    }
}

#[test]
fn changes_of_the_file_are_noticed_and_told() {
    let (one, two) = (hash("one"), hash("two"));
    let mut house = House::with(&format!("{}{}", user("alice", &one, ""), user("bob", &one, "")));
    assert_eq!(house.tick(), []);
    assert_eq!(house.users.generation(), 1);

    let changes = house.write(&user("alice", &two, "display_name = \"A\""));
    let profile = file::Profile { name: Some("A".into()), ..Default::default() };
    let alice = name("alice");
    let wanted = [Change::PasswordChanged(alice.clone()), Change::Identity(alice.clone(), profile)];
    assert_eq!(changes, [&wanted[..], &[Change::Gone(name("bob"))]].concat());
    assert_eq!(house.users.generation(), 2);
    assert_eq!(house.users.current(&alice, NOW).unwrap().name.as_deref(), Some("A"));
    assert_eq!(house.users.current(&name("bob"), NOW), None);

    assert_eq!(house.write(&user("alice", &two, "disabled = true")), [Change::Gone(alice.clone())]);
    assert_eq!(house.users.current(&alice, NOW), None);
    assert_eq!(house.write(&user("alice", &two, "")), []);
    assert!(house.users.current(&alice, NOW).is_some());
}

#[test]
fn the_file_is_looked_at_ten_times_a_second_and_no_more() {
    let mut house = House::with(&user("alice", &hash("x"), ""));
    house.tick();
    write(&house.path(), &user("bob", &hash("x"), ""));
    assert_eq!(house.users.refresh(house.now.plus(Duration::from_millis(99))), []);
    assert_eq!(house.users.refresh(house.now.plus(Duration::from_millis(100))), [Change::Gone(name("alice"))]);
}

#[test]
fn an_outage_of_the_file_is_no_reason_to_end_sessions() {
    let text = user("alice", &hash("x"), "");
    let mut house = House::with(&text);
    for broken in ["", "[[user]]\nname = ", "[[user]]\nname = \"bob\"\npassword = \"plain\"\n", "typo = 1\n"] {
        assert_eq!(house.write(broken), [], "{broken}");
        assert!(house.users.current(&name("alice"), NOW).is_some(), "{broken}");
    }
    fs::remove_file(house.path()).unwrap();
    assert_eq!((house.tick(), house.tick()), (vec![], vec![]));
    assert!(house.users.current(&name("alice"), NOW).is_some());
    write(&house.path(), &text);
    fs::set_permissions(house.path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(house.tick(), []);
    assert_eq!(house.users.generation(), 1);
    assert_eq!(house.write(&user("bob", &hash("x"), "")), [Change::Gone(name("alice"))]);
}

#[test]
fn removing_the_last_user_bites() {
    let mut house = House::with(&user("alice", &hash("x"), ""));
    edit::edit(&house.path(), false, |users| users.remove(&name("alice"))).unwrap();
    assert_eq!(house.tick(), [Change::Gone(name("alice"))]);
}

#[test]
fn a_change_within_the_same_tick_of_the_file_system_is_noticed() {
    let mut house = House::with(&user("alice", &hash("x"), ""));
    house.now = Moment::from_unix_millis(0);
    house.tick();
    // Same length, same file; the time of change may be the same, too.
    let text = fs::read_to_string(house.path()).unwrap().replace("alice", "malic");
    fs::write(house.path(), text).unwrap();
    assert_eq!(house.tick(), [Change::Gone(name("alice"))]);
}

#[tokio::test]
async fn an_outdated_hash_is_replaced_after_the_sign_in() {
    let bcrypt = bcrypt::hash("right", 4).unwrap();
    let text = format!("# ours\n{}", user("alice", &bcrypt, "groups = [\"a\"] # kept"));
    let mut house = House::with(&text);
    assert!(matches!(house.try_in("alice", "wrong").await, Verdict::Reject));
    house.users.finish().await;
    assert_eq!(fs::read_to_string(house.path()).unwrap(), text);

    assert!(matches!(house.try_in("alice", "right").await, Verdict::Accept(_)));
    house.users.finish().await;
    let after = fs::read_to_string(house.path()).unwrap();
    let start = after.find("$argon2id$").unwrap();
    let new = &after[start..start + after[start..].find('"').unwrap()];
    assert_eq!(after, text.replace(&bcrypt, new));
    assert_eq!(house.tick(), [], "nobody's password changed");
    assert!(matches!(house.try_in("alice", "right").await, Verdict::Accept(_)));
    assert!(matches!(house.try_in("alice", "wrong").await, Verdict::Reject));
}

#[tokio::test]
async fn a_hash_that_cannot_be_replaced_does_not_keep_anybody_out() {
    let mut house = House::with(&user("alice", &bcrypt::hash("right", 4).unwrap(), ""));
    fs::remove_file(house.path()).unwrap();
    assert!(matches!(house.try_in("alice", "right").await, Verdict::Accept(_)));
    house.users.finish().await;
    assert_eq!(house.tick(), []);
    assert!(matches!(house.try_in("alice", "right").await, Verdict::Accept(_)));
}

#[tokio::test]
async fn a_hash_that_somebody_else_changed_is_not_replaced() {
    let mut house = House::with(&user("alice", &bcrypt::hash("right", 4).unwrap(), ""));
    let newer = user("alice", &hash("newer"), "");
    write(&house.path(), &newer);
    assert!(matches!(house.try_in("alice", "right").await, Verdict::Accept(_)));
    house.users.finish().await;
    assert_eq!(fs::read_to_string(house.path()).unwrap(), newer);
    assert_eq!(house.tick(), [Change::PasswordChanged(name("alice"))]);
    assert!(matches!(house.try_in("alice", "right").await, Verdict::Reject));
}

#[test]
fn an_unknown_name_takes_as_long_as_one_of_those_who_exist() {
    let (bcrypt, argon2id) = (bcrypt::hash("x", 4).unwrap(), hash("x"));
    let house = House::with(&format!("{}{}", user("alice", &bcrypt, ""), user("bob", &argon2id, "")));
    let kinds: Vec<_> =
        (0..100).map(|number| house.users.stand_in(&format!("nobody{number}")).unwrap().kind()).collect();
    assert!(kinds.contains(&"bcrypt") && kinds.contains(&"argon2id"));
    for (number, kind) in kinds.iter().enumerate() {
        assert_eq!(house.users.stand_in(&format!("nobody{number}")).unwrap().kind(), *kind);
    }
}
