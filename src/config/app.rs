//! The `[[app]]` sections: each organ reads its own part of them.

use std::collections::HashMap;

use crate::access::Rules;
use crate::gate::HostPattern;
use crate::names::AppName;
use crate::problems::{Place, Problem};
use crate::section::{Found, Section};
use crate::session::Limits;
use crate::upstream::UpstreamSettings;
use crate::web::host::Host;
use crate::web::path::CleanPath;

/// One checked `[[app]]` section.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// Its name.
    pub name: AppName,
    /// The hosts it is reached at.
    pub hosts: Vec<HostPattern>,
    /// The prefix of its paths.
    pub path: String,
    /// Who may enter.
    pub rules: Rules,
    /// Its timeouts.
    pub limits: Limits,
    /// Paths that no person asks for.
    pub background: Vec<String>,
    /// Origins besides its own whose scripts may open WebSockets.
    pub websocket_origins: Vec<String>,
    /// Where it runs.
    pub upstream: UpstreamSettings,
    /// Where the section stands.
    pub place: Place,
}

pub(super) fn read_all(root: &Section<'_>, limits: &Limits) -> Vec<AppSettings> {
    let sections = root.tables("app");
    if sections.is_empty() {
        let problem = Problem::general("there is no [[app]]: nothing would be protected");
        root.problem(problem.hint("add [[app]] with `name`, `hosts` and `upstreams`"));
    }
    // Every section is read to its end, so that all its mistakes are found.
    let apps: Vec<_> = sections.iter().map(|section| (read(section, limits), section)).collect();
    let apps: Vec<_> = apps.into_iter().filter_map(|(app, section)| Some((app?, section))).collect();
    check_names(&apps);
    check_addresses(&apps);
    apps.into_iter().map(|(app, _)| app).collect()
}

fn read(section: &Section<'_>, limits: &Limits) -> Option<AppSettings> {
    let name = read_name(section);
    let hosts = read_hosts(section);
    let path = section.string("path").map_or(Some("/".to_owned()), |found| read_path(section, &found));
    let background = section.strings("background").unwrap_or_default();
    let background = background.iter().filter_map(|found| read_path(section, found)).collect();
    let limits = Limits::read_for_app(section, limits);
    let websocket_origins = read_origins(section);
    let (rules, upstream, place) = (Rules::read(section), UpstreamSettings::read(section), section.place());
    Some(AppSettings { name: name?, hosts, path: path?, rules, limits, background, websocket_origins, upstream, place })
}

fn read_name(section: &Section<'_>) -> Option<AppName> {
    let Some(found) = section.string("name") else {
        if !section.has("name") {
            section.missing("name", "\"wiki\"");
        }
        return None;
    };
    AppName::parse(&found.value)
        .map_err(|wrong| section.problem(Problem::at(&found.place, format!("the name {:?} {wrong}", found.value))))
        .ok()
}

fn read_hosts(section: &Section<'_>) -> Vec<HostPattern> {
    let Some(found) = section.strings("hosts") else {
        if !section.has("hosts") {
            section.missing("hosts", "[\"wiki.example.com\"]");
        }
        return Vec::new();
    };
    if found.is_empty() {
        let problem = Problem::at(&section.place_of("hosts"), "`hosts` is empty: the app could not be reached");
        section.problem(problem.hint("name a host, or \"*\" for all"));
    }
    let parsed = found.iter().filter_map(|text| {
        let pattern = HostPattern::parse(&text.value);
        if pattern.is_none() {
            let problem = Problem::at(&text.place, format!("{:?} is not a host name", text.value));
            section.problem(
                problem.hint("write \"wiki.example.com\", \"*.example.com\" or \"*\", without scheme, port or path"),
            );
        }
        pattern
    });
    parsed.collect()
}

fn read_origins(section: &Section<'_>) -> Vec<String> {
    let found = section.strings("websocket_origins").unwrap_or_default();
    for text in &found {
        let host = text.value.strip_prefix("https://").or_else(|| text.value.strip_prefix("http://"));
        if host.is_none_or(|host| Host::parse_with_port(host).is_err()) {
            let problem = Problem::at(&text.place, format!("{:?} is not an origin", text.value));
            section.problem(problem.hint("write scheme, host and port if any, such as \"https://www.example.com\""));
        }
    }
    found.into_iter().map(|text| text.value).collect()
}

/// A prefix is written as people read it: decoded, with one slash between segments.
fn read_path(section: &Section<'_>, found: &Found<String>) -> Option<String> {
    let text = found.value.as_str();
    let plain = !text.contains(['%', ';', '?', '#', '\\']) && !text.contains("//");
    let encoded = percent_encoding::utf8_percent_encode(text, percent_encoding::CONTROLS).to_string();
    if plain && text.starts_with('/') && CleanPath::parse(&encoded.replace(' ', "%20")).is_ok() {
        return Some(if text == "/" { text.to_owned() } else { text.trim_end_matches('/').to_owned() });
    }
    let problem = Problem::at(&found.place, format!("{text:?} is not a path prefix"));
    section.problem(problem.hint("write it decoded and without \"..\" or a query, such as \"/wiki\""));
    None
}

fn check_names(apps: &[(AppSettings, &Section<'_>)]) {
    let mut seen = HashMap::new();
    for (app, section) in apps {
        if seen.insert(&app.name, ()).is_some() {
            let problem =
                Problem::at(&section.place_of("name"), format!("there is another app named {:?}", app.name.as_str()));
            section.problem(problem.hint("give each app a name of its own"));
        }
    }
}

fn check_addresses(apps: &[(AppSettings, &Section<'_>)]) {
    let mut seen: HashMap<(&HostPattern, &str), &AppName> = HashMap::new();
    for (app, section) in apps {
        for host in &app.hosts {
            if let Some(other) = seen.insert((host, &app.path), &app.name)
                && *other != app.name
            {
                let message = format!("the apps {other} and {} are both at {host}{}", app.name, app.path);
                section
                    .problem(Problem::at(&section.place_of("hosts"), message).hint("change `hosts` or `path` of one"));
            }
        }
    }
}
