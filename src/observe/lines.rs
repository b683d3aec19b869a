//! What the log wrote, kept for tests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::log::{LogSettings, subscriber};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that is logged while `events` runs on this thread.
pub(super) fn logged(settings: LogSettings, events: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing::subscriber::with_default(subscriber(settings, move || writer.clone()), events);
    let lines = lines.0.lock().unwrap();
    String::from_utf8(lines.clone()).unwrap()
}
