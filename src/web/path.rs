//! The only kind of path that rules may look at: as it was sent, and every way a program behind may read it.
//!
//! Programs disagree about `;params`, `//`, `%2F`, `%25xx`. Rules are asked about every reading and the strictest answer
//! wins, so no reading is "the" path; what no honest client sends is refused before any rule. Nothing is rewritten: the
//! path goes upstream byte for byte.

use std::borrow::Cow;

use http::uri::PathAndQuery;

mod readings;
#[cfg(test)]
mod tests;

/// A request's path that two programs may read differently, but only in ways we know of.
#[derive(Clone, Debug)]
pub struct CleanPath {
    /// As it was sent. Cloning it counts a reference, and allocates nothing.
    target: PathAndQuery,
    /// Empty if the path reads as it was sent, and only so.
    readings: Vec<String>,
}

/// Why a path is refused with 400. No honest client sends such a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// No `/` at the start.
    #[error("the path does not begin with /")]
    NotAbsolute,
    /// More than any address needs.
    #[error("the path is too long")]
    TooLong,
    /// A byte that every browser escapes: a space, a quote, a brace, anything beyond ASCII.
    #[error("the path has a byte that must be written as an escape")]
    BadByte,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a % without two hexadecimal digits")]
    BadEscape,
    /// A backslash, which some programs read as a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// NUL or another control character, written or escaped.
    #[error("the path has a control character")]
    Control,
    /// A segment `.` or `..`, written or escaped.
    #[error("the path has a dot segment")]
    DotSegment,
    /// Bytes that a careless decoder takes for a character with a shorter form.
    #[error("the path has an overlong UTF-8 sequence")]
    Overlong,
    /// Escapes of escapes of escapes.
    #[error("the path is escaped too many times over")]
    TooDeep,
    /// More ways to read it than we follow.
    #[error("the path can be read in too many ways")]
    TooManyReadings,
}

impl CleanPath {
    /// Reads the path of a request target, exactly as it was sent.
    ///
    /// # Errors
    /// [`PathProblem`] says what no honest client would have sent.
    pub fn parse(raw: &str) -> Result<Self, PathProblem> {
        let readings = Self::check(raw)?;
        let target = PathAndQuery::try_from(raw).map_err(|_| PathProblem::TooLong)?;
        Ok(Self { target, readings })
    }

    /// Reads the path of a target that is at hand already. Allocates nothing for an ordinary path.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn of(target: &PathAndQuery) -> Result<Self, PathProblem> {
        let readings = Self::check(target.path())?;
        Ok(Self { target: target.clone(), readings })
    }

    /// The path as it was sent.
    pub fn raw(&self) -> &str {
        self.target.path()
    }

    /// The first reading: decoded once, with `%2F` left as it is.
    pub fn primary(&self) -> &str {
        self.readings().next().unwrap_or_else(|| self.raw())
    }

    /// Every way a program behind may read the path, without duplicates, and first the one that most do: decoded once,
    /// with `%2F` left as it is.
    ///
    /// Readings are text, because rules are. A byte that is no UTF-8 stays an escape (`/caf%E9`): a rule cannot name
    /// it, and nothing is lost. Where it could be Latin-1, there is a reading that takes it so.
    pub fn readings(&self) -> impl Iterator<Item = &str> {
        let as_sent = self.readings.is_empty().then(|| self.raw());
        as_sent.into_iter().chain(self.readings.iter().map(String::as_str))
    }

    /// Whether the path has a slash that is escaped, once or several times over.
    pub fn has_encoded_slash(&self) -> bool {
        self.readings.iter().any(|reading| readings::has_encoded_slash(reading))
    }

    /// The readings; none if the path is its own only reading.
    fn check(raw: &str) -> Result<Vec<String>, PathProblem> {
        check_bytes(raw)?;
        if raw.bytes().any(|byte| byte == b'%' || byte == b';') || raw.contains("//") {
            return readings::all(raw);
        }
        readings::check(raw)?;
        Ok(Vec::new())
    }
}

/// What may stand in a raw path. Browsers send `|`, `^`, `[`, `]` and `'` as they are; all that is refused here they
/// escape, or treat as the end of the path.
fn check_bytes(raw: &str) -> Result<(), PathProblem> {
    let bytes = raw.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathProblem::NotAbsolute);
    }
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'%' => match bytes.get(at + 1..at + 3) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {}
                _ => return Err(PathProblem::BadEscape),
            },
            b'\\' => return Err(PathProblem::Backslash),
            0x00..=0x1f | 0x7f => return Err(PathProblem::Control),
            b' ' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'#' | b'?' | 0x80.. => return Err(PathProblem::BadByte),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a reading lies at or below a prefix: `/public` has `/public`, `/public/` and `/public/x`, not `/publicity`;
/// `/` has everything. A slash at the end of the prefix changes nothing.
pub fn is_under(reading: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    reading.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The spelling that is compared where an app takes upper and lower case for the same.
///
/// Letter by letter: `str::to_lowercase` looks at what follows a Greek sigma, and what follows a prefix differs.
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
}
