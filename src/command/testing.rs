//! A console for tests: what is typed goes in, what is said comes out.

use super::{Console, Exit};
use crate::secret::Secret;

/// What a command said and how it ended.
pub(crate) struct Said {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs with a pipe as standard input.
pub(crate) fn piped(input: &[u8], command: impl FnOnce(&mut Console<'_>) -> Exit) -> Said {
    let (mut input, mut out, mut err) = (input, Vec::new(), Vec::new());
    let exit = command(&mut Console { input: &mut input, out: &mut out, err: &mut err, ask: None });
    Said { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// Runs with somebody at the terminal who types these lines.
pub(crate) fn typed(lines: &[&str], command: impl FnOnce(&mut Console<'_>) -> Exit) -> Said {
    let mut lines = lines.iter();
    let mut ask = |_: &str| Ok(Secret::new((*lines.next().expect("asked more often than answered")).to_owned()));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = command(&mut Console { input: &mut &b""[..], out: &mut out, err: &mut err, ask: Some(&mut ask) });
    Said { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}
