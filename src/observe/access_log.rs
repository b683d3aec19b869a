//! One line per request: who asked for what, what was decided, how long it took. Queries, cookies and tokens are not
//! part of it.

use std::net::IpAddr;
use std::time::Duration;

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// The id that the visitor and the upstream see too.
    pub request_id: &'a str,
    /// The app it was for.
    pub app: Option<&'a str>,
    /// Who asked, if somebody is signed in.
    pub user: Option<&'a str>,
    /// The public handle of the session; never the token.
    pub session_id: Option<&'a str>,
    /// Where it came from.
    pub client: IpAddr,
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The host it was for.
    pub host: &'a str,
    /// The path without its query: queries carry secrets.
    pub path: &'a str,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: &'a str,
    /// What the rules said.
    pub decision: &'a str,
    /// What was answered.
    pub status: u16,
    /// From the request's head to the answer's head.
    pub took: Duration,
    /// The upstream's part of it.
    pub upstream_took: Option<Duration>,
}

/// Writes the line.
pub fn record(access: &Access<'_>) {
    // Whoever fills it in may forget; a secret in a log cannot be called back.
    let path = access.path.split(['?', '#']).next().unwrap_or_default();
    tracing::info!(
        target: "access",
        request_id = access.request_id,
        app = access.app,
        user = access.user,
        session_id = access.session_id,
        client = %access.client,
        method = access.method,
        host = access.host,
        path,
        protocol = access.protocol,
        decision = access.decision,
        status = access.status,
        took_ms = millis(access.took),
        upstream_took_ms = access.upstream_took.map(millis),
    );
}

/// With microseconds as its decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::observe::lines::logged;
    use crate::observe::log::{Format, LogSettings};

    const HOSTILE: [&str; 7] = [
        "/a\r\nb",
        "/\"}\n{\"level\":\"ERROR\"}",
        "/\u{1b}[2J\u{1b}]0;owned\u{7}",
        "/\u{9b}31m",
        "/\u{202e}gpj.exe\u{2028}x",
        "/a=b status=200",
        "/\\\0\u{85}",
    ];

    fn recorded(format: Format, hostile: &str) -> String {
        logged(LogSettings { format, ..LogSettings::default() }, || {
            record(&Access {
                request_id: "r1",
                app: None,
                user: Some(hostile),
                session_id: None,
                client: IpAddr::from([10, 0, 0, 7]),
                method: "GET",
                host: "wiki.test",
                path: &format!("{hostile}?token=s3cret"),
                protocol: "HTTP/2.0",
                decision: "forward",
                status: 200,
                took: Duration::from_micros(1_234),
                upstream_took: Some(Duration::from_millis(1)),
            });
        })
    }

    #[test]
    fn whatever_a_visitor_sends_it_is_one_json_line() {
        for hostile in HOSTILE {
            let said = recorded(Format::Json, hostile);
            assert!(said.ends_with('\n') && said.matches('\n').count() == 1, "{said}");
            let line: Value = serde_json::from_str(&said).unwrap();
            assert_eq!((line["user"].as_str(), line["path"].as_str()), (Some(hostile), Some(hostile)));
            assert_eq!((line["level"].as_str(), line["status"].as_u64()), (Some("INFO"), Some(200)));
            assert_eq!((line["took_ms"].as_f64(), line["upstream_took_ms"].as_f64()), (Some(1.234), Some(1.0)));
            assert_eq!((line["client"].as_str(), line.get("app")), (Some("10.0.0.7"), None));
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn whatever_a_visitor_sends_it_is_one_harmless_line_for_people() {
        for hostile in HOSTILE {
            let said = recorded(Format::Human, hostile);
            let line = said.strip_suffix('\n').unwrap();
            assert!(!line.chars().any(|c| c.is_control() || "\u{202e}\u{2028}".contains(c)), "{line:?}");
            assert!(line.contains("path=\"/") && !line.contains("s3cret"), "{line}");
            assert_eq!(line.matches("status=").count() - hostile.matches("status=").count() * 2, 1, "{line}");
        }
    }

    #[test]
    fn a_message_cannot_break_the_line_either() {
        let settings = LogSettings { format: Format::Human, ..LogSettings::default() };
        let said = logged(settings, || {
            let error = "bad\n2026-01-01 INFO forged \u{1b}[0m";
            tracing::info!(cause = %error, "cannot: {error}");
        });
        assert!(said.matches('\n').count() == 1 && !said.contains('\u{1b}'), "{said:?}");
    }
}
