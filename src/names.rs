//! Names that were checked once: users, groups, apps.
//!
//! None of them can break a header, a log line or a comma-separated list.

use std::fmt;
use std::sync::Arc;

/// Why a text is not a name. The sentence completes "the name …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// More than 128 characters.
    #[error("is longer than 128 characters")]
    TooLong,
    /// A control character, a comma, or a character that cannot be seen.
    #[error("has a character that a name may not have (commas, line breaks and other control characters)")]
    BadCharacter,
    /// White space at the start or the end.
    #[error("begins or ends with white space")]
    Padded,
}

const MAX_CHARACTERS: usize = 128;

fn check(text: &str) -> Result<Arc<str>, NotAName> {
    if text.is_empty() {
        return Err(NotAName::Empty);
    }
    if text.chars().count() > MAX_CHARACTERS {
        return Err(NotAName::TooLong);
    }
    if text.trim() != text {
        return Err(NotAName::Padded);
    }
    // A comma would make two members of one in a `{groups}` list.
    if text.chars().any(|c| c.is_control() || c == ',' || is_invisible(c)) {
        return Err(NotAName::BadCharacter);
    }
    Ok(text.into())
}

/// Zero-width and direction-changing characters make two names look the same.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the text.
            ///
            /// # Errors
            /// [`NotAName`] says what is wrong with it.
            pub fn parse(text: &str) -> Result<Self, NotAName> {
                check(text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name somebody signs in with.
    UserName
}
name! {
    /// A group of users.
    Group
}
name! {
    /// The name of a protected app, as the configuration gives it.
    AppName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_break_a_list_or_a_line_are_refused() {
        for (text, why) in [
            ("", NotAName::Empty),
            ("bob,admin", NotAName::BadCharacter),
            ("a\r\nb", NotAName::BadCharacter),
            ("a\0", NotAName::BadCharacter),
            ("ad\u{200b}min", NotAName::BadCharacter),
            (" bob", NotAName::Padded),
            ("bob\n", NotAName::Padded),
        ] {
            assert_eq!(UserName::parse(text), Err(why), "{text:?}");
        }
        assert_eq!(Group::parse(&"x".repeat(129)), Err(NotAName::TooLong));
    }

    #[test]
    fn honest_names_pass() {
        for text in ["alice", "Alice Liddell", "józef@example.com", "DOMAIN\\user", "李"] {
            assert_eq!(UserName::parse(text).unwrap().as_str(), text);
        }
    }
}
