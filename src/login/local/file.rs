//! What `users.toml` says: read, checked, and every mistake noted at once. Writing it is `edit.rs`.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::login::stored::StoredHash;
use crate::names::{Group, UserName};
use crate::problems::{Problem, Problems, Source};
use crate::section::{Section, TomlFile};

const MAX_TEXT_CHARACTERS: usize = 256;

/// What the file says about a person, apart from name and password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The name to show.
    pub name: Option<Arc<str>>,
    /// The mail address.
    pub email: Option<Arc<str>>,
    /// The groups, in the order of the file.
    pub groups: Arc<[Group]>,
}

/// One `[[user]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What stands instead of the password.
    pub password: Arc<StoredHash>,
    /// Who it is.
    pub profile: Profile,
    /// May not sign in.
    pub disabled: bool,
}

/// Everybody in the file.
pub type Users = BTreeMap<UserName, User>;

/// A file's state on disk. Two equal, settled stamps mean the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
    file: (u64, u64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            // Tools that copy files set the time of modification back; nobody can set this one.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            file: (metadata.dev(), metadata.ino()),
        }
    }

    /// Milliseconds since the Unix epoch of the last change.
    pub(crate) fn changed_at(&self) -> u64 {
        let (seconds, nanos) = self.changed;
        u64::try_from(seconds).unwrap_or(0).saturating_mul(1000) + u64::try_from(nanos / 1_000_000).unwrap_or(0)
    }
}

/// Why the file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The hashes in it would be anybody's to try passwords on.
    #[error("it can be read by others (mode {0:03o})")]
    Open(u32),
}

/// Reads the text. A symlink is followed, and what it leads to must be private.
pub(crate) fn read(path: &Path) -> Result<(String, Stamp), Unreadable> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Unreadable::Open(mode));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, Stamp::of(&metadata)))
}

impl Unreadable {
    /// The same for the operator.
    pub(crate) fn problem(&self, path: &Path) -> Problem {
        let problem = Problem::general(format!("cannot use the users file {}: {self}", path.display()));
        match self {
            Self::Io(_) => problem,
            Self::Open(_) => {
                problem.hint(format!("its hashes are for nobody else's eyes: chmod 600 {}", path.display()))
            }
        }
    }
}

/// Checks the text. No user at all is no mistake here.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Users, Problems> {
    // Also what is mistyped next to a password, such as `pasword`, must not be shown.
    let source = Source::confidential(path, text.to_owned());
    let file = TomlFile::parse(&source);
    if file.is_broken() {
        return Err(file.into_problems());
    }
    let mut users = Users::new();
    {
        let root = file.root();
        for section in root.tables("user") {
            read_user(&section, &mut users);
        }
    }
    let problems = file.into_problems();
    if problems.is_empty() { Ok(users) } else { Err(problems) }
}

fn read_user(section: &Section<'_>, users: &mut Users) {
    // Each key is asked for, whatever is wrong with the others: all mistakes are told at once.
    let name = read_name(section, users);
    let password = read_password(section, name.as_ref());
    let profile = Profile {
        name: read_text(section, "display_name").map(Arc::from),
        email: read_text(section, "email").map(Arc::from),
        groups: read_groups(section).into(),
    };
    let disabled = section.boolean("disabled").unwrap_or(false);
    if let (Some(name), Some(password)) = (name, password) {
        users.insert(name, User { password: Arc::new(password), profile, disabled });
    }
}

fn read_name(section: &Section<'_>, users: &Users) -> Option<UserName> {
    if !section.has("name") {
        section.missing("name", "\"alice\"");
    }
    let found = section.string("name")?;
    match UserName::parse(&found.value) {
        Err(why) => {
            section.problem(Problem::at(&found.place, format!("the name {why}")));
            None
        }
        Ok(name) if users.contains_key(&name) => {
            let problem = Problem::at(&found.place, format!("there is another user {:?} above", found.value));
            section.problem(problem.hint("each name may stand in the file once"));
            None
        }
        Ok(name) => Some(name),
    }
}

fn read_password(section: &Section<'_>, name: Option<&UserName>) -> Option<StoredHash> {
    const HINT: &str = "make one with `vestibule hash-password`, or set it with `vestibule users passwd NAME`";
    let who = name.map_or_else(|| "this user".into(), |name| format!("{:?}", name.as_str()));
    if !section.has("password") {
        let problem = Problem::at(&section.place(), format!("the `password` of {who} is missing"));
        section.problem(problem.hint(HINT));
    }
    let found = section.string("password")?;
    StoredHash::parse(&found.value)
        .map_err(|why| {
            section.problem(Problem::at(&section.place(), format!("the password of {who} {why}")).hint(HINT));
        })
        .ok()
}

fn read_text(section: &Section<'_>, key: &'static str) -> Option<String> {
    let found = section.string(key)?;
    if let Err(why) = check_text(&found.value) {
        section.problem(Problem::at(&found.place, format!("`{key}` {why}")));
        return None;
    }
    Some(found.value)
}

/// Whether a text can be a display name or a mail address: these end up in headers and logs.
pub(crate) fn check_text(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        return Err("is empty; leave it out instead");
    }
    if text.chars().any(char::is_control) {
        return Err("has a line break or another control character in it");
    }
    if text.chars().count() > MAX_TEXT_CHARACTERS {
        return Err("is longer than 256 characters");
    }
    Ok(())
}

fn read_groups(section: &Section<'_>) -> Vec<Group> {
    let mut groups = Vec::new();
    for found in section.strings("groups").unwrap_or_default() {
        match Group::parse(&found.value) {
            Ok(group) if groups.contains(&group) => {
                section.problem(Problem::at(&found.place, format!("the group {:?} is listed twice", found.value)));
            }
            Ok(group) => groups.push(group),
            Err(why) => section.problem(Problem::at(&found.place, format!("the group's name {why}"))),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn a_user_is_read_with_all_keys() {
        let text = format!(
            "[[user]]\nname = \"alice\"\npassword = \"{HASH}\"\ndisplay_name = \"Alice Liddell\"\n\
             email = \"alice@example.com\"\ngroups = [\"staff\", \"admins\"]\ndisabled = true\n\
             [[user]]\nname = \"bob\"\npassword = \"{HASH}\"\n"
        );
        let users = parse(Path::new("u.toml"), &text).unwrap();
        let alice = &users["alice"];
        assert_eq!(alice.profile.name.as_deref(), Some("Alice Liddell"));
        assert_eq!(alice.profile.email.as_deref(), Some("alice@example.com"));
        assert_eq!(alice.profile.groups.iter().map(Group::as_str).collect::<Vec<_>>(), ["staff", "admins"]);
        assert!(alice.disabled);
        assert_eq!(users["bob"].profile, Profile::default());
        assert!(!users["bob"].disabled);
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_no_password_is_shown() {
        let text = format!(
            "[[user]]\nname = \"alice\"\npassword = \"hunter2\"\nemial = \"x\"\n\n\
             [[user]]\nname = \"bob,admin\"\npassword = \"{HASH}\"\ngroups = [\"a\", \"a\", \"\"]\n\n\
             [[user]]\nname = \"carol\"\npassword = \"{HASH}\"\nemail = \"a\\u000ab\"\ndisplay_name = \" \"\n\n\
             [[user]]\nname = \"carol\"\n\n[[user]]\npassword = \"{HASH}\"\n[usr]\n"
        );
        let said = parse(Path::new("u.toml"), &text).unwrap_err().to_string();
        for wanted in [
            "u.toml:1:1: the password of \"alice\" is not a password hash",
            "make one with `vestibule hash-password`",
            "u.toml:4:1: there is no key `emial` in [user]",
            "did you mean `email`?",
            "u.toml:7:8: the name has a character",
            "u.toml:9:16: the group \"a\" is listed twice",
            "u.toml:9:21: the group's name is empty",
            "u.toml:14:9: `email` has a line break",
            "u.toml:15:16: `display_name` is empty",
            "u.toml:18:8: there is another user \"carol\" above",
            "u.toml:17:1: the `password` of this user is missing",
            "u.toml:20:1: `name` is missing in [user]",
            "there is no key `usr` at the top",
            "11 problems",
        ] {
            assert!(said.contains(wanted), "{wanted}\n---\n{said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn no_mistake_shows_a_password_hash() {
        for text in [
            format!("[[user]]\nname = \"alice\"\npassword = \"{HASH}\n"),
            format!("[[user]]\nname = \"alice\"\npassword = {HASH}\n"),
            format!("[[user]]\nname = \"alice\"\npasswrod = \"{HASH}\"\n"),
            format!("[[user]]\nname = \"alice\"\npassword = [\"{HASH}\"]\n"),
            format!("[[user]]\nname = \"alice\"\npassword = \"{HASH}\" groups = []\n"),
            format!("[[user]]\nname = \"alice\"\npassword = \"\"\"\n{HASH}\n"),
        ] {
            let said = parse(Path::new("u.toml"), &text).unwrap_err().to_string();
            assert!(said.contains("u.toml:") && !said.contains("c29tZXNhbHQ"), "{said}");
        }
    }
}
