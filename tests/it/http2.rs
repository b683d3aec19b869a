//! HTTP/2 is held to the same rules, and one connection cannot make much work.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::time::timeout;

use crate::mirror::Mirror;
use crate::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, OPEN, PING, RST_STREAM, Stage, bell, block,
    fields, frame, http2, soon,
};
use crate::world::World;

async fn open_world() -> (World, Mirror) {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), OPEN).start().await;
    (world, mirror)
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "wiki.test"), (":path", "/")];

/// What becomes of a request with these fields, on a connection of its own; `None`: it was reset.
async fn fate(world: &World, fields: &[(&str, &str)]) -> Option<u16> {
    let mut frames = Frames::open(world, &[]).await;
    frames.say(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields)).await;
    frames.fate(1).await
}

fn get_with<'f>(more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    GET.iter().chain(more).copied().collect()
}

/// A GET whose pseudo fields are others.
fn get_but<'f>(name: &str, values: &[&'f str]) -> Vec<(&'f str, &'f str)> {
    let mut fields = Vec::new();
    for (known, value) in GET {
        if known == name {
            fields.extend(values.iter().map(|value| (known, *value)));
        } else {
            fields.push((known, value));
        }
    }
    fields
}

#[tokio::test]
async fn honest_requests_pass() {
    let (world, mirror) = open_world().await;
    for fields in [
        GET.to_vec(),
        get_with(&[("host", "wiki.test")]),
        get_with(&[("host", "WIKI.test:443")]),
        get_with(&[("te", "trailers")]),
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "wiki.test")].to_vec(),
    ] {
        assert_eq!(fate(&world, &fields).await, Some(200), "{fields:?}");
        let head = mirror.heads().pop().unwrap();
        assert_eq!(crate::raw::fields(&head, "host").len(), 1, "{head}");
    }
    for path in ["/a%2Fb?c=%2e", "/x;jsessionid=1", "//a", "/a|b[0]", "/%C3%A9"] {
        assert_eq!(fate(&world, &get_but(":path", &[path])).await, Some(200), "{path}");
        assert!(mirror.heads().pop().unwrap().starts_with(&format!("GET {path} HTTP/1.1")), "{path}");
    }
}

#[tokio::test]
async fn what_two_programs_could_read_differently_is_refused() {
    let (world, mirror) = open_world().await;
    let heads = [
        get_with(&[("host", "other.test")]),
        get_with(&[("host", "wiki.test"), ("host", "wiki.test")]),
        get_with(&[("host", "wiki.test, other.test")]),
        get_with(&[("connection", "close")]),
        get_with(&[("connection", "x-user")]),
        get_with(&[("keep-alive", "1")]),
        get_with(&[("proxy-connection", "close")]),
        get_with(&[("transfer-encoding", "chunked")]),
        get_with(&[("upgrade", "websocket")]),
        get_with(&[("te", "gzip")]),
        get_with(&[("X-Upper", "y")]),
        get_with(&[("x y", "z")]),
        get_with(&[("x:y", "z")]),
        get_with(&[("x\r\ny", "z")]),
        get_with(&[("x", "y\r\nremote-user: root")]),
        get_with(&[("x", "y\nz")]),
        get_with(&[("x", "y\0z")]),
        get_with(&[("", "y")]),
        get_with(&[("content-length", "3")]),
        get_with(&[("content-length", "0"), ("content-length", "0")]),
        get_with(&[("content-length", "+0")]),
        get_with(&[("expect", "200-maybe")]),
        get_with(&[(":path", "/b")]),
        get_with(&[("x", "y"), (":path", "/")]),
        get_with(&[(":status", "200")]),
        get_with(&[(":other", "x")]),
        get_with(&[(":protocol", "websocket")]),
        get_but(":path", &[]),
        get_but(":path", &[""]),
        get_but(":path", &["/", "/"]),
        get_but(":path", &["a"]),
        get_but(":path", &["*"]),
        get_but(":path", &["//\\"]),
        get_but(":path", &["https://wiki.test/"]),
        get_but(":path", &["/a b"]),
        get_but(":path", &["/a\r\nX: y"]),
        get_but(":path", &["/a HTTP/1.1\r\nX: y\r\n\r\nGET /"]),
        get_but(":path", &["/../a"]),
        get_but(":path", &["/%2e%2e/a"]),
        get_but(":path", &["/%zz"]),
        get_but(":path", &["/é"]),
        get_but(":method", &[]),
        get_but(":method", &["GET /x"]),
        get_but(":method", &["GET", "POST"]),
        get_but(":method", &["TRACE"]),
        get_but(":method", &["CONNECT"]),
        get_but(":scheme", &[]),
        get_but(":scheme", &["http"]),
        get_but(":scheme", &["ftp"]),
        get_but(":scheme", &["https", "https"]),
        get_but(":authority", &[]),
        get_but(":authority", &["user@wiki.test"]),
        get_but(":authority", &["wiki.test, other.test"]),
        get_but(":authority", &["wiki.test", "wiki.test"]),
        vec![(":method", "CONNECT"), (":authority", "wiki.test:443")],
        vec![
            (":method", "CONNECT"),
            (":protocol", "connect-udp"),
            (":scheme", "https"),
            (":authority", "wiki.test"),
            (":path", "/"),
        ],
    ];
    for head in heads {
        let fate = fate(&world, &head).await;
        assert!(matches!(fate, None | Some(400..=417)), "{head:?} {fate:?}");
    }
    assert_eq!(mirror.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_fragment_is_cut_off_before_anybody_sees_it() {
    let (world, mirror) = open_world().await;
    let fate = fate(&world, &get_but(":path", &["/a#/../b"])).await;
    assert!(fate == Some(400) || mirror.heads().pop().unwrap().starts_with("GET /a HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_announced_does_not_arrive() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            let Some(head) = raw.head().await else { return };
            let length: usize = fields(&head, "content-length").concat().parse().unwrap_or(0);
            let whole = raw.take(length).await.is_some();
            let _ = ring.send(format!("{length} {whole}"));
            raw.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    for (announced, data, arrives) in [("3", "abc", true), ("5", "abc", false), ("2", "abc", false)] {
        let mut frames = Frames::open(&world, &[]).await;
        let mut head = get_but(":method", &["POST"]);
        head.push(("content-length", announced));
        frames.say(HEADERS, END_HEADERS, 1, &block(&head)).await;
        frames.say(DATA, END_STREAM, 1, data.as_bytes()).await;
        let fate = frames.fate(1).await;
        assert_eq!(fate == Some(200), arrives, "{announced} {data} {fate:?}");
        if arrives {
            assert_eq!(heard.recv().await.unwrap(), "3 true");
        }
    }
    while let Ok(seen) = heard.try_recv() {
        assert!(seen.ends_with("false"), "{seen}");
    }
}

#[tokio::test]
async fn crumbs_of_cookies_become_one_line() {
    let (world, mirror) = open_world().await;
    let mut client = http2(&world).await;
    let request = Request::get("https://wiki.test/")
        .header("cookie", "a=1")
        .header("cookie", "__Host-vestibule=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        .header("cookie", "b=\"x y\"")
        .header("cookie", "c=3; d=4")
        .body(())
        .unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(fields(&mirror.heads()[0], "cookie"), ["a=1; b=\"x y\"; c=3; d=4"]);
}

#[tokio::test]
async fn trailers_do_not_reach_the_app() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            let mut all = raw.head().await.unwrap_or_default();
            while !raw.bytes.ends_with(b"0\r\n\r\n") && raw.more().await.is_some() {}
            all.push_str(&String::from_utf8_lossy(&raw.bytes));
            let _ = ring.send(all);
            raw.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let mut client = http2(&world).await;
    let request = Request::post("https://wiki.test/").body(()).unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"abc"), false).unwrap();
    let trailers: HeaderMap = [("remote-user".parse().unwrap(), "root".parse().unwrap())].into_iter().collect();
    body.send_trailers(trailers).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    let seen = heard.recv().await.unwrap();
    assert!(seen.ends_with("\r\n3\r\nabc\r\n0\r\n\r\n") && !seen.contains("root"), "{seen}");
}

#[tokio::test]
async fn an_app_that_dies_in_the_middle_resets_the_stream() {
    for half in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let app = Stage::start(move |mut raw| async move {
            raw.head().await;
            raw.say(half).await;
        })
        .await;
        let world = World::plan().app(&app.url(), OPEN).start().await;
        let mut client = http2(&world).await;
        let (answer, _) = client.send_request(Request::get("https://wiki.test/").body(()).unwrap(), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let end = soon("the end", async {
            while let Some(piece) = body.data().await {
                piece?;
            }
            Ok::<_, h2::Error>(())
        });
        let error = end.await.expect_err("never a clean end");
        assert!(error.is_reset(), "{error}");
    }
}

#[tokio::test]
async fn a_connection_has_a_hundred_streams_and_no_more() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            raw.head().await;
            let _ = ring.send(String::new());
            raw.rest().await;
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let mut frames = Frames::open(&world, &[]).await;
    for number in 0..101 {
        frames.say(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &block(&GET)).await;
    }
    let refused = loop {
        let frame = frames.next().await.expect("the connection stands");
        if frame.kind == RST_STREAM {
            break frame;
        }
    };
    assert_eq!((refused.stream, refused.payload.as_slice()), (201, &[0, 0, 0, 7][..]), "REFUSED_STREAM");
    for _ in 0..100 {
        soon("a request", heard.recv()).await.unwrap();
    }
    assert!(heard.try_recv().is_err());
}

/// CVE-2023-44487: to ask and take it back costs a client nothing, and an app all the work.
#[tokio::test]
async fn asking_and_taking_back_makes_little_work_and_ends_the_connection() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            let head = raw.head().await.unwrap_or_default();
            if head.starts_with("GET /well") {
                raw.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
                return;
            }
            let _ = ring.send(head);
            raw.rest().await;
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;

    // All at once, and one after the other, so that each is begun before it is taken back.
    for at_once in [true, false] {
        let mut asked = 0;
        let mut frames = Frames::open(&world, &[]).await;
        let mut said = Vec::new();
        for number in 0..1_000 {
            let stream = 2 * number + 1;
            let ask = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET));
            let take_back = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            if at_once {
                said.extend([ask, take_back].concat());
                continue;
            }
            frames.raw.say(ask).await;
            if timeout(Duration::from_secs(2), heard.recv()).await.is_err() {
                break;
            }
            asked += 1;
            frames.raw.say(take_back).await;
        }
        frames.raw.say(said).await;
        soon("the end of the connection", async { while frames.next().await.is_some_and(|f| f.kind != GOAWAY) {} })
            .await;
        while heard.try_recv().is_ok() {
            asked += 1;
        }
        assert!(asked <= 250, "the app was asked {asked} times");

        let mut client = http2(&world).await;
        let well = Request::get("https://wiki.test/well").body(()).unwrap();
        let (answer, _) = client.send_request(well, true).unwrap();
        assert_eq!(soon("others", answer).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_person_who_leaves_pages_early_is_not_cut() {
    let (ring, mut heard) = bell();
    let app = Stage::start(move |mut raw| {
        let ring = ring.clone();
        async move {
            while let Some(head) = raw.head().await {
                if head.starts_with("GET /slow") {
                    let _ = ring.send(head);
                    raw.rest().await;
                    return;
                }
                raw.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let mut client = http2(&world).await;
    for _ in 0..150 {
        client = client.ready().await.unwrap();
        let (quick, _) = client.send_request(Request::get("https://wiki.test/").body(()).unwrap(), true).unwrap();
        assert_eq!(quick.await.unwrap().status(), 200);
        let (slow, mut body) =
            client.send_request(Request::get("https://wiki.test/slow").body(()).unwrap(), true).unwrap();
        heard.recv().await.unwrap();
        body.send_reset(h2::Reason::CANCEL);
        drop(slow);
    }
}

#[tokio::test]
async fn header_lists_that_are_too_large_are_refused() {
    let (world, mirror) = open_world().await;
    let long = "y".repeat(12_000);
    for count in [3, 4] {
        let mut frames = Frames::open(&world, &[]).await;
        let names: Vec<_> = (0..count).map(|number| format!("x-{number}")).collect();
        let head: Vec<_> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
        let bytes = block(&get_with(&head));
        let pieces: Vec<_> = bytes.chunks(16_000).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let kind = if number == 0 { HEADERS } else { CONTINUATION };
            let stream_flag = if number == 0 { END_STREAM } else { 0 };
            let last = if number + 1 == pieces.len() { END_HEADERS } else { 0 };
            frames.say(kind, stream_flag | last, 1, piece).await;
        }
        let fate = frames.fate(1).await;
        assert!(matches!(fate, None | Some(431)), "{fate:?}");
    }
    let names: Vec<_> = (0..150).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "y")).collect();
    assert_eq!(fate(&world, &get_with(&many)).await, Some(431));
    assert!(mirror.heads().is_empty());
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let (world, mirror) = open_world().await;
    let mut frames = Frames::open(&world, &[]).await;
    frames.say(HEADERS, END_STREAM, 1, &block(&GET)).await;
    let piece = block(&[("x", "y")]).repeat(2_000);
    for _ in 0..1_000 {
        frames.say(CONTINUATION, 0, 1, &piece).await;
    }
    soon("the end", async { while frames.next().await.is_some() {} }).await;
    assert!(mirror.heads().is_empty());
}

#[tokio::test]
async fn pings_do_not_keep_an_idle_connection() {
    let mirror = Mirror::start().await;
    let limits = "[limits]\nidle_timeout = \"200ms\"\nhandshake_timeout = \"200ms\"";
    let world = World::plan().app(&mirror.url(), OPEN).with(limits).start().await;
    let mut frames = Frames::open(&world, &[]).await;
    soon("a farewell", async {
        while let Some(frame) = frames.next().await {
            if frame.kind == GOAWAY {
                return;
            }
            frames.say(PING, 0, 0, &[0; 8]).await;
        }
    })
    .await;
}
