//! From host and path to the app.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::app::App;
use crate::web::host::Host;

/// The hosts that an app is reached at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Any.
    Any,
    /// One label and then this.
    Under(Host),
    /// This one.
    Exact(Host),
}

impl HostPattern {
    /// Reads `host`, `*.host` or `*`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        if let Some(parent) = text.strip_prefix("*.") {
            return Host::parse(parent).ok().map(Self::Under);
        }
        Host::parse(text).ok().map(Self::Exact)
    }

    fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == host,
            Self::Under(parent) => {
                host.as_str().split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent.as_str())
            }
        }
    }

    fn precision(&self) -> u8 {
        match self {
            Self::Any => 0,
            Self::Under(_) => 1,
            Self::Exact(_) => 2,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Under(parent) => write!(f, "*.{parent}"),
            Self::Exact(host) => write!(f, "{host}"),
        }
    }
}

/// All protected apps.
#[derive(Debug)]
pub struct Apps {
    all: Vec<Arc<App>>,
    by_exact_host: HashMap<Host, Site>,
}

/// The apps of one host, the longest path first.
#[derive(Clone, Debug)]
pub(crate) struct Site(Vec<Arc<App>>);

impl Apps {
    /// These apps.
    pub fn new(all: Vec<Arc<App>>) -> Self {
        let mut apps = Self { all, by_exact_host: HashMap::new() };
        let exact = apps.all.iter().flat_map(|app| &app.hosts).filter_map(|pattern| match pattern {
            HostPattern::Exact(host) => Some(host.clone()),
            HostPattern::Under(_) | HostPattern::Any => None,
        });
        apps.by_exact_host = exact.filter_map(|host| Some((host.clone(), apps.collect(&host)?))).collect();
        apps
    }

    /// All of them, in the order of the configuration.
    pub fn all(&self) -> &[Arc<App>] {
        &self.all
    }

    /// The apps of a host; none if the host is unknown.
    pub(crate) fn at(&self, host: &Host) -> Option<Cow<'_, Site>> {
        self.by_exact_host.get(host).map(Cow::Borrowed).or_else(|| self.collect(host).map(Cow::Owned))
    }

    fn collect(&self, host: &Host) -> Option<Site> {
        let precision =
            |app: &App| app.hosts.iter().filter(|pattern| pattern.matches(host)).map(HostPattern::precision).max();
        let mut found: Vec<_> = self.all.iter().filter_map(|app| Some((precision(app)?, Arc::clone(app)))).collect();
        // The longest path wins; of equal paths, the host that is named most exactly.
        found.sort_by_key(|(precision, app)| std::cmp::Reverse((app.path.len(), *precision)));
        (!found.is_empty()).then(|| Site(found.into_iter().map(|(_, app)| app).collect()))
    }
}

impl Site {
    /// The app that a reading of a path belongs to.
    pub(crate) fn app_at(&self, reading: &str) -> Option<&Arc<App>> {
        self.0.iter().find(|app| app.holds(reading))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns_match_what_they_say() {
        for (pattern, host, matches) in [
            ("*", "any.test", true),
            ("wiki.test", "wiki.test", true),
            ("wiki.test", "x.wiki.test", false),
            ("*.test", "wiki.test", true),
            ("*.test", "a.wiki.test", false),
            ("*.test", "test", false),
            ("*.Test", "wiki.test", true),
        ] {
            let parsed = HostPattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(&Host::parse(host).unwrap()), matches, "{pattern} {host}");
        }
        for wrong in ["", "a*.test", "*.*.test", "https://a.test", "a.test:8443", "a.test/"] {
            assert_eq!(HostPattern::parse(wrong), None, "{wrong}");
        }
    }
}
