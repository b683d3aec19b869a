//! One table of a TOML file, read key by key: wrong types, values out of range and unknown keys become [`Problems`].
//!
//! Each organ reads its own section with this; no organ sees the whole file. A key that was asked for is a known key;
//! what is left when the section is dropped is a mistake.

mod secrets;
mod units;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use self::units::show_duration;
use self::units::{parse_duration, parse_size, show_size};
use crate::problems::{Place, Problem, Problems, Source};

/// A TOML file that is being read.
pub struct TomlFile<'s> {
    source: Arc<Source>,
    root: Spanned<DeTable<'s>>,
    problems: RefCell<Problems>,
    known: RefCell<BTreeSet<String>>,
    broken: bool,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// What was written.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<'s> TomlFile<'s> {
    /// Parses the text. Syntax errors are noted, and what could be read in spite of them is read.
    pub fn parse(source: &'s Arc<Source>) -> Self {
        let (root, errors) = DeTable::parse_recoverable(source.text());
        let mut problems = Problems::new();
        for error in errors {
            let place = Place::new(source, error.span().unwrap_or_default());
            problems.add(Problem::at(&place, error.message().trim().to_owned()));
        }
        let (broken, known) = (!problems.is_empty(), RefCell::new(BTreeSet::new()));
        Self { source: Arc::clone(source), root, problems: RefCell::new(problems), known, broken }
    }

    /// The top of the file.
    pub fn root(&self) -> Section<'_> {
        self.section(self.root.get_ref(), self.root.span(), String::new())
    }

    /// The folder that relative paths start from; empty for the one we are in, so that paths are shown as they are written.
    pub fn folder(&self) -> &Path {
        self.source.path().parent().unwrap_or(Path::new(""))
    }

    /// Whether the text is no TOML. What such a file seems to lack may only be where it could not be read.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Everything that was wrong.
    pub fn into_problems(self) -> Problems {
        self.problems.into_inner()
    }

    /// Every key that was asked for so far, as `app.rule.path`.
    pub fn known_keys(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }

    fn section<'a>(&'a self, table: &'a DeTable<'a>, span: Range<usize>, name: String) -> Section<'a> {
        Section { file: self, table, span, name, asked: RefCell::new(Vec::new()) }
    }
}

/// One table, read key by key.
pub struct Section<'a> {
    file: &'a TomlFile<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    name: String,
    asked: RefCell<Vec<String>>,
}

/// A key that takes a word or a table.
pub enum WordOrTable<'a> {
    /// A string.
    Word(Found<String>),
    /// A table.
    Table(Section<'a>),
}

impl<'a> Section<'a> {
    /// Where the section stands.
    pub fn place(&self) -> Place {
        Place::new(&self.file.source, self.span.clone())
    }

    /// Where the value of `key` stands; the section's place if it is not written.
    pub fn place_of(&self, key: &str) -> Place {
        self.table.get(key).map_or_else(|| self.place(), |value| self.at(value))
    }

    /// Whether the key is written.
    pub fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// The folder that relative paths start from.
    pub fn folder(&self) -> &Path {
        self.file.folder()
    }

    /// Notes a mistake.
    pub fn problem(&self, problem: Problem) {
        self.file.problems.borrow_mut().add(problem);
    }

    /// Notes that a key which has no default is missing.
    pub fn missing(&self, key: &str, example: &str) {
        let message = match self.name.as_str() {
            "" => format!("`{key}` is missing"),
            name => format!("`{key}` is missing in [{name}]"),
        };
        self.problem(Problem::at(&self.place(), message).hint(format!("add {key} = {example}")));
    }

    /// A string.
    pub fn string(&self, key: &'static str) -> Option<Found<String>> {
        self.text(key, "a string")
    }

    fn text(&self, key: &'static str, wanted: &str) -> Option<Found<String>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(self.found(value, text.to_string())),
            other => self.wrong_type(value, key, wanted, other),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            other => self.wrong_type(value, key, "true or false", other),
        }
    }

    /// A whole number within `range`.
    pub fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            return self.wrong_type(value, key, "a whole number", value.get_ref());
        };
        let digits = number.as_str().replace('_', "");
        match u64::from_str_radix(&digits, number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => self.out_of_range(value, key, &format!("from {} to {}", range.start(), range.end())),
        }
    }

    /// A duration such as `"30m"`, within `range`.
    pub fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let found = self.text(key, "a duration such as \"30m\"")?;
        let Some(duration) = parse_duration(&found.value) else {
            let message = format!("`{key}` = {:?} is not a duration", found.value);
            self.problem(Problem::at(&found.place, message).hint("write a number and ms, s, m, h or d, as in \"30m\""));
            return None;
        };
        if !range.contains(&duration) {
            let (low, high) = (show_duration(*range.start()), show_duration(*range.end()));
            let message = format!("`{key}` = {:?} is out of range", found.value);
            self.problem(Problem::at(&found.place, message).hint(format!("use {low:?} to {high:?}")));
            return None;
        }
        Some(duration)
    }

    /// A size in bytes such as `"1MiB"`, within `range`.
    pub fn size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let found = self.text(key, "a size such as \"1MiB\"")?;
        let Some(size) = parse_size(&found.value) else {
            let message = format!("`{key}` = {:?} is not a size", found.value);
            self.problem(
                Problem::at(&found.place, message).hint("write a number and B, KiB, MiB or GiB, as in \"1MiB\""),
            );
            return None;
        };
        if !range.contains(&size) {
            let message = format!("`{key}` = {:?} is out of range", found.value);
            let hint = format!("use {:?} to {:?}", show_size(*range.start()), show_size(*range.end()));
            self.problem(Problem::at(&found.place, message).hint(hint));
            return None;
        }
        Some(size)
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let found = self.string(key)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == found.value) {
            return Some(*meaning);
        }
        let all: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let message = format!("`{key}` = {:?} is not one of {}", found.value, all.join(", "));
        let problem = Problem::at(&found.place, message);
        self.problem(match closest(&found.value, words.iter().map(|(word, _)| *word)) {
            Some(word) => problem.hint(format!("did you mean {word:?}?")),
            None => problem,
        });
        None
    }

    /// A list of strings.
    pub fn strings(&self, key: &'static str) -> Option<Vec<Found<String>>> {
        let value = self.value(key)?;
        let items = match value.get_ref() {
            DeValue::Array(items) => items,
            DeValue::String(text) => {
                let problem = Problem::at(&self.at(value), format!("`{key}` takes a list of strings, not a string"));
                self.problem(problem.hint(format!("write {key} = [{text:?}]")));
                return None;
            }
            other => return self.wrong_type(value, key, "a list of strings", other),
        };
        let mut strings = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => strings.push(self.found(item, text.to_string())),
                other => {
                    let () = self.wrong_type(item, key, "a list of strings", other).unwrap_or_default();
                }
            }
        }
        Some(strings)
    }

    /// A path; a relative one starts from the file's folder.
    pub fn path(&self, key: &'static str) -> Option<Found<PathBuf>> {
        let found = self.text(key, "a path")?;
        if found.value.is_empty() {
            self.problem(Problem::at(&found.place, format!("`{key}` is an empty path")));
            return None;
        }
        Some(Found { value: self.folder().join(&found.value), place: found.place })
    }

    /// A table below this one.
    pub fn table(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(self.below(key, table, value.span())),
            other => self.wrong_type(value, key, "a table", other),
        }
    }

    /// A list of tables below this one: `[[key]]`, or inline.
    pub fn tables(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            let () = self.wrong_type(value, key, "a list of tables", value.get_ref()).unwrap_or_default();
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => sections.push(self.below(key, table, item.span())),
                other => {
                    let () = self.wrong_type(item, key, "a list of tables", other).unwrap_or_default();
                }
            }
        }
        sections
    }

    /// A word, or a table in its place.
    pub fn word_or_table(&self, key: &'static str) -> Option<WordOrTable<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(WordOrTable::Word(self.found(value, text.to_string()))),
            DeValue::Table(table) => Some(WordOrTable::Table(self.below(key, table, value.span()))),
            other => self.wrong_type(value, key, "a string or a table", other),
        }
    }

    /// The keys and strings of a table whose keys are free, with the places of keys and values.
    pub fn entries(&self) -> Vec<(Found<String>, Found<String>)> {
        let mut entries = Vec::new();
        for (key, value) in self.table {
            self.asked.borrow_mut().push(key.get_ref().to_string());
            let name = Found { value: key.get_ref().to_string(), place: Place::new(&self.file.source, key.span()) };
            match value.get_ref() {
                DeValue::String(text) => entries.push((name, self.found(value, text.to_string()))),
                other => {
                    let () = self.wrong_type(value, &name.value, "a string", other).unwrap_or_default();
                }
            }
        }
        entries
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key.to_owned());
        let full = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        self.file.known.borrow_mut().insert(full);
        self.table.get(key)
    }

    fn below(&self, key: &str, table: &'a DeTable<'a>, span: Range<usize>) -> Section<'a> {
        let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        self.file.section(table, span, name)
    }

    fn at(&self, value: &Spanned<DeValue<'_>>) -> Place {
        Place::new(&self.file.source, value.span())
    }

    fn found<T>(&self, value: &Spanned<DeValue<'_>>, inner: T) -> Found<T> {
        Found { value: inner, place: self.at(value) }
    }

    fn wrong_type<T>(&self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str, got: &DeValue<'_>) -> Option<T> {
        let got = match got {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(Problem::at(&self.at(value), format!("`{key}` takes {wanted}, not {got}")));
        None
    }

    fn out_of_range<T>(&self, value: &Spanned<DeValue<'_>>, key: &str, range: &str) -> Option<T> {
        self.problem(Problem::at(&self.at(value), format!("`{key}` takes a number {range}")));
        None
    }
}

impl Drop for Section<'_> {
    /// What nobody asked for is a mistake. Doing this here means that no reader can forget it.
    fn drop(&mut self) {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if asked.iter().any(|known| known == name) {
                continue;
            }
            let place = Place::new(&self.file.source, key.span());
            let inside = if self.name.is_empty() { "at the top".into() } else { format!("in [{}]", self.name) };
            let problem = Problem::at(&place, format!("there is no key `{name}` {inside}"));
            self.problem(match closest(name, asked.iter().map(String::as_str)) {
                Some(known) => problem.hint(format!("did you mean `{known}`?")),
                None => problem,
            });
        }
    }
}

/// The word that was probably meant.
fn closest<'w>(wrong: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    words
        .map(|word| (strsim::damerau_levenshtein(wrong, word), word))
        .min()
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, reader: impl FnOnce(&Section<'_>)) -> String {
        let source = Source::new("v.toml", text.into());
        let file = TomlFile::parse(&source);
        reader(&file.root());
        file.into_problems().to_string()
    }

    #[test]
    fn all_mistakes_come_at_once_each_with_its_place() {
        let text = "idel = 1\nport = 70000\nname = 3\n[sub]\nx = 1\n";
        let said = read(text, |root| {
            assert_eq!(root.integer("port", 0..=65535), None);
            assert!(root.string("name").is_none());
            assert!(root.duration("idle", Duration::ZERO..=Duration::MAX).is_none());
            drop(root.table("sub"));
        });
        for wanted in [
            "v.toml:1:1: there is no key `idel` at the top\n  1 | idel = 1\n    | ^^^^\n  hint: did you mean `idle`?",
            "v.toml:2:8: `port` takes a number from 0 to 65535",
            "v.toml:3:8: `name` takes a string, not a number",
            "v.toml:5:1: there is no key `x` in [sub]",
            "4 problems",
        ] {
            assert!(said.contains(wanted), "{wanted}\n---\n{said}");
        }
    }

    #[test]
    fn broken_toml_has_a_place_too() {
        assert!(read("a = \nb = 1\n", |_| {}).contains("v.toml:1:"));
    }

    #[test]
    fn a_word_close_to_a_known_one_is_offered() {
        let said = read("same_site = \"lux\"", |root| {
            assert_eq!(root.word("same_site", &[("lax", 1), ("strict", 2)]), None);
        });
        assert!(said.contains("did you mean \"lax\"?"), "{said}");
    }
}
