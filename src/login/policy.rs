//! Which passwords may be set. Passwords that exist are not judged again: who knows one gets in.

use unicode_normalization::UnicodeNormalization;

use super::attempt::MAX_BYTES;

/// Fewer characters are refused (ASVS 6.2.1).
pub const MIN_CHARACTERS: usize = 8;
/// Fewer characters are taken, with a word of advice (SP 800-63B 3.1.1.2, where there is no second factor).
pub const GOOD_CHARACTERS: usize = 15;

/// Why a password may not be set. The sentence completes "the password …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Too easy to try out.
    #[error("is shorter than {MIN_CHARACTERS} characters")]
    TooShort,
    /// Longer than what sign-in takes.
    #[error("is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// The first thing that somebody would try.
    #[error("is the user's name or the name of this program")]
    Guessable,
    /// Sign-in forms have one line.
    #[error("has a line break in it")]
    LineBreak,
}

/// What to say about a password that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    Good,
    /// Longer would be better.
    Short,
}

/// Judges a new password of `user` (none: it is not known whose it will be). There are no rules about digits and
/// capital letters; they make passwords that are hard to remember and easy to guess.
///
/// # Errors
/// [`BadPassword`] says why it cannot be taken.
pub fn judge(password: &str, user: Option<&str>) -> Result<Advice, BadPassword> {
    if password.len() > MAX_BYTES {
        return Err(BadPassword::TooLong);
    }
    if password.contains(['\n', '\r']) {
        return Err(BadPassword::LineBreak);
    }
    let fold = |text: &str| text.nfkc().collect::<String>().to_lowercase();
    let folded = fold(password);
    if [Some("vestibule"), user].into_iter().flatten().any(|word| fold(word) == folded.trim()) {
        return Err(BadPassword::Guessable);
    }
    match password.nfkc().count() {
        0..MIN_CHARACTERS => Err(BadPassword::TooShort),
        MIN_CHARACTERS..GOOD_CHARACTERS => Ok(Advice::Short),
        _ => Ok(Advice::Good),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_what_counts() {
        for (password, expected) in [
            ("", Err(BadPassword::TooShort)),
            ("seven77", Err(BadPassword::TooShort)),
            ("ééééééé", Err(BadPassword::TooShort)),
            ("e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}", Err(BadPassword::TooShort)),
            ("eight888", Ok(Advice::Short)),
            ("fourteen141414", Ok(Advice::Short)),
            ("aaaabbbbccccdddd", Ok(Advice::Good)),
            (&"x".repeat(1024), Ok(Advice::Good)),
            (&"x".repeat(1025), Err(BadPassword::TooLong)),
            ("two\nlines of text", Err(BadPassword::LineBreak)),
        ] {
            assert_eq!(judge(password, Some("alice")), expected, "{password:?}");
        }
    }

    #[test]
    fn names_that_anybody_would_try_are_refused() {
        for password in ["Alice.Liddell", "alice.liddell ", "VESTIBULE", "vestibule"] {
            assert_eq!(judge(password, Some("alice.liddell")), Err(BadPassword::Guessable), "{password}");
        }
        assert_eq!(judge("alice.liddell", None), Ok(Advice::Short));
    }
}
