//! A session ends when it should, says why, and not before.

use reqwest::StatusCode;

use crate::mirror::Mirror;
use crate::world::{World, asks_to_sign_in, user_toml, write_private};

async fn world(more: &str) -> (World, Mirror) {
    let mirror = Mirror::start().await;
    let world = World::plan().user("ann", &["staff"]).user("bob", &[]).app(&mirror.url(), more).start().await;
    (world, mirror)
}

/// The users file as it will be found at the next request.
fn change_users(world: &World, text: &str) {
    write_private(&world.users_file(), text);
    world.clock.advance(std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn an_idle_session_must_sign_in_again_and_is_told_why() {
    let (world, mirror) = world("").await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    world.pass_time(29);
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK);
    world.pass_time(29);
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK, "the visit counted");
    world.pass_time(30);
    let before = mirror.heads().len();
    let script = browser.fetch("/api").await;
    assert_eq!(script.status(), StatusCode::UNAUTHORIZED);
    assert!(script.text().await.unwrap().contains("session ended: idle"));
    assert!(asks_to_sign_in(&browser.visit("/").await).is_some());
    assert_eq!(mirror.heads().len(), before);
    let page = browser.visit("/.vestibule/login").await;
    let cleared =
        page.headers().get_all("set-cookie").iter().any(|value| value.to_str().unwrap().contains("Max-Age=0"));
    assert!(cleared);
    assert!(page.text().await.unwrap().contains("because nothing happened for a while"));
    browser.sign_in("ann").await;
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn no_activity_outlives_the_absolute_timeout() {
    let (world, _mirror) = world("").await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    for _ in 0..(12 * 60 / 20 - 1) {
        world.pass_time(20);
        assert_eq!(browser.visit("/").await.status(), StatusCode::OK);
    }
    world.pass_time(20);
    assert!(asks_to_sign_in(&browser.visit("/").await).is_some());
    assert!(browser.visit("/.vestibule/login").await.text().await.unwrap().contains("longest duration"));
}

#[tokio::test]
async fn background_paths_and_the_session_page_keep_nobody_signed_in() {
    let (world, _mirror) = world("background = [\"/api/poll\"]").await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    for _ in 0..2 {
        world.pass_time(10);
        assert_eq!(browser.fetch("/api/poll?x=1").await.status(), StatusCode::OK);
        assert_eq!(browser.fetch("/.vestibule/session").await.status(), StatusCode::OK);
    }
    world.pass_time(10);
    assert_eq!(browser.fetch("/api/poll").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_sign_in_page_judges_by_the_app_it_leads_to() {
    let mirror = Mirror::start().await;
    let plan = World::plan().app(&mirror.url(), "");
    let strict = "path = \"/strict\"\nidle_timeout = \"5m\"";
    let world = plan.app_at("strict", crate::world::HOST, &mirror.url(), strict).start().await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    world.pass_time(6);
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK);
    assert_eq!(asks_to_sign_in(&browser.visit("/strict/x").await).unwrap(), "%2Fstrict%2Fx");
    let page = browser.visit("/.vestibule/login?return_to=%2Fstrict%2Fx").await;
    assert_eq!(page.status(), StatusCode::OK, "not back again: that would go on for ever");
    let answer = browser.visit("/.vestibule/login?return_to=%2F").await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER, "the other app is content");
    let again = browser.submit("/strict/x", "ann", crate::world::PASSWORD).await;
    assert_eq!(again.headers()["location"], "/strict/x");
    assert_eq!(browser.visit("/strict/x").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_user_who_is_disabled_or_removed_is_out_at_the_next_request() {
    let (world, mirror) = world("").await;
    for gone in [format!("{}disabled = true\n{}", user_toml("ann", &[]), user_toml("bob", &[])), user_toml("bob", &[])]
    {
        let (ann, bob) = (world.browser(), world.browser());
        change_users(&world, &format!("{}{}", user_toml("ann", &[]), user_toml("bob", &[])));
        ann.sign_in("ann").await;
        bob.sign_in("bob").await;
        change_users(&world, &gone);
        let before = mirror.heads().len();
        assert!(asks_to_sign_in(&ann.visit("/").await).is_some());
        assert_eq!(mirror.heads().len(), before);
        assert!(ann.visit("/.vestibule/login").await.text().await.unwrap().contains("ended by the operator"));
        assert_eq!(ann.submit("/", "ann", crate::world::PASSWORD).await.status(), StatusCode::FORBIDDEN);
        assert_eq!(bob.visit("/").await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn changed_groups_hold_from_the_next_request_on() {
    let rule = "[[app.rule]]\nallow = { groups = [\"staff\"] }";
    let (world, _mirror) = world(rule).await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    assert!(browser.visit("/").await.text().await.unwrap().contains("remote-groups: staff"));
    change_users(&world, &user_toml("ann", &["guests"]));
    assert_eq!(browser.visit("/").await.status(), StatusCode::FORBIDDEN);
    change_users(&world, &user_toml("ann", &["guests", "staff"]));
    assert!(browser.visit("/").await.text().await.unwrap().contains("remote-groups: guests,staff"));
}

#[tokio::test]
async fn a_new_password_ends_the_sessions_of_the_old_one() {
    let (world, _mirror) = world("").await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    let hash = vestibule::login::stored::hash_now(&vestibule::secret::Secret::new("another horse battery".into()));
    change_users(&world, &format!("[[user]]\nname = \"ann\"\npassword = \"{hash}\"\n"));
    assert!(asks_to_sign_in(&browser.visit("/").await).is_some());
    assert!(browser.visit("/.vestibule/login").await.text().await.unwrap().contains("password was changed"));
    assert_eq!(browser.submit("/", "ann", "another horse battery").await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_broken_users_file_is_no_reason_to_throw_anybody_out() {
    let (world, _mirror) = world("").await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    change_users(&world, "[[user]\nname =");
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK);
    std::fs::remove_file(world.users_file()).unwrap();
    world.pass_time(1);
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK);
    assert_eq!(world.browser().submit("/", "bob", crate::world::PASSWORD).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_sweep_ends_sessions_that_nobody_asks_for() {
    let (world, _mirror) = world("").await;
    world.browser().sign_in("ann").await;
    world.pass_time(31);
    world.running.gate().sweep();
    assert_eq!(world.running.gate().sessions.count(), 0);
}

#[tokio::test]
async fn more_sessions_than_one_user_may_have_end_the_oldest() {
    let mirror = Mirror::start().await;
    let world = World::plan().with("[session]\nmax_per_user = 2").app(&mirror.url(), "").start().await;
    let browsers = [world.browser(), world.browser(), world.browser()];
    for browser in &browsers {
        browser.sign_in("ann").await;
    }
    let [first, second, third] = browsers;
    assert!(asks_to_sign_in(&first.visit("/").await).is_some());
    assert!(first.visit("/.vestibule/login").await.text().await.unwrap().contains("too many places"));
    assert_eq!((second.visit("/").await.status(), third.visit("/").await.status()), (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn a_cookie_altered_in_any_place_is_no_session() {
    let (world, mirror) = world("").await;
    let cookie = world.browser().sign_in("ann").await;
    let stranger = world.browser();
    let with = |value: String| {
        let request = stranger.ask(reqwest::Method::GET, "/").header("cookie", format!("__Host-vestibule={value}"));
        async move { request.send().await.unwrap().status() }
    };
    for at in 0..cookie.len() {
        let mut altered = cookie.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(with(String::from_utf8(altered).unwrap()).await, StatusCode::UNAUTHORIZED, "byte {at}");
    }
    for wrong in
        [format!("{cookie}="), cookie[1..].into(), format!("{cookie}{cookie}"), String::new(), "x".repeat(8000)]
    {
        assert_eq!(with(wrong).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(mirror.heads().len(), 0);
    assert_eq!(with(cookie).await, StatusCode::OK);
}
