//! Signing in: the ways in, asked in order, behind the throttle. Opening a session for whoever got in is not done here.

pub mod attempt;
pub mod hashing;
pub mod local;
pub mod policy;
pub mod settings;
pub mod stored;
pub mod throttle;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::attempt::{LoginDown, PasswordAttempt};
use self::attempt::{PasswordCheck, Verdict};
use self::hashing::Hasher;
use self::local::LocalUsers;
pub use self::settings::LoginSettings;
use self::stored::HashCost;
use self::throttle::{Throttle, TooMany};
use crate::clock::Moment;
use crate::identity::Identity;
use crate::problems::{Problem, Problems};

/// What came of an attempt to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// This is who it is.
    Accept(Identity),
    /// Name or password is wrong; which of the two is nobody's business.
    Reject,
    /// Not looked at: too many failures before.
    TooMany {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// The ways in, in the order of the configuration.
pub struct Logins {
    ways: Vec<Arc<dyn PasswordCheck>>,
    users: Arc<LocalUsers>,
    hasher: Arc<Hasher>,
    throttle: Arc<Throttle>,
    settings: LoginSettings,
}

impl Logins {
    /// Opens every way in. `config` is the configuration's path, for hints. What is known from `before` is carried over
    /// as far as its settings are the same: counted failures, and the users file, whose [`LocalUsers::refresh`] goes on
    /// telling what changed. [`LocalUsers::changes_since`] tells what another users file changes.
    ///
    /// # Errors
    /// Everything that keeps people from signing in.
    pub fn open(settings: &LoginSettings, config: &Path, before: Option<&Logins>) -> Result<Self, Problems> {
        Self::open_at(settings, config, before, HashCost::default())
    }

    /// As [`Logins::open`], with hashes of another cost: tests have no time.
    ///
    /// # Errors
    /// As [`Logins::open`].
    pub fn open_at(
        settings: &LoginSettings,
        config: &Path,
        before: Option<&Logins>,
        cost: HashCost,
    ) -> Result<Self, Problems> {
        let pool = |settings: &LoginSettings| (settings.hash_threads, settings.hash_queue);
        let hasher = match before.filter(|before| pool(&before.settings) == pool(settings)) {
            Some(before) => Arc::clone(&before.hasher),
            None => Arc::new(
                Hasher::start(settings.hash_threads, settings.hash_queue, cost)
                    .map_err(|error| Problem::general(format!("cannot start a thread for hashing: {error}")))?,
            ),
        };
        // Read in any case, for its mistakes.
        let mut users = LocalUsers::open(&settings.users, Arc::clone(&hasher), config)?;
        let mut throttle = None;
        if let Some(before) = before {
            if before.users.path() == settings.users && Arc::ptr_eq(&before.hasher, &hasher) {
                users = Arc::clone(&before.users);
            }
            throttle = Some(&before.throttle).filter(|throttle| throttle.settings() == settings.throttle).cloned();
        }
        let throttle = throttle.unwrap_or_else(|| Arc::new(Throttle::new(settings.throttle)));
        let ways: Vec<Arc<dyn PasswordCheck>> = vec![Arc::clone(&users) as Arc<dyn PasswordCheck>];
        Ok(Self { ways, users, hasher, throttle, settings: settings.clone() })
    }

    /// Opens the way in for users that stand in no file.
    ///
    /// # Errors
    /// As [`Logins::open`].
    pub fn in_memory(settings: &LoginSettings, users: &str) -> Result<Self, Problems> {
        let hasher = Hasher::start(settings.hash_threads, settings.hash_queue, HashCost::default())
            .map_err(|error| Problem::general(format!("cannot start a thread for hashing: {error}")))?;
        let hasher = Arc::new(hasher);
        let users = LocalUsers::in_memory(users, Arc::clone(&hasher))?;
        let ways: Vec<Arc<dyn PasswordCheck>> = vec![Arc::clone(&users) as Arc<dyn PasswordCheck>];
        let throttle = Arc::new(Throttle::new(settings.throttle));
        Ok(Self { ways, users, hasher, throttle, settings: settings.clone() })
    }

    /// The users file.
    pub fn users(&self) -> &Arc<LocalUsers> {
        &self.users
    }

    /// Throttle first, then the ways in, in order: the first that knows the name decides.
    ///
    /// If the caller goes away half-way, the attempt counts as failed.
    ///
    /// # Errors
    /// A way in could not find out whether the password is right; this counts as no attempt.
    pub async fn sign_in(&self, attempt: &PasswordAttempt, now: Moment) -> Result<SignIn, LoginDown> {
        let ticket = match self.throttle.begin(attempt, now) {
            Ok(ticket) => ticket,
            Err(TooMany { retry_after }) => return Ok(SignIn::TooMany { retry_after }),
        };
        if attempt.is_too_long() {
            return Ok(SignIn::Reject);
        }
        match self.ask(attempt, now).await {
            Ok(Verdict::Accept(identity)) => {
                ticket.succeeded();
                Ok(SignIn::Accept(identity))
            }
            Ok(Verdict::Reject | Verdict::NotMine) => Ok(SignIn::Reject),
            Err(down) => {
                ticket.refund();
                Err(down)
            }
        }
    }

    async fn ask(&self, attempt: &PasswordAttempt, now: Moment) -> Result<Verdict, LoginDown> {
        for way in &self.ways {
            match way.check(attempt, now).await? {
                Verdict::NotMine => {}
                verdict @ (Verdict::Accept(_) | Verdict::Reject) => return Ok(verdict),
            }
        }
        // Else the time of the answer would tell which names exist.
        match self.users.stand_in(&attempt.user) {
            Some(stored) => self.hasher.verify(&stored, &attempt.password).await.map(drop)?,
            None => self.hasher.verify_nothing(&attempt.password).await?,
        }
        Ok(Verdict::NotMine)
    }
}

#[cfg(test)]
mod tests;
