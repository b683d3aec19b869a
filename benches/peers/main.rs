//! What a request costs, beside the proxies that people use: CPU time of the proxy for each request, over TLS 1.3, to the
//! same tiny app, on one core.
//!
//! `cargo bench --bench peers` prints one Markdown table for each kind of work. All proxies of a table are up together and
//! take turns (A B C, C B A), so that what else the machine does hits all alike: the paired ratios count, and the figures
//! themselves are of this machine and this moment. See [`Options`] for what can be chosen.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures real time and prints it")]

mod app;
mod certificate;
mod clients;
mod load;
mod peer;
mod peers;
mod process;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use load::{LOADS, Load};
use peer::{Backstage, Peer};
use table::{Row, Sample};

/// What can be chosen: `cargo bench --bench peers -- [WORK] [--rounds 9] [--seconds 1] [--only NAME]… [--idle 1000]
/// [--other PATH]`.
struct Options {
    /// Only work with this in its name.
    work: Option<String>,
    rounds: usize,
    /// How long one proxy has its turn.
    slice: Duration,
    /// Only proxies with one of these in their names, and nginx, which all are compared with.
    only: Vec<String>,
    /// How many connections lie idle where memory is measured.
    idle: usize,
    /// Another build of Vestibule, for a look at before and after.
    other: Option<PathBuf>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The app and some of the clients are this program once more, so that they can be put on a core of their own.
    if let Some((role, rest)) = arguments.split_first().filter(|(role, _)| role.starts_with("as-")) {
        return match role.as_str() {
            "as-app" => app::run(),
            _ => clients::run(role, rest),
        };
    }
    let options = Options::read(arguments.into_iter());
    let folder = tempfile::tempdir().expect("a folder for the benchmark");
    let stage = Backstage::prepare(folder.path());
    println!("{}", table::machine());
    for load in LOADS.iter().filter(|load| options.work.as_ref().is_none_or(|work| load.name.contains(work))) {
        let rows = if load.is_memory() {
            measure_memory(load, &options, &stage)
        } else {
            measure_time(load, &options, &stage)
        };
        println!("\n### {} (`{}`)\n\n{}", load.title, load.name, table::render(load, &rows));
    }
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let (slice, only) = (Duration::from_secs(1), Vec::new());
        let mut options = Self { work: None, rounds: 9, slice, only, idle: 1000, other: None };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--seconds" => options.slice = Duration::from_secs(value().parse().expect("a number of seconds")),
                "--idle" => options.idle = value().parse().expect("a number of connections"),
                "--only" => options.only.push(value()),
                "--other" => options.other = Some(value().into()),
                "--bench" => {} // Cargo's own
                unknown if unknown.starts_with('-') => panic!("there is no option {unknown}"),
                work => options.work = Some(work.to_owned()),
            }
        }
        options
    }

    fn wants(&self, name: &str) -> bool {
        name == peers::BASELINE || self.only.is_empty() || self.only.iter().any(|only| name.contains(only))
    }
}

/// The proxies that take part in this work, each freshly started. Who cannot be is named.
fn start(load: &Load, options: &Options, stage: &Backstage) -> Vec<Peer> {
    let mut peers = Vec::new();
    for kind in peers::all(options.other.as_deref()) {
        if !kind.joins(load.name) || !options.wants(&kind.name) {
            continue;
        }
        match kind.start(stage) {
            Ok(peer) => peers.push(peer),
            Err(reason) => println!("\n{} is skipped: {reason}", kind.name),
        }
    }
    peers
}

fn measure_time(load: &Load, options: &Options, stage: &Backstage) -> Vec<Row> {
    let peers = start(load, options, stage);
    let mut rows: Vec<Row> = peers.iter().map(|peer| Row::new(&peer.name)).collect();
    for round in 0..=options.rounds {
        let mut turns: Vec<usize> = (0..peers.len()).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            let sample = slice(load, &peers[turn], options.slice, stage.folder());
            // The first round warms up.
            if round > 0 {
                rows[turn].samples.push(sample);
            }
        }
    }
    rows
}

fn slice(load: &Load, peer: &Peer, length: Duration, folder: &Path) -> Sample {
    let before = peer.program.cpu_time();
    let served = load.run(peer, length, folder);
    let spent = peer.program.cpu_time().saturating_sub(before);
    Sample {
        cost: spent.as_secs_f64() * 1e6 / served.requests.max(1) as f64,
        rate: served.rate,
        p50: served.p50,
        p99: served.p99,
    }
}

/// Each proxy is started anew for each round: what was freed after one load is used for the next without growing.
fn measure_memory(load: &Load, options: &Options, stage: &Backstage) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..options.rounds.min(3) {
        for peer in start(load, options, stage) {
            // One connection first, so that what is made once is not counted.
            drop(load.hold(&peer, 1));
            let before = peer.program.resident();
            let _held = load.hold(&peer, options.idle);
            let grown = peer.program.resident().saturating_sub(before);
            let row = match rows.iter().position(|row| row.name == peer.name) {
                Some(at) => &mut rows[at],
                None => rows.push_mut(Row::new(&peer.name)),
            };
            row.samples.push(Sample { cost: grown as f64 / 1024.0 / options.idle as f64, ..Sample::default() });
        }
    }
    rows
}
