//! The users file as a way in: people, their password hashes, and what changed while the server runs.

mod changes;
pub mod edit;
pub mod file;
mod upgrade;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;

pub use self::changes::Change;
use self::file::{Stamp, Unreadable, User, Users};
use super::attempt::{BoxFuture, LoginDown, PasswordAttempt, PasswordCheck, Verdict};
use super::hashing::Hasher;
use super::stored::StoredHash;
use crate::clock::Moment;
use crate::crypto::TagKey;
use crate::identity::{AuthMethod, Identity};
use crate::names::UserName;
use crate::problems::{Problem, Problems};

/// How long a reading of the file counts as fresh.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// File systems tell times of change apart only so far: a file that changed so recently is read again.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// The users file, as it was last understood.
pub struct LocalUsers {
    path: PathBuf,
    hasher: Arc<Hasher>,
    users: ArcSwap<Users>,
    generation: AtomicU64,
    /// When the file has to be looked at again, in milliseconds since the Unix epoch.
    next_look: AtomicU64,
    last: Mutex<LastLook>,
    /// The one hash that is being brought up to date; further ones wait for the next sign-in.
    upgrade: Mutex<Option<JoinHandle<()>>>,
    /// The generation of the file that could not be written. Trying again at each sign-in would only fill the log.
    unwritable: AtomicU64,
    stand_in_key: TagKey,
    me: Weak<LocalUsers>,
}

/// What the file looked like when it was last looked at.
#[derive(Debug, Default)]
struct LastLook {
    /// None: it was not there, or never looked at.
    stamp: Option<Stamp>,
    /// Equal stamps mean equal content.
    settled: bool,
    text: String,
    /// What kept it from being read, to say it once.
    failure: Option<(Option<Stamp>, String)>,
}

impl LocalUsers {
    /// Reads the file. `config` is the configuration that names it, for the hint to whoever has no users yet.
    ///
    /// # Errors
    /// All mistakes in the file; that it is not private; that there is nobody in it.
    pub fn open(path: &Path, hasher: Arc<Hasher>, config: &Path) -> Result<Arc<Self>, Problems> {
        let (text, users) = match file::read(path) {
            Ok((text, _)) => {
                let users = file::parse(path, &text)?;
                (text, users)
            }
            Err(Unreadable::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Default::default(),
            Err(unreadable) => return Err(unreadable.problem(path).into()),
        };
        if users.is_empty() {
            return Err(nobody(path, config).into());
        }
        Ok(Self::new(path, text, users, hasher))
    }

    /// Users that stand in no file.
    ///
    /// # Errors
    /// As [`LocalUsers::open`], for the text.
    pub(super) fn in_memory(text: &str, hasher: Arc<Hasher>) -> Result<Arc<Self>, Problems> {
        let nowhere = Path::new("");
        let users = file::parse(nowhere, text)?;
        let users = Self::new(nowhere, String::new(), users, hasher);
        users.next_look.store(u64::MAX, Ordering::Relaxed);
        Ok(users)
    }

    fn new(path: &Path, text: String, users: Users, hasher: Arc<Hasher>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            path: path.to_owned(),
            hasher,
            users: ArcSwap::from_pointee(users),
            generation: AtomicU64::new(1),
            next_look: AtomicU64::new(0),
            last: Mutex::new(LastLook { text, ..LastLook::default() }),
            upgrade: Mutex::new(None),
            unwritable: AtomicU64::new(0),
            stand_in_key: TagKey::generate(),
            me: me.clone(),
        })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Counts the readings that differed from the one before.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Who `user` is now, having proved it at `authenticated_at`. None: there is no such user, or it is disabled.
    pub fn current(&self, user: &UserName, authenticated_at: Moment) -> Option<Identity> {
        let users = self.users.load();
        let found = users.get(user).filter(|found| !found.disabled)?;
        Some(identity(user, found, authenticated_at))
    }

    /// The stored password of some user, always the same for the same unknown name. Comparing with it takes as long as
    /// for one of those who exist, also while some of the hashes are bcrypt's or of another cost than ours.
    pub(crate) fn stand_in(&self, unknown: &str) -> Option<Arc<StoredHash>> {
        let users = self.users.load();
        let tag = self.stand_in_key.tag(&[unknown.as_bytes()]);
        let number = usize::from_be_bytes(*tag.first_chunk().expect("a tag is longer than a number"));
        let user = users.values().nth(number.checked_rem(users.len())?)?;
        Some(Arc::clone(&user.password))
    }

    /// What differs from `before`, another users file, as a reading of this one.
    pub fn changes_since(&self, before: &LocalUsers) -> Vec<Change> {
        changes::between(&before.users.load(), &self.users.load())
    }

    /// Looks whether the file changed, and reads it if so: to be called by every request, and cheap unless a look is
    /// due. A file that is broken, unreadable or gone changes nothing but the log: an outage is never a "no".
    pub fn refresh(&self, now: Moment) -> Vec<Change> {
        let due = self.next_look.load(Ordering::Relaxed);
        let next = now.plus(LOOK_EVERY).unix_millis();
        if now.unix_millis() < due
            || self.next_look.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return Vec::new();
        }
        // Held by somebody who looks right now, or writes: no reason to wait.
        let Ok(mut last) = self.last.try_lock() else {
            return Vec::new();
        };
        self.look(&mut last, now)
    }

    fn look(&self, last: &mut LastLook, now: Moment) -> Vec<Change> {
        let on_disk = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        if on_disk == last.stamp && last.settled {
            return Vec::new();
        }
        match file::read(&self.path) {
            Ok((text, stamp)) => {
                last.stamp = Some(stamp);
                last.settled = now.unix_millis() > stamp.changed_at().saturating_add(millis(SETTLED_AFTER));
                last.failure = None;
                if last.text == text {
                    return Vec::new();
                }
                last.text = text;
                self.take(&last.text)
            }
            Err(unreadable) => {
                let failure = Some((on_disk, unreadable.to_string()));
                if last.failure != failure {
                    tracing::error!(
                        path = %self.path.display(),
                        error = %unreadable,
                        "the users file cannot be read; the users of before stay"
                    );
                }
                // Not settled: what keeps a file from being read may go away without a trace on it.
                *last = LastLook { stamp: on_disk, failure, ..LastLook::default() };
                Vec::new()
            }
        }
    }

    /// Takes over a new text, if it makes sense.
    fn take(&self, text: &str) -> Vec<Change> {
        // An editor that writes in place empties the file first.
        if text.trim().is_empty() {
            tracing::error!(path = %self.path.display(), "the users file is empty; the users of before stay");
            return Vec::new();
        }
        let users = match file::parse(&self.path, text) {
            Ok(users) => users,
            Err(problems) => {
                // Only the sentences: the lines of this file are not for the log.
                let sentences: Vec<_> = problems.iter().map(Problem::message).collect();
                tracing::error!(
                    path = %self.path.display(),
                    problems = sentences.join("; "),
                    "the users file is broken; the users of before stay (`vestibule check` shows where)"
                );
                return Vec::new();
            }
        };
        let before = self.users.load_full();
        if *before == users {
            return Vec::new();
        }
        let changes = changes::between(&before, &users);
        tracing::info!(path = %self.path.display(), users = users.len(), "the users file was read again");
        self.users.store(Arc::new(users));
        self.generation.fetch_add(1, Ordering::AcqRel);
        changes
    }

    async fn compare(&self, attempt: &PasswordAttempt, now: Moment) -> Result<Verdict, LoginDown> {
        let Ok(name) = UserName::parse(&attempt.user) else {
            return Ok(Verdict::NotMine);
        };
        // The file may change while the password is being compared, and an old password must not win that race. The
        // second round is for that; a third one would mean that somebody changes it all the time.
        for _ in 0..2 {
            let Some(user) = self.users.load().get(&name).cloned() else {
                return Ok(Verdict::NotMine);
            };
            // Of a disabled user, too: how long the answer takes says nothing about who is disabled.
            let outcome = self.hasher.verify(&user.password, &attempt.password).await?;
            if !outcome.matches || user.disabled {
                return Ok(Verdict::Reject);
            }
            let users = self.users.load();
            let Some(found) = users.get(&name).filter(|found| !found.disabled) else {
                return Ok(Verdict::Reject);
            };
            if found.password == user.password {
                if outcome.outdated {
                    self.upgrade(name.clone(), user.password, attempt.password.clone());
                }
                return Ok(Verdict::Accept(identity(&name, found, now)));
            }
        }
        Err(LoginDown::Busy { retry_after: Duration::from_secs(1) })
    }
}

impl PasswordCheck for LocalUsers {
    fn check<'a>(&'a self, attempt: &'a PasswordAttempt, now: Moment) -> BoxFuture<'a, Result<Verdict, LoginDown>> {
        Box::pin(self.compare(attempt, now))
    }
}

fn nobody(path: &Path, config: &Path) -> Problem {
    Problem::general(format!("there are no users yet: nobody could sign in ({})", path.display()))
        .hint(format!("make the first one with `vestibule users add NAME --config {}`", config.display()))
}

fn identity(name: &UserName, user: &User, authenticated_at: Moment) -> Identity {
    Identity {
        user: name.clone(),
        name: user.profile.name.clone(),
        email: user.profile.email.clone(),
        groups: user.profile.groups.clone(),
        method: AuthMethod::Password,
        authenticated_at,
    }
}

/// A panic while one of these locks is held leaves what it guards as it was.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
