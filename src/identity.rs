//! Who somebody is, as a way in proved it.

use crate::clock::Moment;
use crate::names::{Group, UserName};

/// A person who signed in. It says who, how proven and when; never with what secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name they sign in with.
    pub user: UserName,
    /// The name to show, if there is one.
    pub name: Option<String>,
    /// The mail address, if there is one.
    pub email: Option<String>,
    /// The groups they belong to, in the order of their source.
    pub groups: Vec<Group>,
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
