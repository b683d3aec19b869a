//! Brings outdated password hashes up to date, one at a time, when their owners sign in: only then is the password known.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;

use super::file::Users;
use super::{LocalUsers, edit, held};
use crate::login::stored::StoredHash;
use crate::names::UserName;
use crate::secret::Secret;

impl LocalUsers {
    /// Waits for a hash that is being brought up to date, before the end.
    pub async fn finish(&self) {
        let running = held(&self.upgrade).take();
        if let Some(running) = running {
            let _ = running.await;
        }
    }

    /// Replaces an outdated hash, now that the password is known; after the sign-in, which does not wait for it.
    pub(super) fn upgrade(&self, name: UserName, old: Arc<StoredHash>, password: Secret<String>) {
        if self.unwritable.load(Ordering::Relaxed) == self.generation() {
            return;
        }
        let mut upgrade = held(&self.upgrade);
        let Some(me) = self.me.upgrade().filter(|_| upgrade.as_ref().is_none_or(JoinHandle::is_finished)) else {
            return;
        };
        *upgrade = Some(tokio::spawn(async move {
            let Ok(new) = me.hasher.hash(&password).await else {
                return;
            };
            let written = tokio::task::spawn_blocking(move || me.write_upgrade(&name, &old, &new)).await;
            if let Err(error) = written {
                tracing::error!(%error, "writing a password hash panicked");
            }
        }));
    }

    fn write_upgrade(&self, name: &UserName, old: &StoredHash, new: &str) {
        // Nobody reads the file between its change and ours in memory: that would look like a new password, which ends
        // sessions.
        let _quiet = held(&self.last);
        match edit::edit(&self.path, false, |users| users.replace_password(name, old.as_str(), new)) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(user = %name, error, "a password hash is outdated and could not be replaced");
                self.unwritable.store(self.generation(), Ordering::Relaxed);
                return;
            }
        }
        let Ok(new) = StoredHash::parse(new) else {
            return;
        };
        let mut users = Users::clone(&self.users.load());
        if let Some(user) = users.get_mut(name).filter(|user| *user.password == *old) {
            user.password = Arc::new(new);
            self.users.store(Arc::new(users));
            tracing::info!(user = %name, "an outdated password hash was replaced");
        }
    }
}
