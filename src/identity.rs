//! Who somebody is, as a way in proved it.

use std::sync::Arc;

use crate::clock::Moment;
use crate::names::{Group, UserName};

/// A person who signed in. It says who, how proven and when; never with what secret. What is known of a person is shared
/// by all their sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name they sign in with.
    pub user: UserName,
    /// The name to show, if there is one.
    pub name: Option<Arc<str>>,
    /// The mail address, if there is one.
    pub email: Option<Arc<str>>,
    /// The groups they belong to, in the order of their source.
    pub groups: Arc<[Group]>,
    /// How they proved it.
    pub method: AuthMethod,
    /// When they proved it.
    pub authenticated_at: Moment,
}

/// How somebody proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// A password of the users file.
    Password,
}

impl AuthMethod {
    /// The word that `{auth_method}` and the logs show.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
        }
    }
}
