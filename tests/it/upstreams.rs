//! Apps with several servers, servers that are down or slow, and servers that speak HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::mirror::Mirror;
use crate::raw::{Answer, OPEN, Raw, Stage, bell, soon};
use crate::world::{HOST, World};

async fn ask(world: &World, more: &str) -> Answer {
    ask_for(world, HOST, "/", more).await
}

async fn ask_for(world: &World, host: &str, path: &str, more: &str) -> Answer {
    let mut raw = Raw::open_as(world, host).await;
    raw.say(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")).await;
    raw.answer().await.expect("an answer")
}

/// Says its own name to everybody.
async fn named(name: &'static str) -> Stage {
    Stage::start(move |mut raw| async move {
        while raw.head().await.is_some() {
            raw.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())).await;
        }
    })
    .await
}

/// An app with these servers.
async fn world(servers: &[&Stage], more: &str) -> World {
    let urls: Vec<_> = servers.iter().map(|server| server.url()).collect();
    World::plan().app(&urls.join("\", \""), &format!("{more}\n{OPEN}")).start().await
}

/// A server that was there and is not, so that nobody else has its port meanwhile.
async fn deserted() -> (Stage, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (Stage { address }, socket)
}

/// The server is back.
fn settle(socket: socket2::Socket, name: &'static str) {
    socket.listen(16).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut raw = Raw::new(stream);
            tokio::spawn(async move {
                while raw.head().await.is_some() {
                    raw.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())).await;
                }
            });
        }
    });
}

#[tokio::test]
async fn servers_take_turns() {
    let (a, b) = (named("a").await, named("b").await);
    let world = world(&[&a, &b], "").await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(ask(&world, "").await.text());
    }
    assert_eq!(answers, ["a", "b", "a", "b"]);
}

#[tokio::test]
async fn a_server_that_is_busy_gets_fewer_requests() {
    let (ring, mut heard) = bell();
    let slow = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            raw.head().await;
            let _ = ring.send("began".into());
            while raw.more().await.is_some() {}
        }
    })
    .await;
    let world = world(&[&slow, &named("quick").await], "balance = \"least-requests\"").await;
    let mut waiting = Raw::open(&world).await;
    waiting.say("GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    soon("the slow server's request", heard.recv()).await;
    for _ in 0..5 {
        assert_eq!(ask(&world, "").await.text(), "quick");
    }
}

#[tokio::test]
async fn a_browser_stays_with_its_server_until_that_is_down() {
    let (gone, socket) = deserted().await;
    let back = socket.try_clone().unwrap();
    settle(socket, "a");
    let world = world(&[&gone, &named("b").await], "balance = \"cookie\"").await;
    let first = ask(&world, "").await;
    assert_eq!(first.text(), "a");
    let cookie = first.all("set-cookie")[0].to_owned();
    assert!(cookie.starts_with("__Host-vestibule-upstream="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
    assert!(!cookie.contains("127.0.0.1"));
    let line = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    for _ in 0..3 {
        let answer = ask(&world, &line).await;
        assert_eq!(answer.text(), "a");
        assert!(answer.all("set-cookie").is_empty(), "the browser knows already");
    }

    back.shutdown(std::net::Shutdown::Both).unwrap();
    world.pass_time(1);
    let answer = ask(&world, &line).await;
    assert_eq!(answer.text(), "b", "and kept connections are too old by now");
    let other = answer.all("set-cookie")[0].to_owned();
    assert_ne!(other, cookie);
    let line = format!("Cookie: {}\r\n", other.split(';').next().unwrap());
    assert_eq!(ask(&world, &line).await.text(), "b");
    for nonsense in ["", "x", "...", "AAAA.%%", "\"\""] {
        let answer = ask(&world, &format!("Cookie: __Host-vestibule-upstream={nonsense}\r\n")).await;
        assert_eq!(answer.status, 200, "{nonsense}");
        assert_eq!(answer.all("set-cookie"), [&other], "what is no mark of ours is not repeated");
    }
}

#[tokio::test]
async fn the_cookie_that_names_a_server_is_not_the_apps() {
    for balance in ["cookie", "round-robin"] {
        let mirror = Mirror::answering("Set-Cookie: __host-vestibule-upstream=theirs\r\nSet-Cookie: mine=1\r\n").await;
        let more = format!("balance = \"{balance}\"\n{OPEN}");
        let world = World::plan().app(&mirror.url(), &more).start().await;
        let answer = ask(&world, "Cookie: a=1; __Host-vestibule-upstream=x; b=2\r\n").await;
        assert!(answer.text().contains("a=1; b=2") && !answer.text().contains("upstream"), "{}", answer.text());
        assert!(!answer.head.contains("theirs") && answer.head.contains("mine=1"), "{}", answer.head);
        assert_eq!(answer.all("set-cookie").len(), if balance == "cookie" { 2 } else { 1 });
    }
}

#[tokio::test]
async fn apps_on_one_host_share_the_cookie_without_losing_their_servers() {
    let (wiki, shop) = (named("wiki").await, named("shop").await);
    let more = format!("balance = \"cookie\"\n{OPEN}");
    let world = World::plan()
        .app(&wiki.url(), &more)
        .app_at("shop", HOST, &shop.url(), &format!("path = \"/shop\"\n{more}"))
        .start()
        .await;
    let first = ask(&world, "").await.all("set-cookie")[0].split(';').next().unwrap().to_owned();
    let both = ask_for(&world, HOST, "/shop", &format!("Cookie: {first}\r\n")).await;
    let both = both.all("set-cookie")[0].split(';').next().unwrap().to_owned();
    assert!(both.contains(first.split('=').nth(1).unwrap()), "{both} holds {first}");
    for path in ["/", "/shop"] {
        assert!(ask_for(&world, HOST, path, &format!("Cookie: {both}\r\n")).await.all("set-cookie").is_empty());
    }
}

#[tokio::test]
async fn a_server_that_takes_no_connection_is_left_alone_for_a_while() {
    let (gone, socket) = deserted().await;
    let world = world(&[&gone, &named("b").await], "").await;
    assert_eq!(ask(&world, "").await.text(), "b", "the next one is asked");
    settle(socket, "a");
    for _ in 0..4 {
        assert_eq!(ask(&world, "").await.text(), "b", "nobody looks yet");
    }
    world.clock.advance(Duration::from_secs(1));
    let mut answers = [ask(&world, "").await.text(), ask(&world, "").await.text()];
    answers.sort();
    assert_eq!(answers, ["a", "b"]);
}

#[tokio::test]
async fn an_app_of_which_no_server_is_left_is_a_503_until_one_is_back() {
    let ((a, first), (b, _second)) = (deserted().await, deserted().await);
    let world = world(&[&a, &b], "").await;
    assert_eq!(ask(&world, "").await.status, 502, "who finds it out");
    for _ in 0..3 {
        let answer = ask(&world, "").await;
        assert_eq!((answer.status, answer.all("retry-after")), (503, vec!["1"]), "{answer:?}");
        assert!(answer.text().contains("No server of the app is reachable"), "{answer:?}");
    }
    settle(first, "a");
    assert_eq!(ask(&world, "").await.text(), "a", "it is found at once");
}

#[tokio::test]
async fn a_server_that_fails_its_checks_gets_no_requests_until_it_passes() {
    let (ring, mut heard) = bell();
    let well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&well);
    let server = Stage::start(move |mut raw| {
        let (ring, state) = (ring.clone(), Arc::clone(&state));
        async move {
            while let Some(head) = raw.head().await {
                let is_check = head.starts_with("GET /health?deep=1 ");
                let status = if is_check && !state.load(Ordering::Relaxed) { "500 No" } else { "200 OK" };
                raw.say(format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nsick")).await;
                if is_check {
                    let _ = ring.send(head);
                }
            }
        }
    })
    .await;
    let more = "[app.health]\npath = \"/health?deep=1\"\ninterval = \"20ms\"";
    let alone = world(&[&server], more).await;
    let both = world(&[&server, &named("b").await], more).await;
    soon("a check", heard.recv()).await.unwrap();
    soon("the server is left alone", async { while ask(&alone, "").await.status != 503 {} }).await;
    assert_eq!(ask(&alone, "").await.all("retry-after"), ["1"]);
    soon("and here, too", async { while [ask(&both, "").await.text(), ask(&both, "").await.text()] != ["b", "b"] {} })
        .await;
    for _ in 0..4 {
        assert_eq!(ask(&both, "").await.text(), "b");
    }
    well.store(true, Ordering::Relaxed);
    soon("it is asked again", async { while ask(&alone, "").await.status != 200 {} }).await;
}

#[tokio::test]
async fn a_slow_app_takes_nothing_from_the_others() {
    let (ring, mut heard) = bell();
    let slow = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            raw.head().await;
            let _ = ring.send("began".into());
            while raw.more().await.is_some() {}
        }
    })
    .await;
    let world = World::plan()
        .app(&slow.url(), &format!("max_requests = 1\n{OPEN}"))
        .app_at("quick", "quick.test", &named("quick").await.url(), OPEN)
        .start()
        .await;
    let mut hanging = Raw::open(&world).await;
    hanging.say("GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    soon("its request", heard.recv()).await;
    let refused = ask(&world, "").await;
    assert_eq!((refused.status, refused.all("retry-after")), (503, vec!["1"]), "{refused:?}");
    assert!(refused.text().contains("busy"), "{refused:?}");
    assert_eq!(ask_for(&world, "quick.test", "/", "").await.text(), "quick");

    let mut waiting = Raw::open(&world).await;
    drop(hanging);
    waiting.say("GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    soon("a place is free when a client leaves", heard.recv()).await;
}

#[tokio::test]
async fn only_so_many_connections_are_kept_and_only_for_so_long() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let app = Stage::start(move |mut raw| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            while raw.head().await.is_some() {
                raw.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    for (more, pause, expected) in [
        ("", 0, 1),
        ("max_idle_connections = 0", 0, 3),
        ("idle_connection_timeout = \"5s\"", 4, 1),
        ("idle_connection_timeout = \"5s\"", 5, 3),
    ] {
        let world = world(&[&app], more).await;
        let before = connections.load(Ordering::Relaxed);
        // One connection of a browser stays with one worker.
        let mut raw = Raw::open(&world).await;
        for _ in 0..3 {
            raw.say("GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
            assert_eq!(raw.answer().await.unwrap().status, 200);
            world.clock.advance(Duration::from_secs(pause));
        }
        assert_eq!(connections.load(Ordering::Relaxed) - before, expected, "{more} {pause}");
    }
}

/// A server that speaks HTTP/2 alone, and sends back what it gets.
struct Echo {
    url: String,
    connections: Arc<AtomicUsize>,
    /// Ends all connections there are.
    hang_up: Arc<tokio::sync::Notify>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (connections, hang_up) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (count, end) = (Arc::clone(&connections), Arc::clone(&hang_up));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let end = Arc::clone(&end);
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(echo));
                    tokio::select! {
                        _ = connection => {}
                        () = end.notified() => {}
                    }
                });
            }
        });
        Self { url, connections, hang_up }
    }
}

async fn echo(request: http::Request<Incoming>) -> Result<http::Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = if parts.method == http::Method::POST {
        BoxBody::new(body)
    } else {
        let text = format!("{} {} {:?}", parts.method, parts.uri, parts.headers);
        BoxBody::new(http_body_util::Full::from(text).map_err(|never| match never {}))
    };
    Ok(http::Response::new(body))
}

#[tokio::test]
async fn an_app_that_speaks_http2_shares_one_connection_and_gets_a_new_one() {
    let echo = Echo::start().await;
    let world = World::plan().app(&echo.url, &format!("protocol = \"h2\"\n{OPEN}")).start().await;
    let mut raw = Raw::open(&world).await;
    let mut get = async || {
        raw.say("GET /a?b=%20c HTTP/1.1\r\nHost: wiki.test\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\r\n").await;
        raw.answer().await.unwrap()
    };
    let answer = get().await;
    assert!(answer.text().starts_with("GET http://wiki.test/a?b=%20c {"), "{answer:?}");
    assert!(answer.text().contains("x-forwarded-proto") && !answer.text().contains("hop"), "{answer:?}");
    assert!(!answer.text().contains("\"host\""), "{answer:?}");
    assert_eq!(get().await.status, 200);
    assert_eq!(echo.connections.load(Ordering::Relaxed), 1);
    echo.hang_up.notify_waiters();
    for _ in 0..3 {
        assert_eq!(get().await.status, 200, "it reconnects");
    }
    assert_eq!(echo.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn bodies_stream_both_ways_to_an_app_that_speaks_http2() {
    let echo = Echo::start().await;
    let world = World::plan().app(&echo.url, &format!("protocol = \"h2\"\n{OPEN}")).start().await;
    let mut sender = crate::raw::http2(&world).await;
    let mut exchanges = Vec::new();
    for _ in 0..3 {
        let request = http::Request::post("https://wiki.test/").body(()).unwrap();
        sender = sender.ready().await.unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"first"), false).unwrap();
        exchanges.push((soon("the head", answer).await.unwrap().into_body(), body));
    }
    for (answer, body) in &mut exchanges {
        assert_eq!(soon("an echo", answer.data()).await.unwrap().unwrap(), "first");
        body.send_data(Bytes::from_static(b"second"), true).unwrap();
        assert_eq!(soon("an echo", answer.data()).await.unwrap().unwrap(), "second");
        assert!(soon("the end", answer.data()).await.is_none());
    }
    assert_eq!(echo.connections.load(Ordering::Relaxed), 1, "three at once over one connection");
}

#[tokio::test]
async fn an_app_that_does_not_speak_http2_although_it_should_is_a_502() {
    let app = named("http1").await;
    let world = world(&[&app], "protocol = \"h2\"\nresponse_timeout = \"500ms\"").await;
    let answer = ask(&world, "").await;
    assert!(matches!(answer.status, 502 | 504), "{answer:?}");
}

#[tokio::test]
async fn over_tls_http2_is_agreed_upon_or_not_spoken() {
    for (protocols, status) in [(&[&b"h2"[..], b"http/1.1"][..], 200), (&[b"http/1.1"], 502), (&[], 502)] {
        let (certificate, acceptor) = crate::errors::tls_as("localhost", protocols);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), hyper::service::service_fn(echo)));
            }
        });
        let more = format!("protocol = \"h2\"\nca = {:?}\n{OPEN}", certificate.path());
        let world = World::plan().app(&format!("https://localhost:{port}"), &more).start().await;
        let answer = ask(&world, "").await;
        assert_eq!(answer.status, status, "{protocols:?} {answer:?}");
        if status == 200 {
            assert!(answer.text().starts_with("GET https://wiki.test/ {"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_websocket_to_an_app_that_speaks_http2_is_the_plain_request_it_also_is() {
    let echo = Echo::start().await;
    let world = World::plan().app(&echo.url, &format!("protocol = \"h2\"\n{OPEN}")).start().await;
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answer = ask(&world, handshake).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.text().contains("\"upgrade\"") && !answer.text().contains("\"connection\""), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_speaks_http2_is_checked_in_it() {
    let echo = Echo::start().await;
    let more = format!("protocol = \"h2\"\n{OPEN}\n[app.health]\npath = \"/\"\ninterval = \"20ms\"");
    let world = World::plan().app(&echo.url, &more).start().await;
    soon("some checks", async {
        while echo.connections.load(Ordering::Relaxed) < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ask(&world, "").await.status, 200);
}
