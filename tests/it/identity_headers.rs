//! What an app is told about who is there comes from the gate, whatever a client says.

use http::Request;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::mirror::Mirror;
use crate::raw::{OPEN, Raw, fields, http2};
use crate::world::{HOST, World, user_toml, write_private};

/// What a client must not be able to say.
const LIE: &str = "liar";

const PRESETS: [&str; 5] = [
    "\"remote\"",
    "\"x-forwarded\"",
    "\"x-auth-request\"",
    "\"none\"",
    "{ \"X-Who\" = \"{user}\", \"X_Odd.Name\" = \"{groups}\", \"X-Session\" = \"{session_id} {auth_method}\" }",
];

/// As each host has an app with its own preset, `X-Who` and its like are reserved for all.
async fn world() -> (World, Mirror) {
    let mirror = Mirror::start().await;
    let mut plan = World::plan().user("ann", &["staff", "Ärzte"]);
    for (number, preset) in PRESETS.iter().enumerate() {
        let more = format!("identity = {preset}\n{OPEN}");
        plan = plan.app_at(&format!("app{number}"), &format!("app{number}.test"), &mirror.url(), &more);
    }
    (plan.start().await, mirror)
}

const RESERVED: [&str; 44] = [
    "remote-user",
    "remote-name",
    "remote-email",
    "remote-groups",
    "remote-anything",
    "x-remote-user",
    "x-forwarded-user",
    "x-forwarded-preferred-username",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-access-token",
    "x-auth-request-user",
    "x-auth-request-preferred-username",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-access-token",
    "x-webauth-user",
    "x-authentik-username",
    "x-pomerium-claim-email",
    "oidc-claim-sub",
    "auth-user",
    "x-who",
    "x-odd-name",
    "x-session",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-server",
    "x-forwarded-tls-client-cert",
    "forwarded",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-ssl-client-dn",
    "proxy",
    "x-request-id",
    "x-client-ip",
];

/// A name as another program may take for the reserved one.
fn spelled(name: &str, cases: &[bool], signs: &[u8]) -> String {
    const SIGNS: &[u8] = b"-_.~!#$%&'*+^`|";
    let spell = |(at, letter): (usize, char)| match letter {
        '-' => char::from(SIGNS[usize::from(signs[at % signs.len()]) % SIGNS.len()]),
        letter if cases[at % cases.len()] => letter.to_ascii_uppercase(),
        letter => letter,
    };
    name.chars().enumerate().map(spell).collect()
}

#[tokio::test]
async fn no_spelling_of_a_reserved_name_brings_a_clients_word_to_an_app() {
    let (world, mirror) = world().await;
    let mut clients = Vec::new();
    for number in 0..PRESETS.len() {
        clients.push((Raw::open_as(&world, &format!("app{number}.test")).await, number));
    }
    let strategy =
        (proptest::collection::vec((0..RESERVED.len(), any::<[bool; 7]>(), any::<[u8; 5]>()), 1..40), any::<bool>());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    for case in 0..200 {
        let (names, nominated) = strategy.new_tree(&mut runner).unwrap().current();
        let names: Vec<_> = names.iter().map(|(which, cases, signs)| spelled(RESERVED[*which], cases, signs)).collect();
        let mut lines: String = names.iter().map(|name| format!("{name}: {LIE}\r\n")).collect();
        if nominated {
            let listed: Vec<_> = RESERVED.iter().chain(&["cookie", "host"]).copied().collect();
            lines += &format!("Connection: {}\r\n", listed.join(", "));
        }
        let count = clients.len();
        let (raw, number) = &mut clients[case % count];
        let head = format!("GET /{case} HTTP/1.1\r\nHost: app{number}.test\r\nX-Honest: yes\r\n{lines}\r\n");
        raw.say(&head).await;
        assert_eq!(raw.answer().await.unwrap().status, 200, "{head}");
        let seen = mirror.heads().pop().unwrap();
        assert!(!seen.contains(LIE), "{head}\nreached the app as\n{seen}");
        assert_eq!(fields(&seen, "x-honest"), ["yes"]);
        for written in ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-request-id"]
        {
            assert_eq!(fields(&seen, written).len(), 1, "{written} in {seen}");
        }
    }
}

#[tokio::test]
async fn nor_does_any_over_http2_nor_in_a_trailer() {
    let mirror = Mirror::start().await;
    let table = format!("identity = {}\n{OPEN}", PRESETS[4]);
    let world = World::plan().app(&mirror.url(), &table).start().await;
    let mut client = http2(&world).await;
    for sign in ["-", "_", ".", "~", "!", "+", "'"] {
        let mut request = Request::get("https://wiki.test/").header("x-honest", "yes");
        for name in RESERVED {
            request = request.header(name.replace('-', sign), LIE);
        }
        client = client.ready().await.unwrap();
        let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        let seen = mirror.heads().pop().unwrap();
        assert!(!seen.contains(LIE) && seen.contains("x-honest: yes"), "{seen}");
    }

    let mut raw = Raw::open(&world).await;
    let trailers: String = RESERVED.iter().map(|name| format!("{name}: {LIE}\r\n")).collect();
    let head = "POST / HTTP/1.1\r\nHost: wiki.test\r\nTrailer: remote-user\r\nTransfer-Encoding: chunked\r\n\r\n";
    raw.say(format!("{head}3\r\nabc\r\n0\r\n{trailers}\r\n")).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    let seen = mirror.heads().pop().unwrap();
    assert!(fields(&seen, "trailer").is_empty() && !seen.contains(LIE), "{seen}");
}

#[tokio::test]
async fn a_name_with_other_signs_passes_only_if_the_app_asked_for_it() {
    let mirror = Mirror::start().await;
    let more = format!("allow_header_names = [\"x_tenant\", \"remote_user\"]\n{OPEN}");
    let world = World::plan().app(&mirror.url(), &more).start().await;
    let mut raw = Raw::open(&world).await;
    raw.say("GET / HTTP/1.1\r\nHost: wiki.test\r\nX_Tenant: one\r\nX_Other: two\r\nRemote_User: root\r\n\r\n").await;
    raw.answer().await.unwrap();
    let seen = mirror.heads().pop().unwrap();
    assert_eq!(fields(&seen, "x_tenant"), ["one"]);
    assert!(!seen.contains("two") && !seen.contains("root"), "{seen}");
}

#[tokio::test]
async fn every_preset_tells_who_is_there_in_plain_ascii() {
    let mirror = Mirror::start().await;
    let mut plan = World::plan().user("jürgen 100%", &["staff", "Ärzte Nord", "50%"]);
    for (number, preset) in PRESETS.iter().enumerate() {
        let (name, host) = (format!("app{number}"), format!("app{number}.test"));
        plan = plan.app_at(&name, &host, &mirror.url(), &format!("identity = {preset}"));
    }
    let world = plan.start().await;
    let (user, groups) = ("j%C3%BCrgen 100%25", "staff,%C3%84rzte Nord,50%25");
    for (number, who, which) in [
        (0, "remote-user", "remote-groups"),
        (1, "x-forwarded-user", "x-forwarded-groups"),
        (2, "x-auth-request-user", "x-auth-request-groups"),
        (4, "x-who", "x_odd.name"),
    ] {
        let browser = world.browser_at(&format!("app{number}.test"));
        browser.sign_in("jürgen 100%").await;
        let seen = browser.visit("/").await.text().await.unwrap();
        assert_eq!((fields(&seen, who), fields(&seen, which)), (vec![user], vec![groups]), "{seen}");
        assert!(seen.is_ascii(), "{seen}");
    }
    let browser = world.browser_at("app3.test");
    browser.sign_in("jürgen 100%").await;
    let seen = browser.visit("/").await.text().await.unwrap();
    assert!(seen.starts_with("GET / ") && !seen.contains("%C3"), "{seen}");
}

#[tokio::test]
async fn a_field_without_a_value_is_absent() {
    let mirror = Mirror::start().await;
    let world = World::plan().user("ann", &[]).app(&mirror.url(), "").start().await;
    let users = user_toml("ann", &[]).replace("email = \"ann@example.com\"\n", "");
    write_private(&world.users_file(), &users);
    world.pass_time(1);
    let browser = world.browser();
    browser.sign_in("ann").await;
    let asked = browser.ask(reqwest::Method::GET, "/").header("remote-name", LIE).header("remote-email", LIE);
    let seen = asked.send().await.unwrap().text().await.unwrap();
    assert_eq!(fields(&seen, "remote-user"), ["ann"], "{seen}");
    for name in ["remote-groups", "remote-email"] {
        assert!(fields(&seen, name).is_empty(), "{name} in {seen}");
    }
    assert!(!seen.contains(LIE));
}

#[tokio::test]
async fn our_cookies_stay_with_us_and_others_keep_their_bytes() {
    let mirror = Mirror::start().await;
    let world = World::plan().app(&mirror.url(), "").start().await;
    let token = world.browser().sign_in("ann").await;
    let ours = format!("__Host-vestibule={token}");
    for (sent, arrives) in [
        (format!("Cookie: {ours}\r\n"), None),
        (format!("Cookie: a=1; {ours}; b=\"x; y\"; c\r\n"), Some("a=1; b=\"x; y\"; c")),
        (format!("Cookie: {ours}; __Host-vestibule-browser=x; b=2\r\n"), Some("b=2")),
        (format!("Cookie: a=1;{ours};{ours}\r\nCookie: b==2\r\n"), Some("a=1; b==2")),
        (format!("Cookie: __host-vestibule=low; {ours}\r\n"), Some("__host-vestibule=low")),
        (format!("cOOKIE: \t{ours} ;x=\u{e9}\r\n"), Some("x=é")),
        (format!("Connection: cookie\r\nCookie: {ours}; a=1\r\n"), Some("a=1")),
    ] {
        let mut raw = Raw::open(&world).await;
        raw.say(format!("GET / HTTP/1.1\r\nHost: wiki.test\r\n{sent}\r\n")).await;
        assert_eq!(raw.answer().await.unwrap().status, 200, "{sent}");
        let seen = mirror.heads().pop().unwrap();
        assert_eq!(fields(&seen, "cookie"), arrives.into_iter().collect::<Vec<_>>(), "{sent}");
        assert!(!seen.contains(&token), "{seen}");
    }
}

#[tokio::test]
async fn an_app_cannot_set_our_cookies_and_its_own_stay_in_order() {
    let mirror = Mirror::answering(
        "Set-Cookie: a=1; Path=/\r\nSet-Cookie: __Host-vestibule=evil; Path=/; Secure\r\nSet-Cookie: b=2\r\n\
         Set-Cookie: __host-VESTIBULE=evil\r\nset-cookie: __Host-vestibule-browser=evil\r\nSet-Cookie: a=3\r\n\
         Set-Cookie:  __Host-vestibule =evil\r\n",
    )
    .await;
    let world = World::plan().app(&mirror.url(), OPEN).start().await;
    let mut raw = Raw::open(&world).await;
    raw.say("GET / HTTP/1.1\r\nHost: wiki.test\r\n\r\n").await;
    assert_eq!(raw.answer().await.unwrap().all("set-cookie"), ["a=1; Path=/", "b=2", "a=3"]);
}

/// The head that an app sees of a request with these lines.
async fn seen(listen: &str, more: &str, host: &str, lines: &str) -> String {
    let mirror = Mirror::start().await;
    let more = more.to_owned() + "\n" + OPEN;
    let world = World::plan().app(&mirror.url(), &more).trusting(listen).start().await;
    let mut raw = Raw::open(&world).await;
    raw.say(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    let head = mirror.heads().pop().unwrap();
    head.replace(&mirror.address.to_string(), "the.app")
}

#[tokio::test]
async fn where_a_request_came_from_is_told_by_us_or_by_whom_we_trust() {
    let lies = "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-Proto: http\r\nX-Real-IP: 1.2.3.4\r\n\
                X-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 1\r\nX-Request-Id: mine\r\n";
    let head = seen("", "", "Wiki.test:8443", lies).await;
    for (name, value) in [
        ("host", "Wiki.test:8443"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;host=\"wiki.test:8443\";proto=https"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "wiki.test:8443"),
        ("x-forwarded-port", "8443"),
        ("x-real-ip", "127.0.0.1"),
    ] {
        assert_eq!(fields(&head, name), [value], "{name}");
    }
    assert!(!head.contains("mine") && fields(&head, "x-request-id").len() == 1, "{head}");

    let head = seen("127.0.0.0/8", "", HOST, lies).await;
    for (name, value) in [
        ("x-forwarded-for", "1.2.3.4, 127.0.0.1"),
        ("forwarded", "for=1.2.3.4, for=127.0.0.1;host=\"wiki.test\";proto=https"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.test"),
        ("x-real-ip", "1.2.3.4"),
        ("x-request-id", "mine"),
    ] {
        assert_eq!(fields(&head, name), [value], "{name}");
    }
    let head = seen("127.0.0.0/8", "", HOST, "X-Request-Id: a b\r\nX_Forwarded_For: 6.6.6.6\r\n").await;
    assert!(!head.contains("a b") && !head.contains("6.6.6.6"), "{head}");
    assert_eq!(fields(&head, "x-forwarded-for"), ["127.0.0.1"]);

    let head = seen("", "preserve_host = false", HOST, "").await;
    assert_eq!((fields(&head, "host"), fields(&head, "x-forwarded-host")), (vec!["the.app"], vec![HOST]));
}
