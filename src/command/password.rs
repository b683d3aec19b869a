//! Asks for a new password: twice without echo at a terminal, once from a pipe.

use std::io::{self, Read};

use zeroize::Zeroize;

use super::Console;
use crate::login::attempt::MAX_BYTES;
use crate::login::policy::{self, Advice, BadPassword, GOOD_CHARACTERS};
use crate::secret::Secret;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum NoPassword {
    /// It could not be read.
    #[error("cannot read the password")]
    Unread(#[from] io::Error),
    /// A pipe gave something else.
    #[error("the password is not UTF-8 text")]
    NotText,
    /// The two are not the same.
    #[error("the two passwords differ; nothing was changed")]
    Differ,
    /// It may not be set.
    #[error("the password {0}; nothing was changed")]
    Bad(#[from] BadPassword),
}

/// Asks for a new password of `user`, and gives advice on a short one.
///
/// # Errors
/// [`NoPassword`] says why there is none.
pub fn ask(console: &mut Console<'_>, user: Option<&str>) -> Result<Secret<String>, NoPassword> {
    let password = match &mut console.ask {
        None => read_line(console)?,
        Some(ask) => {
            let first = ask(&user.map_or_else(|| "Password: ".into(), |user| format!("Password for {user}: ")))?;
            // What cannot be taken need not be typed twice.
            policy::judge(first.expose(), user)?;
            if *first.expose() != *ask("The same again: ")?.expose() {
                return Err(NoPassword::Differ);
            }
            first
        }
    };
    match policy::judge(password.expose(), user)? {
        Advice::Good => {}
        Advice::Short => console.say(format_args!(
            "note: without a second factor, {GOOD_CHARACTERS} characters or more are advisable (a few words will do)"
        )),
    }
    Ok(password)
}

/// All of the input but one line break at its end.
fn read_line(console: &mut Console<'_>) -> Result<Secret<String>, NoPassword> {
    // Room for everything that can be a password, and for noticing what cannot; never reallocated, so no copy stays.
    let limit = MAX_BYTES + 3;
    let mut bytes = Vec::with_capacity(limit + 1);
    (&mut console.input).take(limit as u64).read_to_end(&mut bytes)?;
    let mut text = String::from_utf8(bytes).map_err(|error| {
        error.into_bytes().zeroize();
        NoPassword::NotText
    })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Exit;
    use crate::command::testing::{piped, typed};

    fn asking(console: &mut Console<'_>) -> Exit {
        match ask(console, Some("alice")) {
            Ok(password) => {
                write!(console.out, "{}", password.expose()).unwrap();
                Exit::Done
            }
            Err(error) => {
                console.complain(&error);
                Exit::Failed
            }
        }
    }

    #[test]
    fn a_pipe_is_read_once_and_loses_one_line_break() {
        for (input, password) in [
            ("a long enough password", "a long enough password"),
            ("a long enough password\n", "a long enough password"),
            ("a long enough password\r\n", "a long enough password"),
            ("  spaces are kept   ", "  spaces are kept   "),
        ] {
            let said = piped(input.as_bytes(), asking);
            assert_eq!((said.exit, said.out.as_str(), said.err.as_str()), (Exit::Done, password, ""));
        }
    }

    #[test]
    fn what_cannot_be_a_password_is_refused_with_the_reason() {
        for (input, reason) in [
            (&b"short\n"[..], "is shorter than 8 characters"),
            (b"", "is shorter than 8 characters"),
            (b"two lines\nof text\n", "has a line break"),
            (b"password\n\n", "has a line break"),
            (&[b'x'; 5000], "is longer than 1024 bytes"),
            (b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe", "is not UTF-8"),
        ] {
            let said = piped(input, asking);
            assert!(said.exit == Exit::Failed && said.err.contains(reason), "{}", said.err);
        }
        assert_eq!(piped(&[b'x'; 1024], asking).exit, Exit::Done);
    }

    #[test]
    fn a_terminal_is_asked_twice() {
        assert_eq!(typed(&["correct horse battery"; 2], asking).out, "correct horse battery");
        let said = typed(&["correct horse battery", "correct horse batterie"], asking);
        assert!(said.exit == Exit::Failed && said.err.contains("the two passwords differ"), "{}", said.err);
        assert!(typed(&["short"], asking).err.contains("is shorter"));
    }

    #[test]
    fn a_short_password_is_taken_with_advice() {
        let said = piped(b"eight888", asking);
        assert!(said.exit == Exit::Done && said.err.contains("15 characters or more"), "{}", said.err);
    }
}
