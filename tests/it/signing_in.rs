//! From the first request to the last: sign in, be known, sign out.

use reqwest::{Method, StatusCode};

use crate::mirror::Mirror;
use crate::world::{PASSWORD, World, asks_to_sign_in, csrf_token, session_cookie};

async fn world() -> (World, Mirror) {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), "").start().await;
    (world, mirror)
}

#[tokio::test]
async fn a_person_is_asked_to_sign_in_and_comes_back_to_the_page() {
    let (world, mirror) = world().await;
    let browser = world.browser();
    let asked = asks_to_sign_in(&browser.visit("/page?a=b%20c&d").await).unwrap();
    assert_eq!(asked, "%2Fpage%3Fa%3Db%2520c%26d");
    let page = browser.visit(&format!("/.vestibule/login?return_to={asked}")).await.text().await.unwrap();
    assert!(page.contains("name=\"return_to\" value=\"/page?a=b%20c&#38;d\""), "{page}");

    let answer = browser.submit("/page?a=b%20c&d", "ann", PASSWORD).await;
    assert_eq!(answer.headers()["location"], "/page?a=b%20c&d");
    assert_eq!(mirror.heads().len(), 0, "no request has reached the app so far");
    let seen = browser.visit("/page?a=b%20c&d").await.text().await.unwrap();
    assert!(seen.starts_with("GET /page?a=b%20c&d HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("remote-user: ann\r\n") && seen.contains("remote-groups: staff"), "{seen}");
    assert!(!seen.to_lowercase().contains("__host-vestibule"), "{seen}");
}

#[tokio::test]
async fn a_program_gets_a_401_it_can_read_and_never_a_redirect() {
    let (world, mirror) = world().await;
    let answer = world.browser().fetch("/api").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert!(answer.headers().contains_key("www-authenticate") && !answer.headers().contains_key("location"));
    let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!((&body["login_url"], &body["status"]), (&"/.vestibule/login".into(), &401.into()));
    assert_eq!(mirror.heads().len(), 0);
}

#[tokio::test]
async fn the_session_cookie_is_as_promised_and_new_at_each_sign_in() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    let answer = browser.submit("/", "ann", PASSWORD).await;
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    let first = session_cookie(answer.headers()).unwrap();
    assert_eq!(first.len(), 43);
    assert!(cookies.contains(&format!("__Host-vestibule={first}; Path=/; Secure; HttpOnly; SameSite=Lax").as_str()));
    assert!(cookies.iter().all(|cookie| cookie.len() < 200), "{cookies:?}");

    let page = browser.ask(Method::GET, "/.vestibule/logout").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("ann is signed in"), "{page}");
    // The page is not shown to somebody who is signed in, but a form that was open in another tab still works.
    let other = world.browser();
    let second = other.sign_in("ann").await;
    assert_ne!(first, second);
    assert_eq!(world.running.gate().sessions.count(), 2);
}

#[tokio::test]
async fn signing_in_again_ends_the_former_session_of_the_browser() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    let page = browser.visit("/.vestibule/login").await.text().await.unwrap();
    let token = csrf_token(&page);
    let fields = [("username", "ann"), ("password", PASSWORD), ("csrf_token", token.as_str()), ("return_to", "/x")];
    let first = session_cookie(browser.post("/.vestibule/login", &fields).await.headers()).unwrap();
    let second = session_cookie(browser.post("/.vestibule/login", &fields).await.headers()).unwrap();
    assert_ne!(first, second);
    assert_eq!(world.running.gate().sessions.count(), 1);
    let replay = world.browser().ask(Method::GET, "/").header("cookie", format!("__Host-vestibule={first}"));
    assert_eq!(replay.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_tab_whose_sign_in_was_done_elsewhere_simply_goes_on() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    let answer = browser.visit("/.vestibule/login?return_to=%2Fother").await;
    assert_eq!((answer.status(), &answer.headers()["location"]), (StatusCode::SEE_OTHER, &"/other".parse().unwrap()));
    // Even with a form that has gone stale.
    let fields = [("username", "ann"), ("password", "x"), ("csrf_token", "stale"), ("return_to", "/third")];
    let answer = browser.post("/.vestibule/login", &fields).await;
    assert_eq!((answer.status(), &answer.headers()["location"]), (StatusCode::SEE_OTHER, &"/third".parse().unwrap()));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_look_the_same() {
    let (world, mirror) = world().await;
    let mut answers = Vec::new();
    for user in ["ann", "nobody-knows-me"] {
        let browser = world.browser();
        let answer = browser.submit("/", user, "wrong").await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert!(session_cookie(answer.headers()).is_none());
        let names: Vec<_> = answer.headers().keys().map(ToString::to_string).collect();
        let page = answer.text().await.unwrap();
        assert!(page.contains("Wrong user name or password."), "{page}");
        let token = csrf_token(&page);
        answers.push((names, page.replace(user, "NAME").replace(&token, "TOKEN")));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(mirror.heads().len(), 0);
}

#[tokio::test]
async fn guessing_is_slowed_down_and_the_right_password_helps_after_the_wait() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    let mut last = browser.submit("/", "ann", "wrong").await;
    for _ in 0..9 {
        last = browser.submit("/", "ann", "wrong").await;
    }
    assert_eq!(last.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = last.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=300).contains(&wait), "{wait}");
    assert!(last.text().await.unwrap().contains("Too many attempts."));
    assert_eq!(browser.submit("/", "ann", PASSWORD).await.status(), StatusCode::TOO_MANY_REQUESTS);
    world.clock.advance(std::time::Duration::from_secs(wait));
    assert_eq!(browser.submit("/", "ann", PASSWORD).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn another_site_can_neither_sign_somebody_in_nor_out() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    let page = browser.visit("/.vestibule/login").await.text().await.unwrap();
    let token = csrf_token(&page);
    let body = format!("username=ann&password={}&csrf_token={token}&return_to=/", PASSWORD.replace(' ', "+"));
    let form = |path: &str, name: &'static str, value: &'static str| {
        let request = browser.ask(Method::POST, path).header(name, value).body(body.clone());
        request.header("content-type", "application/x-www-form-urlencoded").send()
    };
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.test"),
        ("origin", "null"),
    ] {
        for path in ["/.vestibule/login", "/.vestibule/logout", "/.vestibule/session/extend"] {
            let answer = form(path, name, value).await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path} {name}: {value}");
            assert!(session_cookie(answer.headers()).is_none());
        }
    }
    // A form with another browser's token is no better.
    let stranger = world.browser();
    stranger.visit("/.vestibule/login").await;
    let fields = [("username", "ann"), ("password", PASSWORD), ("csrf_token", token.as_str()), ("return_to", "/")];
    assert_eq!(stranger.post("/.vestibule/login", &fields).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(world.running.gate().sessions.count(), 0);
}

#[tokio::test]
async fn signing_out_takes_a_form_and_ends_the_session_at_once() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    let cookie = browser.sign_in("ann").await;
    assert_eq!(browser.visit("/.vestibule/logout").await.status(), StatusCode::OK);
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK, "a link ends nothing");
    let answer = browser.post("/.vestibule/logout", &[("csrf_token", "guessed")]).await;
    assert_eq!(answer.headers()["location"], "/.vestibule/logout");
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK, "nor does a forged form");

    let answer = browser.sign_out().await;
    assert_eq!(answer.headers()["clear-site-data"], "\"cache\", \"storage\"");
    assert!(answer.text().await.unwrap().contains("You are signed out"));
    let replay = || {
        let stolen = world.browser();
        stolen.ask(Method::GET, "/.vestibule/login").header("cookie", format!("__Host-vestibule={cookie}")).send()
    };
    assert!(replay().await.unwrap().text().await.unwrap().contains("You have signed out."));
    assert!(asks_to_sign_in(&browser.visit("/").await).is_some());
}

#[tokio::test]
async fn many_tabs_share_one_small_cookie() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    let first = browser.visit("/.vestibule/login?return_to=%2F0").await;
    assert_eq!(first.headers().get_all("set-cookie").iter().count(), 1);
    let mut pages = vec![first.text().await.unwrap()];
    for tab in 1..20 {
        let answer = browser.visit(&format!("/.vestibule/login?return_to=%2F{tab}")).await;
        assert!(!answer.headers().contains_key("set-cookie"), "tab {tab}");
        pages.push(answer.text().await.unwrap());
    }
    for (tab, page) in pages.iter().enumerate().rev() {
        let (token, target) = (csrf_token(page), format!("/{tab}"));
        let fields =
            [("username", "ann"), ("password", PASSWORD), ("csrf_token", token.as_str()), ("return_to", &target)];
        assert_eq!(browser.post("/.vestibule/login", &fields).await.headers()["location"], target);
    }
    assert_eq!(world.running.gate().sessions.count(), 1);
}

#[tokio::test]
async fn a_hostile_return_to_leads_home() {
    let (world, _mirror) = world().await;
    for hostile in
        ["//evil.test", "/\\evil.test", "https://evil.test/", "/.vestibule/logout", "javascript:1", "/a\r\nb"]
    {
        let browser = world.browser();
        assert_eq!(browser.submit(hostile, "ann", PASSWORD).await.headers()["location"], "/", "{hostile:?}");
    }
}

#[tokio::test]
async fn strangers_leave_nothing_behind() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    for number in 0..200 {
        browser.visit(&format!("/{number}")).await;
        world.browser().visit("/.vestibule/login").await;
    }
    assert_eq!(world.running.gate().sessions.count(), 0);
}

#[tokio::test]
async fn our_pages_are_protected_and_kept_by_nobody() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    for path in ["/.vestibule/login", "/.vestibule/logout", "/.vestibule/session", "/.vestibule/nothing"] {
        let answer = browser.visit(path).await;
        let headers = answer.headers();
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        for part in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"] {
            assert!(policy.contains(part) && !policy.contains("unsafe"), "{path} {policy}");
        }
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "same-origin");
        assert_eq!(headers["strict-transport-security"], "max-age=31536000");
        assert!(!headers.contains_key("server"));
    }
}

#[tokio::test]
async fn scripts_can_ask_about_the_session() {
    let (world, _mirror) = world().await;
    let browser = world.browser();
    let stranger = browser.fetch("/.vestibule/session").await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    browser.sign_in("ann").await;
    world.pass_time(10);
    let told: serde_json::Value =
        serde_json::from_str(&browser.fetch("/.vestibule/session").await.text().await.unwrap()).unwrap();
    assert_eq!((&told["user"], &told["groups"]), (&"ann".into(), &serde_json::json!(["staff"])));
    assert_eq!((&told["idle_expires_in"], &told["absolute_expires_in"]), (&1200.into(), &(12 * 3600 - 600).into()));
    assert_eq!(told["session_id"].as_str().unwrap().len(), 22);
    let extended = browser.post("/.vestibule/session/extend", &[]).await.text().await.unwrap();
    assert!(extended.contains("\"idle_expires_in\":1800"), "{extended}");
}
