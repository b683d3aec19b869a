//! What `ARCHITECTURE.md` says about who may know whom, held against every file.

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom to the top: a module may import what stands in a row before its own.
const LAYERS: [&[&str]; 5] = [
    &["clock", "secret", "crypto", "problems", "section", "names", "identity", "web"],
    &["session", "login", "tls", "observe", "access", "upstream"],
    &["gate"],
    &["server", "admin"],
    &["config", "assembly", "command"],
];
/// The way of proof: a live session becomes a pass, and a pass forwards.
const SIDEWAYS: [(&str, &str); 3] = [("access", "session"), ("upstream", "session"), ("upstream", "access")];

/// Crates that come in through one door, and the files that are it.
const DOORS: [(&[&str], &[&str]); 14] = [
    (&["toml", "strsim"], &["section.rs"]),
    (&["toml_edit"], &["login/local/edit.rs"]),
    (&["argon2", "bcrypt", "unicode_normalization"], &["login/"]),
    (&["moka"], &["session/near.rs", "login/throttle/"]),
    (&["arc_swap"], &["session/session.rs", "login/local/mod.rs", "tls/by_name.rs"]),
    (&["rustls_native_certs", "webpki", "rcgen"], &["tls/"]),
    (&["rustls", "tokio_rustls"], &["tls/", "server/", "upstream/", "assembly/"]),
    (&["aws_lc_rs"], &["crypto.rs", "tls/"]),
    (&["base64"], &["crypto.rs"]),
    (&["hyper::client"], &["upstream/"]),
    (&["hyper::server"], &["server/", "admin/", "upstream/demo.rs"]),
    (&["socket2"], &["server/listener.rs"]),
    (&["url"], &["web/return_to.rs"]),
    (&["askama"], &["gate/", "upstream/demo.rs"]),
];

/// All files below a folder, as paths within it, with their text.
fn files(root: &Path) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let (name, is_folder) = entry.map(|entry| (entry.file_name(), entry.path().is_dir())).unwrap();
            let path = folder.join(&name);
            match is_folder {
                true if ["target", ".git", "state", "certs"].contains(&name.to_str().unwrap()) => {}
                true => folders.push(path),
                false => {
                    found.extend(fs::read_to_string(root.join(&path)).map(|text| (path.display().to_string(), text)))
                }
            }
        }
    }
    found
}

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| panic!("{module} is in no layer"))
}

/// The words that follow `crate::`.
fn imports(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
}

fn names_crate(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    text.match_indices(&format!("{name}::")).any(|(at, _)| !text[..at].ends_with(is_part))
}

#[test]
fn every_file_keeps_the_house_rules() {
    let mut broken = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in files(&root.join("src")).iter().filter(|(path, _)| path.ends_with(".rs")) {
        let stem = path.rsplit('/').next().unwrap().trim_end_matches(".rs");
        let module = path.split(['/', '.']).next().unwrap();
        for other in imports(text).filter(|other| *other != module && !["lib", "main"].contains(&module)) {
            let (mine, theirs) = (layer(module), layer(other));
            let beside =
                mine == theirs && (mine == 0 || mine == LAYERS.len() - 1 || SIDEWAYS.contains(&(module, other)));
            if theirs >= mine && !beside {
                broken.push(format!("{path} imports crate::{other}, which does not stand above it"));
            }
        }
        for (crates, _) in DOORS.iter().filter(|(_, doors)| !doors.iter().any(|door| path.starts_with(door))) {
            let named = crates.iter().filter(|name| names_crate(text, name));
            broken.extend(named.map(|name| format!("{path} names {name}, which has another door")));
        }
        if path != "clock.rs" && (text.contains("Instant::now") || text.contains("SystemTime::now")) {
            broken.push(format!("{path} asks for the time; that is the clock's"));
        }
        let length = text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
        if length > 400 {
            broken.push(format!("{path} has {length} lines; 300 are plenty"));
        }
        if ["utils", "util", "common", "helpers", "manager"].contains(&stem) {
            broken.push(format!("{path} is named after nothing"));
        }
    }
    let unfinished = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let notes = files(root).into_iter().filter(|(_, text)| unfinished.iter().any(|word| text.contains(word)));
    broken.extend(notes.map(|(path, _)| format!("{path} says that something is not done")));
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
