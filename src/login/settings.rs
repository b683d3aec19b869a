//! The `[login]` section.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::throttle::ThrottleSettings;
use crate::problems::Problem;
use crate::section::Section;

/// Where the users file lies if the configuration does not say; relative to the configuration.
pub const DEFAULT_USERS: &str = "users.toml";

/// How people sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSettings {
    /// The users file.
    pub users: PathBuf,
    /// Threads that hash passwords; 0 is half the cores.
    pub hash_threads: usize,
    /// How many passwords may wait for one of them.
    pub hash_queue: usize,
    /// How guessing is slowed down.
    pub throttle: ThrottleSettings,
}

impl LoginSettings {
    /// Reads the section, or takes the defaults if there is none. Mistakes go to the section's file.
    pub fn read(section: Option<&Section<'_>>, folder: &Path) -> Self {
        let mut settings = Self {
            users: folder.join(DEFAULT_USERS),
            hash_threads: 0,
            hash_queue: 32,
            throttle: ThrottleSettings::default(),
        };
        let Some(section) = section else {
            return settings;
        };
        if let Some(users) = section.path("users") {
            settings.users = users.value;
        }
        if let Some(host) = section.string("host") {
            let message = "signing in on one host for all the others is not available in this version";
            let hint = "leave `host` out; each host then has its own sign-in page and session";
            section.problem(Problem::at(&host.place, message).hint(hint));
        }
        if let Some(threads) = section.integer("hash_threads", 0..=256) {
            settings.hash_threads = usize::try_from(threads).unwrap_or(0);
        }
        if let Some(queue) = section.integer("hash_queue", 1..=10_000) {
            settings.hash_queue = usize::try_from(queue).unwrap_or(32);
        }
        if let Some(throttle) = section.table("throttle") {
            settings.throttle = read_throttle(&throttle);
        }
        settings
    }
}

fn read_throttle(section: &Section<'_>) -> ThrottleSettings {
    let mut settings = ThrottleSettings::default();
    if let Some(delay) = section.duration("max_delay", Duration::from_secs(1)..=Duration::from_secs(3600)) {
        settings.max_delay = delay;
    }
    if let Some(free) = section.integer("free_failures", 1..=100) {
        settings.free_failures = u32::try_from(free).unwrap_or(settings.free_failures);
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problems::{Problems, Source};
    use crate::section::TomlFile;

    fn read(text: &str) -> (LoginSettings, Problems) {
        let source = Source::new("/etc/v/vestibule.toml", text.into());
        let file = TomlFile::parse(&source);
        let settings = {
            let root = file.root();
            LoginSettings::read(root.table("login").as_ref(), root.folder())
        };
        (settings, file.into_problems())
    }

    #[test]
    fn without_a_section_the_defaults_hold() {
        for text in ["", "[login]"] {
            let (settings, problems) = read(text);
            assert!(problems.is_empty());
            assert_eq!(settings.users, Path::new("/etc/v/users.toml"));
            assert_eq!((settings.hash_threads, settings.hash_queue), (0, 32));
            assert_eq!(settings.throttle, ThrottleSettings::default());
        }
    }

    #[test]
    fn every_key_is_read() {
        let text = "[login]\nusers = \"/srv/u.toml\"\nhash_threads = 2\nhash_queue = 8\n\
                    [login.throttle]\nmax_delay = \"1m\"\nfree_failures = 3";
        let (settings, problems) = read(text);
        assert!(problems.is_empty(), "{problems}");
        assert_eq!(settings.users, Path::new("/srv/u.toml"));
        assert_eq!((settings.hash_threads, settings.hash_queue), (2, 8));
        assert_eq!((settings.throttle.max_delay, settings.throttle.free_failures), (Duration::from_secs(60), 3));
    }

    #[test]
    fn a_login_host_is_not_taken_silently() {
        let (_, problems) = read("[login]\nhost = \"login.example.com\"");
        assert!(problems.to_string().contains("vestibule.toml:2:8: signing in on one host"), "{problems}");
    }
}
