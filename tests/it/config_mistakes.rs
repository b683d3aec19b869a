//! What operators are told about their mistakes: each file of `tests/fixtures/configs/bad` and, beside it, the words.
//! `BLESS=1` writes the words anew; what they then say is read before it is committed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::binary::{run, said};
use crate::world::{user_toml, write_private};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Everything that the configurations name: two pairs of certificate and key, a key that all may read, users files.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let pair = || rcgen::generate_simple_self_signed(["wiki.example.com".to_owned()]).unwrap();
    let (good, other) = (pair(), pair());
    fs::write(path("good.pem"), good.cert.pem()).unwrap();
    write_private(&path("good.key"), &good.signing_key.serialize_pem());
    write_private(&path("other.key"), &other.signing_key.serialize_pem());
    write_private(&path("readable.key"), &good.signing_key.serialize_pem());
    fs::set_permissions(path("readable.key"), fs::Permissions::from_mode(0o644)).unwrap();
    write_private(&path("users.toml"), &user_toml("alice", &[]));
    fs::create_dir(path("users")).unwrap();
    for entry in fs::read_dir(fixtures().join("users")).unwrap() {
        let from = entry.unwrap().path();
        let to = path("users").join(from.file_name().unwrap());
        write_private(&to, &fs::read_to_string(&from).unwrap());
    }
    fs::set_permissions(path("users/readable.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    folder
}

/// What there is in a folder, by name.
fn content(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_do() {
    let folder = folder();
    let folder = folder.path();
    let bad = fixtures().join("configs/bad");
    let mut differences = String::new();
    let names: Vec<_> = content(&bad).into_iter().filter(|name| name.ends_with(".toml")).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        fs::copy(bad.join(&name), folder.join(&name)).unwrap();
        let expected = fs::read_to_string(bad.join(name.replace(".toml", ".txt"))).unwrap_or_default();
        for command in ["check", "run"] {
            let before = content(folder);
            let output = run(folder, &[command, "--config", &name], "");
            assert_eq!(output.status.code(), Some(2), "{command} {name}: {}", said(&output));
            assert_eq!(content(folder), before, "{command} {name} leaves nothing behind");
            assert!(output.stdout.is_empty(), "{command} {name}");
            if std::env::var_os("BLESS").is_some() {
                fs::write(bad.join(name.replace(".toml", ".txt")), said(&output)).unwrap();
            } else if said(&output) != expected {
                differences += &format!("==== {command} {name} says\n{}==== and not\n{expected}\n", said(&output));
            }
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[test]
fn a_password_hash_is_never_shown() {
    let folder = folder();
    for name in ["users_syntax.toml", "users_wrong.toml"] {
        fs::copy(fixtures().join("configs/bad").join(name), folder.path().join(name)).unwrap();
        for arguments in [&["check", "--config", name][..], &["users", "list", "--config", name]] {
            let output = run(folder.path(), arguments, "");
            assert!(!output.status.success());
            assert!(!said(&output).contains("c29tZXNhbHQ") && !said(&output).contains("hunter2"), "{}", said(&output));
        }
    }
    let add = run(folder.path(), &["users", "add", "eve", "--config", "users_syntax.toml"], "correct horse battery\n");
    assert!(!add.status.success() && !said(&add).contains("c29tZXNhbHQ"), "{}", said(&add));
}

#[test]
fn an_address_that_is_taken_is_said_and_nothing_is_left_behind() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = format!(
        "[listen]\nhttps = [\"{address}\"]\n[[app]]\nname = \"wiki\"\nhosts = [\"*\"]\nupstreams = [\"demo:\"]\n"
    );
    fs::write(folder.path().join("vestibule.toml"), config).unwrap();
    let before = content(folder.path());
    let output = run(folder.path(), &["run"], "");
    let expected =
        format!("cannot listen on {address}: another program listens there already; stop it or choose another port\n");
    assert_eq!((output.status.code(), said(&output)), (Some(2), expected));
    assert_eq!(content(folder.path()), before);
}

#[test]
fn a_configuration_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["run", "--config", "none.toml"][..], "cannot read the configuration none.toml"),
        (&["check"], "there is neither vestibule.toml nor /etc/vestibule/vestibule.toml"),
    ] {
        let output = run(folder.path(), arguments, "");
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(expected) && said(&output).contains("config.example.toml"), "{}", said(&output));
    }
}
