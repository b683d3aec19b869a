//! What a users file stores instead of a password: argon2id in PHC form (RFC 9106) or bcrypt. Reading, making and
//! comparing it, and how much one comparison may cost. Which thread does the work is `hashing.rs`.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use unicode_normalization::UnicodeNormalization;

use crate::crypto;
use crate::secret::Secret;

/// The most memory that one stored hash may ask for, in KiB: 256 MiB.
pub const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// The most passes over that memory.
pub const MAX_ITERATIONS: u32 = 16;
/// The most lanes.
pub const MAX_PARALLELISM: u32 = 16;
/// The highest bcrypt cost; each step doubles the work, and this one takes two to four seconds.
pub const MAX_BCRYPT_COST: u32 = 15;

/// bcrypt knows no more of a password than this, so a longer one would be accepted with anything after it.
const BCRYPT_MAX_BYTES: usize = 72;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// What a new argon2id hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Default for HashCost {
    /// The first choice of OWASP's password storage cheat sheet, and what ASVS 11.4.2 asks for.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2, parallelism: 1 }
    }
}

/// Why a text is not a stored password. The sentence completes "the password of … ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAHash {
    /// Neither form; perhaps the password itself.
    #[error("is not a password hash")]
    Unknown,
    /// Begins like a hash and does not go on like one.
    #[error("is a damaged {0} hash")]
    Damaged(&'static str),
    /// A hash of a kind that is not accepted.
    #[error("is hashed with {0}, which is not accepted")]
    NotAccepted(String),
    /// One sign-in would take too much.
    #[error("costs too much to check: {0}")]
    TooCostly(String),
}

/// A stored password.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Argon2id { text: String, version: Version, cost: HashCost, salt: Vec<u8>, output: Vec<u8> },
    Bcrypt { text: String },
}

impl StoredHash {
    /// Reads a PHC string of argon2id, or `$2a$`, `$2b$` or `$2y$` of bcrypt.
    ///
    /// # Errors
    /// [`NotAHash`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NotAHash> {
        match text.split('$').nth(1) {
            Some("argon2id") if text.starts_with('$') => parse_argon2id(text),
            Some("2a" | "2b" | "2y") if text.starts_with('$') => parse_bcrypt(text),
            // $2x$ marks hashes of a broken implementation, which compares passwords beyond ASCII wrongly.
            Some(kind) if text.starts_with('$') && !kind.is_empty() && kind.len() <= 20 => {
                Err(NotAHash::NotAccepted(kind.escape_default().to_string()))
            }
            _ => Err(NotAHash::Unknown),
        }
    }

    /// A hash that no password matches, and that takes as long to compare as one that was made at `cost`.
    pub fn dummy(cost: HashCost) -> Self {
        let (salt, output) = (crypto::random::<SALT_BYTES>().to_vec(), crypto::random::<OUTPUT_BYTES>().to_vec());
        Self(Form::Argon2id { text: String::new(), version: Version::V0x13, cost, salt, output })
    }

    /// The text that stands in the file.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Argon2id { text, .. } | Form::Bcrypt { text } => text,
        }
    }

    /// `argon2id` or `bcrypt`.
    pub fn kind(&self) -> &'static str {
        match self.0 {
            Form::Argon2id { .. } => "argon2id",
            Form::Bcrypt { .. } => "bcrypt",
        }
    }

    /// Whether a new hash at `cost` would be stronger in any respect.
    pub fn is_weaker_than(&self, ours: HashCost) -> bool {
        match &self.0 {
            Form::Bcrypt { .. } => true,
            Form::Argon2id { version, cost, salt, output, .. } => {
                *version != Version::V0x13
                    || cost.memory_kib < ours.memory_kib
                    || cost.iterations < ours.iterations
                    || salt.len() < SALT_BYTES
                    || output.len() < OUTPUT_BYTES
            }
        }
    }

    /// Compares. `memory` is scratch space that grows as needed.
    pub(crate) fn matches(&self, password: &Secret<String>, memory: &mut Vec<Block>) -> bool {
        match &self.0 {
            Form::Argon2id { version, cost, salt, output, .. } => {
                let mut computed = vec![0; output.len()];
                argon2id(password, *version, *cost, salt, &mut computed, memory) && crypto::same(&computed, output)
            }
            Form::Bcrypt { text } => bcrypt_matches(text, password.expose().as_bytes()),
        }
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredHash({}…)", self.kind())
    }
}

/// Makes a new argon2id hash in PHC form.
pub(crate) fn make(password: &Secret<String>, cost: HashCost, memory: &mut Vec<Block>) -> String {
    let (salt, mut output) = (crypto::random::<SALT_BYTES>(), [0; OUTPUT_BYTES]);
    let done = argon2id(password, Version::V0x13, cost, &salt, &mut output, memory);
    assert!(done, "salt and output have the lengths that argon2 takes");
    let HashCost { memory_kib, iterations, parallelism } = cost;
    let (salt, output) = (to_phc_base64(&salt), to_phc_base64(&output));
    format!("$argon2id$v=19$m={memory_kib},t={iterations},p={parallelism}${salt}${output}")
}

/// Makes a new argon2id hash on this thread: for commands, which have nothing else to do.
pub fn hash_now(password: &Secret<String>) -> String {
    make(password, HashCost::default(), &mut Vec::new())
}

fn argon2id(
    password: &Secret<String>,
    version: Version,
    cost: HashCost,
    salt: &[u8],
    output: &mut [u8],
    memory: &mut Vec<Block>,
) -> bool {
    let Ok(params) = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, Some(output.len())) else {
        return false;
    };
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    // One password may be typed in several ways: é is one character on one keyboard and two on another
    // (SP 800-63B 3.1.1.2). Nothing is cut off and no case is changed.
    let normal = Secret::new(password.expose().nfkc().collect::<String>());
    Argon2::new(Algorithm::Argon2id, version, params)
        .hash_password_into_with_memory(normal.expose().as_bytes(), salt, output, &mut memory[..blocks])
        .is_ok()
}

fn bcrypt_matches(stored: &str, password: &[u8]) -> bool {
    // bcrypt reads the password again and again with a zero byte between, so "a" and "a\0a" are one to it.
    let as_whole = password.len() <= BCRYPT_MAX_BYTES && !password.contains(&0);
    let start = &password[..password.len().min(BCRYPT_MAX_BYTES)];
    // Computed in any case: what cannot match takes as long as what does not.
    bcrypt::verify(start, stored).unwrap_or(false) && as_whole
}

fn parse_argon2id(text: &str) -> Result<StoredHash, NotAHash> {
    let damaged = NotAHash::Damaged("argon2id");
    let phc = PasswordHash::new(text).map_err(|_| damaged.clone())?;
    let params = Params::try_from(&phc).map_err(|_| damaged.clone())?;
    if !params.keyid().is_empty() || !params.data().is_empty() {
        return Err(NotAHash::NotAccepted("argon2id with a key or associated data".into()));
    }
    // A PHC string without a version is of the first one, 1.0.
    let version = Version::try_from(phc.version.unwrap_or(0x10)).map_err(|_| damaged.clone())?;
    let (Some(salt), Some(output)) = (phc.salt, phc.hash) else {
        return Err(damaged);
    };
    let cost = HashCost { memory_kib: params.m_cost(), iterations: params.t_cost(), parallelism: params.p_cost() };
    for (name, is, most) in [
        ("m", cost.memory_kib, MAX_MEMORY_KIB),
        ("t", cost.iterations, MAX_ITERATIONS),
        ("p", cost.parallelism, MAX_PARALLELISM),
    ] {
        if is > most {
            return Err(NotAHash::TooCostly(format!("{name}={is} is more than {most}")));
        }
    }
    let (salt, output) = (salt.to_vec(), output.as_bytes().to_vec());
    Ok(StoredHash(Form::Argon2id { text: text.to_owned(), version, cost, salt, output }))
}

fn parse_bcrypt(text: &str) -> Result<StoredHash, NotAHash> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| NotAHash::Damaged("bcrypt"))?;
    match parts.get_cost() {
        0..4 => Err(NotAHash::Damaged("bcrypt")),
        cost @ ..=MAX_BCRYPT_COST if cost >= 4 => Ok(StoredHash(Form::Bcrypt { text: text.to_owned() })),
        cost => Err(NotAHash::TooCostly(format!("cost {cost} is more than {MAX_BCRYPT_COST}"))),
    }
}

/// Base64 as PHC strings have it: the standard alphabet, no padding.
fn to_phc_base64(bytes: &[u8]) -> String {
    crypto::to_base64url(bytes).replace('-', "+").replace('_', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: HashCost = HashCost { memory_kib: 8, iterations: 1, parallelism: 1 };

    fn matches(stored: &str, password: &str) -> bool {
        StoredHash::parse(stored).unwrap().matches(&Secret::new(password.to_owned()), &mut Vec::new())
    }

    fn made(password: &str) -> String {
        make(&Secret::new(password.to_owned()), CHEAP, &mut Vec::new())
    }

    #[test]
    fn a_new_hash_is_todays_argon2id() {
        let text = hash_now(&Secret::new("correct horse".into()));
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert!(!StoredHash::parse(&text).unwrap().is_weaker_than(HashCost::default()));
        assert!(matches(&text, "correct horse"));
    }

    #[test]
    fn hashes_of_other_programs_are_understood() {
        // From the command line tool of the reference implementation.
        let reference = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(matches(reference, "password"));
        let htpasswd = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";
        assert!(StoredHash::parse(htpasswd).is_ok());
    }

    #[test]
    fn every_difference_counts() {
        let stored = made("Pass Word");
        for wrong in ["pass word", " Pass Word", "Pass Word ", "Pass Wor", "Pass Word\0", "", "Pass  Word"] {
            assert!(!matches(&stored, wrong), "{wrong:?}");
        }
        let long = "x".repeat(1000);
        assert!(!matches(&made(&long), &long[..999]));
    }

    #[test]
    fn composed_and_decomposed_letters_are_the_same_password() {
        assert!(matches(&made("caf\u{e9} cr\u{e8}me"), "cafe\u{301} cre\u{300}me"));
    }

    #[test]
    fn bcrypt_takes_neither_long_passwords_nor_zero_bytes() {
        let exactly = "x".repeat(72);
        let stored = bcrypt::hash(&exactly, 4).unwrap();
        assert!(matches(&stored, &exactly));
        assert!(!matches(&stored, &format!("{exactly}y")));
        let stored = bcrypt::hash("a", 4).unwrap();
        assert!(matches(&stored, "a"));
        assert!(!matches(&stored, "a\0a"));
        assert!(StoredHash::parse(&stored).unwrap().is_weaker_than(CHEAP));
    }

    #[test]
    fn memory_that_was_used_before_changes_nothing() {
        let mut memory = Vec::new();
        let (one, two) = (Secret::new("one".to_owned()), Secret::new("two".to_owned()));
        let bigger = HashCost { memory_kib: 64, iterations: 2, parallelism: 2 };
        let stored = StoredHash::parse(&make(&one, bigger, &mut memory)).unwrap();
        make(&two, CHEAP, &mut memory);
        assert!(stored.matches(&one, &mut memory));
        assert!(!stored.matches(&two, &mut memory));
        assert!(stored.matches(&one, &mut Vec::new()));
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        let tail = "$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let bcrypt = "$2b$16$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";
        for (text, wanted) in [
            ("hunter2".to_owned(), "is not a password hash"),
            (String::new(), "is not a password hash"),
            ("pa$2b$ss".to_owned(), "is not a password hash"),
            ("$argon2id$x".to_owned(), "is a damaged argon2id hash"),
            (format!("$argon2i$v=19$m=256,t=2,p=1{tail}"), "is hashed with argon2i, which is not accepted"),
            ("$6$rounds$x".to_owned(), "is hashed with 6, which is not accepted"),
            (format!("$argon2id$v=19$m=999999,t=2,p=1{tail}"), "costs too much to check: m=999999 is more than 262144"),
            (format!("$argon2id$v=19$m=256,t=99,p=1{tail}"), "costs too much to check: t=99 is more than 16"),
            (format!("$argon2id$v=19$m=256,t=2,p=17{tail}"), "costs too much to check: p=17 is more than 16"),
            (bcrypt.to_owned(), "costs too much to check: cost 16 is more than 15"),
            (bcrypt.replace("$16$", "$00$"), "is a damaged bcrypt hash"),
            (bcrypt[..59].to_owned(), "is a damaged bcrypt hash"),
            (bcrypt.replace("2b", "2x"), "is hashed with 2x, which is not accepted"),
        ] {
            assert_eq!(StoredHash::parse(&text).unwrap_err().to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn weaker_parameters_are_outdated_and_stronger_ones_are_not() {
        let ours = HashCost { memory_kib: 64, iterations: 2, parallelism: 1 };
        for (memory_kib, iterations, outdated) in [(64, 2, false), (128, 3, false), (32, 2, true), (64, 1, true)] {
            let cost = HashCost { memory_kib, iterations, parallelism: 1 };
            let text = make(&Secret::new("x".into()), cost, &mut Vec::new());
            assert_eq!(StoredHash::parse(&text).unwrap().is_weaker_than(ours), outdated, "{text}");
        }
    }

    #[test]
    fn a_stored_hash_does_not_print_itself() {
        assert_eq!(format!("{:?}", StoredHash::parse(&made("x")).unwrap()), "StoredHash(argon2id…)");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_reading_it_panic(text in r"(\$(argon2id|2[abxy]))?\$(v=19\$m=[0-9]{1,12},t=[0-9]{1,5},p=[0-9]{1,9}|[0-9+]{2})?\PC{0,70}") {
            let _ = StoredHash::parse(&text);
        }
    }
}
