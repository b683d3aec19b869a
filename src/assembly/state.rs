//! The state folder: ours alone, with the key that protects forms across restarts.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::crypto::{self, TagKey};

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {error}; `state_dir` must be a folder that vestibule may write", path.display())]
pub struct StateError {
    path: PathBuf,
    error: io::Error,
}

/// What a start made so far. Dropped before the end of the start, it takes everything away again.
#[derive(Debug, Default)]
pub(super) struct Undo {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Undo {
    pub(super) fn made_file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
    }

    pub(super) fn made_folder(&mut self, path: &Path) {
        self.folders.push(path.to_owned());
    }

    /// The start has succeeded.
    pub(super) fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        // Only what is empty goes.
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

pub(super) struct State<'a> {
    folder: &'a Path,
}

impl<'a> State<'a> {
    /// Makes the folder if it is missing, and makes sure that nobody else can look into it.
    pub(super) fn open(folder: &'a Path, undo: &mut Undo) -> Result<Self, StateError> {
        let failed = |error| StateError { path: folder.to_owned(), error };
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => undo.made_folder(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
                // An existing file of that name would pass the line above.
                fs::read_dir(folder).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(Self { folder })
    }

    /// The key that protects forms; made once, so that a sign-in page survives a restart.
    pub(super) fn form_key(&self, undo: &mut Undo) -> Result<TagKey, StateError> {
        let path = self.folder.join("form.key");
        let read = match File::open(&path) {
            Ok(file) => read_key(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = make_key(&path);
                undo.made_file(&path);
                made
            }
            Err(error) => Err(error),
        };
        read.map(TagKey::new).map_err(|error| StateError { path, error })
    }
}

fn read_key(mut file: File) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    file.read_exact(&mut key).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("it is damaged; remove it and a new one is made"),
        _ => error,
    })?;
    Ok(key)
}

fn make_key(path: &Path) -> io::Result<[u8; 32]> {
    let key = crypto::random();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_private() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("state");
        let mut undo = Undo::default();
        let first = State::open(&folder, &mut undo).unwrap().form_key(&mut undo).unwrap();
        undo.keep();
        let mut undo = Undo::default();
        let second = State::open(&folder, &mut undo).unwrap().form_key(&mut undo).unwrap();
        assert_eq!(first.tag(&[b"x"]), second.tag(&[b"x"]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("form.key"))), (0o700, 0o600));
    }

    #[test]
    fn a_start_that_fails_takes_away_what_it_made() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("state");
        {
            let mut undo = Undo::default();
            State::open(&folder, &mut undo).unwrap().form_key(&mut undo).unwrap();
        }
        assert!(!folder.exists());
    }

    #[test]
    fn a_damaged_key_and_a_file_in_the_folders_place_are_said() {
        let outer = tempfile::tempdir().unwrap();
        let mut undo = Undo::default();
        fs::write(outer.path().join("form.key"), "short").unwrap();
        let state = State::open(outer.path(), &mut undo).unwrap();
        assert!(state.form_key(&mut undo).unwrap_err().to_string().contains("damaged"));
        let file = outer.path().join("form.key");
        assert!(State::open(&file, &mut undo).is_err());
    }
}
