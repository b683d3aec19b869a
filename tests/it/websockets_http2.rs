//! WebSockets over HTTP/2 (RFC 8441) are judged as the handshakes that they stand for.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::UnboundedReceiver;
use vestibule::crypto;

use crate::driver::Chromium;
use crate::mirror::Mirror;
use crate::raw::{OPEN, Stage, bell, fields, http2, soon};
use crate::world::{HOST, PASSWORD, World};

/// An app that opens every WebSocket, says `first`, and then echoes; it tells the heads that it gets, and when a socket
/// has ended.
async fn echo(first: &'static [u8]) -> (Stage, UnboundedReceiver<String>) {
    let (ring, heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            let Some(head) = raw.head().await else { return };
            let key = fields(&head, "sec-websocket-key").concat();
            let accept = crypto::websocket_accept(key.as_bytes());
            let _ = ring.send(head);
            raw.say(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
            ))
            .await;
            raw.say(first).await;
            loop {
                let bytes = std::mem::take(&mut raw.bytes);
                raw.say(&bytes).await;
                if bytes == b"bye" || raw.more().await.is_none() {
                    break;
                }
            }
            let _ = raw.stream.shutdown().await;
            let _ = ring.send("ended".into());
        }
    })
    .await;
    (app, heard)
}

/// A connection on which extended CONNECT has been offered.
async fn connect(world: &World) -> SendRequest<Bytes> {
    let mut client = http2(world).await;
    let (answer, _) =
        client.send_request(Request::get("https://wiki.test/.vestibule/").body(()).unwrap(), true).unwrap();
    soon("an answer", answer).await.unwrap();
    assert!(client.is_extended_connect_protocol_enabled());
    client
}

/// Asks for a WebSocket, with more header fields.
async fn ask(
    client: &mut SendRequest<Bytes>,
    path: &str,
    more: &[(&str, &str)],
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://{HOST}{path}"))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let (answer, send) = client.send_request(request.body(()).unwrap(), false).unwrap();
    (soon("an answer", answer).await.unwrap(), send)
}

async fn status(client: &mut SendRequest<Bytes>, path: &str, more: &[(&str, &str)]) -> u16 {
    ask(client, path, more).await.0.status().as_u16()
}

/// The next bytes, so many of them.
async fn hear(body: &mut RecvStream, count: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let piece = soon("bytes", body.data()).await.expect("more").expect("no reset");
        body.flow_control().release_capacity(piece.len()).unwrap();
        heard.extend(piece);
    }
    heard
}

#[tokio::test]
async fn it_opens_for_who_has_a_session_and_bytes_go_both_ways() {
    let (app, mut heard) = echo(b"welcome").await;
    let world = World::plan().app(&app.url(), "").start().await;
    let cookie = format!("__Host-vestibule={}", world.browser().sign_in("ann").await);
    let mut client = connect(&world).await;
    // A key of the client's own means nothing here, and its identity is a lie as anywhere.
    let more =
        [("cookie", cookie.as_str()), ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="), ("remote-user", "root")];
    let (answer, mut send) = ask(&mut client, "/socket?x=1", &more).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    for name in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let head = heard.recv().await.unwrap();
    assert!(head.starts_with("GET /socket?x=1 HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", "wiki.test"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("remote-user", "ann"),
        ("sec-websocket-version", "13"),
    ] {
        assert_eq!(fields(&head, name), [value], "{head}");
    }
    assert_ne!(fields(&head, "sec-websocket-key"), ["AAAAAAAAAAAAAAAAAAAAAA=="]);
    assert!(fields(&head, "cookie").is_empty(), "{head}");

    let mut body = answer.into_body();
    assert_eq!(hear(&mut body, 7).await, b"welcome");
    let long = vec![b'x'; 300_000];
    send.send_data(Bytes::from(long.clone()), false).unwrap();
    assert_eq!(hear(&mut body, long.len()).await, long);
    // Others use the same connection meanwhile.
    let (_, mut other) = ask(&mut client, "/other", &more).await;
    other.send_reset(h2::Reason::CANCEL);
    assert!(heard.recv().await.unwrap().starts_with("GET /other "));
    assert_eq!(soon("the other's end", heard.recv()).await.unwrap(), "ended");
    send.send_data(Bytes::from_static(b"bye"), false).unwrap();
    assert_eq!(hear(&mut body, 3).await, b"bye");
    while let Some(piece) = soon("the end", body.data()).await {
        assert_eq!(piece.expect("a clean end"), "");
    }
    assert_eq!(soon("the app's end", heard.recv()).await.unwrap(), "ended");
}

#[tokio::test]
async fn session_rules_and_origin_are_asked_about_as_for_any_handshake() {
    let (app, mut heard) = echo(b"").await;
    let more = "websocket_origins = [\"https://friend.test\"]\n\
        [[app.rule]]\npath = \"/open\"\nmethods = [\"GET\"]\nallow = \"anyone\"\n\
        [[app.rule]]\npath = \"/connect\"\nmethods = [\"CONNECT\"]\nallow = \"anyone\"\n\
        [[app.rule]]\npath = \"/closed\"\nallow = \"nobody\"";
    let world = World::plan().app(&app.url(), more).start().await;
    let cookie = format!("__Host-vestibule={}", world.browser().sign_in("ann").await);
    let ann = ("cookie", cookie.as_str());
    let mut client = connect(&world).await;
    let own = format!("https://{HOST}");
    for (path, more, expected) in [
        ("/", &[][..], 401),
        ("/connect", &[], 401),
        ("/", &[("origin", own.as_str())], 401),
        ("/", &[ann, ("origin", "https://evil.test")], 403),
        ("/", &[ann, ("origin", "null")], 403),
        ("/closed", &[ann], 403),
        ("/open/%2e%2e/closed", &[ann], 400),
        ("/.vestibule/login", &[], 405),
        ("/.vestibule/session", &[ann], 405),
    ] {
        assert_eq!(status(&mut client, path, more).await, expected, "{path} {more:?}");
    }
    assert!(heard.try_recv().is_err());
    for (path, more) in [
        ("/open", &[][..]),
        ("/", &[ann]),
        ("/", &[ann, ("origin", own.as_str())]),
        ("/", &[ann, ("origin", "https://friend.test")]),
    ] {
        assert_eq!(status(&mut client, path, more).await, 200, "{path} {more:?}");
    }
    client = client.ready().await.unwrap();
    for protocol in ["websocket2", "WebSocket", "connect-udp"] {
        let request = Request::connect(format!("https://{HOST}/open")).extension(Protocol::from(protocol));
        let (answer, _) = client.send_request(request.body(()).unwrap(), false).unwrap();
        assert_eq!(soon("an answer", answer).await.unwrap().status(), 405, "{protocol}");
    }
}

#[tokio::test]
async fn only_an_app_that_truly_switches_opens_one() {
    for (said, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 502),
        ("HTTP/1.1 204 No Content\r\n\r\n", 502),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
        ("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno", 426),
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302),
    ] {
        let app = Stage::saying(said).await;
        let world = World::plan().app(&app.url(), OPEN).start().await;
        assert_eq!(status(&mut connect(&world).await, "/", &[]).await, expected, "{said}");
    }
    // Without a version that we know it is no handshake, and the app is asked for a page; that is no WebSocket either.
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), OPEN).start().await;
    let request = Request::connect(format!("https://{HOST}/")).extension(Protocol::from_static("websocket"));
    let (answer, _) = connect(&world).await.send_request(request.body(()).unwrap(), false).unwrap();
    assert_eq!(soon("an answer", answer).await.unwrap().status(), 502);
    assert!(fields(&mirror.heads()[0], "upgrade").is_empty());
}

#[tokio::test]
async fn it_keeps_its_connection_until_it_ends_or_the_server_does() {
    let (app, mut heard) = echo(b"").await;
    let limits = "[limits]\nidle_timeout = \"100ms\"\nhandshake_timeout = \"100ms\"\ntunnel_timeout = \"700ms\"";
    let world = World::plan().app(&app.url(), OPEN).with(limits).start().await;
    let mut client = connect(&world).await;
    let (answer, mut send) = ask(&mut client, "/", &[]).await;
    let mut body = answer.into_body();
    heard.recv().await.unwrap();
    // Nobody is idle while it stands; that nothing moves in it ends it.
    send.send_data(Bytes::from_static(b"x"), false).unwrap();
    assert_eq!(hear(&mut body, 1).await, b"x");
    assert_eq!(soon("its end", heard.recv()).await.unwrap(), "ended");

    let mut client = connect(&world).await;
    let (answer, _send) = ask(&mut client, "/", &[]).await;
    assert_eq!(answer.status(), 200);
    heard.recv().await.unwrap();
    soon("the server's end", world.running.stop(Duration::from_millis(50))).await;
    assert_eq!(soon("its end", heard.recv()).await.unwrap(), "ended");
}

#[tokio::test]
async fn a_browser_opens_it_over_the_connection_that_it_has() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            while let Some(head) = raw.head().await {
                let key = fields(&head, "sec-websocket-key").concat();
                let user = fields(&head, "remote-user").concat();
                let _ = ring.send(head);
                if key.is_empty() {
                    raw.say("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\npage").await;
                    continue;
                }
                let accept = crypto::websocket_accept(key.as_bytes());
                raw.say(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {accept}\r\n\r\n"
                ))
                .await;
                let text = format!("hello {user}");
                raw.say([&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()).await;
                raw.rest().await;
                return;
            }
        }
    })
    .await;
    let world = World::plan().app(&app.url(), "").start().await;
    let chromium = Chromium::start().await;
    chromium.goto(&format!("https://{HOST}:{}/", world.address().port())).await.unwrap();
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("page").await;
    chromium
        .run("new WebSocket('wss://' + location.host + '/socket').onmessage = e => document.body.append(e.data)")
        .await;
    chromium.wait_for_text("hello ann").await;
    // Requests are numbered by connection.
    let mut connections = Vec::new();
    while let Ok(head) = heard.try_recv() {
        let id = fields(&head, "x-request-id").concat();
        let connection = id.rsplit_once('-').map(|(connection, _)| connection.to_owned());
        connections.extend(connection.filter(|_| head.starts_with("GET / ") || head.starts_with("GET /socket ")));
    }
    assert!(connections.len() >= 2, "{connections:?}");
    assert!(connections.iter().all(|connection| *connection == connections[0]), "{connections:?}");
}
