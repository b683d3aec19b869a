//! Where somebody goes after signing in: a place on the host they are on, and no other value can be made.
//!
//! It is sent as a relative `Location`, exactly as it was given; never as an address built from a `Host` header.

use std::sync::LazyLock;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::path::{CleanPath, fold, is_under};

/// Longer targets are not worth carrying through a sign-in.
const MAX_BYTES: usize = 2048;
/// Where our own pages are. Returning to one of them would sign out, or go round in circles.
const OWN_PATHS: &str = "/.vestibule";
/// All but the characters that need no escape anywhere (RFC 3986 §2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Some origin. A text that begins with exactly one slash stays on whatever origin it is read on, so the test on this
/// one tells about ours.
static SOME_ORIGIN: LazyLock<Url> =
    LazyLock::new(|| Url::parse("https://vestibule.invalid:8443/").expect("a constant that the tests read too"));

/// A path, with query and fragment if there are any, on the host that the visitor is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// Takes a value that a query or form parser has decoded once. `None` is anything that is not plainly a place on
    /// our own host, outside of our own pages; use [`root`](Self::root) then.
    pub fn parse(text: &str) -> Option<Self> {
        // Control characters, spaces, look-alike letters, and the backslash that browsers read as a slash.
        let harmless = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'\\');
        if text.len() > MAX_BYTES || !harmless || !text.starts_with('/') || text.starts_with("//") {
            return None;
        }
        if !is_what_a_browser_reads(text) {
            return None;
        }
        // Only what the gate itself would let through, and what stays harmless when the app decodes it once more.
        let path = CleanPath::parse(path_of(text)).ok()?;
        let leads_away = |reading: &str| reading.starts_with("//") || is_under(&fold(reading), OWN_PATHS);
        (!path.readings().any(leads_away)).then(|| Self(text.to_owned()))
    }

    /// The start of the host, which is always there.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The value for a `Location` field, exactly as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path alone, without query and fragment.
    pub fn path(&self) -> &str {
        path_of(&self.0)
    }

    /// The value for a query, as in `/.vestibule/login?return_to=…`.
    pub fn percent_encoded(&self) -> String {
        utf8_percent_encode(&self.0, ESCAPED).to_string()
    }
}

fn path_of(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// Whether a browser that follows the text stays where it is, and asks for exactly this: no dot segments resolved, no
/// characters dropped, nothing escaped anew.
fn is_what_a_browser_reads(text: &str) -> bool {
    let Ok(url) = SOME_ORIGIN.join(text) else {
        return false;
    };
    let stays = url.origin() == SOME_ORIGIN.origin() && url.username().is_empty() && url.password().is_none();
    stays && !url.path().starts_with("//") && &url[url::Position::BeforePath..] == text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_on_the_own_host_is_kept_as_it_is() {
        for (text, path) in [
            ("/", "/"),
            ("/a/b.c", "/a/b.c"),
            ("/?", "/"),
            ("/a?b=c&d=%20//e/../f#g/h?i", "/a"),
            ("/a#//b", "/a"),
            ("/a//b;c/@d:e", "/a//b;c/@d:e"),
            ("/caf%C3%A9/%e9%20", "/caf%C3%A9/%e9%20"),
            ("/a%2Fb", "/a%2Fb"),
            ("/login?next=https://evil.example", "/login"),
            ("/.vestibules", "/.vestibules"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/.vestibule/logout", "/a/.vestibule/logout"),
        ] {
            let target = ReturnTo::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((target.as_str(), target.path()), (text, path));
        }
        assert_eq!(ReturnTo::root(), ReturnTo::parse("/").unwrap());
    }

    #[test]
    fn whatever_could_lead_elsewhere_is_not_a_place_to_return_to() {
        for text in [
            "",
            "a",
            "a/b",
            "?a",
            "#a",
            ".",
            "*",
            // Another host, or another scheme.
            "//evil",
            "///evil",
            "/\\evil",
            "\\\\evil",
            "\\/evil",
            "https:evil",
            "https://evil",
            "https:///evil",
            "javascript:alert(1)",
            "data:,x",
            "//evil@app.example/",
            "//[::1]/",
            "http:/a",
            "HTTPS://evil",
            // What browsers drop, and what looks like a slash or a dot.
            "/\t/evil",
            "/\n/evil",
            "/\r\n/evil",
            "\t//evil",
            " //evil",
            " /a",
            "/a ",
            "/ /evil",
            "/\0/evil",
            "/a\r\nSet-Cookie: a=b",
            "/\u{7f}",
            "/\u{2215}evil",
            "/\u{2044}/evil",
            "/\u{ff0f}evil",
            "\u{ff0f}/evil",
            "/\u{ff0e}\u{ff0e}/a",
            "/\u{3002}",
            "/é",
            "/\u{200b}/evil",
            "/\u{feff}",
            // What becomes of it after decoding once more.
            "/%2f/evil",
            "/%2Fevil",
            "/%2fevil",
            "/%5cevil",
            "/%5Cevil",
            "/%252f/evil",
            "/%255cevil",
            "/%09/evil",
            "/%0d%0aSet-Cookie:a=b",
            "/%00",
            "/a%5cb",
            "/a%7fb",
            "/;x//evil",
            "/;/evil",
            "/%3B/%2Fevil",
            // Dot segments.
            "/..//evil",
            "/.//evil",
            "/a/..//evil",
            "/%2e%2e//evil",
            "/%2e//evil",
            "/%2e/a",
            "/a/%2E%2e/b",
            "/.",
            "/a/.",
            "/..;/a",
            "/%252e%252e/a",
            // Escapes that are none.
            "/%",
            "/%2",
            "/%zz",
            "/%u002f/evil",
            "/%c0%af/evil",
            // What a browser would write differently.
            "/a?b\"c",
            "/a#b<c",
            "/a\"b",
            "/{a}",
            "/a?b=<script>",
            // Our own pages.
            "/.vestibule",
            "/.vestibule/",
            "/.vestibule/logout",
            "/.vestibule/login?return_to=/",
            "/.vestibule?a",
            "/.vestibule#a",
            "/.vestibule%2flogout",
            "/.vestibule%2Flogout",
            "/%2evestibule/logout",
            "/.Vestibule/logout",
            "/.vestibule;a/logout",
            "/%2evestibule%252flogout",
            "/.vestibule%3Fa",
            "//.vestibule/logout",
        ] {
            assert_eq!(ReturnTo::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_target_of_more_than_2048_bytes_is_not_carried() {
        let longest = format!("/{}", "a".repeat(2047));
        assert!(ReturnTo::parse(&longest).is_some());
        assert_eq!(ReturnTo::parse(&format!("{longest}a")), None);
    }

    #[test]
    fn as_a_query_value_it_comes_back_as_it_was() {
        let target = ReturnTo::parse("/a%20b?c=d&e#f").unwrap();
        assert_eq!(target.percent_encoded(), "%2Fa%2520b%3Fc%3Dd%26e%23f");
    }

    fn tricky_targets() -> impl Strategy<Value = String> {
        let pieces = [
            "/",
            "/",
            "\\",
            "a",
            "evil.example",
            "@",
            ":",
            "?",
            "#",
            "%2f",
            "%5c",
            "%2e",
            "..",
            ".",
            ";",
            "\t",
            "\n",
            " ",
            "https:",
            ".vestibule",
            "%252f",
            "%",
            "[",
            "]",
            "|",
            "^",
            "'",
            "\"",
            "é",
            "\u{ff0f}",
            "&",
            "=",
            "%00",
            "%20",
        ];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..9)
            .prop_map(|all| format!("/{}", all.concat()))
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_stays_on_the_origin_it_is_read_on(tricky in tricky_targets(), any in "\\PC*") {
            for text in [tricky, format!("/{any}"), any] {
                let Some(target) = ReturnTo::parse(&text) else { continue };
                prop_assert_eq!(target.as_str(), &text);
                for origin in ["https://app.example:8443", "https://app.example", "https://[::1]:1", "http://10.0.0.7"] {
                    let here = Url::parse(&format!("{origin}/some/page?q#f")).unwrap();
                    let there = here.join(target.as_str()).unwrap();
                    prop_assert_eq!(there.origin(), here.origin());
                    prop_assert!(!there.path().starts_with("//"));
                    prop_assert_eq!(format!("{origin}{text}"), there.as_str());
                }
                let carried = format!("return_to={}", target.percent_encoded());
                let (_, back) = form_urlencoded::parse(carried.as_bytes()).next().unwrap();
                prop_assert_eq!(&*back, &text);
                prop_assert!(carried.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%-._~=".contains(&byte)));
            }
        }
    }
}
