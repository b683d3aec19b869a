//! Real programs behind the gate, none of which knows of it: a calendar server that believes a header, a single-page
//! app without users, and git, which moves large bodies both ways.

use std::path::Path;

use reqwest::{Method, Response, StatusCode};

use crate::apps::git_http::{GitHttp, git, git_ok};
use crate::apps::prometheus::Prometheus;
use crate::apps::radicale::Radicale;
use crate::curl::Curl;
use crate::world::{Browser, HOST, World};

const EVENT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:tea@test\r\n\
                     DTSTAMP:20270101T000000Z\r\nDTSTART:20270102T160000Z\r\nDTEND:20270102T170000Z\r\n\
                     SUMMARY:Tea with the hatter\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
const REPORT: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<c:calendar-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">
  <d:prop><d:getetag/><c:calendar-data/></d:prop>
  <c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="VEVENT"/></c:comp-filter></c:filter>
</c:calendar-query>"#;
const REMOTE_USER: &str = r#"identity = { "X-Remote-User" = "{user}" }"#;

/// Sends what a calendar client would.
async fn dav(browser: &Browser, method: &str, path: &str, body: &str) -> (u16, String) {
    dav_as(browser, method, path, body, &[]).await
}

async fn dav_as(
    browser: &Browser,
    method: &str,
    path: &str,
    body: &str,
    headers: &[(&'static str, &'static str)],
) -> (u16, String) {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let kind = if method == Method::PUT { "text/calendar; charset=utf-8" } else { "application/xml" };
    let mut request = browser.ask(method, path).header("depth", "1").header("content-type", kind).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

#[tokio::test]
async fn a_calendar_lives_through_everything_that_a_calendar_client_does() {
    let radicale = Radicale::start();
    let upstream = format!("http://{}", radicale.addr);
    let world = World::plan().app(&upstream, REMOTE_USER).start().await;
    let ann = world.browser();
    assert_eq!(dav(&ann, "MKCALENDAR", "/ann/cal/", "").await.0, 401);
    assert!(!radicale.log().contains("/ann"), "{}", radicale.log());

    ann.sign_in("ann").await;
    assert_eq!(dav(&ann, "MKCALENDAR", "/ann/cal/", "").await.0, 201);
    assert!(radicale.log().contains("/ann/cal/"), "the log would have told: {}", radicale.log());
    assert_eq!(dav(&ann, "PUT", "/ann/cal/tea.ics", EVENT).await.0, 201);
    let (status, listed) = dav(&ann, "PROPFIND", "/ann/cal/", "").await;
    assert!(status == 207 && listed.contains("/ann/cal/tea.ics"), "{status} {listed}");
    let (status, event) = dav(&ann, "GET", "/ann/cal/tea.ics", "").await;
    assert!(status == 200 && event.contains("SUMMARY:Tea with the hatter"), "{status} {event}");
    let (status, report) = dav(&ann, "REPORT", "/ann/cal/", REPORT).await;
    assert!(status == 207 && report.contains("Tea with the hatter"), "{status} {report}");
    assert_eq!(dav(&ann, "DELETE", "/ann/cal/tea.ics", "").await.0, 200);
    assert_eq!(dav(&ann, "GET", "/ann/cal/tea.ics", "").await.0, 404);
}

#[tokio::test]
async fn nobody_gets_at_a_calendar_by_claiming_to_be_its_owner() {
    let radicale = Radicale::start();
    let upstream = format!("http://{}", radicale.addr);
    let open = format!("{REMOTE_USER}\n[[app.rule]]\npath = \"/ann/open\"\nallow = \"anyone\"");
    let plan = World::plan().user("ann", &[]).user("bob", &[]);
    let world = plan.app(&upstream, &open).start().await;
    let (ann, bob, stranger) = (world.browser(), world.browser(), world.browser());
    ann.sign_in("ann").await;
    bob.sign_in("bob").await;
    for calendar in ["/ann/cal/", "/ann/open/"] {
        assert_eq!(dav(&ann, "MKCALENDAR", calendar, "").await.0, 201);
        assert_eq!(dav(&ann, "PUT", &format!("{calendar}tea.ics"), EVENT).await.0, 201);
    }
    assert_eq!(dav(&bob, "MKCALENDAR", "/bob/cal/", "").await.0, 201, "bob has a name, and a place of his own");

    let claims: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-remote-user", "ann")],
        &[("x_remote_user", "ann")],
        &[("x-remote_user", "ann"), ("remote-user", "ann")],
        &[("x-remote-user", "ann"), ("connection", "x-remote-user")],
    ];
    for claim in claims {
        for (browser, calendar) in [(&bob, "/ann/cal/"), (&bob, "/ann/open/"), (&stranger, "/ann/open/")] {
            let event = format!("{calendar}tea.ics");
            for (method, path) in [("PROPFIND", calendar), ("GET", &event), ("DELETE", &event)] {
                let (status, body) = dav_as(browser, method, path, "", claim).await;
                assert!((400..500).contains(&status), "{method} {path} {claim:?}: {status}");
                assert!(!body.contains("hatter"), "{method} {path} {claim:?}: {body}");
            }
        }
        assert_eq!(dav_as(&stranger, "GET", "/ann/cal/tea.ics", "", claim).await.0 / 100, 4, "{claim:?}");
    }
    assert_eq!(dav(&ann, "GET", "/ann/open/tea.ics", "").await.0, 200, "and nothing is lost");
}

#[tokio::test]
async fn an_app_without_users_of_its_own_is_open_to_those_whom_the_rules_name() {
    let prometheus = Prometheus::start();
    let rules = r#"
        [[app.rule]]
        path = "/-"
        allow = { groups = ["ops"] }
        [[app.rule]]
        path = "/api/v1/admin"
        allow = { groups = ["ops"] }
    "#;
    let plan = World::plan().user("ann", &["staff"]).user("olga", &["ops"]);
    let world = plan.app(&format!("http://{}", prometheus.addr), rules).start().await;
    let (ann, olga) = (world.browser(), world.browser());
    let query = "/api/v1/query?query=vector(41%2B1)";
    assert_eq!(ann.visit("/classic/graph").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(ann.fetch(query).await.status(), StatusCode::UNAUTHORIZED);

    let curl = Curl::at(&world).within(&ann.sign_in("ann").await);
    olga.sign_in("olga").await;
    for browser in [&ann, &olga] {
        let page = browser.visit("/classic/graph").await.text().await.unwrap();
        assert!(page.contains("<title>Prometheus"), "{page}");
        let answer = browser.fetch(query).await.text().await.unwrap();
        assert!(answer.contains("\"status\":\"success\"") && answer.contains("\"42\""), "{answer}");
    }
    let ours = |answer: &Response| answer.headers().contains_key("content-security-policy");
    assert_eq!(olga.fetch("/-/healthy").await.status(), StatusCode::OK);
    let tried = olga.ask(Method::POST, "/api/v1/admin/tsdb/snapshot").send().await.unwrap();
    assert!(!ours(&tried), "Prometheus itself says that this is switched off: {tried:?}");
    for path in ["/-/healthy", "/-/quit", "/api/v1/admin/tsdb/snapshot", "/api/v1/%61dmin/tsdb/snapshot", "/%2d/quit"] {
        let answer = ann.ask(Method::POST, path).send().await.unwrap();
        assert!(answer.status() == StatusCode::FORBIDDEN && ours(&answer), "{path}: {answer:?}");
    }
    for path in ["//-/quit", "/x/../-/quit", "/api//v1/admin/tsdb/snapshot", "/api/v1/admin%2ftsdb/snapshot"] {
        let sent = curl.run(&["--path-as-is", "-X", "POST", path]).await;
        assert!(matches!(sent.status, 400 | 403), "{path}: {sent:?}");
    }
}

/// Arguments that lead git through the gate, with a session.
fn through(world: &World, session: &str) -> Vec<String> {
    let resolve = format!("http.curloptResolve={HOST}:{}:127.0.0.1", world.address().port());
    let cookie = format!("http.extraHeader=Cookie: __Host-vestibule={session}");
    ["-c", "http.sslVerify=false", "-c", &resolve, "-c", &cookie].map(str::to_owned).to_vec()
}

fn with<'a>(first: &'a [String], rest: &[&'a str]) -> Vec<&'a str> {
    first.iter().map(String::as_str).chain(rest.iter().copied()).collect()
}

fn said(folder: &Path, arguments: &[&str]) -> String {
    String::from_utf8_lossy(&git(folder, arguments).stdout).trim().to_owned()
}

#[tokio::test]
async fn megabytes_of_git_go_both_ways_unharmed_and_under_the_name_of_who_signed_in() {
    let server = GitHttp::start();
    let world = World::plan().app(&format!("http://{}", server.addr), "").start().await;
    let browser = world.browser();
    let session = through(&world, &browser.sign_in("ann").await);
    let url = format!("{}/wiki.git", browser.origin);
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    git_ok(folder, &with(&session, &["clone", "-q", &url, "here"]));
    let here = folder.join("here");

    // Nothing that could be compressed, and more than git sends in one piece.
    let mut noise = vec![0_u8; 6 << 20];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut noise).unwrap();
    std::fs::write(here.join("noise"), &noise).unwrap();
    git_ok(&here, &["add", "noise"]);
    git_ok(&here, &["commit", "-q", "-m", "Add noise"]);

    let stranger = through(&world, &"A".repeat(43));
    let claim = ["-c", "http.extraHeader=Remote-User: ann", "push", "-q"];
    for refused in [git(&here, &with(&stranger, &claim)), git(folder, &with(&stranger, &["clone", "-q", &url, "no"]))] {
        assert!(!refused.status.success(), "{refused:?}");
    }
    assert_eq!(server.last_pusher(), "");
    git_ok(&here, &with(&session, &["-c", "http.extraHeader=Remote-User: bob", "push", "-q"]));
    assert_eq!(server.last_pusher(), "ann");

    git_ok(folder, &with(&session, &["clone", "-q", &url, "there"]));
    let there = folder.join("there");
    git_ok(&there, &["fsck", "--strict", "--full"]);
    assert_eq!(said(&here, &["rev-parse", "HEAD"]), said(&there, &["rev-parse", "HEAD"]));
    assert!(std::fs::read(there.join("noise")).unwrap() == noise, "what came back is what was sent");
}
