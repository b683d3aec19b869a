//! Stopping in order, and what the log says meanwhile.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use reqwest::{Method, StatusCode};

use crate::mirror::Mirror;
use crate::process::{Process, vestibule};
use crate::world::{PASSWORD, World};

#[tokio::test]
async fn what_is_under_way_finishes_before_the_program_ends() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut process = Process::start(&format!("http://{}", app.local_addr().unwrap()), "");
    let browser = process.browser();
    browser.sign_in("ann").await;
    let asking = tokio::spawn(async move { browser.visit("/slow").await.text().await });
    let mut stream = tokio::task::spawn_blocking(move || app.accept().unwrap().0).await.unwrap();
    let mut head = [0; 1024];
    assert!(stream.read(&mut head).unwrap() > 0);

    process.signal("TERM");
    process.wait_for("stopping");
    // The listener is gone, but the answer may still come.
    while std::net::TcpStream::connect(process.address).is_ok() {}
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").unwrap();
    assert_eq!(asking.await.unwrap().unwrap(), "done");
    let (status, said) = process.end();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("\"message\":\"stopped\""), "{said}");
    assert!(!process.folder.path().join("state/admin.sock").exists());
}

#[tokio::test]
async fn the_grace_has_an_end_and_a_second_signal_ends_it_at_once() {
    for second in [false, true] {
        let app = TcpListener::bind("127.0.0.1:0").unwrap();
        let grace = if second { "shutdown_grace = \"1h\"" } else { "shutdown_grace = \"200ms\"" };
        let mut process = Process::start(&format!("http://{}", app.local_addr().unwrap()), grace);
        let browser = process.browser();
        browser.sign_in("ann").await;
        let asking =
            tokio::spawn(async move { browser.ask(Method::GET, "/never").send().await.map(|answer| answer.status()) });
        let stream = tokio::task::spawn_blocking(move || app.accept().unwrap().0).await.unwrap();
        process.signal("TERM");
        process.wait_for("stopping");
        if second {
            process.signal("INT");
        }
        assert_eq!(process.end().0, Some(0));
        assert!(asking.await.unwrap().is_err());
        drop(stream);
    }
}

#[tokio::test]
async fn the_log_has_every_event_and_never_a_secret() {
    let mirror = Mirror::answering("set-cookie: app=app-cookie-value\r\n").await;
    let mut process = Process::start(&mirror.url(), "");
    let browser = process.browser();
    assert_eq!(browser.submit("/", "ann", "a wrong secret password").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(browser.submit("/", "typed-in-the-wrong-field", "x").await.status(), StatusCode::FORBIDDEN);
    let token = browser.sign_in("ann").await;
    let answer = browser
        .ask(Method::GET, "/page?key=query-secret")
        .header("authorization", "Bearer bearer-secret")
        .header("cookie", format!("__Host-vestibule={token}; other=other-cookie-value"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    browser.sign_out().await;
    browser.fetch("/after").await;
    process.signal("TERM");
    let (status, said) = process.end();
    assert_eq!(status, Some(0));

    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    let audit: Vec<_> = lines.iter().filter(|line| line["target"] == "audit").map(|line| &line["event"]).collect();
    assert_eq!(audit, ["sign_in_refused", "sign_in_refused", "sign_in", "session_end", "sign_out"]);
    let ended = lines.iter().find(|line| line["event"] == "session_end").unwrap();
    assert_eq!((&ended["reason"], &ended["user"]), (&"signed out".into(), &"ann".into()));
    let access: Vec<_> = lines.iter().filter(|line| line["target"] == "access").collect();
    let page = access.iter().find(|line| line["path"] == "/page").unwrap();
    assert_eq!((&page["app"], &page["user"], &page["status"]), (&"wiki".into(), &"ann".into(), &200.into()));
    assert_eq!(page["decision"], "forward");
    for field in ["request_id", "session_id", "client", "took_ms", "upstream_took_ms"] {
        assert!(!page[field].is_null(), "{field} in {page}");
    }
    assert!(access.iter().any(|line| line["path"] == "/after" && line["decision"] == "sign in"));

    let digest = vestibule::session::SessionToken::parse(token.as_bytes()).unwrap().digest();
    assert_eq!(format!("{digest:?}"), "TokenDigest(…)");
    for secret in [
        token.as_str(),
        PASSWORD,
        "a wrong secret password",
        "bearer-secret",
        "other-cookie-value",
        "app-cookie-value",
        "query-secret",
        "argon2id",
        "typed-in-the-wrong-field",
    ] {
        assert!(!said.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_start_makes_only_private_files() {
    let mirror = Mirror::start().await;
    let process = Process::start(&mirror.url(), "");
    let mode = |name: &str| std::fs::metadata(process.folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    for (name, wanted) in
        [("state", 0o700), ("state/form.key", 0o600), ("state/admin.sock", 0o600), ("certs/self-signed.key", 0o600)]
    {
        assert_eq!(mode(name), wanted, "{name}");
    }
}

#[tokio::test]
async fn a_sign_in_page_survives_a_restart() {
    let mirror = Mirror::start().await;
    let process = Process::start(&mirror.url(), "");
    let page = process.browser().visit("/.vestibule/login").await;
    let cookie = page.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let token = crate::world::csrf_token(&page.text().await.unwrap());
    process.signal("TERM");
    let key = std::fs::read(process.folder.path().join("state/form.key")).unwrap();

    let restarted = Process::restart(process);
    assert_eq!(std::fs::read(restarted.folder.path().join("state/form.key")).unwrap(), key);
    let answer = restarted
        .browser()
        .ask(Method::POST, "/.vestibule/login")
        .header("cookie", cookie)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("username=ann&password={}&csrf_token={token}", PASSWORD.replace(' ', "+")))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_idle_world_stops_at_once() {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), "").start().await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(20), world.running.stop(Duration::from_secs(3600)))
        .await
        .expect("no wait");
}

#[test]
fn help_has_examples_and_a_wrong_command_line_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["demo", "run", "check", "users", "hash-password"] {
        let output = vestibule(folder.path()).args([command, "--help"]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("Example"), "{command}");
    }
    for arguments in [&["nonsense"][..], &["run", "--nonsense"], &["run"], &["check", "--config", "absent.toml"]] {
        let output = vestibule(folder.path()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}
