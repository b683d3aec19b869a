//! `vestibule hash-password`: a password goes in, an argon2id PHC string comes out.

use super::{Console, Exit, password};
use crate::login::stored;

/// Print the argon2id hash of a password, for the users file
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  vestibule hash-password\n  pass show wiki/alice | vestibule hash-password")]
pub struct HashPasswordArgs {}

/// Asks for a password and prints its hash.
pub fn hash_password(console: &mut Console<'_>) -> Exit {
    let password = match password::ask(console, None) {
        Ok(password) => password,
        Err(error) => {
            console.complain(&error);
            return Exit::Failed;
        }
    };
    match writeln!(console.out, "{}", stored::hash_now(&password)) {
        Ok(()) => Exit::Done,
        Err(error) => {
            console.complain(&error);
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::piped;
    use crate::secret::Secret;

    #[test]
    fn the_hash_and_nothing_else_goes_to_standard_output() {
        let said = piped(b"correct horse battery\n", hash_password);
        assert_eq!((said.exit, said.err.as_str()), (Exit::Done, ""));
        let stored = stored::StoredHash::parse(said.out.trim_end()).unwrap();
        assert!(stored.matches(&Secret::new("correct horse battery".into()), &mut Vec::new()));
        let refused = piped(b"short\n", hash_password);
        assert_eq!((refused.exit, refused.out.as_str()), (Exit::Failed, ""));
    }
}
