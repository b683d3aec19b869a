//! What differs between two readings of the users file, as far as it concerns people who are signed in.

use super::file::{Profile, Users};
use crate::names::UserName;

/// Something that people who are signed in must feel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The user was removed or disabled: end every session.
    Gone(UserName),
    /// The password is another one: end every session that the old one opened.
    PasswordChanged(UserName),
    /// Name, mail address or groups are others: sessions go on with these.
    Identity(UserName, Profile),
}

/// Compares. New users and those who could not sign in before are nobody's concern.
pub(crate) fn between(before: &Users, after: &Users) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, old) in before.iter().filter(|(_, old)| !old.disabled) {
        let Some(new) = after.get(name).filter(|new| !new.disabled) else {
            changes.push(Change::Gone(name.clone()));
            continue;
        };
        if new.password != old.password {
            changes.push(Change::PasswordChanged(name.clone()));
        }
        if new.profile != old.profile {
            changes.push(Change::Identity(name.clone(), new.profile.clone()));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::login::local::file::User;
    use crate::login::stored::{HashCost, StoredHash};

    #[test]
    fn each_difference_is_told_to_whom_it_concerns() {
        let name = |text: &str| UserName::parse(text).unwrap();
        let some = User {
            password: Arc::new(StoredHash::dummy(HashCost::default())),
            profile: Profile::default(),
            disabled: false,
        };
        let other_password = User { password: Arc::new(StoredHash::dummy(HashCost::default())), ..some.clone() };
        let profile = Profile { email: Some("x@example.com".into()), ..Profile::default() };
        let other_profile = User { profile: profile.clone(), ..some.clone() };
        let disabled = User { disabled: true, ..some.clone() };
        let alice = || name("alice");
        for (before, after, expected) in [
            (Some(&some), Some(&some), vec![]),
            (Some(&some), None, vec![Change::Gone(alice())]),
            (Some(&some), Some(&disabled), vec![Change::Gone(alice())]),
            (Some(&disabled), None, vec![]),
            (Some(&disabled), Some(&some), vec![]),
            (None, Some(&some), vec![]),
            (Some(&some), Some(&other_password), vec![Change::PasswordChanged(alice())]),
            (Some(&some), Some(&other_profile), vec![Change::Identity(alice(), profile.clone())]),
        ] {
            let users = |user: Option<&User>| user.map(|user| (alice(), user.clone())).into_iter().collect();
            assert_eq!(between(&users(before), &users(after)), expected);
        }
    }
}
