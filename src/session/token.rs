//! The secret that a browser carries, what is kept of it, and the name that logs may show.

use std::fmt;

use crate::crypto;
use crate::secret::Secret;

/// 32 random bytes, known to one browser on one host. No `Display`, no equality: compare digests.
#[derive(Debug)]
pub struct SessionToken(Secret<[u8; 32]>);

impl SessionToken {
    /// A new token from the cryptographic generator.
    pub fn generate() -> Self {
        Self(Secret::new(crypto::random()))
    }

    /// Reads the 43 characters of a cookie; anything else is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        crypto::from_base64url(text).map(|bytes| Self(Secret::new(bytes)))
    }

    /// The 43 characters for the cookie.
    pub fn reveal(&self) -> Secret<String> {
        Secret::new(crypto::to_base64url(self.0.expose()))
    }

    /// What is kept of the token.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(crypto::sha256(self.0.expose()))
    }
}

/// The SHA-256 of a token: finds the session, and cannot be turned back into a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

/// The public handle of a session, for logs, lists and revocation: 22 characters, useless as a credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Derived from the digest of the session's first token, by a second hash: the digest itself finds a session.
    pub(super) fn of(digest: &TokenDigest) -> Self {
        let mut input = *b"session id:--------------------------------";
        input[11..].copy_from_slice(&digest.0);
        let mut id = [0; 16];
        id.copy_from_slice(&crypto::sha256(&input)[..16]);
        Self(id)
    }

    /// Reads the 22 characters.
    pub fn parse(text: &str) -> Option<Self> {
        crypto::from_base64url(text.as_bytes()).map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crypto::to_base64url(&self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_cookie_and_prints_nothing() {
        let token = SessionToken::generate();
        let text = token.reveal();
        assert_eq!(text.expose().len(), 43);
        assert_eq!(SessionToken::parse(text.expose().as_bytes()).unwrap().digest(), token.digest());
        assert!(!format!("{token:?} {:?}", token.digest()).contains(&text.expose()[..8]));
    }

    #[test]
    fn the_id_is_neither_token_nor_digest() {
        let token = SessionToken::generate();
        let id = SessionId::of(&token.digest());
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        assert!(SessionToken::parse(id.to_string().as_bytes()).is_none());
        assert_ne!(id.0, token.digest().0[..16]);
    }

    #[test]
    fn a_hundred_thousand_tokens_are_all_different_and_evenly_spread() {
        let mut seen = std::collections::HashSet::new();
        let mut counts = [0_u32; 256];
        for _ in 0..100_000 {
            let token = SessionToken::generate();
            token.0.expose().iter().for_each(|byte| counts[usize::from(*byte)] += 1);
            assert!(seen.insert(token.digest()));
        }
        // 3.2 million bytes, 12,500 expected of each value, standard deviation about 112: ten of them is no accident.
        assert!(counts.iter().all(|count| (11_380..13_620).contains(count)), "{counts:?}");
    }
}
