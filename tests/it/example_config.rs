//! `config.example.toml` and the README's configuration: complete, true, and working as they are.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use vestibule::config::Config;

use crate::binary::{Serving, run, said};
use crate::world::{Browser, PASSWORD, asks_to_sign_in};

const EXAMPLE: &str = include_str!("../../config.example.toml");
const README: &str = include_str!("../../README.md");

/// Known only to be refused with a word about it.
const NOT_YET: [&str; 1] = ["login.host"];

/// A key of the example: where, what, and whether it stands in a comment.
struct Key {
    line: usize,
    name: String,
    written: bool,
}

fn keys() -> Vec<Key> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for (line, text) in EXAMPLE.lines().enumerate() {
        if text.starts_with('[') {
            let end = text.find(']').expect("a section's head ends");
            section = text[..end].trim_start_matches('[').to_owned() + ".";
            continue;
        }
        let (text, written) = text.strip_prefix("# ").map_or((text, true), |text| (text, false));
        let Some((name, _)) = text.split_once(" = ") else { continue };
        if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            keys.push(Key { line, name: format!("{section}{name}"), written });
        }
    }
    keys
}

fn parse(text: String) -> (Result<Config, String>, BTreeSet<String>) {
    let (config, known) = Config::parse(Path::new("/etc/vestibule/vestibule.toml"), text);
    (config.map_err(|problems| problems.to_string()), known)
}

/// The example with the comment sign of one line taken away.
fn with(key: &Key) -> String {
    let mut lines: Vec<_> = EXAMPLE.lines().collect();
    lines[key.line] = lines[key.line].trim_start_matches("# ");
    lines.join("\n")
}

#[test]
fn every_key_that_is_known_stands_in_the_example_and_no_other() {
    let keys = keys();
    let (config, mut known) = parse(EXAMPLE.into());
    config.unwrap_or_else(|problems| panic!("{problems}"));
    for key in keys.iter().filter(|key| !key.written) {
        let (config, more) = parse(with(key));
        known.extend(more);
        // The files that it names are not there; anything else is a mistake.
        let problems = config.err().unwrap_or_default();
        let missing_files = problems.matches("there is no file").count();
        assert_eq!(problems.matches("/vestibule.toml:").count(), missing_files, "{}: {problems}", key.name);
    }
    known.extend(parse(EXAMPLE.replace("allow = \"anyone\"", "allow = { users = [\"a\"], groups = [] }")).1);

    let sections = ["listen", "limits", "tls", "session", "session.cookie", "login", "login.throttle"];
    let sections: Vec<_> = sections.into_iter().chain(["log", "admin", "app", "app.health", "app.rule"]).collect();
    let stands = |name: &str| {
        let inline = |(outer, inner): (&str, &str)| {
            keys.iter().any(|key| {
                let text = EXAMPLE.lines().nth(key.line).unwrap_or_default();
                key.name == outer && text.contains(&format!("{inner} = "))
            })
        };
        keys.iter().any(|key| key.name == name) || sections.contains(&name) || name.rsplit_once('.').is_some_and(inline)
    };
    let absent: Vec<_> = known.iter().filter(|name| !stands(name) && !NOT_YET.contains(&name.as_str())).collect();
    assert!(absent.is_empty(), "config.example.toml does not name {absent:?}");
    let unread: Vec<_> = keys.iter().map(|key| &key.name).filter(|name| !known.contains(*name)).collect();
    assert!(unread.is_empty(), "nobody reads {unread:?}");
}

#[test]
fn what_the_example_writes_out_is_the_default() {
    // Rules, and what an app cannot be without, stay.
    let stays = |key: &Key| {
        key.name.starts_with("app.rule.") || ["app.name", "app.hosts", "app.upstreams"].contains(&key.name.as_str())
    };
    let dropped: BTreeSet<_> = keys().iter().filter(|key| key.written && !stays(key)).map(|key| key.line).collect();
    assert!(dropped.len() > 40, "{}", dropped.len());
    let bare: Vec<_> =
        EXAMPLE.lines().enumerate().filter(|(at, _)| !dropped.contains(at)).map(|(_, text)| text).collect();
    let (full, bare) = (parse(EXAMPLE.into()).0.unwrap(), parse(bare.join("\n")).0.unwrap());
    let sections = |config: &Config| {
        [
            format!("{:?} {:?}", config.state_dir, config.shutdown_grace),
            format!("{:?}", config.listen),
            format!("{:?}", config.limits),
            format!("{:?}", config.tls),
            format!("{:?}", config.session),
            format!("{:?}", config.login),
            format!("{:?}", config.log),
            format!("{:?}", config.admin),
            format!("{:?}", config.apps[0].limits),
            format!("{:?} {:?}", config.apps[0].path, config.apps[0].background),
            format!("{:?}", config.apps[0].rules),
            format!("{:?}", config.apps[0].upstream),
        ]
    };
    for (written, default) in sections(&full).iter().zip(&sections(&bare)) {
        assert_eq!(written, default);
    }
}

#[test]
fn the_configuration_in_the_readme_is_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    let made = rcgen::generate_simple_self_signed(["wiki.example.com".to_owned()]).unwrap();
    std::fs::write(folder.path().join("certs/wiki.pem"), made.cert.pem()).unwrap();
    crate::world::write_private(&folder.path().join("certs/wiki.key"), &made.signing_key.serialize_pem());
    let blocks: Vec<_> = README.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 2, "a whole configuration, and parts of one");
    for (number, block) in blocks.iter().enumerate() {
        // What follows the first shows parts of an app.
        let text = if number == 0 { (*block).to_owned() } else { format!("{}\n{block}", blocks[0]) };
        let (config, _) = Config::parse(&folder.path().join("vestibule.toml"), text);
        config.unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[tokio::test]
async fn the_example_works_as_it_is() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Another program may have the port of the example.
    assert!(EXAMPLE.contains("[\"127.0.0.1:8443\"]"));
    std::fs::write(folder.join("config.example.toml"), EXAMPLE.replace("127.0.0.1:8443", "127.0.0.1:0")).unwrap();

    let nobody = run(folder, &["run", "--config", "config.example.toml"], "");
    assert_eq!(nobody.status.code(), Some(2));
    assert!(said(&nobody).contains("`vestibule users add NAME --config config.example.toml`"), "{}", said(&nobody));

    let added = run(folder, &["users", "add", "ann", "--config", "config.example.toml"], &format!("{PASSWORD}\n"));
    assert!(added.status.success(), "{}", said(&added));
    let serving = Serving::start(folder, "config.example.toml");
    let browser = Browser::new("localhost", serving.address, |builder| builder);
    assert_eq!(asks_to_sign_in(&browser.visit("/page").await).as_deref(), Some("%2Fpage"));
    browser.sign_in("ann").await;
    let page = browser.visit("/page").await.text().await.unwrap();
    assert!(page.contains("Sample app") && page.contains("remote-user"), "{page}");

    let mode = |path: &str| std::fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
    for (path, expected) in [
        ("users.toml", 0o600),
        ("state", 0o700),
        ("state/form.key", 0o600),
        ("certs/self-signed.key", 0o600),
        ("certs/self-signed.pem", 0o644),
    ] {
        assert_eq!(mode(path), expected, "{path}: {:o}", mode(path));
    }
    assert_eq!(serving.terminate().await.code(), Some(0));
    assert!(!folder.join("state/admin.sock").exists());
}

#[test]
fn the_tests_that_security_md_names_exist() {
    let mut code = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let table = include_str!("../../SECURITY.md").lines().filter(|line| line.starts_with("| "));
    let names: Vec<_> = table.filter_map(|line| line.split(" | ").nth(1)).flat_map(|cell| cell.split('`')).collect();
    let names: Vec<_> = names.into_iter().filter(|name| name.matches('_').count() >= 3).collect();
    assert!(names.len() > 40, "{}", names.len());
    let absent: Vec<_> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(absent.is_empty(), "no test is called {absent:?}");
}
