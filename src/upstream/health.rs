//! What is known about a server's health: connections that it did not take, and checks that it failed.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::{MissedTickBehavior, interval};

use super::Upstream;
use super::choose::Standing;
use crate::clock::Moment;
use crate::problems::Problem;
use crate::section::Section;

const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// One lost packet says nothing about a server.
const FAILURES_UNTIL_SICK: u32 = 2;

/// When and how an app's servers are asked whether they are well.
#[derive(Clone, Debug)]
pub struct HealthSettings {
    /// What is asked for; none: nothing is.
    pub path: Option<PathAndQuery>,
    /// How often.
    pub interval: Duration,
    /// How long a server may take to answer.
    pub timeout: Duration,
}

impl HealthSettings {
    /// Reads the app's `health`.
    pub(super) fn read(app: &Section<'_>) -> Self {
        let mut health = Self::default();
        let Some(section) = app.table("health") else {
            return health;
        };
        let range = Duration::from_millis(10)..=Duration::from_secs(3600);
        health.interval = section.duration("interval", range.clone()).unwrap_or(health.interval);
        health.timeout = section.duration("timeout", range).unwrap_or(health.timeout);
        if let Some(found) = section.string("path") {
            health.path = found.value.parse().ok().filter(|path: &PathAndQuery| path.as_str().starts_with('/'));
            if health.path.is_none() {
                let problem = Problem::at(&found.place, format!("{:?} is not a path", found.value));
                section.problem(problem.hint("write it as it is sent, such as \"/health\""));
            }
        }
        health
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { path: None, interval: Duration::from_secs(10), timeout: Duration::from_secs(2) }
    }
}

/// One server's health. All workers share it, so it is made of atomics.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Connections in a row that it did not take.
    refusals: AtomicU32,
    /// In milliseconds since the epoch, as a [`Moment`] has it.
    rests_until: AtomicU64,
    failed_checks: AtomicU32,
    sick: AtomicBool,
}

impl Health {
    pub(super) fn standing(&self, now: Moment, settings: &HealthSettings) -> Standing {
        if self.sick.load(Ordering::Relaxed) {
            return Standing::Sick(settings.interval);
        }
        match Moment::from_unix_millis(self.rests_until.load(Ordering::Relaxed)).since(now) {
            Duration::ZERO => Standing::Well,
            left => Standing::Rests(left),
        }
    }

    /// It took a connection.
    pub(super) fn accept(&self) {
        if self.refusals.swap(0, Ordering::Relaxed) > 0 {
            self.rests_until.store(0, Ordering::Relaxed);
        }
    }

    /// It took none. What many requests find out at once counts once.
    pub(super) fn refuse(&self, now: Moment) {
        let until = Moment::from_unix_millis(self.rests_until.load(Ordering::Relaxed));
        if until.since(now) == Duration::ZERO {
            let before = self.refusals.fetch_add(1, Ordering::Relaxed);
            self.rests_until.store(now.plus(rest_after(before)).unix_millis(), Ordering::Relaxed);
        }
    }

    /// Takes the outcome of a check, and says whether it changes anything.
    fn check(&self, passed: bool) -> bool {
        if passed {
            self.failed_checks.store(0, Ordering::Relaxed);
            self.accept();
            return self.sick.swap(false, Ordering::Relaxed);
        }
        let failed = self.failed_checks.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failed >= FAILURES_UNTIL_SICK && !self.sick.swap(true, Ordering::Relaxed)
    }
}

/// Twice as long as the last time.
fn rest_after(refusals_before: u32) -> Duration {
    FIRST_REST.saturating_mul(1 << refusals_before.min(5)).min(LONGEST_REST)
}

/// Asks the servers for as long as it is polled; returns at once if they are not to be asked. `app` is for the log.
pub async fn watch(upstream: &Upstream, app: &str) {
    let settings = &upstream.settings.servers.health;
    let Some(path) = &settings.path else { return };
    let mut ticks = interval(settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for endpoint in &upstream.endpoints {
            let outcome = tokio::time::timeout(settings.timeout, endpoint.check(path)).await;
            let (passed, cause) = match outcome {
                Ok(Ok(status)) => (status.as_u16() < 400, status.to_string()),
                Ok(Err(error)) => (false, error.to_string()),
                Err(_) => (false, format!("no answer within {:?}", settings.timeout)),
            };
            if !endpoint.health.check(passed) {
                continue;
            }
            let server = endpoint.address();
            if passed {
                tracing::info!(app, %server, "a server of an app is well again");
            } else {
                tracing::warn!(app, %server, cause, "a server of an app fails its health check and is left alone");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_rests_twice_as_long_each_time_until_it_takes_a_connection() {
        let settings = HealthSettings::default();
        let (health, mut now) = (Health::default(), Moment::from_unix_millis(1_000_000));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let rest = Duration::from_secs(seconds);
            health.refuse(now);
            health.refuse(now);
            assert_eq!(health.standing(now, &settings), Standing::Rests(rest));
            now = now.plus(rest);
            assert_eq!(health.standing(now, &settings), Standing::Well);
        }
        health.refuse(now);
        health.accept();
        assert_eq!(health.standing(now, &settings), Standing::Well);
        health.refuse(now);
        assert_eq!(health.standing(now, &settings), Standing::Rests(FIRST_REST));
    }

    #[test]
    fn two_failed_checks_in_a_row_make_a_server_sick_and_one_that_passes_makes_it_well() {
        let health = Health::default();
        let changes = [false, true, false, false, false, true, true].map(|passed| health.check(passed));
        assert_eq!(changes, [false, false, false, true, false, true, false]);
    }
}
