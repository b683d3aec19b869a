//! The `Cookie` field, read the way browsers write it (RFC 6265bis §5.7.3): pairs split at `;`, spaces and tabs around
//! them dropped, names compared byte for byte. No quotes, no escapes, no `$Version`: a parser that knows more can be
//! tricked into seeing a cookie where another sees none.

use http::header::{COOKIE, Entry};
use http::{HeaderMap, HeaderValue};

/// Every value under `name`, over all `Cookie` lines, in order.
pub fn named<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(COOKIE).into_iter().flat_map(|line| pairs(line.as_bytes())).filter_map(move |pair| {
        let (found, value) = split(pair);
        (found == name.as_bytes()).then_some(value)
    })
}

/// Removes the cookies with these names and joins what is left into one line, as HTTP/1.1 wants it (RFC 9113 §8.2.3).
/// Other cookies keep their bytes.
pub fn remove(headers: &mut HeaderMap, names: &[&str]) {
    let Entry::Occupied(lines) = headers.entry(COOKIE) else {
        return;
    };
    let ours = |pair: &[u8]| names.iter().any(|name| name.as_bytes() == split(pair).0);
    let untouched = {
        let mut iter = lines.iter();
        matches!((iter.next(), iter.next()), (Some(only), None) if !pairs(only.as_bytes()).any(ours))
    };
    if untouched {
        return;
    }
    let mut kept: Vec<u8> = Vec::new();
    for line in lines.iter() {
        for pair in pairs(line.as_bytes()).filter(|pair| !pair.is_empty() && !ours(pair)) {
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    lines.remove();
    if !kept.is_empty() {
        let mut value = HeaderValue::from_bytes(&kept).expect("made of bytes that were header values");
        value.set_sensitive(true);
        headers.insert(COOKIE, value);
    }
}

/// The name of the cookie that a `Set-Cookie` value sets, as browsers read it.
pub fn set_name(value: &[u8]) -> &[u8] {
    let pair = value.split(|byte| *byte == b';').next().unwrap_or_default();
    trim(split(pair).0)
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';').map(trim)
}

/// Name and value; without `=` all is value and the name is empty (RFC 6265bis §5.6).
fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair) {
        Some(at) => (trim(&pair[..at]), trim(&pair[at + 1..])),
        None => (b"", pair),
    }
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn our_cookies_are_cut_out_and_others_keep_their_bytes() {
        for (lines, left) in [
            (&["a=1; s=x; b=2"][..], Some("a=1; b=2")),
            (&["s=x"], None),
            (&["s=x; s=y;s=z"], None),
            (&["a=1", "s=x", "b=2"], Some("a=1; b=2")),
            (&["a=\"q; s=x\"; b"], Some("a=\"q; b")),
            (&["a=1;  b=2"], Some("a=1;  b=2")),
            (&["S=1; ss=2; s2=3"], Some("S=1; ss=2; s2=3")),
            (&["s =x; a==b=c"], Some("a==b=c")),
        ] {
            let mut headers = headers(lines);
            remove(&mut headers, &["s"]);
            assert_eq!(headers.get(COOKIE).map(|value| value.to_str().unwrap()), left, "{lines:?}");
            assert!(headers.get_all(COOKIE).iter().count() <= 1);
        }
    }

    #[test]
    fn all_values_of_a_name_are_seen() {
        let headers = headers(&["a=1; b=2;a=3", "a = 4 "]);
        assert_eq!(named(&headers, "a").collect::<Vec<_>>(), [&b"1"[..], b"3", b"4"]);
    }

    #[test]
    fn the_name_that_a_set_cookie_sets_is_found() {
        for (value, name) in [("s=1; Path=/", "s"), (" s =1", "s"), ("1; s=2", ""), ("=s", ""), ("s", "")] {
            assert_eq!(set_name(value.as_bytes()), name.as_bytes(), "{value}");
        }
    }
}
