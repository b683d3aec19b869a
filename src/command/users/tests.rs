use std::fs;
use std::os::unix::fs::PermissionsExt;

use clap::Parser;

use super::*;
use crate::command::testing::{Said, piped, typed};
use crate::login::stored::StoredHash;
use crate::secret::Secret;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    users: UsersArgs,
}

struct House(tempfile::TempDir);

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("v.toml"), "nonsense = true\n[login]\nusers = \"people.toml\"\n").unwrap();
        Self(folder)
    }

    fn args(&self, args: &str) -> UsersArgs {
        let config = self.0.path().join("v.toml");
        let words = ["users"].into_iter().chain(args.split(' ')).chain(["--config", config.to_str().unwrap()]);
        Cli::try_parse_from(words).unwrap().users
    }

    fn say(&self, args: &str, input: &str) -> Said {
        piped(input.as_bytes(), |console| users(&self.args(args), console))
    }

    fn people(&self) -> PathBuf {
        self.0.path().join("people.toml")
    }

    fn users(&self) -> Users {
        let (text, _) = file::read(&self.people()).unwrap();
        file::parse(&self.people(), &text).unwrap()
    }

    fn takes(&self, user: &str, password: &str) -> bool {
        self.users()[user].password.matches(&Secret::new(password.to_owned()), &mut Vec::new())
    }
}

#[test]
fn a_first_user_is_made_and_gets_in() {
    let house = House::new();
    let said = house.say("add alice --groups staff,admins,staff --email a@example.com", "correct horse battery\n");
    assert_eq!((said.exit, said.out.as_str()), (Exit::Done, ""));
    assert!(said.err.starts_with("added alice to "), "{}", said.err);
    assert!(house.takes("alice", "correct horse battery"));
    let alice = &house.users()["alice"];
    assert_eq!(alice.profile.groups.len(), 2);
    assert_eq!(alice.profile.email.as_deref(), Some("a@example.com"));
    assert_eq!(fs::metadata(house.people()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_user_lives_through_all_commands() {
    let house = House::new();
    house.say("add alice", "correct horse battery");
    assert_eq!(house.say("passwd alice", "another fine password").exit, Exit::Done);
    assert!(house.takes("alice", "another fine password") && !house.takes("alice", "correct horse battery"));
    for (command, words, disabled) in [
        ("disable", "is now disabled", true),
        ("disable", "was already disabled", true),
        ("enable", "is now enabled", false),
        ("enable", "was already enabled", false),
    ] {
        let said = house.say(&format!("{command} alice"), "");
        assert!(said.exit == Exit::Done && said.err.contains(words), "{}", said.err);
        assert_eq!(house.users()["alice"].disabled, disabled);
    }
    assert_eq!(house.say("remove alice", "").exit, Exit::Done);
    assert!(house.users().is_empty());
}

#[test]
fn what_cannot_be_done_says_what_to_do_instead() {
    let house = House::new();
    house.say("add alice", "correct horse battery");
    let before = fs::read_to_string(house.people()).unwrap();
    for (command, exit, words) in [
        ("add alice", Exit::Wrong, "there is a user \"alice\" already\n  hint: set a new password with"),
        ("passwd bob", Exit::Wrong, "there is no user \"bob\"\n  hint: `vestibule users list` shows"),
        ("disable bob", Exit::Wrong, "there is no user"),
        ("enable bob", Exit::Wrong, "there is no user"),
        ("remove bob", Exit::Wrong, "there is no user"),
        ("passwd alice", Exit::Failed, "is shorter than 8 characters; nothing was changed"),
    ] {
        let said = house.say(command, "short");
        assert!(said.exit == exit && said.err.contains(words), "{command}: {}", said.err);
    }
    assert_eq!(fs::read_to_string(house.people()).unwrap(), before);
    let nobody = House::new();
    assert_eq!(nobody.say("remove bob", "").exit, Exit::Wrong);
    assert!(!nobody.people().exists());
}

#[test]
fn nobody_types_a_password_for_nothing() {
    let house = House::new();
    house.say("add alice", "correct horse battery");
    for command in ["add alice", "passwd bob"] {
        assert_eq!(typed(&[], |console| users(&house.args(command), console)).exit, Exit::Wrong, "{command}");
    }
    let twice = ["another fine password"; 2];
    assert_eq!(typed(&twice, |console| users(&house.args("passwd alice"), console)).exit, Exit::Done);
    assert!(house.takes("alice", "another fine password"));
}

#[test]
fn the_list_is_data() {
    let house = House::new();
    let empty = house.say("list --json", "");
    assert_eq!((empty.exit, empty.out.as_str()), (Exit::Done, "[]\n"));
    assert!(house.say("list", "").err.contains("there are no users yet"));
    house.say("add alice --groups staff,admins", "correct horse battery");
    house.say("add bo", "correct horse battery");
    house.say("disable bo", "");
    assert_eq!(house.say("list", "").out, "alice  enabled   staff,admins\nbo     disabled\n");
    let json: serde_json::Value = serde_json::from_str(&house.say("list --json", "").out).unwrap();
    assert_eq!(json[0]["groups"], json!(["staff", "admins"]));
    assert_eq!((&json[1]["disabled"], &json[1]["password"]), (&json!(true), &json!("argon2id")));
    assert!(!json.to_string().contains("$argon2id"), "hashes are not for lists");
}

#[test]
fn a_plain_text_password_can_be_set_right() {
    let house = House::new();
    fs::write(house.people(), "[[user]]\nname = \"alice\"\npassword = \"hunter2\" # oh\n").unwrap();
    fs::set_permissions(house.people(), fs::Permissions::from_mode(0o600)).unwrap();
    let said = house.say("list", "");
    assert!(said.exit == Exit::Wrong && said.err.contains("is not a password hash"), "{}", said.err);
    assert_eq!(house.say("passwd alice", "correct horse battery").exit, Exit::Done);
    assert!(StoredHash::parse(house.users()["alice"].password.as_str()).is_ok());
    assert!(fs::read_to_string(house.people()).unwrap().ends_with(" # oh\n"));
}

#[test]
fn names_that_are_none_are_a_wrong_command_line() {
    for args in [
        &["users", "add", "a,b"][..],
        &["users", "add", "a", "--email", "x\ny"],
        &["users", "add", "a", "--groups", "x,"],
    ] {
        assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
    }
}

#[test]
fn the_configuration_says_where_the_users_are_even_if_it_is_not_finished() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("v.toml");
    let says = |text: &str| {
        fs::write(&config, text).unwrap();
        users_path(&config).map_err(|problems| problems.to_string())
    };
    assert_eq!(says("").unwrap(), folder.path().join("users.toml"));
    assert_eq!(says("[login]\nhash_queue = 3\n[tsl]\n").unwrap(), folder.path().join("users.toml"));
    assert_eq!(says("[login]\nusers = \"/x/y\"").unwrap(), Path::new("/x/y"));
    assert!(says("[login\nusers = 3").unwrap_err().contains("v.toml:1:"));
    assert!(says("[login]\nusers = 3").unwrap_err().contains("v.toml:2:9: `users` takes a path"));
    assert!(says("login = 3").unwrap_err().contains("v.toml:1:9: `login` is a table"));
    let missing = users_path(Path::new("/nowhere/v.toml")).unwrap_err().to_string();
    assert!(missing.contains("cannot read the configuration /nowhere/v.toml"), "{missing}");
}

#[test]
fn help_says_what_each_command_does_with_an_example() {
    for (command, words) in [
        ("", "Add, change and list the users"),
        ("add", "Add a user; the password is asked for"),
        ("passwd", "Set a user's password"),
        ("disable", "Keep a user out"),
        ("enable", "Let a disabled user in again"),
        ("remove", "Remove a user"),
        ("list", "List the users"),
    ] {
        let args = ["users", command, "--help"].into_iter().filter(|word| !word.is_empty());
        let help = Cli::try_parse_from(args).err().unwrap().to_string();
        assert!(help.starts_with(words) && help.contains("Example") && help.contains("vestibule users"), "{help}");
    }
}
