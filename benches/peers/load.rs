//! The kinds of work, and who makes them: wrk, h2load and clients of our own, all on the other core.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::peer::Peer;
use super::process::{OTHER_CORE, Program, is_there, on_core, ourselves};

/// One kind of work.
pub(crate) struct Load {
    /// For the command line.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    how: How,
}

enum How {
    Wrk { connections: u16, path: &'static str, upload: bool },
    H2load,
    Handshakes { kind: &'static str },
    Idle { kind: &'static str },
}

pub(crate) const LOADS: [Load; 9] = [
    Load {
        name: "get",
        title: "GET of 1 KiB, HTTP/1.1 keep-alive, 64 connections",
        how: How::Wrk { connections: 64, path: "/", upload: false },
    },
    Load { name: "h2", title: "GET of 1 KiB, HTTP/2, 8 connections × 16 streams", how: How::H2load },
    Load {
        name: "100k",
        title: "GET of 100 KiB, HTTP/1.1, 32 connections",
        how: How::Wrk { connections: 32, path: "/100k", upload: false },
    },
    Load {
        name: "upload",
        title: "POST of 1 MiB, HTTP/1.1, 16 connections",
        how: How::Wrk { connections: 16, path: "/", upload: true },
    },
    Load {
        name: "full",
        title: "Full TLS 1.3 handshake and one GET, 32 at once",
        how: How::Handshakes { kind: "full" },
    },
    Load {
        name: "resumed",
        title: "Resumed TLS 1.3 handshake and one GET, 32 at once",
        how: How::Handshakes { kind: "resumed" },
    },
    Load {
        name: "quiet",
        title: "GET of 1 KiB, HTTP/1.1, one connection",
        how: How::Wrk { connections: 1, path: "/", upload: false },
    },
    Load { name: "idle-tls", title: "Memory of an idle TLS connection", how: How::Idle { kind: "get" } },
    Load { name: "idle-websocket", title: "Memory of an idle WebSocket", how: How::Idle { kind: "websocket" } },
];

/// What a load generator says. Times are in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) requests: u64,
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// What each request carries besides its host.
pub(crate) fn fields(cookies: &str) -> [String; 5] {
    [
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".into(),
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8".into(),
        "Accept-Language: en-US,en;q=0.5".into(),
        "Accept-Encoding: gzip, deflate, br".into(),
        format!("Cookie: {cookies}"),
    ]
}

impl Load {
    /// Whether memory is measured, not time.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.how, How::Idle { .. })
    }

    /// Works for as long as this. `folder` is for what the generator reads and writes.
    pub(crate) fn run(&self, peer: &Peer, length: Duration, folder: &Path) -> Served {
        match self.how {
            How::Wrk { connections, path, upload } => wrk(peer, length, connections, path, upload.then_some(folder)),
            How::H2load => h2load(peer, length, folder),
            How::Handshakes { kind } => shake_hands(peer, length, kind),
            How::Idle { .. } => unreachable!("idle connections are held, not run"),
        }
    }

    /// Connections that lie idle until this is dropped.
    pub(crate) fn hold(&self, peer: &Peer, count: usize) -> Program {
        let How::Idle { kind } = self.how else { unreachable!("only idle connections are held") };
        let mut command = ourselves(OTHER_CORE, "as-holder");
        let (held, line) =
            Program::first_line(command.args([&peer.port.to_string(), &peer.cookies, &count.to_string(), kind]));
        assert_eq!(line, "held", "{} lets {count} connections be", peer.name);
        held
    }
}

fn wrk(peer: &Peer, length: Duration, connections: u16, path: &str, upload: Option<&Path>) -> Served {
    let mut command = on_core(OTHER_CORE, found("wrk", "wrk"));
    command.args(["-t1", "--latency", &format!("-c{connections}"), &format!("-d{}s", length.as_secs())]);
    for field in fields(&peer.cookies) {
        command.args(["-H", &field]);
    }
    if let Some(folder) = upload {
        let script = folder.join("upload.lua");
        let lua = "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", 1048576)\n";
        std::fs::write(&script, lua).expect("the folder is ours");
        command.arg("-s").arg(script);
    }
    let said = output(command.arg(format!("https://127.0.0.1:{}{path}", peer.port)));
    // What a connection meets when the time is up is no error; a wrong answer is.
    assert!(!said.contains("Non-2xx"), "{}: {said}", peer.name);
    Served {
        requests: word(&said, " requests in ", -1).parse().expect("wrk counts requests"),
        rate: word(&said, "Requests/sec:", 0).parse().expect("wrk tells a rate"),
        p50: micros(word(&said, " 50%", 0)),
        p99: micros(word(&said, " 99%", 0)),
    }
}

fn h2load(peer: &Peer, length: Duration, folder: &Path) -> Served {
    let log = folder.join("h2load.log");
    let _ = std::fs::remove_file(&log);
    let mut command = on_core(OTHER_CORE, found("h2load", "nghttp2-client"));
    command.args(["-t1", "-c8", "-m16", &format!("-D{}", length.as_secs())]);
    command.arg(format!("--log-file={}", log.display()));
    for field in fields(&peer.cookies) {
        command.args(["-H", &field]);
    }
    let said = output(command.arg(format!("https://127.0.0.1:{}/", peer.port)));
    let requests: u64 = word(&said, " 2xx,", -1).parse().expect("h2load counts answers");
    let others = ["3xx", "4xx", "5xx"].map(|class| word(&said, &format!(" {class}"), -1) != "0");
    assert!(requests > 0 && others == [false; 3], "{}: {said}", peer.name);
    // When it began, the status, and how long it took; see h2load(1).
    let lines = std::fs::read_to_string(&log).unwrap_or_default();
    let mut took: Vec<f64> = lines.lines().filter_map(|line| line.split('\t').nth(2)?.parse().ok()).collect();
    took.sort_unstable_by(f64::total_cmp);
    let part = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
    Served { requests, rate: requests as f64 / length.as_secs_f64(), p50: part(0.5), p99: part(0.99) }
}

fn shake_hands(peer: &Peer, length: Duration, kind: &str) -> Served {
    let mut command = ourselves(OTHER_CORE, "as-handshakes");
    let millis = length.as_millis().to_string();
    let said = output(command.args([&peer.port.to_string(), &peer.cookies, &millis, kind]));
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [requests, seconds, p50, p99] = numbers[..] else { panic!("{}: {said}", peer.name) };
    Served { requests: requests as u64, rate: requests / seconds, p50, p99 }
}

fn found(program: &'static str, package: &str) -> &'static str {
    assert!(is_there(program), "the benchmark needs {program}: apt-get install -y {package}");
    program
}

fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The word before (-1) or after (0) this text.
fn word<'a>(said: &'a str, text: &str, at: i8) -> &'a str {
    let (before, after) = said.split_once(text).unwrap_or_else(|| panic!("no {text:?} in {said}"));
    let word = if at < 0 { before.split_whitespace().next_back() } else { after.split_whitespace().next() };
    word.unwrap_or_default()
}

/// wrk writes `210.00us`, `1.59ms`, `2.00s`.
fn micros(text: &str) -> f64 {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 60e6)];
    let found = units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor));
    found.unwrap_or_else(|| panic!("{text:?} is no time"))
}
