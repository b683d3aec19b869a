//! Mistakes in the configuration, told to the operator all at once, each with its place in the file.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The text of one file, kept to show where a mistake is.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    confidential: bool,
}

impl Source {
    /// A file that was read.
    pub fn new(path: impl Into<PathBuf>, text: String) -> Arc<Self> {
        Arc::new(Self { path: path.into(), text, confidential: false })
    }

    /// A file with secrets in it: problems say where they are, but show nothing of what stands there. A mistake can be
    /// on any line, and what is mistaken for something else can be a secret.
    pub fn confidential(path: impl Into<PathBuf>, text: String) -> Arc<Self> {
        Arc::new(Self { path: path.into(), text, confidential: true })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A stretch of a file.
#[derive(Clone, Debug)]
pub struct Place {
    source: Arc<Source>,
    span: Range<usize>,
}

impl Place {
    /// The bytes `span` of `source`.
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: Arc::clone(source), span }
    }

    /// One-based line and column (in characters), the line's text, and how many characters to underline.
    fn excerpt(&self) -> Excerpt<'_> {
        let text = self.source.text();
        let mut start = self.span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let column = text[line_start..start].chars().count();
        let rest = line.chars().count().saturating_sub(column);
        let length = text.get(start..self.span.end).map_or(1, |marked| marked.chars().count());
        Excerpt {
            line: text[..line_start].matches('\n').count() + 1,
            column: column + 1,
            text: line,
            marked: length.clamp(1, rest.max(1)),
        }
    }
}

struct Excerpt<'a> {
    line: usize,
    column: usize,
    text: &'a str,
    marked: usize,
}

impl Excerpt<'_> {
    /// The line, and a mark below the place.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        writeln!(f, "  {number} | {}", self.text)?;
        let before = self.text.chars().take(self.column - 1);
        let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "  {} | {indent}{}", " ".repeat(number.len()), "^".repeat(self.marked))
    }
}

/// One mistake: what, where, and what to do instead.
#[derive(Clone, Debug)]
pub struct Problem {
    place: Option<Place>,
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// A mistake at a place in a file.
    pub fn at(place: &Place, message: impl Into<String>) -> Self {
        Self { place: Some(place.clone()), message: message.into(), hint: None }
    }

    /// A mistake that no line of a file shows.
    pub fn general(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), hint: None }
    }

    /// Adds what to do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The sentence without its place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let at = place.excerpt();
            writeln!(f, "{}:{}:{}: {}", place.source.path.display(), at.line, at.column, self.message)?;
            if !place.source.confidential {
                at.show(f)?;
            }
        } else {
            writeln!(f, "{}", self.message)?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "  hint: {hint}")?;
        }
        Ok(())
    }
}

/// All mistakes found in one go.
#[derive(Clone, Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one more.
    pub fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Takes over those of another list.
    pub fn append(&mut self, other: Problems) {
        self.0.extend(other.0);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes, those with a place in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.source.path.clone(), place.span.start)));
        sorted.into_iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.iter() {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 problem"),
            many => write!(f, "{many} problems"),
        }
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_and_marks_the_place() {
        let source = Source::new("v.toml", "a = 1\nbé = \"x\"\n".into());
        let start = source.text().find('"').unwrap();
        let problem = Problem::at(&Place::new(&source, start..start + 3), "no x here").hint("use y");
        let expected = "v.toml:2:6: no x here\n  2 | bé = \"x\"\n    |      ^^^\n  hint: use y\n";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn nothing_of_a_confidential_file_is_shown() {
        let source = Source::confidential("users.toml", "a = 1\npassword = \"$2b$hash\n".into());
        let problem = Problem::at(&Place::new(&source, 17..18), "the string has no end").hint("add a quote");
        assert_eq!(problem.to_string(), "users.toml:2:12: the string has no end\n  hint: add a quote\n");
    }

    #[test]
    fn a_place_beyond_the_text_does_no_harm() {
        let source = Source::new("v.toml", "é".into());
        for span in [0..0, 1..9, 9..12] {
            assert!(Problem::at(&Place::new(&source, span), "m").to_string().starts_with("v.toml:1:"));
        }
    }
}
