use std::os::unix::fs::symlink;

use super::*;
use crate::names::Group;

const FILE: &str = "# The people of the house.\n\n# since 2021\n[[user]]\nname = \"alice\" # she\n\
                    password   =   \"old\" # by hand\ngroups = [\n  \"staff\", # all\n]\n\n\
                    # on leave\n[[user]]\nname = \"bob\"\npassword = \"b\"\n# the end\n";

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

/// Writes `before`, changes it, and says what stands there afterwards.
fn changed(
    before: &str,
    change: impl FnOnce(&mut UsersDocument) -> Result<(), EditError>,
) -> Result<String, EditError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    fs::write(&path, before).unwrap();
    edit(&path, false, change)?;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    Ok(fs::read_to_string(&path).unwrap())
}

#[test]
fn a_new_password_changes_nothing_else() {
    let after = changed(FILE, |users| users.set_password(&name("alice"), "new")).unwrap();
    assert_eq!(after, FILE.replace("\"old\"", "\"new\""));
}

#[test]
fn a_password_is_replaced_only_if_it_is_still_the_old_one() {
    let after = changed(FILE, |users| {
        assert!(users.replace_password(&name("alice"), "old", "new")?);
        assert!(!users.replace_password(&name("bob"), "old", "new")?);
        Ok(())
    });
    assert_eq!(after.unwrap(), FILE.replace("\"old\"", "\"new\""));
}

#[test]
fn disabling_and_enabling_leaves_the_file_as_it_was() {
    let after = changed(FILE, |users| {
        assert!(users.set_disabled(&name("bob"), true)?);
        assert!(!users.set_disabled(&name("bob"), true)?);
        Ok(())
    });
    let disabled = FILE.replace("password = \"b\"\n", "password = \"b\"\ndisabled = true\n");
    assert_eq!(after.unwrap(), disabled);
    let after = changed(&disabled, |users| users.set_disabled(&name("bob"), false).map(drop));
    assert_eq!(after.unwrap(), FILE);
}

#[test]
fn a_user_goes_with_the_comment_above_and_no_other() {
    let after = changed(FILE, |users| users.remove(&name("alice"))).unwrap();
    let expected = "# The people of the house.\n\n# on leave\n[[user]]\nname = \"bob\"\npassword = \"b\"\n# the end\n";
    assert_eq!(after, expected);
    let after = changed(FILE, |users| users.remove(&name("bob"))).unwrap();
    assert!(after.starts_with(FILE.split("\n# on leave").next().unwrap()) && after.ends_with("# the end\n"), "{after}");
    assert!(!after.contains("bob") && !after.contains("on leave"));
}

#[test]
fn a_new_user_stands_at_the_end() {
    let profile = Profile {
        name: Some("C \"quoted\" é".into()),
        email: Some("c@example.com".into()),
        groups: [Group::parse("a").unwrap(), Group::parse("b").unwrap()].into(),
    };
    let after = changed(FILE, |users| users.add(&name("carol"), "hash", &profile)).unwrap();
    let added = "\n[[user]]\nname = \"carol\"\npassword = \"hash\"\n\
                 display_name = 'C \"quoted\" é'\nemail = \"c@example.com\"\ngroups = [\"a\", \"b\"]\n";
    assert_eq!(after, format!("{FILE}{added}"));
}

#[test]
fn the_first_user_makes_the_file_and_the_last_one_leaves_it_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    edit(&path, true, |users| users.add(&name("alice"), "hash", &Profile::default())).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("{HEADER}\n[[user]]\nname = \"alice\"\npassword = \"hash\"\n"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    edit(&path, false, |users| users.remove(&name("alice"))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().trim(), HEADER.trim());
    assert_eq!(changed("[[user]]\nname = \"a\"\n", |users| users.remove(&name("a"))).unwrap(), HEADER);
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let add = |who: &str| {
        let who = name(who);
        move |users: &mut UsersDocument| users.add(&who, "hash", &Profile::default())
    };
    assert!(matches!(changed(FILE, add("bob")), Err(EditError::Exists(_))));
    assert!(matches!(changed(FILE, |users| users.remove(&name("eve"))), Err(EditError::Unknown(_))));
    assert!(matches!(changed("a = ", add("bob")), Err(EditError::Broken(_))));
    let Err(EditError::Broken(said)) = changed("password = \"$2b$hash\n", add("bob")) else { panic!("it is broken") };
    assert!(!said.to_string().contains("hash"), "{said}");
    assert!(matches!(changed("user = [{ name = \"a\" }]", add("bob")), Err(EditError::Shape)));
    let twice = "[[user]]\nname = \"a\"\n[[user]]\nname = \"a\"\n";
    assert!(matches!(changed(twice, |users| users.remove(&name("a"))), Err(EditError::Twice(_))));
    let missing = edit(Path::new("/nowhere/users.toml"), false, |_| Ok(()));
    assert!(matches!(missing, Err(EditError::Io { .. })));
}

#[test]
fn a_link_stays_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real.toml"), folder.path().join("users.toml"));
    fs::write(&real, FILE).unwrap();
    symlink(&real, &link).unwrap();
    edit(&link, false, |users| users.remove(&name("bob"))).unwrap();
    assert!(link.is_symlink());
    assert!(!fs::read_to_string(&real).unwrap().contains("bob"));
    fs::remove_file(&real).unwrap();
    assert!(edit(&link, true, |users| users.add(&name("a"), "h", &Profile::default())).is_err(), "a link to nowhere");
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let who = name(&format!("user{number}"));
                edit(path, true, |users| users.add(&who, "hash", &Profile::default())).unwrap();
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches("[[user]]").count(), 8);
    assert_eq!(text.matches(HEADER).count(), 1);
}
