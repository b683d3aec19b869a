//! WebSockets through the gate: a session first, then bytes both ways.

use crate::apps::websocket::{Echo, talk};
use crate::mirror::Mirror;
use crate::world::{HOST, World};

async fn say(world: &World, cookie: &str, origin: &str) -> String {
    let (port, cookie, origin) = (world.address().port(), cookie.to_owned(), origin.to_owned());
    let talking = tokio::task::spawn_blocking(move || talk(HOST, port, &cookie, &origin));
    talking.await.expect("the client does not panic")
}

#[tokio::test]
async fn a_websocket_needs_a_session_and_the_app_knows_whose() {
    let echo = Echo::start();
    let world = World::plan().app(&format!("http://{}", echo.addr), "").start().await;
    assert_eq!(say(&world, "", "").await, "refused 401\n");
    let cookie = format!("__Host-vestibule={}", world.browser().sign_in("ann").await);
    assert_eq!(say(&world, &cookie, "").await, "hello ann\n1\n100\n70000\n3000000\n");
}

#[tokio::test]
async fn another_sites_script_cannot_open_one_unless_the_app_says_so() {
    let echo = Echo::start();
    let listed = "websocket_origins = [\"https://friend.test\"]";
    let world = World::plan().app(&format!("http://{}", echo.addr), listed).start().await;
    let browser = world.browser();
    let cookie = format!("__Host-vestibule={}", browser.sign_in("ann").await);
    assert_eq!(say(&world, &cookie, "https://evil.test").await, "refused 403\n");
    for origin in [browser.origin.as_str(), "https://friend.test"] {
        assert!(say(&world, &cookie, origin).await.starts_with("hello ann\n"), "{origin}");
    }
}

#[tokio::test]
async fn an_app_that_does_not_switch_is_answered_like_any_other() {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), "").start().await;
    let cookie = format!("__Host-vestibule={}", world.browser().sign_in("ann").await);
    assert_eq!(say(&world, &cookie, "").await, "refused 200\n");
    let head = mirror.heads().pop().expect("it was asked").to_lowercase();
    assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket"), "{head}");
}
