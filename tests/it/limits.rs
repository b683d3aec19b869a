//! Nobody can make the gate wait for ever, or keep more than it should.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mirror::Mirror;
use crate::raw::{END_HEADERS, END_STREAM, Frames, HEADERS, OPEN, Raw, Stage, bell, block, http2, shake_hands, soon};
use crate::world::{HOST, World, write_private};

const GET: &str = "GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n";

async fn world_with(limits: &str) -> (World, Mirror) {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), OPEN).with(&format!("[limits]\n{limits}")).start().await;
    (world, mirror)
}

/// An app whose answer has no end; it tells when its client has gone.
async fn endless() -> (Stage, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (ring, heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            let Some(head) = raw.head().await else { return };
            let _ = ring.send(head);
            raw.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            let piece = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
            while raw.stream.write_all(piece.as_bytes()).await.is_ok() {}
            let _ = ring.send("gone".into());
        }
    })
    .await;
    (app, heard)
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_when_its_time_is_over() {
    let (world, mirror) = world_with("header_timeout = \"300ms\"\nidle_timeout = \"1h\"").await;
    for start in ["GET / HTTP/1.1\r\nHost: wiki.test\r\nX: ", &format!("{GET}GET / HTTP/1.1\r\nX: ")] {
        let mut raw = Raw::open(&world).await;
        raw.say(start).await;
        let (mut reading, mut writing) = tokio::io::split(raw.stream);
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let drip = async {
            loop {
                ticks.tick().await;
                if writing.write_all(b"y").await.is_err() || writing.flush().await.is_err() {
                    return;
                }
            }
        };
        let mut seen = Vec::new();
        let end = async {
            let _ = reading.read_to_end(&mut seen).await;
        };
        soon("the end of a slow head", async {
            tokio::select! { () = drip => {}, () = end => {} }
        })
        .await;
    }
    assert!(mirror.heads().len() <= 1);
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_closed() {
    let (world, _mirror) = world_with("idle_timeout = \"200ms\"\nhandshake_timeout = \"200ms\"").await;
    let mut never_asked = Raw::open(&world).await;
    assert!(never_asked.is_over().await);
    let mut asked_once = Raw::open(&world).await;
    asked_once.say(GET).await;
    assert_eq!(asked_once.answer().await.unwrap().status, 200);
    assert!(asked_once.is_over().await);
}

/// HTTP/2 clients are asked to leave; those that do not listen are made to.
#[tokio::test]
async fn a_silent_http2_connection_is_cut_though_it_never_agrees_to_leave() {
    let (world, _mirror) = world_with("idle_timeout = \"200ms\"\nhandshake_timeout = \"200ms\"").await;
    let mut without_preface = Raw::new(shake_hands(world.address(), HOST, "h2").await);
    without_preface.rest().await;
    let mut deaf = Frames::open(&world, &[]).await;
    deaf.raw.rest().await;
    let mut deaf = Frames::open(&world, &[]).await;
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/")];
    deaf.say(HEADERS, END_HEADERS, 1, &block(&fields)[..20]).await;
    deaf.raw.rest().await;
}

#[tokio::test]
async fn a_handshake_that_stands_still_is_cut() {
    let (world, _mirror) = world_with("handshake_timeout = \"200ms\"").await;
    let mut silent = Raw::new(TcpStream::connect(world.address()).await.unwrap());
    assert!(silent.is_over().await);
    let mut half = Raw::new(TcpStream::connect(world.address()).await.unwrap());
    half.say(b"\x16\x03\x01\x02\x00\x01").await;
    half.rest().await;
}

#[tokio::test]
async fn a_body_that_stands_still_is_a_408_and_lets_the_app_go() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            raw.head().await;
            let _ = ring.send("asked".into());
            raw.rest().await;
            let _ = ring.send("gone".into());
        }
    })
    .await;
    for response_timeout in ["1h", "100ms"] {
        let more = format!("response_timeout = \"{response_timeout}\"\n{OPEN}");
        let world = World::plan().app(&app.url(), &more).with("[limits]\nbody_timeout = \"300ms\"").start().await;
        let mut raw = Raw::open(&world).await;
        raw.say("POST / HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 10\r\n\r\nhalf").await;
        assert_eq!(raw.answer().await.unwrap().status, 408, "the client's doing, not the app's");
        assert!(raw.is_over().await);
        assert_eq!(heard.recv().await.unwrap(), "asked");
        assert_eq!(soon("the app is let go", heard.recv()).await.unwrap(), "gone");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let (app, mut heard) = endless().await;
    let world = World::plan().app(&app.url(), OPEN).with("[limits]\nwrite_timeout = \"300ms\"").start().await;
    let mut raw = Raw::open(&world).await;
    raw.say(GET).await;
    assert!(heard.recv().await.unwrap().starts_with("GET"));
    assert_eq!(soon("the app is let go", heard.recv()).await.unwrap(), "gone");
}

/// The window of HTTP/2 lets a client stop reading while the connection itself never fills.
#[tokio::test]
async fn an_http2_client_that_makes_no_room_is_cut() {
    let (app, mut heard) = endless().await;
    let world = World::plan().app(&app.url(), OPEN).with("[limits]\nwrite_timeout = \"300ms\"").start().await;
    for window in [0u32, 1, 65_535] {
        let mut frames = Frames::open(&world, &[&[0, 4][..], &window.to_be_bytes()].concat()).await;
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/")];
        frames.say(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)).await;
        assert!(heard.recv().await.unwrap().starts_with("GET"));
        assert_eq!(soon("the app is let go", heard.recv()).await.unwrap(), "gone", "window {window}");
        frames.raw.rest().await;
    }
}

#[tokio::test]
async fn a_slow_app_is_nobodys_fault() {
    let (open, mut opened) = bell();
    let (finish, finished) = bell();
    let finished = std::sync::Arc::new(tokio::sync::Mutex::new(finished));
    let app = Stage::start(move |mut raw| {
        let (open, finished) = (open.clone(), finished.clone());
        async move {
            raw.head().await;
            raw.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab").await;
            let _ = open.send(String::new());
            finished.lock().await.recv().await;
            raw.say("cd").await;
        }
    })
    .await;
    let limits = "[limits]\nidle_timeout = \"100ms\"\nwrite_timeout = \"100ms\"\nhandshake_timeout = \"200ms\"\n\
                  header_timeout = \"100ms\"";
    let world = World::plan().app(&app.url(), OPEN).with(limits).start().await;
    let mut client = http2(&world).await;
    let (answer, _) = client.send_request(http::Request::get("https://wiki.test/").body(()).unwrap(), true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    opened.recv().await.unwrap();
    let mut raw = Raw::open(&world).await;
    raw.say(GET).await;
    opened.recv().await.unwrap();

    // Many times all of these limits pass.
    let mut other = Raw::open(&world).await;
    assert!(other.is_over().await);
    for _ in 0..5 {
        let mut other = Raw::open(&world).await;
        assert!(other.is_over().await);
    }
    finish.send(String::new()).unwrap();
    finish.send(String::new()).unwrap();
    let mut seen = Vec::new();
    while let Some(piece) = soon("the rest", body.data()).await {
        seen.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(seen, b"abcd");
    assert_eq!(raw.answer().await.unwrap().text(), "abcd");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_later() {
    let (world, _mirror) = world_with("max_connections = 1").await;
    for _ in 0..10 {
        let mut first = Raw::open(&world).await;
        first.say(GET).await;
        assert_eq!(first.answer().await.unwrap().status, 200);
        let address = world.address();
        let second = tokio::spawn(async move { Raw::new(shake_hands(address, HOST, "http/1.1").await) });
        first.say(GET).await;
        assert_eq!(first.answer().await.unwrap().status, 200);
        assert!(!second.is_finished());
        drop(first);
        let mut second = soon("the second's turn", second).await.unwrap();
        second.say(GET).await;
        assert_eq!(second.answer().await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            let Some(head) = raw.head().await else { return };
            let _ = ring.send(head.clone());
            if head.starts_with("GET /half") {
                raw.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
            }
            raw.rest().await;
            let _ = ring.send("gone".into());
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    for path in ["/", "/half"] {
        let mut raw = Raw::open(&world).await;
        raw.say(format!("GET {path} HTTP/1.1\r\nHost: wiki.test\r\n\r\n")).await;
        heard.recv().await.unwrap();
        drop(raw);
        assert_eq!(soon("the app is let go", heard.recv()).await.unwrap(), "gone", "{path}");

        let mut client = http2(&world).await;
        let request = http::Request::get(format!("https://wiki.test{path}")).body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        heard.recv().await.unwrap();
        drop(answer);
        assert_eq!(soon("the app is let go", heard.recv()).await.unwrap(), "gone", "{path}, HTTP/2");
    }
}

#[tokio::test]
async fn a_flood_of_tiny_chunks_is_an_honest_body_and_one_of_extensions_is_not() {
    let (world, mirror) = world_with("").await;
    let mut raw = Raw::open(&world).await;
    let head = "POST / HTTP/1.1\r\nHost: wiki.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    raw.say(format!("{head}{}0\r\n\r\n{GET}", "1\r\nx\r\n".repeat(10_000))).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    assert_eq!(raw.answer().await.unwrap().status, 200);
    let asked = mirror.heads().len();

    let mut raw = Raw::open(&world).await;
    let extension = format!("1;{}\r\nx\r\n", "e".repeat(1_000));
    raw.say(format!("{head}{}0\r\n\r\n{GET}", extension.repeat(1_000))).await;
    assert!(raw.answer().await.is_none_or(|answer| answer.status >= 400));
    assert!(raw.answer().await.is_none());
    assert_eq!(mirror.heads().len(), asked);
}

/// The real program, in a folder of its own.
struct Program {
    child: Child,
    port: u16,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    async fn start(folder: &Path, upstream: &str) -> Self {
        // A free port may be taken before the program has it; then another is.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = format!(
                "[listen]\nhttps = [\"127.0.0.1:{port}\"]\nthreads = 2\n[[app]]\nname = \"wiki\"\nhosts = [\"*\"]\n\
                 upstreams = [\"{upstream}\"]\n{OPEN}\n"
            );
            std::fs::write(folder.join("vestibule.toml"), config).unwrap();
            write_private(&folder.join("users.toml"), &crate::world::user_toml("ann", &[]));
            let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
                .arg("run")
                .current_dir(folder)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            for _ in 0..600 {
                if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                    return Self { child, port };
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("the program does not start");
    }

    /// The most memory it has ever had, in KiB.
    fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

#[tokio::test]
async fn large_bodies_pass_through_and_are_not_kept() {
    const SIZE: usize = 64 * 1024 * 1024;
    let app = Stage::start(|mut raw| async move {
        while let Some(head) = raw.head().await {
            let length = crate::raw::fields(&head, "content-length").concat().parse().unwrap_or(0);
            let mut left: usize = length;
            while left > 0 {
                if raw.bytes.is_empty() && raw.more().await.is_none() {
                    return;
                }
                left -= raw.bytes.len().min(left);
                raw.bytes.clear();
            }
            let size = if length == 0 && !head.starts_with("GET /small") { SIZE } else { 0 };
            raw.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")).await;
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..size / piece.len() {
                if raw.stream.write_all(&piece).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let program = Program::start(folder.path(), &app.url()).await;
    let open = async || Raw::new(shake_hands(([127, 0, 0, 1], program.port).into(), HOST, "http/1.1").await);
    for _ in 0..4 {
        let mut raw = open().await;
        raw.say("GET /small HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
    }
    let before = program.most_memory();

    let mut raw = open().await;
    raw.say(format!("POST / HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..SIZE / piece.len() {
        raw.stream.write_all(&piece).await.unwrap();
    }
    raw.stream.flush().await.unwrap();
    assert_eq!(raw.answer().await.unwrap().status, 200);

    raw.say(GET).await;
    assert!(raw.head().await.unwrap().starts_with("HTTP/1.1 200"));
    let mut seen = 0;
    while seen < SIZE {
        if raw.bytes.is_empty() {
            raw.more().await.expect("more");
        }
        seen += raw.bytes.len();
        raw.bytes.clear();
    }
    let grown = program.most_memory().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for {SIZE} bytes each way");
}
