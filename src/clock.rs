//! The only place that asks what time it is. Rules are given a [`Moment`]; tests move the clock by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A point in time: milliseconds since the Unix epoch.
///
/// Wall-clock time, because sessions outlive processes; but a running [`Clock`] neither jumps nor runs backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment this many milliseconds after the Unix epoch.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This much later. Saturates at the end of time.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Tells the time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// Wall-clock time at the start, and the boot-time clock since then: setting the machine's clock moves no session,
    /// and a suspended machine's sleep counts as idleness.
    System {
        wall: u64,
        boot: u64,
    },
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self(Source::System { wall: u64::try_from(wall).unwrap_or(u64::MAX), boot: boot_millis() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn manual(start: Moment) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(start.0))))
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System { wall, boot } => Moment(wall + boot_millis().saturating_sub(*boot)),
            Source::Manual(millis) => Moment(millis.load(Ordering::SeqCst)),
        }
    }

    /// Lets time pass on a manual clock, and on every clone of it. The machine's clock takes no orders.
    pub fn advance(&self, duration: Duration) {
        if let Source::Manual(millis) = &self.0 {
            millis.fetch_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }
}

fn boot_millis() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1000 + nanos / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(Moment::from_unix_millis(5_000));
        let same = clock.clone();
        assert_eq!(clock.now().unix_seconds(), 5);
        same.advance(Duration::from_secs(2));
        assert_eq!(clock.now().since(Moment::from_unix_millis(5_000)), Duration::from_secs(2));
    }

    #[test]
    fn the_machines_clock_does_not_run_backwards() {
        let clock = Clock::system();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(first.unix_seconds() > 1_700_000_000);
    }

    #[test]
    fn a_moment_to_come_was_no_time_ago() {
        let now = Moment::from_unix_millis(1);
        assert_eq!(now.since(now.plus(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(Moment::from_unix_millis(u64::MAX).plus(Duration::MAX).unix_millis(), u64::MAX);
    }
}
