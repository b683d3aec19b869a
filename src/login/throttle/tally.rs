//! Counting failures and turning the count into a wait. Pure arithmetic: no map, no clock.

use std::time::Duration;

use crate::clock::Moment;

/// After so much quiet, half of the failures are forgotten; after twice as much, three quarters.
pub(crate) const HALF_LIFE: Duration = Duration::from_secs(600);
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// How failures of one kind become waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slope {
    /// So many failures cost nothing.
    pub(crate) free: u32,
    /// After that the wait is 1 s, 2 s, 4 s … up to this.
    pub(crate) max_delay: Duration,
}

impl Slope {
    /// How long after the last of `failures` the next attempt may come.
    pub(crate) fn delay(self, failures: u32) -> Duration {
        let Some(beyond) = failures.checked_sub(self.free) else {
            return Duration::ZERO;
        };
        FIRST_DELAY.saturating_mul(1 << beyond.min(30)).min(self.max_delay)
    }
}

/// The failures of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    failures: u32,
    last: Moment,
}

impl Tally {
    pub(crate) const NONE: Self = Self { failures: 0, last: Moment::from_unix_millis(0) };

    /// The failures that are not forgotten by now.
    pub(crate) fn failures(self, now: Moment) -> u32 {
        let halvings = now.since(self.last).as_millis() / HALF_LIFE.as_millis();
        u32::try_from(halvings).ok().and_then(|halvings| self.failures.checked_shr(halvings)).unwrap_or(0)
    }

    /// How long the next attempt has to wait; zero if it may come now.
    pub(crate) fn wait(self, slope: Slope, now: Moment) -> Duration {
        self.last.plus(slope.delay(self.failures(now))).since(now)
    }

    /// One failure more.
    #[must_use]
    pub(crate) fn charged(self, now: Moment) -> Self {
        Self { failures: self.failures(now).saturating_add(1), last: now }
    }

    /// Takes back a charge that turned `before` into `after`; others may have been charged since.
    #[must_use]
    pub(crate) fn refunded(self, before: Self, after: Self) -> Self {
        if self == after { before } else { Self { failures: self.failures.saturating_sub(1), last: self.last } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOPE: Slope = Slope { free: 5, max_delay: Duration::from_secs(300) };
    const START: Moment = Moment::from_unix_millis(1_000_000_000);

    fn after(failures: u32) -> Tally {
        (0..failures).fold(Tally::NONE, |tally, _| tally.charged(START))
    }

    #[test]
    fn the_wait_doubles_after_the_free_failures_and_ends_at_the_limit() {
        for (failures, seconds) in
            [(0, 0), (4, 0), (5, 1), (6, 2), (7, 4), (12, 128), (13, 256), (14, 300), (1000, 300), (u32::MAX, 300)]
        {
            assert_eq!(SLOPE.delay(failures), Duration::from_secs(seconds), "{failures}");
        }
    }

    #[test]
    fn the_wait_runs_from_the_last_failure() {
        let tally = after(7);
        for (millis, left) in [(0, 4000), (1000, 3000), (3999, 1), (4000, 0), (9000, 0)] {
            let now = START.plus(Duration::from_millis(millis));
            assert_eq!(tally.wait(SLOPE, now), Duration::from_millis(left), "{millis}");
        }
    }

    #[test]
    fn quiet_halves_the_failures() {
        let tally = after(20);
        for (seconds, left) in [(0, 20), (599, 20), (600, 10), (1200, 5), (3000, 0), (u64::MAX / 2000, 0)] {
            assert_eq!(tally.failures(START.plus(Duration::from_secs(seconds))), left, "{seconds}");
        }
    }

    #[test]
    fn a_refund_leaves_what_others_added() {
        let before = after(5);
        let charged = before.charged(START.plus(Duration::from_secs(5)));
        assert_eq!(charged.refunded(before, charged), before);
        let more = charged.charged(START.plus(Duration::from_secs(9)));
        assert_eq!(more.refunded(before, charged).failures, 6);
    }
}
