//! One try to sign in with a name and a password, and what a way in may say to it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use crate::clock::Moment;
use crate::identity::Identity;
use crate::secret::Secret;

/// The longest password and the longest user name, in bytes. Longer ones are rejected before anything is hashed.
pub const MAX_BYTES: usize = 1024;

/// A name and a password, as they were typed, and where they come from.
#[derive(Clone, Debug)]
pub struct PasswordAttempt {
    /// The name as typed; nobody has checked it.
    pub user: String,
    /// The password as typed.
    pub password: Secret<String>,
    /// The client's address.
    pub address: IpAddr,
    /// Whether the browser carries proof that this user signed in with it before.
    pub known_device: bool,
}

impl PasswordAttempt {
    /// Whether name or password is longer than anybody's can be.
    pub fn is_too_long(&self) -> bool {
        self.user.len() > MAX_BYTES || self.password.expose().len() > MAX_BYTES
    }
}

/// What a way in says about a name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are right, and this is who it is.
    Accept(Identity),
    /// The name is known here, and it may not come in with this password.
    Reject,
    /// The name is not known here; another way in may know it.
    NotMine,
}

/// It could not be found out whether the password is right. Never a "no".
#[derive(Debug, thiserror::Error)]
pub enum LoginDown {
    /// Too much to do right now.
    #[error("too many passwords are waiting to be checked")]
    Busy {
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// Something that should work does not.
    #[error("passwords cannot be checked: {what}")]
    Broken {
        /// What does not work.
        what: &'static str,
        /// Why, if something else said so.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// A future in a box, as a trait object must return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way in that is asked one question, name and password, and gives one answer.
///
/// An implementation must not answer `Reject` or `NotMine` because something is out of order (that is [`LoginDown`]),
/// must spend as much on a wrong password as on a right one, and need not spend anything on a name it does not know:
/// who asks does that, once. Throttling is not its business. It may be dropped half-way.
pub trait PasswordCheck: Send + Sync {
    /// Asks. `attempt` is not too long.
    fn check<'a>(&'a self, attempt: &'a PasswordAttempt, now: Moment) -> BoxFuture<'a, Result<Verdict, LoginDown>>;
}
