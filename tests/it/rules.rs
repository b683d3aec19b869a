//! Who may pass: the rules as people write them, against paths as attackers do.

use reqwest::{Method, StatusCode};

use crate::mirror::Mirror;
use crate::raw::{Raw, fields};
use crate::world::{Browser, PASSWORD, World, asks_to_sign_in, csrf_token};

async fn world(rules: &str) -> (World, Mirror) {
    let mirror = Mirror::start().await;
    let world = World::plan()
        .user("ann", &["staff"])
        .user("bob", &["guests"])
        .user("eve", &[])
        .app(&mirror.url(), rules)
        .start()
        .await;
    (world, mirror)
}

/// A rule.
fn rule(path: &str, more: &str, allow: &str) -> String {
    format!("[[app.rule]]\npath = \"{path}\"\n{more}\nallow = {allow}\n")
}

async fn status(browser: &Browser, method: &str, path: &str) -> u16 {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let asked = browser.ask(method, path).header("sec-fetch-mode", "cors").send();
    asked.await.unwrap().status().as_u16()
}

/// Asks with the target exactly as it is written.
async fn ask(world: &World, target: &str, more: &str) -> u16 {
    let mut raw = Raw::open(world).await;
    raw.say(format!("GET {target} HTTP/1.1\r\nHost: wiki.test\r\n{more}\r\n")).await;
    raw.answer().await.unwrap().status
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() {
    let rules = [
        rule("/public/secret", "", "{ users = [\"ann\"] }"),
        rule("/public", "methods = [\"GET\", \"HEAD\"]", "\"anyone\""),
        rule("=/exact", "", "\"anyone\""),
        rule("/staff", "", "{ groups = [\"staff\"] }"),
        rule("/both", "", "{ users = [\"eve\"], groups = [\"staff\"] }"),
        rule("/closed", "", "\"nobody\""),
        rule("/", "methods = [\"DELETE\"]", "{ users = [\"ann\"] }"),
    ];
    let (world, _mirror) = world(&rules.concat()).await;
    let (ann, bob, eve, stranger) = (world.browser(), world.browser(), world.browser(), world.browser());
    ann.sign_in("ann").await;
    bob.sign_in("bob").await;
    eve.sign_in("eve").await;
    for (method, path, expected) in [
        // ann, bob, eve, a stranger
        ("GET", "/public/secret", [200, 403, 403, 401]),
        ("GET", "/public/secret/x", [200, 403, 403, 401]),
        ("GET", "/public/secrets", [200, 200, 200, 200]),
        ("GET", "/public", [200, 200, 200, 200]),
        ("HEAD", "/public/x", [200, 200, 200, 200]),
        ("POST", "/public", [200, 200, 200, 401]),
        ("GET", "/publicity", [200, 200, 200, 401]),
        ("GET", "/Public", [200, 200, 200, 401]),
        ("GET", "/exact", [200, 200, 200, 200]),
        ("GET", "/exact/", [200, 200, 200, 401]),
        ("GET", "/exact/x", [200, 200, 200, 401]),
        ("GET", "/staff", [200, 403, 403, 401]),
        ("GET", "/both", [200, 403, 200, 401]),
        ("GET", "/closed", [403, 403, 403, 403]),
        ("GET", "/closed/x", [403, 403, 403, 403]),
        ("DELETE", "/public", [200, 403, 403, 401]),
        ("delete", "/public", [200, 403, 403, 401]),
        ("DELETE", "/other", [200, 403, 403, 401]),
        ("GET", "/other", [200, 200, 200, 401]),
    ] {
        let mut seen = Vec::new();
        for browser in [&ann, &bob, &eve, &stranger] {
            seen.push(status(browser, method, path).await);
        }
        assert_eq!(seen, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn a_header_that_overrides_the_method_is_judged_as_that_method() {
    let rules = rule("/", "methods = [\"DELETE\", \"PUT\"]", "\"nobody\"") + &rule("/", "", "\"anyone\"");
    let (world, mirror) = world(&rules).await;
    for name in ["X-HTTP-Method-Override", "x-http-method", "X-METHOD-OVERRIDE"] {
        for (value, status) in
            [("DELETE", 403), ("delete", 403), (" Put ", 403), ("GET", 200), ("POST", 200), ("PATCH", 200)]
        {
            assert_eq!(ask(&world, "/", &format!("{name}: {value}\r\n")).await, status, "{name}: {value}");
        }
        assert_eq!(ask(&world, "/", &format!("{name}: GET\r\n{name}: DELETE\r\n")).await, 403);
    }
    // Spelled so that only some programs see it, it reaches none.
    assert_eq!(ask(&world, "/", "X_HTTP_Method_Override: DELETE\r\n").await, 200);
    assert!(!mirror.heads().pop().unwrap().to_lowercase().contains("override"));
}

/// An open app and, below it on the same host, one for few.
async fn two_apps(more: &str) -> (World, Mirror) {
    let mirror = Mirror::start().await;
    let shop = format!("{more}{}", rule("/", "", "\"anyone\""));
    let admin = format!("path = \"/admin\"\n{more}{}", rule("/", "", "{ users = [\"ann\"] }"));
    let world = World::plan()
        .user("ann", &[])
        .user("bob", &[])
        .app_at("shop", "wiki.test", &mirror.url(), &shop)
        .app_at("admin", "wiki.test", &mirror.url(), &admin)
        .start()
        .await;
    (world, mirror)
}

const WAYS_TO_ADMIN: [&str; 22] = [
    "/admin",
    "/admin/",
    "/admin/x",
    "//admin",
    "///admin//x",
    "/admin;x=y",
    "/admin;x=y/z",
    "/;x/admin",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%2561dmin",
    "/%252561dmin",
    "/admin%2Fx",
    "/admin%252Fx",
    "/%2Fadmin",
    "/%2fadmin%2fx",
    "/admin%3Bx",
    "/admin%3Fx",
    "//admin%2Fx;y",
    "/admin?x=/../y",
    "https://wiki.test/admin",
    "https://wiki.test//admin",
];

#[tokio::test]
async fn the_stricter_apps_rules_hold_however_the_path_is_spelled() {
    let (world, mirror) = two_apps("").await;
    let bob = world.browser().sign_in("bob").await;
    for target in WAYS_TO_ADMIN {
        assert!([401, 400].contains(&ask(&world, target, "").await), "a stranger at {target}");
        let cookie = format!("Cookie: __Host-vestibule={bob}\r\n");
        assert!([403, 400].contains(&ask(&world, target, &cookie).await), "somebody else at {target}");
    }
    for target in
        ["/x/../admin", "/x/%2e%2e/admin", "/x;y/..;z/admin", "/x/..%2fadmin", "/x/%252e%252e/admin", "/./admin"]
    {
        assert_eq!(ask(&world, target, "").await, 400, "{target}");
    }
    assert!(mirror.heads().is_empty(), "{:?}", mirror.heads());

    let ann = world.browser().sign_in("ann").await;
    let cookie = format!("Cookie: __Host-vestibule={ann}\r\n");
    for target in ["/admin", "/%61dmin", "/admin%2Fx"] {
        assert_eq!(ask(&world, target, &cookie).await, 200, "{target}");
    }
    for target in ["/", "/administration", "/x/admin", "/ADMIN", "/x?/admin"] {
        assert_eq!(ask(&world, target, "").await, 200, "{target} is the shop's");
    }
}

#[tokio::test]
async fn an_app_that_is_blind_to_case_has_rules_that_are() {
    let (world, mirror) = two_apps("case_blind = true\n").await;
    for target in ["/ADMIN", "/Admin/x", "/%41DMIN", "//aDmIn", "/ADMIN;x"] {
        assert_eq!(ask(&world, target, "").await, 401, "{target}");
    }
    assert!(mirror.heads().is_empty());
}

#[tokio::test]
async fn an_app_without_escaped_slashes_refuses_them() {
    let (world, mirror) = two_apps("encoded_slash = \"reject\"\n").await;
    for target in ["/a%2Fb", "/a%2fb", "/a%252Fb", "/admin%2Fx"] {
        assert_eq!(ask(&world, target, "").await, 400, "{target}");
    }
    assert!(mirror.heads().is_empty());
    assert_eq!(ask(&world, "/a/b", "").await, 200);
    assert_eq!(ask(&world, "/a?b=%2F", "").await, 200);
}

#[tokio::test]
async fn where_anyone_may_pass_the_app_is_told_who_it_is_and_never_who_it_is_not() {
    let (world, mirror) = world(&rule("/", "", "\"anyone\"")).await;
    assert_eq!(ask(&world, "/", "Remote-User: root\r\nRemote-Groups: wheel\r\n").await, 200);
    let head = mirror.heads().pop().unwrap();
    assert!(fields(&head, "remote-user").is_empty() && fields(&head, "remote-groups").is_empty(), "{head}");

    let cookie = world.browser().sign_in("ann").await;
    let lines = format!("Cookie: __Host-vestibule={cookie}\r\nRemote-User: root\r\nRemote-Groups: wheel\r\n");
    assert_eq!(ask(&world, "/", &lines).await, 200);
    let head = mirror.heads().pop().unwrap();
    assert_eq!((fields(&head, "remote-user"), fields(&head, "remote-groups")), (vec!["ann"], vec!["staff"]));

    // A session that is over is nobody's.
    world.pass_time(60);
    assert_eq!(ask(&world, "/", &lines).await, 200);
    assert!(fields(&mirror.heads().pop().unwrap(), "remote-user").is_empty());
}

#[tokio::test]
async fn what_a_page_does_by_itself_does_not_keep_a_session() {
    let (world, _mirror) = world("idle_timeout = \"15m\"\nbackground = [\"/api/poll\"]").await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    for _ in 0..2 {
        world.pass_time(6);
        assert_eq!(status(&browser, "GET", "/api/poll/x").await, 200);
    }
    world.pass_time(6);
    assert_eq!(status(&browser, "GET", "/api/poll").await, 401, "nobody was there for 18 minutes");

    browser.sign_in("ann").await;
    for _ in 0..4 {
        world.pass_time(6);
        assert_eq!(status(&browser, "GET", "/api/polls").await, 200);
    }
}

/// Spelled in another way, a background path is none; but a path of a person's must not become one either.
#[tokio::test]
async fn a_background_path_is_the_one_that_was_configured() {
    let (world, _mirror) = world("idle_timeout = \"15m\"\nbackground = [\"/poll\"]").await;
    let cookie = world.browser().sign_in("ann").await;
    let lines = format!("Cookie: __Host-vestibule={cookie}\r\n");
    for _ in 0..3 {
        world.pass_time(10);
        assert_eq!(ask(&world, "/page?x=/poll", &lines).await, 200);
    }
    world.pass_time(10);
    assert_eq!(ask(&world, "/%70oll", &lines).await, 200);
    world.pass_time(10);
    assert_eq!(ask(&world, "/page", &lines).await, 401);
}

#[tokio::test]
async fn each_app_has_its_own_patience_and_signing_in_again_is_possible() {
    let mirror = Mirror::start().await;
    let world = World::plan()
        .user("ann", &[])
        .app_at("wiki", "wiki.test", &mirror.url(), "")
        .app_at(
            "bank",
            "wiki.test",
            &mirror.url(),
            "path = \"/bank\"\nidle_timeout = \"5m\"\nabsolute_timeout = \"1h\"",
        )
        .start()
        .await;
    let browser = world.browser();
    browser.sign_in("ann").await;
    assert_eq!(browser.visit("/bank").await.status(), StatusCode::OK);
    world.pass_time(10);
    let asked = asks_to_sign_in(&browser.visit("/bank/x").await).expect("the bank has lost its patience");
    assert_eq!(browser.visit("/").await.status(), StatusCode::OK, "the wiki has not");

    world.pass_time(10);
    // The session lives, but not for the bank: a redirect back would never end.
    let page = browser.visit(&format!("/.vestibule/login?return_to={asked}")).await;
    assert_eq!(page.status(), StatusCode::OK, "{:?}", page.headers());
    let back = browser.visit("/.vestibule/login?return_to=%2F").await;
    assert_eq!(back.status(), StatusCode::SEE_OTHER, "for the wiki one is signed in");

    let page = page.text().await.unwrap();
    let sign_in = async |page: &str| {
        let token = csrf_token(page);
        let fields =
            [("username", "ann"), ("password", PASSWORD), ("csrf_token", token.as_str()), ("return_to", "/bank/x")];
        browser.post("/.vestibule/login", &fields).await
    };
    assert_eq!(sign_in(&page).await.headers()["location"], "/bank/x");
    assert_eq!(browser.visit("/bank/x").await.status(), StatusCode::OK);
    for spelled in ["//bank", "/%62ank", "/bank;x"] {
        world.pass_time(6);
        assert!(asks_to_sign_in(&browser.visit(spelled).await).is_some(), "{spelled}");
        let page = browser.visit("/.vestibule/login?return_to=%2Fbank").await.text().await.unwrap();
        sign_in(&page).await;
    }
}
