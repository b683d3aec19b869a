//! How a path may be read: the closure of its plain decoding under what programs are known to do to a path, bounded.
//!
//! Each step is linear in the path, and the readings are bounded in number and in length, so the whole is.

use percent_encoding::percent_encode_byte;

use super::PathProblem;

/// More readings than this are nobody's honest path.
const MAX_READINGS: usize = 32;
/// All readings together. Long paths have few readings, or somebody wants to see us work.
const MAX_BYTES: usize = 64 * 1024;
/// How many times over a path may be escaped. Two happens by mistake, three in links inside of links.
const MAX_DECODINGS: u8 = 4;

/// What programs do to a path besides decoding it. Each answers `None` where it would change nothing.
const STEPS: [fn(&str) -> Option<String>; 5] =
    [merge_slashes, strip_parameters, decode_slashes, cut_at_query, take_as_latin1];
/// What programs do to a path before they decode it.
const STEPS_BEFORE: [fn(&str) -> Option<String>; 3] = [merge_slashes, strip_parameters, decode_slashes];

/// Every reading of a raw path whose bytes and escapes have been checked; first the plain one.
pub(super) fn all(raw: &str) -> Result<Vec<String>, PathProblem> {
    let mut readings = Readings::default();
    for written in before_decoding(raw)? {
        readings.add_decoded(&written, 0)?;
    }
    let mut next = 0;
    while let Some(Reading { text, decodings }) = readings.list.get(next).cloned() {
        for changed in STEPS.iter().filter_map(|step| step(&text)) {
            readings.add(changed, decodings)?;
        }
        readings.add_decoded(&text, decodings)?;
        next += 1;
    }
    Ok(readings.list.into_iter().map(|reading| reading.text).collect())
}

/// The raw path, and what becomes of it in programs that look for `;` and `/` before they decode: they see fewer of
/// them than those which decode first.
fn before_decoding(raw: &str) -> Result<Vec<String>, PathProblem> {
    let mut texts = vec![raw.to_owned()];
    let mut next = 0;
    while let Some(text) = texts.get(next).cloned() {
        for changed in STEPS_BEFORE.iter().filter_map(|step| step(&text)) {
            if texts.contains(&changed) {
                continue;
            }
            if texts.len() == MAX_READINGS {
                return Err(PathProblem::TooManyReadings);
            }
            texts.push(changed);
        }
        next += 1;
    }
    Ok(texts)
}

#[derive(Clone)]
struct Reading {
    text: String,
    decodings: u8,
}

#[derive(Default)]
struct Readings {
    list: Vec<Reading>,
    bytes: usize,
}

impl Readings {
    fn add(&mut self, text: String, decodings: u8) -> Result<(), PathProblem> {
        if self.list.iter().any(|known| known.text == text) {
            return Ok(());
        }
        check(&text)?;
        self.bytes += text.len();
        if self.list.len() == MAX_READINGS || self.bytes > MAX_BYTES {
            return Err(PathProblem::TooManyReadings);
        }
        self.list.push(Reading { text, decodings });
        Ok(())
    }

    fn add_decoded(&mut self, text: &str, decodings: u8) -> Result<(), PathProblem> {
        let ways = if has_encoded_slash(text) { &[Slashes::Keep, Slashes::Decode][..] } else { &[Slashes::Keep] };
        for &slashes in ways {
            let decoded = decode(text, slashes)?;
            // The raw path has to be decoded to become a reading, also where that changes nothing.
            if decodings > 0 && decoded == text {
                continue;
            }
            if decodings == MAX_DECODINGS {
                return Err(PathProblem::TooDeep);
            }
            self.add(decoded, decodings + 1)?;
        }
        Ok(())
    }
}

/// What no reading may have.
pub(super) fn check(reading: &str) -> Result<(), PathProblem> {
    for byte in reading.bytes() {
        match byte {
            b'\\' => return Err(PathProblem::Backslash),
            0x00..=0x1f | 0x7f => return Err(PathProblem::Control),
            _ => {}
        }
    }
    if reading.contains("/.") && reading.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(PathProblem::DotSegment);
    }
    Ok(())
}

pub(super) fn has_encoded_slash(text: &str) -> bool {
    text.contains("%2F") || text.contains("%2f")
}

#[derive(Clone, Copy, PartialEq)]
enum Slashes {
    Keep,
    Decode,
}

/// Decodes every valid escape once. Bytes that make no UTF-8 become escapes again, so that decoding the result goes on
/// where decoding bytes would.
fn decode(text: &str, slashes: Slashes) -> Result<String, PathProblem> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match escaped_byte(rest) {
            Some(b'/') if slashes == Slashes::Keep => {
                bytes.extend_from_slice(&rest[..3]);
                rest = &rest[3..];
            }
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    if has_overlong(&bytes) {
        return Err(PathProblem::Overlong);
    }
    Ok(escape_what_is_no_text(&bytes))
}

/// The byte that an escape at the start stands for.
fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn escape_what_is_no_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(percent_encode_byte(*byte));
        }
    }
    text
}

/// Whether a careless decoder would find a character here that has a shorter form: a slash in `C0 AF`, a dot in
/// `E0 80 AE`. C0 and C1 begin nothing else; the five- and six-byte forms (F8, FC) are of before RFC 3629.
fn has_overlong(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().any(|(at, first)| {
        let second = bytes.get(at + 1).copied().unwrap_or_default();
        match first {
            0xc0 | 0xc1 => true,
            0xe0 => (0x80..=0x9f).contains(&second),
            0xf0 => (0x80..=0x8f).contains(&second),
            0xf8 => (0x80..=0x87).contains(&second),
            0xfc => (0x80..=0x83).contains(&second),
            _ => false,
        }
    })
}

/// `//` is `/` to nginx and to many a router.
fn merge_slashes(text: &str) -> Option<String> {
    if !text.contains("//") {
        return None;
    }
    let mut merged = String::with_capacity(text.len());
    for piece in text.split_inclusive('/') {
        if piece != "/" || !merged.ends_with('/') {
            merged.push_str(piece);
        }
    }
    Some(merged)
}

/// `/a;b=c/d` is `/a/d` to a servlet container.
fn strip_parameters(text: &str) -> Option<String> {
    if !text.contains(';') {
        return None;
    }
    let names: Vec<_> = text.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    Some(names.join("/"))
}

/// An escaped slash is a slash to whoever decodes before splitting.
fn decode_slashes(text: &str) -> Option<String> {
    has_encoded_slash(text).then(|| text.replace("%2F", "/").replace("%2f", "/"))
}

/// An escaped `?` or `#` ends the path for whoever decodes it and then takes it for an address again, as rewriting
/// rules do.
fn cut_at_query(text: &str) -> Option<String> {
    let end = text.find(['?', '#'])?;
    Some(text[..end].to_owned())
}

/// What is no UTF-8 is Latin-1 to older programs.
fn take_as_latin1(text: &str) -> Option<String> {
    let mut taken = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        taken.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match escaped_byte(rest.as_bytes()) {
            Some(byte @ 0xa0..) => {
                taken.push(char::from(byte));
                3
            }
            _ => {
                taken.push('%');
                1
            }
        };
        rest = &rest[length..];
    }
    taken.push_str(rest);
    (taken != text).then_some(taken)
}
