//! The rules of one app, read from its `[[app.rule]]` sections. A mistake here would open a door, so whatever could not
//! mean what it says is a problem.

use std::borrow::Cow;
use std::fmt;

use crate::names::{Group, NotAName, UserName};
use crate::problems::Problem;
use crate::section::{Found, Section, WordOrTable};
use crate::web::path::{CleanPath, fold};

use super::rule::{Allow, Methods, Paths, Rule};

/// What an app's paths mean, and who may have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    case_blind: bool,
    encoded_slash: EncodedSlash,
}

/// What becomes of a path with an escaped slash (`%2F`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlash {
    /// The rules are asked both ways.
    #[default]
    Judge,
    /// It is refused as malformed, for apps that never have one.
    Reject,
}

/// Who may pass where no rule matches.
const OTHERWISE: Allow = Allow::SignedIn;
const ALLOW_EXAMPLE: &str = r#""anyone", "signed-in", "nobody" or { users = ["alice"], groups = ["staff"] }"#;

impl Rules {
    /// Reads the keys `rule`, `case_blind` and `encoded_slash` of an app.
    pub fn read(app: &Section<'_>) -> Self {
        let case_blind = app.boolean("case_blind").unwrap_or_default();
        let slashes = [("judge", EncodedSlash::Judge), ("reject", EncodedSlash::Reject)];
        let encoded_slash = app.word("encoded_slash", &slashes).unwrap_or_default();
        let mut rules: Vec<Rule> = Vec::new();
        for section in app.tables("rule") {
            let Some(rule) = read_rule(&section, case_blind) else {
                continue;
            };
            if let Some(earlier) = shadow(&rules, &rule) {
                let problem = Problem::at(&section.place(), format!("this rule ({rule}) never decides"));
                section.problem(problem.hint(format!("what it is about is decided before, by: {earlier}")));
            }
            rules.push(rule);
        }
        Self { rules, case_blind, encoded_slash }
    }

    /// Whether letter case means nothing to the app.
    pub fn case_blind(&self) -> bool {
        self.case_blind
    }

    /// Whether a path has an escaped slash, and the app takes none.
    pub fn rejects(&self, path: &CleanPath) -> bool {
        self.encoded_slash == EncodedSlash::Reject && path.has_encoded_slash()
    }

    /// The rule that decides about one reading of a path and one method. `None` is a path that no rule matches: any
    /// signed-in user may have it.
    pub fn first_match(&self, reading: &str, method: &str) -> Option<&Rule> {
        self.find(&self.spell(reading), method)
    }

    /// The spelling of a reading in which rules are compared.
    pub(super) fn spell<'r>(&self, reading: &'r str) -> Cow<'r, str> {
        if self.case_blind { fold(reading) } else { Cow::Borrowed(reading) }
    }

    /// Who may have a path, spelled as rules are.
    pub(super) fn allow(&self, spelled: &str, method: &str) -> &Allow {
        self.find(spelled, method).map_or(&OTHERWISE, Rule::allow)
    }

    fn find(&self, spelled: &str, method: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(spelled, method))
    }
}

/// A line for each rule, in the order they are asked, and one for what none of them is about.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rule in &self.rules {
            writeln!(f, "{rule}")?;
        }
        write!(f, "otherwise: {OTHERWISE}")
    }
}

/// The rules that leave nothing for `rule` to decide, if there are any.
///
/// Prefixes have no gaps that several of them could fill together, so each of the methods has to be taken by one rule
/// for all of the paths; and as methods have no end, "all methods" by a rule for all.
fn shadow(earlier: &[Rule], rule: &Rule) -> Option<String> {
    let covering = || earlier.iter().filter(|earlier| earlier.paths.cover(&rule.paths));
    let mut shadows: Vec<&Rule> = Vec::new();
    match &rule.methods {
        Methods::All => shadows.push(covering().find(|earlier| earlier.methods == Methods::All)?),
        Methods::Only(methods) => {
            for method in methods {
                let taken = covering().find(|earlier| earlier.methods.have(method))?;
                if !shadows.contains(&taken) {
                    shadows.push(taken);
                }
            }
        }
    }
    Some(shadows.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
}

/// `None` if anything is wrong with it; half a rule must not decide.
fn read_rule(section: &Section<'_>, case_blind: bool) -> Option<Rule> {
    let paths = read_paths(section, case_blind);
    let methods = read_methods(section);
    let allow = read_allow(section);
    Some(Rule { paths: paths?, methods: methods?, allow: allow? })
}

fn read_paths(section: &Section<'_>, case_blind: bool) -> Option<Paths> {
    let found = match section.string("path") {
        Some(found) => found,
        None if section.has("path") => return None,
        None => return Some(Paths::Under("/".into())),
    };
    let (path, exact) = match found.value.strip_prefix('=') {
        Some(path) => (path, true),
        None => (found.value.as_str(), false),
    };
    if let Some((what, hint)) = wrong_with_path(path) {
        let message = format!("`path` = {:?} {what}", found.value);
        section.problem(Problem::at(&found.place, message).hint(hint));
        return None;
    }
    let path = if case_blind { fold(path).into_owned() } else { path.to_owned() };
    if exact {
        return Some(Paths::Exactly(path));
    }
    let shortest = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(&path);
    Some(Paths::Under(shortest.to_owned()))
}

/// Why no request has such a path, and what to write instead.
fn wrong_with_path(path: &str) -> Option<(&'static str, String)> {
    let hint = |text: &str| text.to_owned();
    if !path.starts_with('/') {
        return Some((
            "does not begin with a slash",
            format!("write \"/{path}\", or \"=/{path}\" for this path alone"),
        ));
    }
    if path.contains('%') {
        return Some(("has a %", hint("write the path decoded: a space as a space, é as é")));
    }
    if path.contains('*') {
        let hint = hint("a path has everything below it anyway: write \"/public\" for \"/public/*\"");
        return Some(("has a *, which matches nothing but itself", hint));
    }
    if path.contains(['?', '#']) {
        return Some(("has a ? or #", hint("rules are about paths; a query decides nothing")));
    }
    if path.contains("//") {
        return Some(("has two slashes in a row", format!("write {:?}", path.replace("//", "/"))));
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Some(("has a dot segment", hint("no request with one gets as far as the rules; write where it leads")));
    }
    if path.contains([';', '\\']) || path.contains(char::is_control) {
        let hint = hint("write the path without them; parameters after ; are left away before rules are asked");
        return Some(("has a ; or \\ or a control character", hint));
    }
    None
}

fn read_methods(section: &Section<'_>) -> Option<Methods> {
    if !section.has("methods") {
        return Some(Methods::All);
    }
    let found = section.strings("methods")?;
    if found.is_empty() {
        let problem = Problem::at(&section.place_of("methods"), "`methods` is empty, so the rule matches nothing");
        section.problem(problem.hint("leave `methods` away for all of them"));
        return None;
    }
    let wrong: Vec<_> = found.iter().filter(|method| !is_method(&method.value)).collect();
    for method in &wrong {
        let problem = Problem::at(&method.place, format!("{:?} is not a method", method.value));
        let upper = method.value.to_ascii_uppercase();
        section.problem(if is_method(&upper) { problem.hint(format!("did you mean {upper:?}?")) } else { problem });
    }
    wrong.is_empty().then(|| Methods::Only(found.into_iter().map(|method| method.value).collect()))
}

/// A token (RFC 9110 §5.6.2) in upper case, as all registered methods are.
fn is_method(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn read_allow(section: &Section<'_>) -> Option<Allow> {
    if !section.has("allow") {
        section.missing("allow", ALLOW_EXAMPLE);
        return None;
    }
    let word = match section.word_or_table("allow")? {
        WordOrTable::Word(word) => word,
        WordOrTable::Table(only) => return read_only(&only),
    };
    match word.value.as_str() {
        "anyone" => Some(Allow::Anyone),
        "signed-in" => Some(Allow::SignedIn),
        "nobody" => Some(Allow::Nobody),
        other => {
            let problem = Problem::at(&word.place, format!("`allow` = {other:?} is none of its words"));
            section.problem(problem.hint(format!("write {ALLOW_EXAMPLE}")));
            None
        }
    }
}

fn read_only(section: &Section<'_>) -> Option<Allow> {
    let users = read_names(section, "users", UserName::parse);
    let groups = read_names(section, "groups", Group::parse);
    let (users, groups) = (users?, groups?);
    if users.is_empty() && groups.is_empty() {
        let problem = Problem::at(&section.place(), "`allow` names neither users nor groups");
        section.problem(problem.hint("write \"nobody\" if nobody may pass"));
        return None;
    }
    Some(Allow::Only { users, groups })
}

fn read_names<T>(section: &Section<'_>, key: &'static str, parse: fn(&str) -> Result<T, NotAName>) -> Option<Vec<T>> {
    let Some(found) = section.strings(key) else {
        return (!section.has(key)).then(Vec::new);
    };
    let parse = |Found { value, place }: &Found<String>| {
        let wrong = |why| section.problem(Problem::at(place, format!("the name {value:?} in `{key}` {why}")));
        parse(value).map_err(wrong).ok()
    };
    let names: Vec<_> = found.iter().map(parse).collect();
    names.into_iter().collect()
}

#[cfg(test)]
mod tests;
