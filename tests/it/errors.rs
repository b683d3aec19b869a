//! What people and programs are told when something is wrong: with an app, or with what they sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::mirror::Mirror;
use crate::raw::{Answer, OPEN, Raw, Stage, bell, soon, stage_at};
use crate::world::{HOST, World};

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: wiki.test\r\n{more}\r\n")
}

async fn ask(world: &World, request: &str) -> Answer {
    let mut raw = Raw::open(world).await;
    raw.say(request).await;
    raw.answer().await.unwrap_or_else(|| panic!("no answer to {request:?}"))
}

/// A port where nobody listens.
async fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Both forms of an error: a page for people, JSON for programs; with an id, without anything about the inside.
async fn check_error(world: &World, status: u16, path: &str, inside: &[&str]) {
    for (more, kind) in [("Sec-Fetch-Mode: navigate\r\n", "text/html; charset=utf-8"), ("", "application/problem+json")]
    {
        // A server that took no connection is left alone for a while.
        world.pass_time(1);
        let answer = ask(world, &get(path, more)).await;
        let text = answer.text();
        assert_eq!(answer.status, status, "{path} {text}");
        assert_eq!(answer.all("content-type"), [kind], "{path}");
        assert_eq!(answer.all("cache-control"), ["no-store"], "{path}");
        if kind.contains("json") {
            let body: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(body["status"], status);
            assert!(body["request_id"].as_str().is_some_and(|id| id.len() > 10), "{text}");
        } else {
            assert!(text.contains("<code>") || text.contains("-1"), "an id that can be told to the operator: {text}");
        }
        for word in inside.iter().chain(&["127.0.0.1", "hyper", "rustls", "os error", "src/"]) {
            assert!(!text.contains(word) && !answer.head.contains(word), "{path} tells of {word}: {text}");
        }
    }
}

#[tokio::test]
async fn an_app_that_cannot_be_reached_is_a_502() {
    let address = deserted().await;
    let world = World::plan().app(&format!("http://{address}"), OPEN).start().await;
    check_error(&world, 502, "/", &[&address]).await;
    let world = World::plan().app("unix:no.sock", OPEN).start().await;
    check_error(&world, 502, "/", &["no.sock"]).await;
}

#[tokio::test]
async fn an_app_that_says_nothing_is_a_504() {
    let app = Stage::start(|mut raw| async move { while raw.more().await.is_some() {} }).await;
    let more = format!("response_timeout = \"200ms\"\n{OPEN}");
    let world = World::plan().app(&app.url(), &more).start().await;
    check_error(&world, 504, "/", &[&app.address.to_string()]).await;
}

#[tokio::test]
async fn an_app_that_talks_nonsense_is_a_502() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 banana\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nX\0: y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes",
        "\x16\x03\x01",
    ] {
        let app = Stage::start(move |mut raw| async move {
            raw.head().await;
            raw.say(nonsense).await;
        })
        .await;
        let world = World::plan().app(&app.url(), OPEN).start().await;
        let answer = ask(&world, &get("/", "")).await;
        assert_eq!(answer.status, 502, "{nonsense:?} {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_with_two_lengths_has_the_one_of_its_chunks() {
    let app = Stage::saying(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    )
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let answer = ask(&world, &get("/", "")).await;
    assert_eq!(answer.text(), "abcde", "{answer:?}");
    assert!(answer.all("content-length").is_empty());

    let app = Stage::saying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde").await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let answer = ask(&world, &get("/", "")).await;
    assert_eq!((answer.text().as_str(), answer.all("content-length").len()), ("abcde", 1), "{answer:?}");
}

#[tokio::test]
async fn an_app_that_dies_in_the_middle_never_looks_finished() {
    for half in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
    ] {
        let app = Stage::start(move |mut raw| async move {
            raw.head().await;
            raw.say(half).await;
        })
        .await;
        let world = World::plan().app(&app.url(), OPEN).start().await;
        let mut raw = Raw::open(&world).await;
        raw.say(get("/", "")).await;
        let head = raw.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let rest = String::from_utf8(raw.rest().await).unwrap();
        assert!(!rest.ends_with("0\r\n\r\n") && rest.len() < 100, "{half:?} {rest:?}");

        // A client that cannot see chunks sees a TLS connection that was not closed in order (RFC 8446 §6.1).
        let mut raw = Raw::open(&world).await;
        raw.say("GET / HTTP/1.0\r\nHost: wiki.test\r\n\r\n").await;
        if half.contains("chunked") {
            raw.head().await.unwrap();
            let end = soon("the end", async {
                loop {
                    match tokio::io::AsyncReadExt::read_buf(&mut raw.stream, &mut raw.bytes).await {
                        Ok(0) => return Ok(()),
                        Ok(_) => {}
                        Err(error) => return Err(error.kind()),
                    }
                }
            });
            assert!(end.await.is_err(), "{half:?} came to an orderly end");
        }
    }
}

/// Keep-alive connections die just when they are used again, at any point of the race.
#[tokio::test]
async fn a_kept_connection_that_the_app_closes_costs_no_visitor_an_answer() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let app = Stage::start(move |mut raw| {
        let count = Arc::clone(&count);
        async move {
            // Promises to stay and leaves, sometimes before and sometimes after the next request has come.
            for turn in 0.. {
                if raw.head().await.is_none() {
                    return;
                }
                let number = count.fetch_add(1, Ordering::Relaxed);
                if turn > 0 && number.is_multiple_of(3) {
                    return;
                }
                raw.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                if number % 3 == 1 {
                    let _ = raw.stream.shutdown().await;
                    return;
                }
            }
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let mut raw = Raw::open(&world).await;
    for number in 0..300 {
        raw.say(get("/", "")).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "request {number}");
    }
    assert!(served.load(Ordering::Relaxed) > 300, "some were sent twice");
}

#[tokio::test]
async fn what_may_not_be_repeated_is_sent_once() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            let mut first = true;
            while let Some(head) = raw.head().await {
                let line = head.split("\r\n").next().unwrap_or_default().to_owned();
                let _ = ring.send(line.clone());
                if !first || line.starts_with("POST") {
                    return;
                }
                first = false;
                raw.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let mut raw = Raw::open(&world).await;
    raw.say(get("/", "")).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    raw.say("POST /pay HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(raw.answer().await.unwrap().status, 502);
    let seen: Vec<_> = [heard.recv().await.unwrap(), heard.recv().await.unwrap()].into();
    assert_eq!(seen, ["GET / HTTP/1.1", "POST /pay HTTP/1.1"]);
    assert!(heard.try_recv().is_err(), "paid once");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let app = Stage::start(|mut raw| async move {
        raw.head().await;
        raw.say("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfull").await;
        // Reads no word of the body, and stays for as long as the other side does.
        while raw.more().await.is_some_and(|_| raw.bytes.len() < 100_000) {}
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    for _ in 0..20 {
        let mut raw = Raw::open(&world).await;
        raw.say("POST / HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 50000000\r\n\r\n").await;
        // A client that looks up only when it cannot send any more.
        let piece = vec![b'x'; 64 * 1024];
        soon("a refusal to read on", async {
            for _ in 0..700 {
                if raw.stream.write_all(&piece).await.is_err() {
                    return;
                }
            }
        })
        .await;
        let answer = raw.answer().await.expect("the early answer");
        assert_eq!((answer.status, answer.text().as_str()), (413, "full"));
    }
}

#[tokio::test]
async fn an_app_on_a_socket_in_the_file_system_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    stage_at(&path, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix");
    let world = World::plan().app(&format!("unix:{}", path.display()), OPEN).start().await;
    assert_eq!(ask(&world, &get("/", "")).await.text(), "unix");
}

#[tokio::test]
async fn of_several_servers_one_may_be_down() {
    let mirror = Mirror::start().await;
    let upstreams = format!("http://{}\", \"{}", deserted().await, mirror.url());
    let world = World::plan().app(&upstreams, OPEN).start().await;
    for _ in 0..20 {
        assert_eq!(ask(&world, &get("/", "")).await.status, 200);
    }
    let body = "POST / HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 3\r\n\r\nabc";
    for _ in 0..20 {
        assert_eq!(ask(&world, body).await.status, 200, "nor is a body lost");
    }
}

#[tokio::test]
async fn an_app_behind_tls_must_prove_its_name() {
    let (ca, app) = tls_stage("localhost").await;
    let given = format!("preserve_host = false\nca = \"{}\"\n{OPEN}", ca.path().display());
    let world = World::plan().app(&format!("https://localhost:{}", app.port()), &given).start().await;
    let answer = ask(&world, &get("/", "")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "over TLS"), "{answer:?}");

    let unknown = World::plan().app(&format!("https://localhost:{}", app.port()), OPEN).start().await;
    check_error(&unknown, 502, "/", &["localhost", "certificate"]).await;

    let (ca, app) = tls_stage("other.test").await;
    let given = format!("ca = \"{}\"\n{OPEN}", ca.path().display());
    let wrong = World::plan().app(&format!("https://localhost:{}", app.port()), &given).start().await;
    check_error(&wrong, 502, "/", &["localhost", "other.test"]).await;
}

/// An app that speaks TLS as `name`, and its certificate in a file.
async fn tls_stage(name: &str) -> (tempfile::NamedTempFile, SocketAddr) {
    let (file, acceptor) = tls_as(name, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let mut raw = Raw::new(stream);
            raw.head().await;
            raw.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nover TLS").await;
            raw.rest().await;
        }
    });
    (file, address)
}

/// What an app needs to speak TLS as `name`, and its certificate in a file.
pub(crate) fn tls_as(name: &str, protocols: &[&[u8]]) -> (tempfile::NamedTempFile, TlsAcceptor) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate.pem()).unwrap();
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate.der().clone()], private).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn what_is_not_there_has_an_error_of_its_own() {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), "path = \"/wiki\"\nmax_body_size = \"1KiB\"\n").start().await;
    check_error(&world, 404, "/elsewhere", &[]).await;
    check_error(&world, 404, "/.vestibule/none", &[]).await;
    check_error(&world, 400, "/wiki/../x", &[]).await;
    check_error(&world, 414, &format!("/wiki/{}", "a".repeat(17_000)), &[]).await;

    let mut raw = Raw::open_as(&world, "other.test").await;
    raw.say("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!(raw.answer().await.unwrap().status, 421, "an unknown host");
    let mut raw = Raw::open_as(&world, "other.test").await;
    raw.say(get("/wiki", "")).await;
    assert_eq!(raw.answer().await.unwrap().status, 421, "a host that the handshake was not for");

    let answer = ask(&world, "PUT /.vestibule/login HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!((answer.status, answer.all("allow").len()), (405, 1));
    assert!(mirror.heads().is_empty());
}

#[tokio::test]
async fn heads_that_are_too_large_are_a_431_and_the_end() {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), OPEN).start().await;
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    for more in [
        many(120),
        format!("X: {}\r\n", "y".repeat(33_000)),
        format!("Cookie: {}\r\n", "a=b; ".repeat(8_000)),
        format!("X: {}\r\n", "y".repeat(200_000)),
        many(20_000),
    ] {
        let mut raw = Raw::open(&world).await;
        raw.say(get("/", &more)).await;
        let answer = raw.answer().await.expect("an answer");
        assert_eq!(answer.status, 431, "{} bytes: {}", more.len(), answer.text());
        raw.say(get("/next", "")).await;
        assert!(raw.answer().await.is_none(), "{} bytes", more.len());
    }
    let target = "a".repeat(70_000);
    let mut raw = Raw::open(&world).await;
    raw.say(get(&format!("/{target}"), "")).await;
    assert!([414, 431].contains(&raw.answer().await.expect("an answer").status));
    assert!(mirror.heads().is_empty());
    assert_eq!(ask(&world, &get("/", &many(95))).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_413_however_it_is_framed() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            let head = raw.head().await.unwrap_or_default();
            let got = raw.rest().await;
            let _ = ring.send(format!("{} {}", head.len() > 2, got.len()));
        }
    })
    .await;
    let world = World::plan().app(&app.url(), &format!("max_body_size = \"1KiB\"\n{OPEN}")).start().await;
    let announced = "POST / HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 1025\r\n\r\n";
    let answer = ask(&world, announced).await;
    assert_eq!(answer.status, 413);
    assert!(heard.try_recv().is_err(), "the app was not asked at all");

    let piece = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked =
        format!("POST / HTTP/1.1\r\nHost: wiki.test\r\nTransfer-Encoding: chunked\r\n\r\n{piece}{piece}0\r\n\r\n");
    let answer = ask(&world, &chunked).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    let seen = soon("the app is let go", heard.recv()).await.unwrap();
    assert!(seen.starts_with("true") && !seen.ends_with(" 0"), "{seen}");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_length_and_their_connection() {
    let app = Stage::start(|mut raw| async move {
        while let Some(head) = raw.head().await {
            let answer = match &head {
                head if head.starts_with("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                head if head.contains("/304") => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
                head if head.contains("/103") => {
                    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
                _ => "HTTP/1.1 204 No Content\r\n\r\n",
            };
            raw.say(answer).await;
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let mut raw = Raw::open(&world).await;
    for _ in 0..3 {
        raw.say("HEAD / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
        let answer = raw.answer_to_head().await.unwrap();
        assert_eq!((answer.status, answer.all("content-length")), (200, vec!["1234"]));
        for (path, status) in [("/304", 304), ("/204", 204), ("/103", 200)] {
            raw.say(get(path, "")).await;
            assert_eq!(raw.answer().await.unwrap().status, status);
        }
    }
}

#[tokio::test]
async fn bytes_after_an_answer_are_never_taken_for_the_next_one() {
    let app = Stage::start(|mut raw| async move {
        while raw.head().await.is_some() {
            raw.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
                .await;
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let mut raw = Raw::open(&world).await;
    for number in 0..20 {
        raw.say(get("/", "")).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "request {number}");
    }
}

#[tokio::test]
async fn a_visitor_who_may_not_is_told_so_in_both_forms() {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), "[[app.rule]]\nallow = \"nobody\"").start().await;
    check_error(&world, 403, "/", &[]).await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    let answer = browser.ask(Method::GET, "/").send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(browser.origin.split(':').nth(1), Some(format!("//{HOST}").as_str()));
}
