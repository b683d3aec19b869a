//! Changes `users.toml` in place, keeping comments and layout: one writer at a time, and readers see the old file or
//! the new one, never half of it.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TomlError, value};

use super::file::Profile;
use crate::names::UserName;
use crate::problems::{Place, Problem, Source};

const PRIVATE: u32 = 0o600;
const HEADER: &str = "# Who may sign in. Change this file with an editor or with `vestibule users`.\n";
/// Another writer is done within milliseconds; this is for one that hangs.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Reading or writing failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// How it failed.
        source: std::io::Error,
    },
    /// Another program holds the lock.
    #[error("another program has been changing {} for five seconds", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is no TOML.
    #[error("{0}")]
    Broken(Problem),
    /// Users are written as an inline list.
    #[error("`user` is not a list of [[user]] tables; write it as one to change it from here")]
    Shape,
    /// No such user.
    #[error("there is no user {0:?}")]
    Unknown(UserName),
    /// The name is taken.
    #[error("there is a user {0:?} already")]
    Exists(UserName),
    /// The name stands in the file twice.
    #[error("the user {0:?} stands in the file more than once; remove one of the two with an editor")]
    Twice(UserName),
}

/// The file while it is being changed.
pub struct UsersDocument(DocumentMut);

/// Changes the file with `change`, or leaves it as it is if that fails. A file that does not exist is as good as an
/// empty one if `create` is set.
///
/// # Errors
/// Those of `change`, and [`EditError`] if the file cannot be read, locked or replaced.
pub fn edit<T>(
    path: &Path,
    create: bool,
    change: impl FnOnce(&mut UsersDocument) -> Result<T, EditError>,
) -> Result<T, EditError> {
    // A link stays a link: what it leads to is replaced.
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create && !path.is_symlink() => path.to_owned(),
        Err(source) => return Err(EditError::Io { what: "find", path: path.to_owned(), source }),
    };
    let _lock = lock(&target)?;
    let text = match fs::read_to_string(&target) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => HEADER.to_owned(),
        Err(source) => return Err(EditError::Io { what: "read", path: target, source }),
    };
    let mut document = UsersDocument(text.parse().map_err(|error| broken(&target, &text, &error))?);
    let done = change(&mut document)?;
    let mut text = document.0.to_string();
    // An empty file looks like one that an editor is about to fill; this one is meant.
    if text.trim().is_empty() {
        text = HEADER.to_owned();
    }
    replace(&target, &text).map_err(|source| EditError::Io { what: "write", path: target, source })?;
    Ok(done)
}

/// The parser's own words show the line, and on it may be a password hash.
fn broken(path: &Path, text: &str, error: &TomlError) -> EditError {
    let source = Source::confidential(path, text.to_owned());
    EditError::Broken(Problem::at(&Place::new(&source, error.span().unwrap_or_default()), error.message().trim()))
}

/// Locks the folder, which unlike the file is not replaced, and in which no lock file has to be left behind. The lock
/// ends with the returned handle.
fn lock(target: &Path) -> Result<File, EditError> {
    let failed = |source| EditError::Io { what: "lock the folder of", path: target.to_owned(), source };
    let folder = File::open(folder(target)).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    Err(EditError::Locked { path: target.to_owned() })
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn replace(target: &Path, text: &str) -> std::io::Result<()> {
    let folder = folder(target);
    let mut new = tempfile::Builder::new().prefix(".users-").tempfile_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(fs::Permissions::from_mode(PRIVATE))?;
    if let Ok(old) = fs::metadata(target) {
        let ours = new.as_file().metadata()?;
        if old.uid() != ours.uid() {
            // Root changes the file of the account that the server runs as, which must still be able to read it.
            fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
        } else if old.gid() != ours.gid() {
            // Nobody reads it by its group; keeping that is a courtesy, and not always allowed.
            let _ = fchown(new.as_file(), None, Some(old.gid()));
        }
    }
    new.as_file().sync_all()?;
    new.persist(target).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

impl UsersDocument {
    /// Adds a user at the end.
    ///
    /// # Errors
    /// The name is taken.
    pub fn add(&mut self, name: &UserName, password: &str, profile: &Profile) -> Result<(), EditError> {
        if self.positions(name)?.next().is_some() {
            return Err(EditError::Exists(name.clone()));
        }
        let mut table = Table::new();
        table.insert("name", value(name.as_str()));
        table.insert("password", value(password));
        for (key, text) in [("display_name", &profile.name), ("email", &profile.email)] {
            if let Some(text) = text {
                table.insert(key, value(&**text));
            }
        }
        if !profile.groups.is_empty() {
            table.insert("groups", value(profile.groups.iter().map(crate::names::Group::as_str).collect::<Array>()));
        }
        // What stands at the end of the file stays where it is: above the new user.
        let above = self.0.trailing().as_str().unwrap_or_default().to_owned();
        let gap = if above.is_empty() && !self.0.contains_key("user") { "" } else { "\n" };
        self.0.set_trailing("");
        table.decor_mut().set_prefix(format!("{above}{gap}"));
        self.0.entry("user").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        self.tables_mut()?.push(table);
        Ok(())
    }

    /// Sets what stands instead of the password.
    ///
    /// # Errors
    /// No such user.
    pub fn set_password(&mut self, name: &UserName, password: &str) -> Result<(), EditError> {
        set(self.table_mut(name)?, "password", password.into());
        Ok(())
    }

    /// Replaces a stored password only if it is still `old`. Whether it was.
    ///
    /// # Errors
    /// No such user.
    pub fn replace_password(&mut self, name: &UserName, old: &str, new: &str) -> Result<bool, EditError> {
        let table = self.table_mut(name)?;
        let unchanged = table.get("password").and_then(Item::as_str) == Some(old);
        if unchanged {
            set(table, "password", new.into());
        }
        Ok(unchanged)
    }

    /// Disables or enables. Whether that changed anything.
    ///
    /// # Errors
    /// No such user.
    pub fn set_disabled(&mut self, name: &UserName, disabled: bool) -> Result<bool, EditError> {
        let table = self.table_mut(name)?;
        let was = table.get("disabled").and_then(Item::as_bool).unwrap_or(false);
        if disabled {
            set(table, "disabled", true.into());
        } else {
            table.remove("disabled");
        }
        Ok(was != disabled)
    }

    /// Removes.
    ///
    /// # Errors
    /// No such user.
    pub fn remove(&mut self, name: &UserName) -> Result<(), EditError> {
        let at = self.position(name)?;
        let users = self.tables_mut()?;
        let above = users.get(at).and_then(|table| table.decor().prefix()?.as_str()).unwrap_or_default();
        // The comment right above a user goes with the user; what is set off by an empty line does not.
        let kept = above.rfind("\n\n").map_or("", |end| &above[..=end]).to_owned();
        users.remove(at);
        if let Some(next) = users.get_mut(at) {
            let own = next.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
            let own = if kept.is_empty() && at == 0 { own.trim_start_matches('\n') } else { own };
            let joined = format!("{kept}{own}");
            next.decor_mut().set_prefix(joined);
        } else {
            let trailing = format!("{kept}{}", self.0.trailing().as_str().unwrap_or_default());
            self.0.set_trailing(trailing);
        }
        if self.tables_mut()?.is_empty() {
            self.0.remove("user");
        }
        Ok(())
    }

    fn positions(&self, name: &UserName) -> Result<impl Iterator<Item = usize>, EditError> {
        let tables = match self.0.get("user") {
            None => None,
            Some(item) => Some(item.as_array_of_tables().ok_or(EditError::Shape)?),
        };
        let is_it = |table: &Table| table.get("name").and_then(Item::as_str) == Some(name.as_str());
        Ok(tables
            .into_iter()
            .flat_map(ArrayOfTables::iter)
            .enumerate()
            .filter(move |(_, table)| is_it(table))
            .map(|(at, _)| at))
    }

    fn position(&self, name: &UserName) -> Result<usize, EditError> {
        let mut positions = self.positions(name)?;
        match (positions.next(), positions.next()) {
            (None, _) => Err(EditError::Unknown(name.clone())),
            (Some(at), None) => Ok(at),
            (Some(_), Some(_)) => Err(EditError::Twice(name.clone())),
        }
    }

    fn table_mut(&mut self, name: &UserName) -> Result<&mut Table, EditError> {
        let at = self.position(name)?;
        self.tables_mut()?.get_mut(at).ok_or_else(|| EditError::Unknown(name.clone()))
    }

    fn tables_mut(&mut self) -> Result<&mut ArrayOfTables, EditError> {
        self.0.get_mut("user").and_then(Item::as_array_of_tables_mut).ok_or(EditError::Shape)
    }
}

/// Sets a value and leaves the white space and the comment around it.
fn set(table: &mut Table, key: &str, mut new: toml_edit::Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            table.insert(key, Item::Value(new));
        }
    }
}

#[cfg(test)]
mod tests;
