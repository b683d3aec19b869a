//! The listener without TLS, which only points to the one with it, and the operators' socket.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use tokio::net::{TcpStream, UnixStream};

use crate::mirror::Mirror;
use crate::raw::{Answer, OPEN, Raw};
use crate::world::World;

async fn plain(world: &World, request: &str) -> Answer {
    let mut raw = Raw::new(TcpStream::connect(world.running.http()[0]).await.unwrap());
    raw.say(request).await;
    let answer = if request.starts_with("HEAD") { raw.answer_to_head().await } else { raw.answer().await };
    let answer = answer.unwrap_or_else(|| panic!("no answer to {request:?}"));
    assert!(answer.all("set-cookie").is_empty(), "{answer:?}");
    raw.say("GET /next HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    assert!(raw.answer().await.is_none(), "one answer for each connection");
    answer
}

#[tokio::test]
async fn the_plain_listener_points_to_https_and_does_nothing_else() {
    let mirror = Mirror::start().await;
    for (port, suffix) in [(443, ""), (8443, ":8443")] {
        let world = World::plan().app(&mirror.url(), OPEN).plain_port().https_port(port).start().await;
        let at = |path: &str| format!("https://wiki.test{suffix}{path}");
        for (method, target, location) in [
            ("GET", "/a%2Fb?c=d%20e&f=//g", at("/a%2Fb?c=d%20e&f=//g")),
            ("HEAD", "/", at("/")),
            ("GET", "//evil.test/", at("//evil.test/")),
            ("GET", "/\\evil.test", at("/\\evil.test")),
            ("GET", "http://wiki.test/a?b", at("/a?b")),
        ] {
            let request = format!("{method} {target} HTTP/1.1\r\nHost: WIKI.test:80\r\nCookie: a=b\r\n\r\n");
            let answer = plain(&world, &request).await;
            assert_eq!((answer.status, answer.all("location")), (308, vec![location.as_str()]), "{target}");
        }
        for (request, status) in [
            ("POST / HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 3\r\n\r\nabc", 403),
            ("OPTIONS / HTTP/1.1\r\nHost: wiki.test\r\n\r\n", 403),
            ("GET / HTTP/1.1\r\nHost: wiki.test\r\nAuthorization: Basic YTpi\r\n\r\n", 403),
            ("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", 421),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: wiki.test\r\nHost: wiki.test\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: user@wiki.test\r\n\r\n", 400),
            ("GET * HTTP/1.1\r\nHost: wiki.test\r\n\r\n", 400),
            ("GET a HTTP/1.1\r\nHost: wiki.test\r\n\r\n", 400),
        ] {
            let answer = plain(&world, request).await;
            assert_eq!((answer.status, answer.all("location").len()), (status, 0), "{request}");
        }
        let login = plain(&world, "GET /.vestibule/login HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
        assert_eq!(login.all("location"), [at("/.vestibule/login")]);
    }
    assert!(mirror.heads().is_empty());
}

#[tokio::test]
async fn the_plain_listener_waits_for_nobody() {
    let mirror = Mirror::start().await;
    let limits = "[limits]\nheader_timeout = \"200ms\"\nidle_timeout = \"200ms\"";
    let world = World::plan().app(&mirror.url(), OPEN).with(limits).plain_port().start().await;
    for start in ["", "GET / HTTP/1.1\r\nHost: wi"] {
        let mut raw = Raw::new(TcpStream::connect(world.running.http()[0]).await.unwrap());
        raw.say(start).await;
        raw.rest().await;
    }
}

#[tokio::test]
async fn operators_have_a_socket_of_their_own() {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), OPEN).start().await;
    let socket = world.folder().join("state/admin.sock");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(socket.as_path()), mode(socket.parent().unwrap())), (0o600, 0o700));
    let ask = async |request: &str| {
        let mut raw = Raw::new(UnixStream::connect(&socket).await.unwrap());
        raw.say(format!("{request} HTTP/1.1\r\nHost: admin\r\n\r\n")).await;
        let answer = raw.answer().await.unwrap();
        (answer.status, answer.text())
    };
    assert_eq!(ask("GET /healthz").await, (200, "ok\n".into()));
    assert_eq!(ask("GET /readyz").await, (200, "ready\n".into()));
    for nowhere in ["/", "/healthz/", "/nothing", "/..", "/healthz%20"] {
        assert_eq!(ask(&format!("GET {nowhere}")).await.0, 404, "{nowhere}");
    }
    assert_eq!(ask("POST /healthz").await.0, 405);

    world.running.gate().draining.store(true, Ordering::Relaxed);
    assert_eq!(ask("GET /readyz").await, (503, "draining\n".into()));
    assert_eq!(ask("GET /healthz").await.0, 200, "it still lives");
    let mut raw = Raw::open(&world).await;
    raw.say("GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    assert!(raw.answer().await.unwrap().says_close());
    assert!(raw.is_over().await);
}
