//! The few cryptographic things the house needs: random bytes, SHA-256, message tags, base64url.

use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::secret::Secret;

/// Bytes from the cryptographic generator.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("AWS-LC aborts rather than run without entropy");
    bytes
}

/// SHA-256 (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Whether two values are equal, in time that does not depend on where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// A key for message tags (HMAC-SHA-256, RFC 2104).
#[derive(Clone, Debug)]
pub struct TagKey(Secret<[u8; 32]>);

impl TagKey {
    /// A key from these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }

    /// A new random key.
    pub fn generate() -> Self {
        Self::new(random())
    }

    /// The tag of the parts. Each part is preceded by its length, so that no two lists of parts read the same.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.0.expose()));
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

/// A key for a WebSocket handshake of ours (RFC 6455 §4.1).
pub fn websocket_key() -> String {
    STANDARD.encode(random::<16>())
}

/// The answer to a WebSocket handshake's key (RFC 6455 §4.2.2, which wants SHA-1; nothing secret depends on it).
pub fn websocket_accept(key: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(context.finish().as_ref())
}

/// base64url without padding (RFC 4648 §5).
pub fn to_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads exactly `N` bytes of base64url; anything longer, shorter, padded or not canonical is none.
pub fn from_base64url<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    let written = URL_SAFE_NO_PAD.decode_slice(text, &mut out).ok()?;
    (written == N).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_of_the_right_length_is_read() {
        let bytes: [u8; 32] = random();
        let text = to_base64url(&bytes);
        assert_eq!(text.len(), 43);
        assert_eq!(from_base64url::<32>(text.as_bytes()), Some(bytes));
        for wrong in ["", "AAAA", &format!("{text}="), &format!("{text}A"), &text[1..], &text.replace(&text[..1], "+")]
        {
            assert_eq!(from_base64url::<32>(wrong.as_bytes()), None, "{wrong}");
        }
        // The last character carries two unused bits; a value with them set is a second spelling.
        assert_eq!(from_base64url::<32>(format!("{}B", &"A".repeat(42)).as_bytes()), None);
    }

    #[test]
    fn the_websocket_answer_is_that_of_the_standard() {
        assert_eq!(websocket_accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn sha256_is_sha256() {
        let abc = sha256(b"abc");
        assert_eq!(abc[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn tags_depend_on_key_parts_and_their_borders() {
        let key = TagKey::new([1; 32]);
        assert_eq!(key.tag(&[b"a", b"bc"]), key.tag(&[b"a", b"bc"]));
        assert_ne!(key.tag(&[b"a", b"bc"]), key.tag(&[b"ab", b"c"]));
        assert_ne!(key.tag(&[b"a"]), TagKey::new([2; 32]).tag(&[b"a"]));
        assert!(same(b"x", b"x") && !same(b"x", b"y") && !same(b"x", b"xx"));
    }
}
