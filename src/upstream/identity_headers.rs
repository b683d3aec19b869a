//! Which headers tell an app who is there, and how their values are written.
//!
//! Values are printable ASCII: other bytes of UTF-8, control characters and `%` itself are percent-encoded (RFC 3986
//! §2.1), as are spaces at either end; in user and group names commas are, too, so that a list has as many members as it seems.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::access::Pass;
use crate::identity::Identity;
use crate::problems::Problem;
use crate::section::{Section, WordOrTable};
use crate::session::LiveSession;

/// The presets, and the names that each writes for `{user} {name} {email} {groups}`.
const PRESETS: [(&str, &[&str]); 4] = [
    ("remote", &["remote-user", "remote-name", "remote-email", "remote-groups"]),
    ("x-forwarded", &["x-forwarded-user", "x-forwarded-preferred-username", "x-forwarded-email", "x-forwarded-groups"]),
    (
        "x-auth-request",
        &["x-auth-request-user", "x-auth-request-preferred-username", "x-auth-request-email", "x-auth-request-groups"],
    ),
    ("none", &[]),
];

/// Fields that the proxy or HTTP itself writes; a table cannot have them.
const TAKEN: [&str; 17] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "expect",
    "cookie",
    "set-cookie",
    "proxy",
    "proxy-connection",
    "http2-settings",
    "x-request-id",
    "date",
    "via",
];

/// The identity headers of one app.
#[derive(Clone, Debug, Default)]
pub struct IdentityHeaders(Vec<(HeaderName, Template)>);

#[derive(Clone, Debug)]
struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug)]
enum Field {
    User,
    Name,
    Email,
    Groups,
    SessionId,
    AuthTime,
    AuthMethod,
}

const FIELDS: [(&str, Field); 7] = [
    ("user", Field::User),
    ("name", Field::Name),
    ("email", Field::Email),
    ("groups", Field::Groups),
    ("session_id", Field::SessionId),
    ("auth_time", Field::AuthTime),
    ("auth_method", Field::AuthMethod),
];

impl IdentityHeaders {
    /// A preset; none if there is no such preset.
    pub fn preset(name: &str) -> Option<Self> {
        let (_, names) = PRESETS.iter().find(|(preset, _)| *preset == name)?;
        let fields = [Field::User, Field::Name, Field::Email, Field::Groups];
        let header =
            |(name, field): (&&'static str, Field)| (HeaderName::from_static(name), Template(vec![Part::Field(field)]));
        Some(Self(names.iter().zip(fields).map(header).collect()))
    }

    /// Reads an app's `identity`: a preset's name, or a table of header names and templates.
    pub fn read(app: &Section<'_>) -> Self {
        let default = || Self::preset("remote").unwrap_or_default();
        match app.word_or_table("identity") {
            None => default(),
            Some(WordOrTable::Word(word)) => Self::preset(&word.value).unwrap_or_else(|| {
                let names: Vec<_> = PRESETS.iter().map(|(name, _)| format!("{name:?}")).collect();
                let problem = Problem::at(&word.place, format!("there is no identity preset {:?}", word.value));
                app.problem(
                    problem.hint(format!("use {} or a table {{ \"Header\" = \"{{user}}\" }}", names.join(", "))),
                );
                default()
            }),
            Some(WordOrTable::Table(table)) => Self::read_table(&table),
        }
    }

    fn read_table(table: &Section<'_>) -> Self {
        let mut headers = Vec::new();
        for (key, value) in table.entries() {
            let name = HeaderName::from_bytes(key.value.as_bytes());
            let wrong = match &name {
                Ok(name) if is_taken(name.as_str()) => {
                    Some("cannot be an identity header: it has a meaning of its own")
                }
                Ok(_) => None,
                Err(_) => Some("is not a header name"),
            };
            if let Some(wrong) = wrong {
                let problem = Problem::at(&key.place, format!("{:?} {wrong}", key.value));
                table.problem(problem.hint("use a name such as \"X-User\""));
            }
            let template = Template::parse(&value.value);
            if let Err(wrong) = &template {
                let known: Vec<_> = FIELDS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                table.problem(Problem::at(&value.place, wrong.clone()).hint(format!("known are {}", known.join(" "))));
            }
            if let (Ok(name), Ok(template)) = (name, template) {
                headers.push((name, template));
            }
        }
        Self(headers)
    }

    /// The names that this app could get.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }

    /// The names that any preset could write.
    pub(super) fn preset_names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().flat_map(|(_, names)| names.iter().copied())
    }

    /// The headers for the holder of this pass; none for a stranger. A header for which something is missing is absent.
    pub(super) fn write(&self, pass: &Pass<LiveSession>) -> Vec<(HeaderName, HeaderValue)> {
        let write = |(name, template): &(HeaderName, Template)| Some((name.clone(), template.write(pass)?));
        self.0.iter().filter_map(write).collect()
    }
}

fn is_taken(name: &str) -> bool {
    TAKEN.contains(&name) || super::headers::FORWARDING_NAMES.contains(&name)
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or_else(|| format!("{text:?} has a {{ without a }}"))? + open;
            let name = &rest[open + 1..close];
            let field = FIELDS.iter().find(|(known, _)| *known == name);
            let (_, field) = field.ok_or_else(|| format!("there is no {{{name}}}"))?;
            parts.push(Part::Text(rest[..open].to_owned()));
            parts.push(Part::Field(*field));
            rest = &rest[close + 1..];
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        let texts_fit = parts.iter().all(|part| match part {
            Part::Text(text) => text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            Part::Field(_) => true,
        });
        if texts_fit { Ok(Self(parts)) } else { Err(format!("{text:?} has characters beyond printable ASCII")) }
    }

    fn write(&self, pass: &Pass<LiveSession>) -> Option<HeaderValue> {
        let session = pass.session()?;
        let identity = session.identity();
        let mut value = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => value.push_str(text),
                Part::Field(Field::SessionId) => value.push_str(&session.id().to_string()),
                Part::Field(field) => value.push_str(&field.of(identity)?),
            }
        }
        HeaderValue::from_maybe_shared(Bytes::from(value)).ok()
    }
}

impl Field {
    fn of(self, identity: &Identity) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::User => encode(identity.user.as_str(), true),
            Self::Name => encode(present(identity.name.as_deref())?, false),
            Self::Email => encode(present(identity.email.as_deref())?, false),
            Self::Groups if identity.groups.is_empty() => return None,
            Self::Groups => {
                let groups: Vec<_> = identity.groups.iter().map(|group| encode(group.as_str(), true)).collect();
                Cow::Owned(groups.join(","))
            }
            Self::AuthTime => Cow::Owned(identity.authenticated_at.unix_seconds().to_string()),
            Self::AuthMethod => Cow::Borrowed(identity.method.as_str()),
            Self::SessionId => return None,
        })
    }
}

fn present(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn encode(text: &str, in_list: bool) -> Cow<'_, str> {
    let last = text.len().saturating_sub(1);
    let plain = |(at, byte): (usize, u8)| match byte {
        b'%' => false,
        b',' => !in_list,
        b' ' => at != 0 && at != last,
        byte => byte.is_ascii_graphic(),
    };
    if text.bytes().enumerate().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() * 2);
    for (at, byte) in text.bytes().enumerate() {
        if plain((at, byte)) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_break_a_header_or_a_list() {
        for (text, in_list, expected) in [
            ("alice", true, "alice"),
            ("Alice Liddell", false, "Alice Liddell"),
            ("józef", false, "j%C3%B3zef"),
            ("100%", false, "100%25"),
            ("a\r\nX: y", false, "a%0D%0AX: y"),
            (" a ", false, "%20a%20"),
            ("bob,admin", true, "bob%2Cadmin"),
            ("Liddell, Alice", false, "Liddell, Alice"),
            ("\u{7f}\0", false, "%7F%00"),
        ] {
            assert_eq!(encode(text, in_list), expected, "{text:?}");
            let decoded = percent_encoding::percent_decode_str(expected).decode_utf8().unwrap();
            assert_eq!(decoded, text);
        }
    }

    #[test]
    fn templates_know_their_fields() {
        assert_eq!(Template::parse("{user}@{groups}!").unwrap().0.len(), 4);
        for wrong in ["{usr}", "{user", "{}", "é{user}", "a\nb"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
