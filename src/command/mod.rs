//! What the command line can do besides serving. Each command is a function of its arguments and a [`Console`].

mod arguments;
mod demo;
pub mod hash_password;
pub mod password;
mod serve;
pub mod users;

pub use arguments::main;

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// How a command ended; the number is the process's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It failed while running.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was done.
    Wrong = 2,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Asks for a line at the terminal without showing it.
pub type Ask<'c> = &'c mut dyn FnMut(&str) -> io::Result<Secret<String>>;

/// Where a command reads and writes: data to `out`, sentences for people to `err`.
pub struct Console<'c> {
    /// Standard input, if it is no terminal.
    pub input: &'c mut dyn BufRead,
    /// Standard output.
    pub out: &'c mut dyn Write,
    /// Standard error.
    pub err: &'c mut dyn Write,
    /// Set if somebody sits at a terminal.
    pub ask: Option<Ask<'c>>,
}

impl Console<'_> {
    /// Runs a command on the process's own streams.
    pub fn run(command: impl FnOnce(&mut Console<'_>) -> Exit) -> Exit {
        let stdin = io::stdin();
        let mut ask = |prompt: &str| rpassword::prompt_password(prompt).map(Secret::new);
        let mut console = Console {
            ask: if stdin.is_terminal() { Some(&mut ask) } else { None },
            input: &mut stdin.lock(),
            out: &mut io::stdout().lock(),
            err: &mut io::stderr().lock(),
        };
        command(&mut console)
    }

    /// Says a sentence to whoever started the command. Nobody may be listening; that changes nothing.
    pub fn say(&mut self, sentence: impl fmt::Display) {
        let _ = writeln!(self.err, "{sentence}");
    }

    /// Says an error with all its causes.
    pub fn complain(&mut self, error: &dyn std::error::Error) {
        let mut sentence = format!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            sentence.push_str(&format!(": {error}"));
            cause = error.source();
        }
        self.say(sentence.trim_end());
    }
}

/// Where the configuration is looked for if the command line does not say.
pub const CONFIG_PLACES: [&str; 2] = ["vestibule.toml", "/etc/vestibule/vestibule.toml"];

/// The configuration to use. None: none was given, and there is none at the usual places.
pub fn find_config(given: Option<&Path>) -> Option<PathBuf> {
    given.map(Path::to_owned).or_else(|| CONFIG_PLACES.iter().map(PathBuf::from).find(|place| place.exists()))
}

#[cfg(test)]
pub(crate) mod testing;
