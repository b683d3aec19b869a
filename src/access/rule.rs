//! One rule: the paths and methods it is about, and whom it allows.

use std::fmt;

use crate::identity::Identity;
use crate::names::{Group, UserName};
use crate::web::path::is_under;

/// One `[[app.rule]]`. The first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) paths: Paths,
    pub(super) methods: Methods,
    pub(super) allow: Allow,
}

/// The paths a rule is about, decoded, and folded if the app is blind to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Paths {
    /// A path and everything below it.
    Under(String),
    /// A path and nothing else, not even with a slash at its end.
    Exactly(String),
}

/// The methods a rule is about. Exactly those: `GET` does not bring `HEAD` along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    All,
    Only(Vec<String>),
}

/// Whom a rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Everybody; who is signed in is still named to the app.
    Anyone,
    /// Whoever is signed in.
    SignedIn,
    /// Nobody at all.
    Nobody,
    /// Whoever is one of the users or in one of the groups.
    Only {
        /// The users.
        users: Vec<UserName>,
        /// The groups.
        groups: Vec<Group>,
    },
}

impl Rule {
    /// Whom the rule allows.
    pub fn allow(&self) -> &Allow {
        &self.allow
    }

    pub(super) fn matches(&self, reading: &str, method: &str) -> bool {
        self.methods.have(method) && self.paths.have(reading)
    }
}

impl Paths {
    fn have(&self, reading: &str) -> bool {
        match self {
            Self::Under(prefix) => is_under(reading, prefix),
            Self::Exactly(path) => reading == path,
        }
    }

    /// Whether these are all of the other paths, and maybe more.
    pub(super) fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Under(prefix), Self::Under(path) | Self::Exactly(path)) => is_under(path, prefix),
            (Self::Exactly(path), Self::Exactly(other)) => path == other,
            (Self::Exactly(_), Self::Under(_)) => false,
        }
    }
}

impl Methods {
    pub(super) fn have(&self, method: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(methods) => methods.iter().any(|known| known == method),
        }
    }
}

impl Allow {
    /// Whether the identity is one of those who are allowed.
    pub(super) fn includes(&self, identity: &Identity) -> bool {
        match self {
            Self::Anyone | Self::SignedIn => true,
            Self::Nobody => false,
            Self::Only { users, groups } => {
                users.contains(&identity.user) || groups.iter().any(|group| identity.groups.contains(group))
            }
        }
    }
}

/// One line, as `vestibule check` shows it: `/public GET HEAD: anyone`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.paths {
            Paths::Under(path) => f.write_str(path)?,
            Paths::Exactly(path) => write!(f, "={path}")?,
        }
        if let Methods::Only(methods) = &self.methods {
            write!(f, " {}", methods.join(" "))?;
        }
        write!(f, ": {}", self.allow)
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::SignedIn => f.write_str("signed-in"),
            Self::Nobody => f.write_str("nobody"),
            Self::Only { users, groups } => {
                let users = list("users", users.iter().map(UserName::as_str));
                let groups = list("groups", groups.iter().map(Group::as_str));
                f.write_str(&[users, groups].into_iter().flatten().collect::<Vec<_>>().join("; "))
            }
        }
    }
}

fn list<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
}
