//! The host a request is for: `reg-name` or address, with an optional port (RFC 3986 §3.2.2), lower-cased.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// A host name or address without its port, in the one spelling that is compared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

/// The text is not `host` or `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host name with an optional port")]
pub struct NotAHost;

impl Host {
    /// Reads `host` or `host:port`, as a `Host` field or an authority has it. User information, lists, escapes and
    /// anything else that two programs could read differently is refused.
    ///
    /// # Errors
    /// [`NotAHost`].
    pub fn parse_with_port(text: &str) -> Result<(Self, Option<u16>), NotAHost> {
        let (name, port) = split_port(text)?;
        Ok((Self::parse(name)?, port))
    }

    /// Reads a host without a port.
    ///
    /// # Errors
    /// [`NotAHost`].
    pub fn parse(text: &str) -> Result<Self, NotAHost> {
        if let Some(inside) = text.strip_prefix('[') {
            let address: Ipv6Addr = inside.strip_suffix(']').ok_or(NotAHost)?.parse().map_err(|_| NotAHost)?;
            return Ok(Self(format!("[{address}]").into()));
        }
        // One dot at the end says "fully qualified" and means the same host.
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() || name.len() > 253 || !name.split('.').all(is_label) {
            return Err(NotAHost);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The host as text; an IPv6 address stands in brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), NotAHost> {
    let colon = match (text.rfind(':'), text.rfind(']')) {
        (Some(colon), Some(bracket)) if colon < bracket => None,
        (colon, _) => colon,
    };
    let Some(colon) = colon else {
        return Ok((text, None));
    };
    let (name, port) = (&text[..colon], &text[colon + 1..]);
    if port.is_empty() || port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAHost);
    }
    Ok((name, Some(port.parse().map_err(|_| NotAHost)?)))
}

fn is_label(label: &str) -> bool {
    // Underscores are no part of host names but of names that people gave their machines.
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_spelling() {
        for (text, host, port) in [
            ("Wiki.Example.COM", "wiki.example.com", None),
            ("wiki.example.com.:8443", "wiki.example.com", Some(8443)),
            ("127.0.0.1:443", "127.0.0.1", Some(443)),
            ("[::1]", "[::1]", None),
            ("[0:0:0:0:0:0:0:1]:80", "[::1]", Some(80)),
            ("old_box", "old_box", None),
        ] {
            let (parsed, parsed_port) = Host::parse_with_port(text).unwrap();
            assert_eq!((parsed.as_str(), parsed_port), (host, port), "{text}");
        }
    }

    #[test]
    fn what_two_programs_could_read_differently_is_refused() {
        for text in [
            "", ".", "a..b", "a b", "a,b", "user@a", "a/b", "a:", "a:x", "a:99999", "a:123456", "a:+1", "a:1:2", "::1",
            "[::1", "[::1]x", "[::1]:", "%61", "a\\b", "a?b", "a#b", "é", "[v1.a]", "*", "a\t",
        ] {
            assert!(Host::parse_with_port(text).is_err(), "{text}");
        }
    }
}
