//! Connections through a load balancer that says in a PROXY header whose they are.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::mirror::Mirror;
use crate::raw::{Answer, OPEN, Raw, soon, try_shake_hands};
use crate::world::{HOST, World};

/// Version 2 for a client at 203.0.113.9:4660, with an extension.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xcb\x00\x71\x09\x0a\x00\x00\x01\x12\x34\x01\xbb\x04\x00\x01\x00";

async fn world(mirror: &Mirror, trusted: &str, more: &str) -> World {
    World::plan().app(&mirror.url(), OPEN).trusting(trusted).proxy_protocol().with(more).plain_port().start().await
}

/// The answer to a request on a connection that begins with this; none if there is no TLS to be had.
async fn ask(world: &World, header: &[u8], more: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    let _ = stream.write_all(header).await;
    let stream = soon("a handshake or its failure", try_shake_hands(stream, HOST, "http/1.1")).await.ok()?;
    let mut raw = Raw::new(stream);
    raw.say(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n")).await;
    raw.answer().await
}

#[tokio::test]
async fn the_client_is_whom_a_trusted_load_balancer_names() {
    let mirror = Mirror::start().await;
    let world = world(&mirror, "127.0.0.0/8", "").await;
    for (header, client) in [
        (&b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 443\r\n"[..], "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4660 443\r\n", "2001:db8::7"),
        (V2, "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let text = ask(&world, header, "").await.unwrap().text();
        for name in ["x-forwarded-for", "x-real-ip"] {
            assert!(text.contains(&format!("{name}: {client}\r\n")), "{client}: {text}");
        }
    }
}

#[tokio::test]
async fn a_client_behind_a_load_balancer_is_not_trusted_for_its_sake() {
    let mirror = Mirror::start().await;
    let world = world(&mirror, "127.0.0.0/8", "").await;
    let answer = ask(&world, V2, "X-Forwarded-For: 1.1.1.1\r\nX-Request-Id: forged-request-id\r\n").await.unwrap();
    assert!(answer.text().contains("x-forwarded-for: 203.0.113.9\r\n"), "{}", answer.text());
    assert!(!answer.text().contains("forged"), "{}", answer.text());
}

#[tokio::test]
async fn without_a_header_or_with_a_broken_one_there_is_no_tls() {
    let mirror = Mirror::start().await;
    let world = world(&mirror, "127.0.0.0/8", "").await;
    for header in [&b""[..], b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\nx", &V2[..20]] {
        assert!(ask(&world, header, "").await.is_none(), "{header:?}");
    }
    assert!(mirror.heads().is_empty());
}

#[tokio::test]
async fn who_is_not_trusted_is_cut_off_whatever_they_say() {
    let mirror = Mirror::start().await;
    let world = world(&mirror, "10.0.0.0/8", "").await;
    for header in [&b""[..], b"PROXY TCP4 10.0.0.7 10.0.0.1 4660 443\r\n", V2] {
        assert!(ask(&world, header, "").await.is_none(), "{header:?}");
    }
    assert!(mirror.heads().is_empty());
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for_any_longer_than_a_handshake() {
    let mirror = Mirror::start().await;
    let world = world(&mirror, "127.0.0.0/8", "[limits]\nhandshake_timeout = \"200ms\"").await;
    let mut raw = Raw::new(TcpStream::connect(world.address()).await.unwrap());
    raw.say("PROXY TCP4 ").await;
    assert!(raw.is_over().await);
}

#[tokio::test]
async fn the_plain_port_takes_the_header_too() {
    let mirror = Mirror::start().await;
    let world = world(&mirror, "127.0.0.0/8", "").await;
    let mut raw = Raw::new(TcpStream::connect(world.running.http()[0]).await.unwrap());
    raw.say([V2, b"GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n"].concat()).await;
    assert_eq!(raw.answer().await.unwrap().status, 308);
    let mut raw = Raw::new(TcpStream::connect(world.running.http()[0]).await.unwrap());
    raw.say("GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    assert!(raw.is_over().await);
}
