//! What was measured, as Markdown.

use std::process::Command;

use super::load::Load;
use super::peers::BASELINE;

/// One proxy's turn in one round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Microseconds of CPU for each request, or KiB for each connection.
    pub(crate) cost: f64,
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// One proxy's turns, round by round.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), samples: Vec::new() }
    }

    fn column(&self, pick: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(pick).collect()
    }
}

/// The table of one kind of work. Ratios are taken within each round, and are therefore no ratio of the medians.
pub(crate) fn render(load: &Load, rows: &[Row]) -> String {
    let what = if load.is_memory() { "KiB each" } else { "CPU µs/request" };
    let more = if load.is_memory() { ["", ""] } else { [" req/s | p50 µs | p99 µs |", "---|---|---|"] };
    let mut text =
        format!("| proxy | {what}, median (min–max) | × {BASELINE} |{}\n|---|---|---|{}\n", more[0], more[1]);
    let baseline = rows.iter().find(|row| row.name == BASELINE);
    for row in rows {
        let ratios = baseline.map(|baseline| {
            let pairs = row.samples.iter().zip(&baseline.samples);
            pairs.map(|(ours, theirs)| ours.cost / theirs.cost).collect()
        });
        let (cost, ratio) = (spread(row.column(|sample| sample.cost), 1), spread(ratios.unwrap_or_default(), 2));
        text += &format!("| {} | {cost} | {ratio} |", row.name);
        if !load.is_memory() {
            for column in [row.column(|sample| sample.rate), row.column(|sample| sample.p50), row.column(|s| s.p99)] {
                text += &format!(" {:.0} |", median(column));
            }
        }
        text.push('\n');
    }
    text
}

/// What the figures were measured on.
pub(crate) fn machine() -> String {
    let first = |command: &str| {
        let said = Command::new("sh").arg("-c").arg(format!("PATH=$PATH:/usr/sbin; {command} 2>&1 | head -1")).output();
        said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = first("sed -n 's/^model name.*: //p' /proc/cpuinfo");
    let versions = ["nginx -v", "haproxy -v", "apache2 -v", "openssl version", "uname -sr"].map(first);
    format!("{cores} cores, {cpu}; {}", versions.join("; "))
}

fn spread(values: Vec<f64>, decimals: usize) -> String {
    if values.is_empty() {
        return "–".into();
    }
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(0.0, f64::max);
    format!("{:.decimals$} ({lowest:.decimals$}–{highest:.decimals$})", median(values))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
