//! Slows guessing down, without ever locking out the person whose password is guessed.
//!
//! | counted per | free | then | a success |
//! |---|---|---|---|
//! | user and address | 5 | 1 s, 2 s, 4 s … 5 min after each failure | clears it |
//! | address alone | 30 | 1 s, 2 s … 1 min after each failure | takes back its own charge |
//! | user alone | 100 | whoever is new to this user waits once, 30 s | clears it |
//! | user, on a known device | 5 | as for user and address; none of the other three applies | clears it |
//!
//! An address is an IPv4 address or an IPv6 /64. A user is counted by the name as typed, whether it exists or not.
//! Failures of a user from an address count against the address only while they are free: one colleague with an old
//! password in a script is slowed down, not the office. After ten minutes of quiet half of the failures are forgotten.
//! Whoever shares an address with somebody who guesses their password shares the wait, unless on a known device.
//! An attempt that is told to wait is not a failure. Counters live in memory, for a bounded number of keys; the least
//! recently used are forgotten first.

mod tally;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use self::tally::{Slope, Tally};
use super::attempt::PasswordAttempt;
use crate::clock::Moment;
use crate::crypto::TagKey;

/// How long having waited once counts for a user and an address.
const WAITED_FOR: Duration = Duration::from_secs(3600);

/// The numbers of the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Failures per user and address that cost no wait.
    pub free_failures: u32,
    /// The longest wait between two attempts of one user from one address.
    pub max_delay: Duration,
    pub(crate) address_free: u32,
    pub(crate) address_max_delay: Duration,
    pub(crate) user_free: u32,
    pub(crate) user_wait: Duration,
    pub(crate) entries: u64,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        Self {
            free_failures: 5,
            max_delay: Duration::from_secs(300),
            address_free: 30,
            address_max_delay: Duration::from_secs(60),
            user_free: 100,
            user_wait: Duration::from_secs(30),
            entries: 100_000,
        }
    }
}

/// Too many failures; the attempt was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// How long to wait.
    pub retry_after: Duration,
}

/// All counters.
#[derive(Debug)]
pub struct Throttle {
    settings: ThrottleSettings,
    /// Keys are tags, so that a key has one size however long a name was typed, and a password that was typed as a name
    /// does not stay in memory.
    key: TagKey,
    pairs: Counters,
    addresses: Counters,
    users: Counters,
}

type Counters = Cache<[u8; 32], Arc<Counter>>;

/// What is known about one key.
#[derive(Debug)]
struct Counter(Mutex<Count>);

#[derive(Clone, Copy, Debug)]
struct Count {
    tally: Tally,
    /// When whoever is new to a user that is being guessed has waited long enough.
    not_before: Option<Moment>,
}

impl Counter {
    /// Nothing between taking and releasing this lock can panic.
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Throttle {
    /// Nothing has failed yet.
    pub fn new(settings: ThrottleSettings) -> Self {
        let counters = || {
            // The usual policy keeps what is popular; then an attacker's names could keep a new victim's counter out.
            Cache::builder().max_capacity(settings.entries).eviction_policy(EvictionPolicy::lru()).build()
        };
        Self { settings, key: TagKey::generate(), pairs: counters(), addresses: counters(), users: counters() }
    }

    /// The numbers it works with.
    pub fn settings(&self) -> ThrottleSettings {
        self.settings
    }

    /// Asks to be allowed one attempt, and counts it as failed until the ticket says otherwise: guesses that run at the
    /// same time see each other.
    ///
    /// # Errors
    /// [`TooMany`]; then the attempt counts as none.
    pub fn begin(&self, attempt: &PasswordAttempt, now: Moment) -> Result<Ticket, TooMany> {
        if attempt.known_device { self.begin_known(attempt, now) } else { self.begin_unknown(attempt, now) }
    }

    fn begin_known(&self, attempt: &PasswordAttempt, now: Moment) -> Result<Ticket, TooMany> {
        let device = counter(&self.pairs, self.key.tag(&[b"device", attempt.user.as_bytes()]));
        let charge = {
            let mut count = device.lock();
            may_come(count.tally.wait(self.pair_slope(), now))?;
            charge(&mut count, now)
        };
        Ok(Ticket { cleared: vec![(device, charge)], address: None })
    }

    /// Locks address, pair and user, always in this order, so that two attempts cannot both take the last free one.
    fn begin_unknown(&self, attempt: &PasswordAttempt, now: Moment) -> Result<Ticket, TooMany> {
        let prefix = prefix(attempt.address);
        let user = attempt.user.as_bytes();
        let address = counter(&self.addresses, self.key.tag(&[&prefix]));
        let mut address_count = address.lock();
        // Asked first, so that an address that is slowed down fills no other table.
        may_come(address_count.tally.wait(self.address_slope(), now))?;

        let pair = counter(&self.pairs, self.key.tag(&[b"address", user, &prefix]));
        let mut pair_count = pair.lock();
        may_come(pair_count.tally.wait(self.pair_slope(), now))?;

        let everywhere = counter(&self.users, self.key.tag(&[user]));
        let mut user_count = everywhere.lock();
        if user_count.tally.failures(now) > self.settings.user_free && pair_count.tally.failures(now) == 0 {
            may_come(wait_once(&mut pair_count, self.settings.user_wait, now))?;
        }

        let pair_is_free = pair_count.tally.failures(now) < self.settings.free_failures.max(1);
        let address_charge = pair_is_free.then(|| charge(&mut address_count, now));
        let (pair_charge, user_charge) = (charge(&mut pair_count, now), charge(&mut user_count, now));
        drop((address_count, pair_count, user_count));
        Ok(Ticket {
            cleared: vec![(pair, pair_charge), (everywhere, user_charge)],
            address: address_charge.map(|charge| (address, charge)),
        })
    }

    fn pair_slope(&self) -> Slope {
        Slope { free: self.settings.free_failures, max_delay: self.settings.max_delay }
    }

    fn address_slope(&self) -> Slope {
        Slope { free: self.settings.address_free, max_delay: self.settings.address_max_delay }
    }
}

/// One attempt that was allowed and counts as failed. Dropping it leaves it at that.
#[derive(Debug)]
#[must_use = "an attempt counts as failed until the ticket says otherwise"]
pub struct Ticket {
    cleared: Vec<(Arc<Counter>, Charge)>,
    address: Option<(Arc<Counter>, Charge)>,
}

#[derive(Clone, Copy, Debug)]
struct Charge {
    before: Tally,
    after: Tally,
}

impl Ticket {
    /// The password was right. What failed before no longer matters to this user; the address gets back only this
    /// attempt, or an attacker with an account of their own could clear it whenever they like.
    pub fn succeeded(self) {
        for (counter, _) in &self.cleared {
            counter.lock().tally = Tally::NONE;
        }
        self.address.iter().for_each(refund);
    }

    /// Nobody could say whether the password was right.
    pub fn refund(self) {
        self.cleared.iter().chain(&self.address).for_each(refund);
    }
}

fn counter(counters: &Counters, key: [u8; 32]) -> Arc<Counter> {
    counters.get_with(key, || Arc::new(Counter(Mutex::new(Count { tally: Tally::NONE, not_before: None }))))
}

fn may_come(wait: Duration) -> Result<(), TooMany> {
    if wait.is_zero() { Ok(()) } else { Err(TooMany { retry_after: wait }) }
}

fn charge(count: &mut Count, now: Moment) -> Charge {
    let before = count.tally;
    count.tally = before.charged(now);
    Charge { before, after: count.tally }
}

fn refund((counter, charge): &(Arc<Counter>, Charge)) {
    let mut count = counter.lock();
    count.tally = count.tally.refunded(charge.before, charge.after);
}

/// Sets when the waiting is over the first time, and keeps to it: otherwise others' failures could move it for ever.
fn wait_once(count: &mut Count, wait: Duration, now: Moment) -> Duration {
    match count.not_before {
        Some(over) if now.since(over) < WAITED_FOR => over.since(now),
        _ => {
            count.not_before = Some(now.plus(wait));
            wait
        }
    }
}

/// The part of an address that one party is likely to have for itself: all of IPv4, the first half of IPv6.
fn prefix(address: IpAddr) -> [u8; 8] {
    let mut prefix = [0; 8];
    match address.to_canonical() {
        // IPv4 in a range (0::/8) that is never a client's.
        IpAddr::V4(v4) => prefix[4..].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => prefix.copy_from_slice(&v6.octets()[..8]),
    }
    prefix
}

#[cfg(test)]
mod tests;
