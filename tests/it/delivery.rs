//! What an app says arrives when it says it, and what it says beforehand is not taken for its answer.

use http::Request;

use crate::raw::{OPEN, Raw, Stage, bell, http2, soon};
use crate::world::World;

const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: early=1\r\n\r\n\
    HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

#[tokio::test]
async fn interim_answers_are_never_taken_for_the_final_one() {
    let app = Stage::saying(INTERIM).await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let mut raw = Raw::open(&world).await;
    let mut client = http2(&world).await;
    for _ in 0..2 {
        raw.say("GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
        assert!(answer.all("set-cookie").is_empty() && answer.all("link").is_empty(), "{}", answer.head);
        let (answer, _) = client.send_request(Request::get("https://wiki.test/").body(()).unwrap(), true).unwrap();
        let answer = soon("an answer", answer).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("set-cookie")), (200, false));
        assert_eq!(answer.into_body().data().await.unwrap().unwrap(), "done");
    }
}

#[tokio::test]
async fn each_event_arrives_before_the_app_says_the_next() {
    let (seen, next) = bell();
    let next = std::sync::Arc::new(tokio::sync::Mutex::new(next));
    let app = Stage::start(move |mut raw| {
        let next = std::sync::Arc::clone(&next);
        async move {
            raw.head().await;
            raw.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            while next.lock().await.recv().await.is_some_and(|word| word == "next") {
                raw.say("9\r\ndata: x\n\n\r\n").await;
            }
            raw.say("0\r\n\r\n").await;
        }
    })
    .await;
    let world = World::plan().app(&app.url(), OPEN).start().await;
    let mut raw = Raw::open(&world).await;
    raw.say("GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    raw.head().await.unwrap();
    for _ in 0..3 {
        seen.send("next".into()).unwrap();
        assert_eq!(soon("an event", raw.take(14)).await.unwrap(), b"9\r\ndata: x\n\n\r\n");
    }
    seen.send("end".into()).unwrap();
    assert_eq!(soon("the end", raw.take(5)).await.unwrap(), b"0\r\n\r\n");

    let mut client = http2(&world).await;
    let (answer, _) = client.send_request(Request::get("https://wiki.test/").body(()).unwrap(), true).unwrap();
    let mut body = soon("a head", answer).await.unwrap().into_body();
    for _ in 0..3 {
        seen.send("next".into()).unwrap();
        assert_eq!(soon("an event", body.data()).await.unwrap().unwrap(), "data: x\n\n");
    }
    seen.send("end".into()).unwrap();
    while let Some(piece) = soon("the end", body.data()).await {
        assert_eq!(piece.unwrap(), "");
    }
}
