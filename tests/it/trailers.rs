//! Fields after a body: gRPC lives on them, and nobody may smuggle anything in by them.

use bytes::Bytes;
use http::{HeaderMap, Request};

use crate::raw::{OPEN, Raw, Stage, bell, fields, http2, soon};
use crate::world::World;

/// What no trailer of an app may say.
const HARMFUL: &str = "Set-Cookie: a=b\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: evil.test\r\n\
    Connection: x\r\nKeep-Alive: x\r\nRemote-User: root\r\nRemote_User: root\r\nX-Forwarded-For: 1.2.3.4\r\n\
    Location: /x\r\nStrict-Transport-Security: max-age=0\r\nContent-Type: x/y\r\n";

const ANNOUNCED: &str = "Trailer: Grpc-Status, X-Sum, Set-Cookie\r\nTrailer: remote-user, Location\r\n";

/// An app that ends its answers with a status, harmful fields, and a sum; it tells the heads that it gets.
async fn grpc(announced: &'static str) -> (World, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (ring, heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            while let Some(head) = raw.head().await {
                let _ = ring.send(head);
                raw.say(format!(
                    "HTTP/1.1 200 OK\r\n{announced}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\
                     Grpc-Status: 0\r\n{HARMFUL}X-Sum: 1\r\nX-Sum: 2\r\n\r\n"
                ))
                .await;
            }
        }
    })
    .await;
    (World::plan().app(&app.url(), OPEN).start().await, heard)
}

#[tokio::test]
async fn an_apps_trailers_come_after_its_body_but_for_those_that_could_do_harm() {
    let (world, mut heard) = grpc(ANNOUNCED).await;
    let mut raw = Raw::open(&world).await;
    for te in ["TE: trailers\r\nConnection: TE\r\n", "TE: gzip;q=0.5, Trailers\r\nConnection: TE, close\r\n"] {
        raw.say(format!("GET / HTTP/1.1\r\nHost: wiki.test\r\n{te}\r\n")).await;
        let head = raw.head().await.unwrap();
        assert_eq!(fields(&head, "trailer"), ["grpc-status, x-sum"]);
        let rest = b"3\r\nabc\r\n0\r\ngrpc-status: 0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n";
        assert_eq!(
            raw.take(rest.len()).await.map(|rest| String::from_utf8(rest).unwrap()).as_deref(),
            std::str::from_utf8(rest).ok()
        );
        let asked = heard.recv().await.unwrap();
        assert_eq!((fields(&asked, "te"), fields(&asked, "connection")), (vec!["trailers"], vec!["TE"]), "{asked}");
    }
    assert!(raw.is_over().await);
}

#[tokio::test]
async fn whoever_does_not_take_trailers_gets_none() {
    let (world, mut heard) = grpc(ANNOUNCED).await;
    for te in ["", "TE: gzip\r\nConnection: TE\r\n"] {
        let mut raw = Raw::open(&world).await;
        raw.say(format!("GET / HTTP/1.1\r\nHost: wiki.test\r\n{te}Connection: close\r\n\r\n")).await;
        let rest = String::from_utf8(raw.rest().await).unwrap();
        assert!(rest.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{rest}");
        let asked = heard.recv().await.unwrap();
        assert!(fields(&asked, "te").is_empty() && fields(&asked, "connection").is_empty(), "{asked}");
    }
}

#[tokio::test]
async fn over_http2_they_come_also_unannounced() {
    for announced in [ANNOUNCED, ""] {
        let (world, mut heard) = grpc(announced).await;
        let mut client = http2(&world).await;
        for _ in 0..2 {
            let request = Request::get("https://wiki.test/").header("te", "trailers").body(()).unwrap();
            let (answer, _) = client.send_request(request, true).unwrap();
            let mut body = soon("an answer", answer).await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "abc");
            assert!(body.data().await.is_none());
            let trailers = body.trailers().await.unwrap().unwrap();
            let said: Vec<_> = trailers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            assert_eq!(said, [("grpc-status", &b"0"[..]), ("x-sum", b"1"), ("x-sum", b"2")]);
            assert_eq!(fields(&heard.recv().await.unwrap(), "te"), ["trailers"]);
        }
    }
}

/// An app that tells all of a request up to the end of its chunks and trailers.
async fn listener(more: &str) -> (World, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (ring, heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            let mut all = raw.head().await.unwrap_or_default();
            let body_ended = |bytes: &[u8]| {
                let last = bytes.windows(3).position(|window| window == b"0\r\n");
                last.is_some_and(|at| bytes[at..].ends_with(b"\r\n\r\n"))
            };
            while !body_ended(&raw.bytes) && raw.more().await.is_some() {}
            all.push_str(&String::from_utf8_lossy(&raw.bytes));
            let _ = ring.send(all);
            raw.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    (World::plan().app(&app.url(), &format!("{more}\n{OPEN}")).start().await, heard)
}

#[tokio::test]
async fn a_clients_trailers_reach_the_app_only_if_it_lists_them() {
    for (more, last) in [("", "0\r\n\r\n"), ("request_trailers = [\"X-Sum\"]", "0\r\nx-sum: 1\r\n\r\n")] {
        let (world, mut heard) = listener(more).await;
        let mut raw = Raw::open(&world).await;
        raw.say(
            "POST / HTTP/1.1\r\nHost: wiki.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, remote-user\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\nRemote-User: root\r\nCookie: a=b\r\n\r\n",
        )
        .await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
        let seen = heard.recv().await.unwrap();
        assert!(seen.ends_with(&format!("\r\n3\r\nabc\r\n{last}")) && !seen.contains("root"), "{seen}");

        let mut client = http2(&world).await;
        let (answer, mut body) =
            client.send_request(Request::post("https://wiki.test/").body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        let trailers: HeaderMap = [("x-sum", "1"), ("x-other", "2"), ("remote-user", "root")]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        body.send_trailers(trailers).unwrap();
        assert_eq!(soon("an answer", answer).await.unwrap().status(), 200);
        let seen = heard.recv().await.unwrap();
        assert!(seen.ends_with(&format!("\r\n3\r\nabc\r\n{last}")) && !seen.contains("root"), "{seen}");
    }
}
