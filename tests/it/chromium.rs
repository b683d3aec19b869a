//! What people see and do, in a real browser.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use fantoccini::Locator;
use serde_json::json;

use crate::apps::free_address;
use crate::driver::Chromium;
use crate::mirror::Mirror;
use crate::world::{HOST, PASSWORD, World};

/// The keys, as WebDriver writes them.
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

async fn world() -> (World, Mirror) {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), "").start().await;
    (world, mirror)
}

fn origin(world: &World, host: &str) -> String {
    format!("https://{host}:{}", world.address().port())
}

#[tokio::test]
async fn the_fragment_survives_the_sign_in() {
    let (world, _mirror) = world().await;
    let page = format!("{}/page?x=1#part", origin(&world, HOST));
    for chromium in [Chromium::start().await, Chromium::without_scripts().await] {
        chromium.goto(&page).await.unwrap();
        chromium.wait_for_text("Sign in").await;
        chromium.sign_in("ann", "wrong").await;
        chromium.wait_for_text("Wrong user name or password.").await;
        chromium.sign_in("ann", PASSWORD).await;
        chromium.wait_for_text("remote-user: ann").await;
        chromium.wait_for_address(&page).await;
    }
}

#[tokio::test]
async fn a_keyboard_is_enough() {
    let (world, _mirror) = world().await;
    let chromium = Chromium::start().await;
    chromium.goto(&origin(&world, HOST)).await.unwrap();
    for keys in ["ann", TAB, "wrong", TAB] {
        chromium.type_keys(keys).await;
    }
    assert_eq!(chromium.active_element().await.unwrap().text().await.unwrap(), "Sign in");
    chromium.type_keys(ENTER).await;
    chromium.wait_for_text("Wrong user name or password.").await;
    let name = chromium.find(Locator::Css("#username")).await.unwrap();
    assert_eq!(name.prop("value").await.unwrap().as_deref(), Some("ann"));
    assert_eq!(chromium.active_element().await.unwrap().attr("id").await.unwrap().as_deref(), Some("password"));
    chromium.type_keys(&format!("{PASSWORD}{ENTER}")).await;
    chromium.wait_for_text("remote-user: ann").await;

    chromium.goto(&format!("{}/.vestibule/logout", origin(&world, HOST))).await.unwrap();
    chromium.type_keys(ENTER).await;
    chromium.wait_for_text("You are signed out").await;
    chromium.type_keys(TAB).await;
    chromium.type_keys(ENTER).await;
    chromium.wait_for_text("User name").await;
}

#[tokio::test]
async fn whoever_was_away_for_long_learns_why_they_are_asked_and_goes_on_where_they_were() {
    let (world, _mirror) = world().await;
    let chromium = Chromium::start().await;
    let page = format!("{}/page?x=1#part", origin(&world, HOST));
    chromium.goto(&page).await.unwrap();
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("remote-user: ann").await;

    world.pass_time(31);
    chromium.refresh().await.unwrap();
    chromium.wait_for_text("nothing happened for a while").await;
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("remote-user: ann").await;
    chromium.wait_for_address(&page).await;

    for _ in 0..25 {
        world.pass_time(29);
        chromium.refresh().await.unwrap();
    }
    chromium.wait_for_text("reached its longest duration").await;
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("remote-user: ann").await;
    chromium.wait_for_address(&page).await;
}

#[tokio::test]
async fn what_one_tab_does_the_others_find_done() {
    let (world, _mirror) = world().await;
    let chromium = Chromium::start().await;
    let first = chromium.window().await.unwrap();
    chromium.goto(&format!("{}/first#1", origin(&world, HOST))).await.unwrap();
    let second = chromium.new_window(true).await.unwrap().handle;
    chromium.switch_to_window(second.clone()).await.unwrap();
    chromium.goto(&format!("{}/second#2", origin(&world, HOST))).await.unwrap();
    let third = chromium.new_window(true).await.unwrap().handle;
    chromium.switch_to_window(third.clone()).await.unwrap();
    chromium.goto(&format!("{}/third#3", origin(&world, HOST))).await.unwrap();
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("GET /third").await;

    // The forms of the other tabs are still there; one is sent, one is left for a reload.
    chromium.switch_to_window(first.clone()).await.unwrap();
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("GET /first").await;
    chromium.wait_for_address(&format!("{}/first#1", origin(&world, HOST))).await;
    chromium.switch_to_window(second.clone()).await.unwrap();
    chromium.refresh().await.unwrap();
    chromium.wait_for_text("GET /second").await;
    chromium.wait_for_address(&format!("{}/second#2", origin(&world, HOST))).await;

    chromium.goto(&format!("{}/.vestibule/logout", origin(&world, HOST))).await.unwrap();
    chromium.click("button").await;
    chromium.wait_for_text("You are signed out").await;
    chromium.switch_to_window(third).await.unwrap();
    chromium.refresh().await.unwrap();
    chromium.wait_for_text("User name").await;
    assert_eq!(world.running.gate().sessions.count(), 0);
}

#[tokio::test]
async fn the_policy_of_our_pages_permits_what_they_need() {
    let (world, _mirror) = world().await;
    let chromium = Chromium::start().await;
    let background = "return getComputedStyle(document.body).backgroundColor";
    chromium.goto(&format!("{}/#part", origin(&world, HOST))).await.unwrap();
    chromium.show_as("light", 800, 600).await;
    assert_eq!(chromium.run(background).await, "rgb(244, 245, 247)");
    assert_eq!(chromium.run("return document.forms[0].elements.return_to.value").await, "/#part", "the script ran");
    chromium.show_as("dark", 800, 600).await;
    assert_eq!(chromium.run(background).await, "rgb(13, 17, 23)");
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("remote-user: ann").await;
    for path in ["logout", "nothing"] {
        chromium.goto(&format!("{}/.vestibule/{path}", origin(&world, HOST))).await.unwrap();
        assert_eq!(chromium.run(background).await, "rgb(13, 17, 23)");
    }
    let complaints = chromium.complaints().await;
    // The icon that it looks for by itself, and the page that there is not.
    let expected = |line: &&String| line.contains("/favicon.ico - ") || line.contains("/.vestibule/nothing - ");
    assert_eq!(complaints.iter().find(|line| !expected(line)), None);
}

#[tokio::test]
async fn an_app_may_lead_to_another_site_right_after_the_sign_in() {
    let elsewhere = Mirror::start().await;
    let plan = World::plan().app_at("elsewhere", "elsewhere.test", &elsewhere.url(), OPEN);
    let other = plan.start().await;
    let target = format!("{}/callback", origin(&other, "elsewhere.test"));
    let lines: &'static str = format!("location: {target}\r\n").leak();
    let leading = Mirror::redirecting(lines).await;
    let world = World::plan().app(&leading.url(), "").start().await;
    let chromium = Chromium::start().await;
    chromium.goto(&format!("{}/authorize", origin(&world, HOST))).await.unwrap();
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("GET /callback").await;
    chromium.wait_for_address(&target).await;

    let page = world.browser().visit("/.vestibule/login").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    for part in ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part) && !policy.contains("unsafe"), "nothing else is let go: {policy}");
    }
}

const OPEN: &str = "[[app.rule]]\nallow = \"anyone\"";

#[tokio::test]
async fn a_link_from_another_site_finds_a_strict_cookie_too() {
    let mirror = Mirror::start().await;
    let strict = "[session.cookie]\nsame_site = \"strict\"";
    let plan = World::plan().app(&mirror.url(), "").app_at("blog", "blog.test", &mirror.url(), OPEN).with(strict);
    let world = plan.start().await;
    let page = format!("{}/page?x=1#part", origin(&world, HOST));
    let link = format!("const a = document.createElement('a'); a.href = '{page}'; a.id = 'link'; a.text = 'link'; ");
    let link = link + "document.body.append(a)";
    for chromium in [Chromium::start().await, Chromium::without_scripts().await] {
        for signs_in in [true, false] {
            chromium.goto(&origin(&world, "blog.test")).await.unwrap();
            chromium.wait_for_text("GET / ").await;
            chromium.run(&link).await;
            chromium.click("#link").await;
            if signs_in {
                chromium.sign_in("ann", PASSWORD).await;
            }
            chromium.wait_for_text("remote-user: ann").await;
        }
    }
    let chromium = Chromium::start().await;
    chromium.goto(&page).await.unwrap();
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("remote-user: ann").await;
    chromium.goto(&origin(&world, "blog.test")).await.unwrap();
    chromium.run(&link).await;
    chromium.click("#link").await;
    chromium.wait_for_text("remote-user: ann").await;
    chromium.wait_for_address(&page).await;
}

#[tokio::test]
async fn the_demo_shows_what_an_app_is_told_and_leaves_nothing_behind() {
    let (folder, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_address().port().to_string();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["demo", "--port", &port])
        .current_dir(&folder)
        .env("TMPDIR", temporary.path())
        .env("HOME", folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(demo.stderr.take().unwrap());
    let (mut url, mut password) = (String::new(), String::new());
    while password.is_empty() {
        let mut line = String::new();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "the demo ended");
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [.., last] if last.starts_with("https://") => url = (*last).to_owned(),
            ["user", "alice", "password", word, ..] => password = (*word).to_owned(),
            _ => {}
        }
    }

    let chromium = Chromium::start().await;
    chromium.goto(&format!("{url}notes?a=1")).await.unwrap();
    chromium.sign_in("alice", &password).await;
    chromium.wait_for_text("Sample app").await;
    let rows = "return Object.fromEntries([...document.querySelectorAll('tbody tr')].map(r => [r.cells[0].innerText, r.cells[1].innerText]))";
    let rows = chromium.run(rows).await;
    for (name, value) in [
        ("remote-user", "alice"),
        ("remote-name", "Alice Liddell"),
        ("remote-email", "alice@example.com"),
        ("remote-groups", "staff,wiki"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(rows[name], value, "{rows}");
    }
    assert_eq!(chromium.find(Locator::Id("request-line")).await.unwrap().text().await.unwrap(), "GET /notes?a=1");
    assert!(rows.get("cookie").is_none() && !rows.to_string().contains("__Host-vestibule"), "{rows}");
    chromium.show_as("light", 1000, 800).await;
    picture(&chromium, "demo").await;

    chromium.click("a[href='/.vestibule/logout']").await;
    chromium.wait_for_text("Alice Liddell is signed in").await;
    chromium.click("button").await;
    chromium.wait_for_text("You are signed out").await;
    chromium.goto(&url).await.unwrap();
    chromium.wait_for_text("User name").await;

    drop(chromium);
    let killed = Command::new("sh").arg("-c").arg(format!("kill -s TERM {}", demo.id())).status().unwrap();
    assert!(killed.success() && demo.wait().unwrap().success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("error") && !rest.contains("panicked"), "{rest}");
    for place in [folder.path(), temporary.path()] {
        assert_eq!(std::fs::read_dir(place).unwrap().count(), 0, "{}", place.display());
    }
}

#[tokio::test]
async fn everybody_can_read_and_use_our_pages() {
    let mirror = Mirror::start().await;
    let rules = "[[app.rule]]\npath = \"/secret\"\nallow = \"nobody\"";
    let plan = World::plan().app(&mirror.url(), rules);
    let world = plan.app_at("gone", "gone.test", &format!("http://{}", free_address()), OPEN).start().await;
    let own = origin(&world, HOST);
    let chromium = Chromium::start().await;
    chromium.goto(&own).await.unwrap();
    check_page(&chromium, "sign-in").await;
    chromium.sign_in("ann", "wrong").await;
    chromium.wait_for_text("Wrong user name or password.").await;
    check_page(&chromium, "sign-in-wrong").await;
    let fields = chromium.run(FIELDS).await;
    assert_eq!(fields, json!([["username", "User name", "error"], ["current-password", "Password", "error"]]));
    assert_eq!(chromium.run("return document.querySelector('#error').role").await, "alert");

    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("remote-user: ann").await;
    for (address, name) in [
        (format!("{own}/.vestibule/logout"), "sign-out"),
        (format!("{own}/secret"), "403"),
        (format!("{own}/.vestibule/nothing"), "404"),
        (origin(&world, "gone.test"), "502"),
    ] {
        chromium.goto(&address).await.unwrap();
        check_page(&chromium, name).await;
    }
    chromium.goto(&format!("{own}/.vestibule/logout")).await.unwrap();
    chromium.click("button").await;
    chromium.wait_for_text("You are signed out").await;
    check_page(&chromium, "signed-out").await;
    chromium.goto(&own).await.unwrap();
    chromium.sign_in("ann", PASSWORD).await;
    chromium.wait_for_text("remote-user: ann").await;
    world.pass_time(31);
    chromium.goto(&own).await.unwrap();
    chromium.wait_for_text("nothing happened").await;
    check_page(&chromium, "sign-in-notice").await;
}

#[tokio::test]
async fn the_picture_in_the_documentation_has_the_measures_of_the_page() {
    let (world, _mirror) = world().await;
    let chromium = Chromium::start().await;
    chromium.goto(&origin(&world, HOST)).await.unwrap();
    chromium.show_as("light", 800, 560).await;
    let (page, kept) = (chromium.screenshot().await.unwrap(), include_bytes!("../../docs/sign-in.png"));
    // A PNG begins with its signature and its width and height.
    assert_eq!(page[..24], kept[..24]);
    assert!(kept.len() < 40_000, "{}", kept.len());
}

/// For each field: what a password manager reads, its label, and what describes it.
const FIELDS: &str = "return [...document.querySelectorAll('input:not([type=hidden])')].map(i => \
                      [i.autocomplete, i.labels[0].innerText, i.getAttribute('aria-describedby')])";

/// The lowest contrast of any text on the page (WCAG 2.2 §1.4.3), and of what.
const CONTRAST: &str = r"
    const channels = text => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = e => {
        const colour = channels(getComputedStyle(e).backgroundColor);
        return colour.length === 4 && colour[3] === 0 ? ground(e.parentElement) : colour;
    };
    const own = e => e.matches('input') || [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    const all = [...document.querySelectorAll('main, main *')].filter(e => own(e) && e.offsetParent);
    return all.map(e => {
        const pair = [light(channels(getComputedStyle(e).color)), light(ground(e))].sort((a, b) => b - a);
        return [(pair[0] + 0.05) / (pair[1] + 0.05), e.tagName];
    }).sort((a, b) => a[0] - b[0])[0]";

/// Contrast, width, language, labels and focus; by day, by night and on a small screen.
async fn check_page(chromium: &Chromium, name: &str) {
    for (scheme, width, height) in [("light", 800, 560), ("dark", 800, 560), ("light", 320, 560)] {
        chromium.show_as(scheme, width, height).await;
        let lowest = chromium.run(CONTRAST).await;
        assert!(lowest[0].as_f64().expect("a number") >= 4.5, "{name} {scheme}: {lowest}");
        let wide = "return document.documentElement.scrollWidth > innerWidth";
        assert_eq!(chromium.run(wide).await, false, "{name} at {width}");
        picture(chromium, &format!("{name}-{scheme}-{width}")).await;
    }
    assert_eq!(chromium.run("return document.documentElement.lang").await, "en");
    assert_ne!(chromium.title().await.expect("a title"), "");
    let nameless = "return document.querySelectorAll('input:not([type=hidden])').length - document.querySelectorAll('label').length";
    assert_eq!(chromium.run(nameless).await, 0, "{name}");
    let focus = "const e = document.querySelector('input:not([type=hidden]), button, a'); \
                 if (!e) return true; e.focus({ focusVisible: true }); \
                 return parseFloat(getComputedStyle(e).outlineWidth) >= 2";
    assert_eq!(chromium.run(focus).await, true, "{name}: the focus can be seen");
}

/// Keeps a picture, if somebody wants to look: set `VESTIBULE_PICTURES` to a folder.
async fn picture(chromium: &Chromium, name: &str) {
    if let Some(folder) = std::env::var_os("VESTIBULE_PICTURES") {
        let picture = chromium.screenshot().await.expect("a picture");
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), picture).expect("a folder that can be written");
    }
}
