//! Sets up the log: one line per event on stderr, for people or for programs. What is logged is decided elsewhere.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;

use crate::section::Section;

/// What the `[log]` section says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The least important events that are logged.
    pub level: LevelFilter,
    /// For whom.
    pub format: Format,
    /// Whether each request has a line.
    pub access: bool,
}

/// For whom the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// People at a terminal, programs elsewhere.
    Auto,
    /// People.
    Human,
    /// Programs: one JSON object per line.
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LevelFilter::INFO, format: Format::Auto, access: true }
    }
}

impl LogSettings {
    /// Reads the section. Mistakes are noted, and a default stands in.
    pub fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let levels = [
            ("error", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            ("trace", LevelFilter::TRACE),
        ];
        let formats = [("auto", Format::Auto), ("human", Format::Human), ("json", Format::Json)];
        Self {
            level: section.word("level", &levels).unwrap_or(default.level),
            format: section.word("format", &formats).unwrap_or(default.format),
            access: section.boolean("access").unwrap_or(default.access),
        }
    }

    fn wants(&self, event: &Metadata<'_>) -> bool {
        let target = event.target();
        let limit = match target.split("::").next().unwrap_or(target) {
            "access" if !self.access => LevelFilter::OFF,
            "vestibule" | "access" | "audit" => self.level,
            // Libraries print whole requests when asked for details, and with them cookies and passwords.
            _ => self.level.min(LevelFilter::WARN),
        };
        *event.level() <= limit
    }
}

/// Lines that wait to be written; beyond it they are dropped, because a slow terminal must not slow requests.
const WAITING_LINES: usize = 16 * 1024;

/// Writes what is still waiting when it is dropped.
#[must_use = "lines that still wait are lost without it"]
pub struct Guard {
    _worker: WorkerGuard,
    dropped: ErrorCounter,
}

impl Guard {
    /// How many lines were dropped because they came faster than they could be written.
    pub fn dropped(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

/// Starts the log of this process, on stderr. Where there is one already, that one stays.
pub fn start(settings: LogSettings) -> Guard {
    let format = match settings.format {
        Format::Auto if io::stderr().is_terminal() => Format::Human,
        Format::Auto => Format::Json,
        format => format,
    };
    let settings = LogSettings { format, ..settings };
    let dropped = Arc::new(OnceLock::new());
    let stderr = Honest { inner: io::stderr(), format, dropped: Arc::clone(&dropped), told: 0 };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES).thread_name("log");
    let (writer, worker) = builder.finish(stderr);
    let counter = dropped.get_or_init(|| writer.error_counter()).clone();
    // Fails only if a log has been started before.
    let _ = tracing::subscriber::set_global_default(subscriber(settings, writer));
    Guard { _worker: worker, dropped: counter }
}

/// Turns events into lines. Whatever an event holds, it is one line, and one JSON object where that is wanted;
/// [`Format::Auto`] is taken for [`Format::Json`] here, because only [`start`] knows whether a terminal is there.
pub fn subscriber<W>(settings: LogSettings, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match settings.format {
        Format::Human => {
            let colours =
                io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let fields = debug_fn(|writer, field, value| write_field(writer, field.name(), value)).delimited(" ");
            layer.with_ansi(colours).fmt_fields(fields).boxed()
        }
        Format::Auto | Format::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let filter = filter_fn(move |event| settings.wants(event)).with_max_level_hint(settings.level);
    tracing_subscriber::registry().with(layer.with_filter(filter))
}

/// `name=value`. What could move the cursor, begin a line or turn text around is shown as an escape.
fn write_field(writer: &mut Writer<'_>, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
    if name != "message" {
        write!(writer, "{name}=")?;
    }
    for c in format!("{value:?}").chars() {
        match c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            true => write!(writer, "{}", c.escape_default())?,
            false => writer.write_char(c)?,
        }
    }
    Ok(())
}

/// Says so when lines before this one were dropped.
struct Honest<W> {
    inner: W,
    format: Format,
    dropped: Arc<OnceLock<ErrorCounter>>,
    told: usize,
}

impl<W: Write> Write for Honest<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let dropped = self.dropped.get().map_or(0, ErrorCounter::dropped_lines);
        if dropped > self.told {
            let notice = loss_notice(self.format, dropped - self.told);
            self.told = dropped;
            self.inner.write_all(notice.as_bytes())?;
        }
        self.inner.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn loss_notice(format: Format, lost: usize) -> String {
    let mut now = String::new();
    // Cannot fail: a `String` takes everything.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    let message = "log lines were dropped: they came faster than they could be written";
    match format {
        Format::Human => format!("{now}  WARN vestibule::observe::log: {message} lines={lost}\n"),
        Format::Auto | Format::Json => {
            let target = "vestibule::observe::log";
            let line = serde_json::json!({
                "timestamp": now, "level": "WARN", "message": message, "lines": lost, "target": target,
            });
            format!("{line}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::observe::lines::logged;
    use crate::problems::Source;
    use crate::section::TomlFile;

    #[test]
    fn the_section_is_read() {
        let source = Source::new("v.toml", "level = 'debug'\nformat = 'json'\naccess = false".into());
        let file = TomlFile::parse(&source);
        let settings = LogSettings::read(&file.root());
        assert_eq!(settings, LogSettings { level: LevelFilter::DEBUG, format: Format::Json, access: false });
        assert!(file.into_problems().is_empty());
    }

    #[test]
    fn libraries_are_not_heard_below_a_warning_whatever_the_level() {
        let settings = LogSettings { level: LevelFilter::TRACE, format: Format::Human, access: false };
        let said = logged(settings, || {
            tracing::trace!(target: "hyper::proto", "cookie: 1");
            tracing::info!(target: "vestibuled", "cookie: 2");
            tracing::info!(target: "access", "no 3");
            tracing::warn!(target: "h2", "yes 1");
            tracing::trace!("yes 2");
            tracing::info!(target: "audit", "yes 3");
        });
        assert_eq!((said.matches("yes").count(), said.lines().count()), (3, 3), "{said}");
        let settings = LogSettings { level: LevelFilter::ERROR, ..settings };
        assert_eq!(logged(settings, || tracing::warn!(target: "h2", "quiet")), "");
    }

    #[test]
    fn json_lines_have_a_time_a_level_and_flat_fields() {
        let settings = LogSettings { format: Format::Json, ..LogSettings::default() };
        let said = logged(settings, || tracing::warn!(app = "wiki", status = 502_u16, "no\nanswer"));
        assert_eq!(said.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(line["message"], "no\nanswer");
        assert_eq!(
            (line["level"].as_str(), line["app"].as_str(), line["status"].as_u64()),
            (Some("WARN"), Some("wiki"), Some(502))
        );
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.starts_with("20") && time.contains('T') && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn lost_lines_are_counted_and_told() {
        /// Takes nothing until it is told to go on.
        struct Stuck(std::sync::mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);
        impl Write for Stuck {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                self.1.lock().unwrap().write(line)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (go, wait) = std::sync::mpsc::channel();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let dropped = Arc::new(OnceLock::new());
        let inner = Stuck(wait, Arc::clone(&lines));
        let honest = Honest { inner, format: Format::Json, dropped: Arc::clone(&dropped), told: 0 };
        let (mut writer, worker) = NonBlockingBuilder::default().buffered_lines_limit(2).finish(honest);
        let counter = dropped.get_or_init(|| writer.error_counter()).clone();
        for _ in 0..10 {
            writer.write_all(b"{}\n").unwrap();
        }
        assert!(counter.dropped_lines() >= 7);
        drop(go);
        drop(worker);
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let notice = text.lines().find(|line| line.contains("dropped")).unwrap();
        let notice: serde_json::Value = serde_json::from_str(notice).unwrap();
        assert_eq!(notice["lines"].as_u64(), Some(counter.dropped_lines() as u64));
        assert!(loss_notice(Format::Human, 3).contains("lines=3"));
    }
}
