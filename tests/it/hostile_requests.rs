//! HTTP/1 that two programs could read differently never reaches an app, and what is honest reaches it byte for byte.

use crate::mirror::Mirror;
use crate::raw::{Answer, OPEN, Raw, fields};
use crate::world::World;

/// Everybody may pass: nothing but the reading of requests stands before the app.
async fn open_world() -> (World, Mirror) {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), OPEN).start().await;
    (world, mirror)
}

const NEXT: &str = "GET /next HTTP/1.1\r\nHost: wiki.test\r\n\r\n";

/// What became of a request: its answer, and whether another one behind it was answered, too.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Refused(u16),
    RefusedAndClosed(u16),
    Passed(u16),
}

async fn say(world: &World, bytes: &[u8]) -> (Option<Answer>, Option<Answer>) {
    let mut raw = Raw::open(world).await;
    raw.say(bytes).await;
    raw.say(NEXT).await;
    let first = raw.answer().await;
    (first, raw.answer().await)
}

/// Says the bytes and another request; nothing but that one may have reached the app.
async fn fate(bytes: &[u8]) -> Fate {
    let (world, mirror) = open_world().await;
    let (first, second) = say(&world, bytes).await;
    let shown = String::from_utf8_lossy(bytes).into_owned();
    let first = first.unwrap_or_else(|| panic!("no answer to {shown:?}"));
    let heads = mirror.heads();
    let fate = match second {
        _ if first.status == 200 => return Fate::Passed(200),
        Some(second) => {
            assert!(second.text().starts_with("GET /next "), "{shown:?} was answered with {second:?}");
            Fate::Refused(first.status)
        }
        None => Fate::RefusedAndClosed(first.status),
    };
    let others: Vec<_> = heads.iter().filter(|head| !head.starts_with("GET /next ")).collect();
    assert!(others.is_empty(), "{shown:?} reached the app as {others:?}");
    if matches!(fate, Fate::RefusedAndClosed(_)) {
        assert!(heads.is_empty(), "{shown:?} {heads:?}");
    }
    fate
}

/// A request with these lines beside its host.
fn with(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /form HTTP/1.1\r\nHost: wiki.test\r\n{lines}\r\n{body}").into_bytes()
}

fn target(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: wiki.test\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn messages_with_two_ends_are_refused_and_end_the_connection() {
    for (lines, body) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: , chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: \r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: identity\r\n", ""),
        ("Transfer-Encoding: gzip\r\n", ""),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        (" Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("X: y\r\n\tfolded\r\n", ""),
        ("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 3, 3\r\n", "abc"),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
        ("Content-Length: +3\r\n", "abc"),
        ("Content-Length: -3\r\n", "abc"),
        ("Content-Length: 0x3\r\n", "abc"),
        ("Content-Length: 3.0\r\n", "abc"),
        ("Content-Length: 3 0\r\n", "abc"),
        ("Content-Length: \r\n", ""),
        ("Content-Length: 99999999999999999999999\r\n", "abc"),
        ("Content-Length: 18446744073709551615\r\n", "abc"),
        ("Content-Length : 3\r\n", "abc"),
        ("Content-Length\t: 3\r\n", "abc"),
        ("X: y\nContent-Length: 3\r\n", "abc"),
        ("X: y\rContent-Length: 3\r\n", "abc"),
        ("X: y\r\r\nContent-Length: 3\r\n", "abc"),
        ("X\0: y\r\n", ""),
        ("X: a\0b\r\n", ""),
        ("X: a\x01b\r\n", ""),
        ("X: a\x7fb\r\n", ""),
        (": y\r\n", ""),
        ("no colon\r\n", ""),
        ("X(y): z\r\n", ""),
    ] {
        let fate = fate(&with(lines, body)).await;
        // A length that no file can have is "too large" to hyper.
        let status = if lines.contains("18446744073709551615") { 431 } else { 400 };
        assert_eq!(fate, Fate::RefusedAndClosed(status), "{lines:?}");
    }
}

#[tokio::test]
async fn a_line_end_without_cr_is_refused_wherever_it_stands() {
    for bytes in [
        "GET / HTTP/1.1\nHost: wiki.test\n\n",
        "GET / HTTP/1.1\r\nHost: wiki.test\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
        "GET / HTTP/1.1\nHost: wiki.test\r\n\r\n",
    ] {
        assert_eq!(fate(bytes.as_bytes()).await, Fate::RefusedAndClosed(400), "{bytes:?}");
    }
}

#[tokio::test]
async fn targets_that_no_app_should_see_are_refused() {
    for bad in [
        "/a#b",
        "/a?b#c",
        "#",
        "*",
        "wiki.test",
        "wiki.test:443",
        "a/b",
        "?a",
        "http://wiki.test/",
        "ftp://wiki.test/",
        "https://other.test/",
        "https://wiki.test:444/",
        "https://user@wiki.test/",
        "https://wiki.test@other.test/",
        "https:///",
        "https:/a",
        "//",
        "/\\a",
        "/a\\..\\b",
        "/a b",
        "/a\tb",
        "/a\x01b",
        "/a\x7fb",
        "/a\0b",
        "/%",
        "/%2",
        "/%zz",
        "/%u0041",
        "/%00",
        "/%0a",
        "/%0d%0aX:y",
        "/a/../b",
        "/a/./b",
        "/..",
        "/%2e%2e/a",
        "/a/%2E%2e",
        "/a/..;x=y/b",
        "/a%2f..%2fb",
        "/a%252f%252e%252e%252fb",
        "/%c0%ae%c0%ae/a",
        "/a%5cb",
        "/a%255cb",
        "/é",
        "/\"",
        "/<",
        "/{a}",
        "/a`b",
    ] {
        match (bad, fate(&target(bad)).await) {
            ("//", fate) => assert_eq!(fate, Fate::Passed(200), "an honest, if odd, path"),
            (_, Fate::Refused(400) | Fate::RefusedAndClosed(400)) => {}
            (_, fate) => panic!("{bad:?} {fate:?}"),
        }
    }
}

#[tokio::test]
async fn the_host_is_named_once_and_everywhere_alike() {
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test\r\nHost: wiki.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test\r\nHost: other.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test, other.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@wiki.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test/path\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test?x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test:x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test:443:443\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki%2etest\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wiki.test\\\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: wïki.test\r\n\r\n",
        "GET https://wiki.test/ HTTP/1.1\r\n\r\n",
        "GET https://wiki.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a, b\r\n\r\n",
    ] {
        assert_eq!(fate(head.as_bytes()).await, Fate::RefusedAndClosed(400), "{head:?}");
    }
}

#[tokio::test]
async fn methods_that_make_tunnels_or_echoes_are_never_served() {
    for request in [
        "CONNECT wiki.test:443 HTTP/1.1\r\nHost: wiki.test:443\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
        "TRACK / HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        match fate(request.as_bytes()).await {
            Fate::Refused(400 | 405) | Fate::RefusedAndClosed(400 | 405) => {}
            other => panic!("{request:?} {other:?}"),
        }
    }
    let (world, _mirror) = open_world().await;
    let (answer, _) = say(&world, b"TRACE / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    assert_eq!(answer.unwrap().all("allow").len(), 1);
}

#[tokio::test]
async fn what_is_no_http_at_all_is_refused() {
    for bytes in [
        "GET /\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: wiki.test\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: wiki.test\r\n\r\n",
        "GET / http/1.1\r\nHost: wiki.test\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: wiki.test\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: wiki.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "\x16\x03\x01\x00\x00\r\n\r\n",
    ] {
        let (world, mirror) = open_world().await;
        let (answer, second) = say(&world, bytes.as_bytes()).await;
        if let Some(answer) = answer {
            assert!((400..=505).contains(&answer.status), "{bytes:?} {answer:?}");
        }
        assert!(second.is_none() && mirror.heads().is_empty(), "{bytes:?}");
    }
}

#[tokio::test]
async fn only_one_expectation_is_known() {
    let odd = with("Expect: 200-maybe\r\nContent-Length: 3\r\n", "abc");
    assert_eq!(fate(&odd).await, Fate::RefusedAndClosed(417));
    let twice = with("Expect: 100-continue\r\nExpect: x\r\nContent-Length: 3\r\n", "abc");
    assert_eq!(fate(&twice).await, Fate::RefusedAndClosed(417));

    let (world, mirror) = open_world().await;
    let mut raw = Raw::open(&world).await;
    raw.say(with("Expect: 100-Continue\r\nContent-Length: 3\r\n", "")).await;
    assert_eq!(raw.answer().await.unwrap().status, 100);
    raw.say("abc").await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    assert!(fields(&mirror.heads()[0], "expect").is_empty(), "met by us, not passed on");
}

#[tokio::test]
async fn honest_targets_reach_the_app_byte_for_byte() {
    let (world, mirror) = open_world().await;
    for honest in [
        "/",
        "/a/b",
        "/a%2Fb",
        "/a%2fb",
        "/x;jsessionid=1A2B",
        "/x;a=b;c/y",
        "/a//b",
        "//a",
        "/a/",
        "/%C3%A9t%C3%A9",
        "/caf%E9",
        "/%61",
        "/a|b",
        "/a[0]",
        "/a^b'c!$&()*+,=:@~",
        "/a%20b",
        "/100%25",
        "/%2541",
        "/...",
        "/.well-known/x",
        "/a..b",
        "/a?",
        "/a??b",
        "/?a=b&c=%2F..%2F&d=/../",
        "/?a=%zz&b=%",
        "/?[x]={y}|\\`^",
        "/?r=https://x.test/",
    ] {
        let mut raw = Raw::open(&world).await;
        raw.say(target(honest)).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{honest} {answer:?}");
        let head = mirror.heads().pop().unwrap();
        assert!(head.starts_with(&format!("GET {honest} HTTP/1.1\r\n")), "{honest:?} became {head:?}");
    }
}

#[tokio::test]
async fn honest_requests_of_other_kinds_pass() {
    for (request, first_line) in [
        ("GET https://wiki.test/a?b HTTP/1.1\r\nHost: wiki.test\r\n\r\n", "GET /a?b HTTP/1.1"),
        ("GET https://WIKI.test:443/a HTTP/1.1\r\nHost: wiki.test\r\n\r\n", "GET /a HTTP/1.1"),
        ("GET https://wiki.test HTTP/1.1\r\nHost: wiki.test\r\n\r\n", "GET / HTTP/1.1"),
        ("GET /a HTTP/1.0\r\nHost: wiki.test\r\n\r\n", "GET /a HTTP/1.1"),
        ("\r\nGET /a HTTP/1.1\r\nHost: wiki.test\r\n\r\n", "GET /a HTTP/1.1"),
        ("GET /a HTTP/1.1\r\nhOST:wiki.test  \r\n\r\n", "GET /a HTTP/1.1"),
        ("GET /a HTTP/1.1\r\nHost: WIKI.test.:443\r\n\r\n", "GET /a HTTP/1.1"),
        ("PROPFIND /a HTTP/1.1\r\nHost: wiki.test\r\nDepth: 1\r\n\r\n", "PROPFIND /a HTTP/1.1"),
        ("POST /a HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 0003\r\n\r\nabc", "POST /a HTTP/1.1"),
        ("POST /a HTTP/1.1\r\nHost: wiki.test\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", "POST /a HTTP/1.1"),
    ] {
        let (world, mirror) = open_world().await;
        let mut raw = Raw::open(&world).await;
        raw.say(request).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{request:?} {answer:?}");
        let head = mirror.heads().pop().unwrap();
        assert_eq!(head.split("\r\n").next(), Some(first_line), "{request:?}");
        assert_eq!(fields(&head, "host").len(), 1, "{head}");
    }
}

#[tokio::test]
async fn chunks_are_taken_apart_and_odd_ones_never_put_together() {
    use crate::raw::{Stage, bell};
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            while let Some(head) = raw.head().await {
                let chunked = fields(&head, "transfer-encoding") == ["chunked"];
                let body = if chunked { until_last_chunk(&mut raw).await } else { Some(String::new()) };
                let Some(body) = body else {
                    let _ = ring.send("broken".into());
                    return;
                };
                let _ = ring.send(body);
                raw.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    for (body, arrives) in [
        ("3\r\nabc\r\n0\r\n\r\n", Some("abc")),
        ("3;x=y\r\nabc\r\n0;z\r\n\r\n", Some("abc")),
        ("003\r\nabc\r\n000\r\n\r\n", Some("abc")),
        ("A\r\n0123456789\r\n0\r\n\r\n", Some("0123456789")),
        ("3\r\nabc\r\n0\r\nX-Trailer: y\r\nRemote-User: root\r\n\r\n", Some("abc")),
        ("3\nabc\r\n0\r\n\r\n", None),
        ("3\r\nabc\n0\r\n\r\n", None),
        ("3\r\nabcd\r\n0\r\n\r\n", None),
        ("0x3\r\nabc\r\n0\r\n\r\n", None),
        ("-3\r\nabc\r\n0\r\n\r\n", None),
        ("+3\r\nabc\r\n0\r\n\r\n", None),
        ("3_0\r\nabc\r\n0\r\n\r\n", None),
        ("\r\nabc\r\n0\r\n\r\n", None),
        ("g\r\nabc\r\n0\r\n\r\n", None),
        ("FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n", None),
        ("3;x\ny\r\nabc\r\n0\r\n\r\n", None),
        ("3\r\nabc\r\n0\r\nX: y\n\r\n", None),
        ("3\r\nabc\r\n0\n\r\n", None),
    ] {
        let mut raw = Raw::open(&world).await;
        raw.say(with("Transfer-Encoding: chunked\r\n", body)).await;
        raw.say(NEXT).await;
        let answer = raw.answer().await;
        let second = raw.answer().await;
        match arrives {
            Some(text) => {
                assert_eq!(answer.map(|answer| answer.status), Some(200), "{body:?}");
                let seen = heard.recv().await.unwrap();
                assert_eq!(seen, text, "{body:?}");
                assert_eq!(second.map(|answer| answer.status), Some(200), "{body:?}");
                assert_eq!(heard.recv().await.unwrap(), "", "the next request, {body:?}");
            }
            None => {
                assert!(answer.is_none_or(|answer| answer.status >= 400), "{body:?}");
                assert!(second.is_none(), "{body:?}");
            }
        }
    }
    heard.close();
    while let Some(seen) = heard.recv().await {
        assert_eq!(seen, "broken", "an odd body must not come to an end for the app");
    }
}

async fn until_last_chunk(raw: &mut Raw<tokio::net::TcpStream>) -> Option<String> {
    let mut text = String::new();
    loop {
        let line = loop {
            if let Some(at) = raw.bytes.windows(2).position(|pair| pair == b"\r\n") {
                break String::from_utf8(raw.take(at + 2).await?).ok()?;
            }
            raw.more().await?;
        };
        let size = usize::from_str_radix(line.trim_end(), 16).expect("a size and nothing else: we frame anew");
        let chunk = raw.take(size + 2).await?;
        if size == 0 {
            assert_eq!(chunk, b"\r\n", "no trailers");
            return Some(text);
        }
        text.push_str(std::str::from_utf8(&chunk[..size]).ok()?);
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order_and_a_bad_one_is_the_last() {
    let (world, mirror) = open_world().await;
    let mut raw = Raw::open(&world).await;
    let good = |number: u32| format!("GET /{number} HTTP/1.1\r\nHost: wiki.test\r\n\r\n");
    let bad =
        "POST /bad HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    raw.say(format!("{}{}{bad}{}", good(1), good(2), good(3))).await;
    for number in 1..=2 {
        let answer = raw.answer().await.unwrap();
        assert!(answer.text().starts_with(&format!("GET /{number} ")), "{answer:?}");
    }
    let refused = raw.answer().await.unwrap();
    assert!(refused.status == 400 && refused.says_close(), "{refused:?}");
    assert!(raw.is_over().await);
    assert_eq!(mirror.heads().len(), 2);

    // Many at once: none is lost, none is mixed up.
    let mut raw = Raw::open(&world).await;
    raw.say((0..500).map(good).collect::<String>()).await;
    for number in 0..500 {
        let answer = raw.answer().await.unwrap();
        assert!(answer.text().starts_with(&format!("GET /{number} ")), "{number} {answer:?}");
    }
}

#[tokio::test]
async fn a_body_nobody_read_is_never_taken_for_a_request() {
    let mirror = Mirror::start().await;
    let rules =
        "[[app.rule]]\npath = \"/public\"\nallow = \"anyone\"\n[[app.rule]]\npath = \"/closed\"\nallow = \"nobody\"";
    let world = World::plan().app(&mirror.url(), rules).start().await;
    let smuggled = "GET /public/smuggled HTTP/1.1\r\nHost: wiki.test\r\n\r\n";
    let padded = format!("{}{smuggled}", "x".repeat(200_000));
    for (path, host, status) in [
        ("/", "wiki.test", 401),
        ("/closed", "wiki.test", 403),
        ("/a/../b", "wiki.test", 400),
        ("/.vestibule/login", "wiki.test", 400),
        ("/.vestibule/none", "wiki.test", 404),
        ("/", "other.test", 421),
    ] {
        for body in [smuggled, &padded] {
            for framing in ["length", "chunks"] {
                let mut raw = Raw::open(&world).await;
                let (line, framed) = match framing {
                    "length" => (format!("Content-Length: {}", body.len()), body.to_owned()),
                    _ => ("Transfer-Encoding: chunked".into(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
                };
                raw.say(format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{line}\r\n\r\n")).await;
                let answer = raw.answer().await.unwrap();
                assert_eq!(answer.status, status, "{path}");
                raw.say(&framed).await;
                raw.say("GET /public/next HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
                if let Some(next) = raw.answer().await {
                    assert!(next.text().starts_with("GET /public/next "), "{path} {next:?}");
                }

                // All in one piece, and another request behind it.
                let mut raw = Raw::open(&world).await;
                let whole = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{line}\r\n\r\n{framed}");
                raw.say(whole).await;
                raw.say("GET /public/next HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
                let answer = raw.answer().await.unwrap_or_else(|| panic!("no answer: {path} {framing}"));
                assert_eq!(answer.status, status, "{path}");
                if let Some(next) = raw.answer().await {
                    assert!(next.text().starts_with("GET /public/next "), "{path} {next:?}");
                }
            }
        }
    }
    assert!(mirror.heads().iter().all(|head| !head.contains("smuggled")), "{:?}", mirror.heads());
}
