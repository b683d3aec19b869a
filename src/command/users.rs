//! `vestibule users …`: changes the users file in place. A running server takes the change up by itself.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Console, Exit, find_config, password};
use crate::login::local::edit::{EditError, edit};
use crate::login::local::file::{self, Profile, Users};
use crate::login::settings::DEFAULT_USERS;
use crate::login::stored;
use crate::names::{Group, UserName};
use crate::problems::{Problem, Problems, Source};
use crate::section::TomlFile;

/// Add, change and list the users of the users file
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  vestibule users add alice --groups staff,admins\n  vestibule users list --json")]
pub struct UsersArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: UsersCommand,
}

/// What can be done with the users file.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum UsersCommand {
    /// Add a user; the password is asked for, or read from a pipe
    #[command(
        after_help = "Examples:\n  vestibule users add alice --groups staff,admins --email alice@example.com\n  \
                            pass show wiki/alice | vestibule users add alice --config vestibule.toml"
    )]
    Add {
        /// Whom.
        #[command(flatten)]
        who: Who,
        /// Groups, separated by commas
        #[arg(long, value_delimiter = ',', value_name = "A,B", value_parser = group)]
        groups: Vec<Group>,
        /// Mail address
        #[arg(long, value_name = "E", value_parser = text)]
        email: Option<String>,
        /// The name to show
        #[arg(long, value_name = "N", value_parser = text)]
        display_name: Option<String>,
    },
    /// Set a user's password, which ends the sessions of the old one
    #[command(after_help = "Example:\n  vestibule users passwd alice")]
    Passwd(Who),
    /// Keep a user out without removing the entry, which ends all sessions
    #[command(after_help = "Example:\n  vestibule users disable alice")]
    Disable(Who),
    /// Let a disabled user in again
    #[command(after_help = "Example:\n  vestibule users enable alice")]
    Enable(Who),
    /// Remove a user, which ends all sessions
    #[command(after_help = "Example:\n  vestibule users remove alice")]
    Remove(Who),
    /// List the users
    #[command(after_help = "Example:\n  vestibule users list --json | jq -r '.[].name'")]
    List {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// A user of a configuration's users file.
#[derive(Clone, Debug, clap::Args)]
pub struct Who {
    /// The user's name
    #[arg(value_name = "NAME", value_parser = UserName::parse)]
    pub name: UserName,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// Which configuration names the users file.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArg {
    /// The configuration [default: vestibule.toml, then /etc/vestibule/vestibule.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

fn group(text: &str) -> Result<Group, String> {
    Group::parse(text).map_err(|why| format!("the group's name {why}"))
}

fn text(text: &str) -> Result<String, String> {
    file::check_text(text).map(|()| text.to_owned()).map_err(|why| format!("it {why}"))
}

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("there is no configuration at the usual places; name it with --config FILE")]
    NoConfig,
    #[error(transparent)]
    Config(#[from] Problems),
    #[error(transparent)]
    Password(#[from] password::NoPassword),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("cannot write the list")]
    Write(#[from] std::io::Error),
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::NoConfig | Self::Config(_) => Exit::Wrong,
            Self::Edit(EditError::Exists(_) | EditError::Unknown(_) | EditError::Twice(_) | EditError::Shape) => {
                Exit::Wrong
            }
            Self::Edit(EditError::Io { .. } | EditError::Locked { .. } | EditError::Broken(_))
            | Self::Password(_)
            | Self::Write(_) => Exit::Failed,
        }
    }

    /// What to do instead.
    fn hint(&self, name: &str) -> Option<String> {
        match self {
            Self::Edit(EditError::Exists(_)) => {
                Some(format!("set a new password with `vestibule users passwd {name}`"))
            }
            Self::Edit(EditError::Unknown(_)) => {
                Some(format!("`vestibule users list` shows who there is; `vestibule users add {name}` makes a new one"))
            }
            _ => None,
        }
    }
}

/// Does it.
pub fn users(args: &UsersArgs, console: &mut Console<'_>) -> Exit {
    let Err(failure) = run(&args.command, console) else {
        return Exit::Done;
    };
    console.complain(&failure);
    let name = match &args.command {
        UsersCommand::Add { who, .. }
        | UsersCommand::Passwd(who)
        | UsersCommand::Disable(who)
        | UsersCommand::Enable(who)
        | UsersCommand::Remove(who) => who.name.as_str(),
        UsersCommand::List { .. } => "NAME",
    };
    if let Some(hint) = failure.hint(name) {
        console.say(format_args!("  hint: {hint}"));
    }
    failure.exit()
}

fn run(command: &UsersCommand, console: &mut Console<'_>) -> Result<(), Failure> {
    match command {
        UsersCommand::Add { who, groups, email, display_name } => {
            let mut unique = Vec::new();
            for group in groups {
                if !unique.contains(group) {
                    unique.push(group.clone());
                }
            }
            add(
                who,
                &Profile {
                    name: display_name.as_deref().map(Into::into),
                    email: email.as_deref().map(Into::into),
                    groups: unique.into(),
                },
                console,
            )
        }
        UsersCommand::Passwd(who) => passwd(who, console),
        UsersCommand::Disable(who) => set_disabled(who, true, console),
        UsersCommand::Enable(who) => set_disabled(who, false, console),
        UsersCommand::Remove(who) => {
            let path = path_of(&who.config)?;
            existing(&path, &who.name)?;
            edit(&path, false, |users| users.remove(&who.name))?;
            console.say(format_args!("removed {} from {}", who.name, path.display()));
            Ok(())
        }
        UsersCommand::List { config, json } => list(&path_of(config)?, *json, console),
    }
}

fn add(who: &Who, profile: &Profile, console: &mut Console<'_>) -> Result<(), Failure> {
    let path = path_of(&who.config)?;
    // Asked before the password is: typing it twice for nothing is annoying.
    if known_users(&path).is_some_and(|users| users.contains_key(&who.name)) {
        return Err(EditError::Exists(who.name.clone()).into());
    }
    let hash = stored::hash_now(&password::ask(console, Some(who.name.as_str()))?);
    edit(&path, true, |users| users.add(&who.name, &hash, profile))?;
    console.say(format_args!("added {} to {}", who.name, path.display()));
    Ok(())
}

fn passwd(who: &Who, console: &mut Console<'_>) -> Result<(), Failure> {
    let path = path_of(&who.config)?;
    existing(&path, &who.name)?;
    let hash = stored::hash_now(&password::ask(console, Some(who.name.as_str()))?);
    edit(&path, false, |users| users.set_password(&who.name, &hash))?;
    console.say(format_args!("{} has a new password; sessions of the old one end", who.name));
    Ok(())
}

fn set_disabled(who: &Who, disabled: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let path = path_of(&who.config)?;
    existing(&path, &who.name)?;
    let changed = edit(&path, false, |users| users.set_disabled(&who.name, disabled))?;
    let state = if disabled { "disabled" } else { "enabled" };
    let now = if changed { "is now" } else { "was already" };
    console.say(format_args!("{} {now} {state}", who.name));
    Ok(())
}

fn list(path: &Path, as_json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let users = match file::read(path) {
        Ok((text, _)) => file::parse(path, &text)?,
        Err(file::Unreadable::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Users::new(),
        Err(unreadable) => return Err(Problems::from(unreadable.problem(path)).into()),
    };
    if as_json {
        let all: Vec<_> = users
            .iter()
            .map(|(name, user)| {
                json!({
                    "name": name.as_str(),
                    "display_name": user.profile.name.as_deref(),
                    "email": user.profile.email.as_deref(),
                    "groups": user.profile.groups.iter().map(Group::as_str).collect::<Vec<_>>(),
                    "disabled": user.disabled,
                    "password": user.password.kind(),
                })
            })
            .collect();
        writeln!(console.out, "{:#}", json!(all))?;
        return Ok(());
    }
    let width = users.keys().map(|name| name.as_str().chars().count()).max().unwrap_or(0);
    for (name, user) in &users {
        let groups: Vec<_> = user.profile.groups.iter().map(Group::as_str).collect();
        let state = if user.disabled { "disabled" } else { "enabled " };
        let line = format!("{:width$}  {state}  {}", name.as_str(), groups.join(","));
        writeln!(console.out, "{}", line.trim_end())?;
    }
    if users.is_empty() {
        console.say(format_args!("there are no users yet in {}", path.display()));
    }
    Ok(())
}

/// Whom the file names, as far as it can be read at all; the change itself decides.
fn known_users(path: &Path) -> Option<Users> {
    let text = std::fs::read_to_string(path).ok()?;
    file::parse(path, &text).ok()
}

/// Says before the password is asked for that there is no such user.
fn existing(path: &Path, name: &UserName) -> Result<(), Failure> {
    match known_users(path) {
        Some(users) if !users.contains_key(name) => Err(EditError::Unknown(name.clone()).into()),
        None if !path.exists() => Err(EditError::Unknown(name.clone()).into()),
        _ => Ok(()),
    }
}

fn path_of(config: &ConfigArg) -> Result<PathBuf, Failure> {
    let config = find_config(config.config.as_deref()).ok_or(Failure::NoConfig)?;
    Ok(users_path(&config)?)
}

/// The users file that a configuration names. Whatever else is wrong with the configuration does not matter.
///
/// # Errors
/// The configuration cannot be read, is no TOML, or `[login] users` is no path.
pub fn users_path(config: &Path) -> Result<PathBuf, Problems> {
    let text = std::fs::read_to_string(config)
        .map_err(|error| Problem::general(format!("cannot read the configuration {}: {error}", config.display())))?;
    let source = Source::new(config, text);
    // Nothing was asked for, so what is wrong is that it is no TOML.
    let syntax = TomlFile::parse(&source).into_problems();
    if !syntax.is_empty() {
        return Err(syntax);
    }
    let file = TomlFile::parse(&source);
    let default = file.folder().join(DEFAULT_USERS);
    let root = file.root();
    let Some(login) = root.table("login") else {
        return if root.has("login") {
            Err(Problem::at(&root.place_of("login"), "`login` is a table").into())
        } else {
            Ok(default)
        };
    };
    match login.path("users") {
        Some(found) => Ok(found.value),
        None if login.has("users") => Err(Problem::at(&login.place_of("users"), "`users` takes a path").into()),
        None => Ok(default),
    }
}

#[cfg(test)]
mod tests;
