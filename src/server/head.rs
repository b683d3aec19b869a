//! A look at the raw head of each HTTP/1 request, for what the parsed request no longer shows: lines that end without
//! CR, a fragment in the target, a `Content-Length` beside a `Transfer-Encoding` or twice.
//!
//! To find the next head it follows the framing of the bodies between (RFC 9112 §6). It passes every byte on; hyper
//! remains the parser, and where the two would disagree, hyper has refused the message already.

use crate::web::arrival::Malformed;

/// Follows the requests of one connection, as their bytes come in.
#[derive(Debug)]
pub(super) struct HeadReader {
    most: usize,
    heads: u64,
    phase: Phase,
    /// The part of a line whose end has not come yet.
    line: Vec<u8>,
    head: Head,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the first byte of a head.
    Between,
    /// There, after a CR that may belong to an empty line.
    AfterCr,
    Head,
    /// This many bytes of a body, or of a chunk with its line end.
    Body {
        left: u64,
        chunked: bool,
    },
    ChunkSize,
    Trailer,
}

#[derive(Debug, Default)]
struct Head {
    bytes: usize,
    lines: usize,
    length: Option<u64>,
    chunked: bool,
}

/// Longer lines between chunks than this are nobody's honest doing; hyper has its own, similar limit.
const LONGEST_CHUNK_LINE: usize = 16 * 1024;

impl HeadReader {
    /// Heads may have `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { most, heads: 0, phase: Phase::Between, line: Vec::new(), head: Head::default() }
    }

    /// How many heads have begun.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn within_head(&self) -> bool {
        self.phase == Phase::Head
    }

    /// Looks at more bytes.
    ///
    /// # Errors
    /// Says what is wrong with the head that began last. There is no use in looking further.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            bytes = match self.phase {
                Phase::Between if bytes[0] == b'\r' => {
                    self.phase = Phase::AfterCr;
                    &bytes[1..]
                }
                // Empty lines before a request are allowed (RFC 9112 §2.2).
                Phase::AfterCr if bytes[0] == b'\n' => {
                    self.phase = Phase::Between;
                    &bytes[1..]
                }
                Phase::Between | Phase::AfterCr => self.begin(bytes),
                Phase::Body { left, chunked } => self.skip(bytes, left, chunked),
                Phase::Head | Phase::ChunkSize | Phase::Trailer => self.read_line(bytes)?,
            };
        }
        Ok(())
    }

    fn begin<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if self.phase == Phase::AfterCr {
            self.line.push(b'\r');
        }
        self.phase = Phase::Head;
        self.heads += 1;
        self.head = Head::default();
        bytes
    }

    fn skip<'b>(&mut self, bytes: &'b [u8], left: u64, chunked: bool) -> &'b [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - here as u64;
        self.phase = match (left, chunked) {
            (0, true) => Phase::ChunkSize,
            (0, false) => Phase::Between,
            (left, chunked) => Phase::Body { left, chunked },
        };
        &bytes[here..]
    }

    fn read_line<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            self.check_size(0)?;
            return Ok(&[]);
        };
        if self.line.is_empty() {
            self.take_line(&bytes[..end])?;
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..end]);
            self.take_line(&line)?;
        }
        Ok(&bytes[end + 1..])
    }

    fn check_size(&self, more: usize) -> Result<(), Malformed> {
        let most = if self.phase == Phase::Head { self.most } else { LONGEST_CHUNK_LINE };
        let before = if self.phase == Phase::Head { self.head.bytes } else { 0 };
        if before + self.line.len() + more > most { Err(Malformed::Headers) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        self.check_size(line.len())?;
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(Malformed::Head("a line ends without CR"));
        };
        match self.phase {
            Phase::Head if line.is_empty() => self.phase = self.head.then()?,
            Phase::Head => self.head.take(line)?,
            Phase::ChunkSize => self.phase = after_chunk_size(line)?,
            Phase::Trailer if line.is_empty() => self.phase = Phase::Between,
            Phase::Trailer | Phase::Between | Phase::AfterCr | Phase::Body { .. } => {}
        }
        Ok(())
    }
}

impl Head {
    fn take(&mut self, line: &[u8]) -> Result<(), Malformed> {
        self.bytes += line.len() + 2;
        self.lines += 1;
        if memchr::memchr(b'\r', line).is_some() {
            return Err(Malformed::Head("a CR stands alone"));
        }
        if self.lines == 1 {
            return if line.contains(&b'#') { Err(Malformed::Head("its target has a fragment")) } else { Ok(()) };
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return Ok(());
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            if self.length.is_some() {
                return Err(Malformed::Head("it has several Content-Length fields"));
            }
            self.length = Some(length.ok_or(Malformed::Head("its Content-Length is not a number"))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        }
        Ok(())
    }

    fn then(&self) -> Result<Phase, Malformed> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Malformed::Head("it has both Content-Length and Transfer-Encoding")),
            (true, None) => Ok(Phase::ChunkSize),
            (false, Some(left @ 1..)) => Ok(Phase::Body { left, chunked: false }),
            (false, Some(0) | None) => Ok(Phase::Between),
        }
    }
}

/// RFC 9112 §7.1.
fn after_chunk_size(line: &[u8]) -> Result<Phase, Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let text = std::str::from_utf8(&line[..digits]).unwrap_or_default();
    let size = u64::from_str_radix(text, 16).map_err(|_| Malformed::Head("a chunk has no size"))?;
    match size {
        0 => Ok(Phase::Trailer),
        size => Ok(Phase::Body { left: size.saturating_add(2), chunked: true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the text in pieces of every size; the outcome must not depend on it.
    fn read(text: &str) -> Result<u64, (u64, Malformed)> {
        let outcomes: Vec<_> = (1..=text.len())
            .map(|size| {
                let mut reader = HeadReader::new(100);
                for piece in text.as_bytes().chunks(size) {
                    reader.read(piece).map_err(|flaw| (reader.heads(), flaw))?;
                }
                Ok(reader.heads())
            })
            .collect();
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{text:?} {outcomes:?}");
        outcomes[0]
    }

    #[test]
    fn heads_are_found_behind_bodies() {
        for (text, heads) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n", 2),
            ("\r\nGET / HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", 2),
            ("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\n#\r\nGET / HTTP/1.1\r\n\r\n", 2),
            ("POST / HTTP/1.1\r\ncontent-length:0\r\n\r\nGET / HTTP/1.1\r\n\r\n", 2),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n\n#\r\n0\r\nT: #\r\n\r\nGET / HTTP/1.1\r\n",
                2,
            ),
        ] {
            assert_eq!(read(text), Ok(heads), "{text:?}");
        }
    }

    #[test]
    fn what_the_parsed_request_hides_is_seen() {
        for (text, heads, part) in [
            ("GET / HTTP/1.1\nHost: a\n\n", 1, "without CR"),
            ("\nGET / HTTP/1.1\r\n\r\n", 1, "without CR"),
            ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 1, "CR stands alone"),
            ("\r\n\rGET / HTTP/1.1\r\n\r\n", 1, "CR stands alone"),
            ("GET /a#b HTTP/1.1\r\n\r\n", 1, "fragment"),
            (
                "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                2,
                "both",
            ),
            ("POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\nContent-Length: 1\r\n\r\n", 1, "both"),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 1, "several"),
            ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 1, "not a number"),
            ("POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", 1, "not a number"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\n", 1, "without CR"),
        ] {
            let (number, flaw) = read(text).unwrap_err();
            assert!(flaw.to_string().contains(part) && number == heads, "{text:?} {number} {flaw}");
        }
    }

    #[test]
    fn a_head_has_a_largest_size() {
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(100));
        assert_eq!(read(&long), Err((1, Malformed::Headers)));
    }
}
