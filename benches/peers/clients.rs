//! Clients that no load generator has: one that shakes hands all the time, one that holds idle connections, and one
//! that signs in.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate;

/// How many shake hands at once.
const AT_ONCE: usize = 32;

/// `as-handshakes PORT COOKIES MILLIS full|resumed`, or `as-holder PORT COOKIES COUNT get|websocket`. On one thread.
pub(crate) fn run(role: &str, arguments: &[String]) {
    let [port, cookies, number, what] = arguments else { panic!("four arguments") };
    let (port, number) = (port.parse().expect("a port"), number.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(async {
        match role {
            "as-handshakes" => shake_hands(port, cookies, Duration::from_millis(number), what == "resumed").await,
            _ => hold(port, cookies, number, what == "websocket").await,
        }
    }));
}

/// The head of a request with what browsers send; `more` ends its own lines.
pub(crate) fn head(port: u16, cookies: &str, more: &str) -> String {
    let fields: String = super::load::fields(cookies).iter().map(|field| format!("{field}\r\n")).collect();
    format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}{more}\r\n")
}

fn name() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").expect("an address is a name")
}

/// Connects, shakes hands, asks once, closes; again and again. Prints how often, in how many seconds, p50 and p99 in
/// microseconds.
async fn shake_hands(port: u16, cookies: &str, time: Duration, resumed: bool) {
    let began = Instant::now();
    let head: Arc<str> = head(port, cookies, "Connection: close\r\n").into();
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let mut config = certificate::client();
            if !resumed {
                config.resumption = Resumption::disabled();
            }
            tokio::task::spawn_local(shake_until(port, Arc::new(config), Arc::clone(&head), began + time, resumed))
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("no client panics"));
    }
    took.sort_unstable();
    let part = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("{} {} {} {}", took.len(), began.elapsed().as_secs_f64(), part(0.5), part(0.99));
}

async fn shake_until(
    port: u16,
    config: Arc<ClientConfig>,
    head: Arc<str>,
    end: Instant,
    resumed: bool,
) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        let mut stream = connect(port, &config).await;
        stream.write_all(head.as_bytes()).await.expect("a request can be sent");
        let mut answer = Vec::new();
        // How a proxy ends the connection is its own affair; the answer must be there.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        if resumed && !took.is_empty() {
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "tickets are good");
        }
        took.push(began.elapsed());
    }
    took
}

async fn connect(port: u16, config: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the proxy accepts connections");
    stream.set_nodelay(true).expect("a socket can be set");
    TlsConnector::from(Arc::clone(config)).connect(name(), stream).await.expect("the proxy speaks TLS 1.3")
}

/// Opens connections, asks once on each, says so, and keeps them until killed.
async fn hold(port: u16, cookies: &str, count: u64, websocket: bool) {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let head = head(port, cookies, if websocket { upgrade } else { "" });
    let wanted = if websocket { "HTTP/1.1 101" } else { "HTTP/1.1 200" };
    let config = Arc::new(certificate::client());
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = connect(port, &config).await;
        stream.write_all(head.as_bytes()).await.expect("a request can be sent");
        let mut answer = Vec::new();
        // The end of the body, or of the head where there is none.
        while !(answer.ends_with(b"xxxx") || websocket && answer.ends_with(b"\r\n\r\n")) {
            assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "the answer ends early");
        }
        assert!(answer.starts_with(wanted.as_bytes()), "{}", String::from_utf8_lossy(&answer));
        held.push(stream);
    }
    println!("held");
    std::future::pending::<()>().await;
}

/// Asks once over a connection of its own; returns the head and the body.
pub(crate) fn ask(port: u16, request: &str) -> Result<(String, String), std::io::Error> {
    let connection = ClientConnection::new(Arc::new(certificate::client()), name()).map_err(std::io::Error::other)?;
    let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) => Ok((head.to_owned(), body.to_owned())),
        None => Err(read.err().unwrap_or_else(|| std::io::Error::other("no answer"))),
    }
}

/// The cookies that a head sets, as a browser would send them back.
pub(crate) fn cookies_set(head: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let set = lines.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let pairs: Vec<&str> = set.filter_map(|(_, value)| value.split(';').next()).collect();
    pairs.join("; ")
}
