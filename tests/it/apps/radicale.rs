//! Radicale, a calendar and address-book server that believes `X-Remote-User`.

use std::net::SocketAddr;

use tempfile::TempDir;

use super::{Program, accepts, exchange, free_address, status};

/// A running Radicale. Everybody has their own collections; nobody sees those of others.
pub(crate) struct Radicale {
    /// Where it listens, without TLS.
    pub(crate) addr: SocketAddr,
    program: Program,
    _folder: TempDir,
}

impl Radicale {
    /// Starts one, and waits until it accepts connections.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let addr = free_address();
        let config = folder.path().join("config");
        let text = format!(
            "[server]\nhosts = {addr}\n[auth]\ntype = http_x_remote_user\n[rights]\ntype = owner_only\n\
             [storage]\nfilesystem_folder = {}\n[logging]\nlevel = info\n",
            folder.path().join("collections").display()
        );
        std::fs::write(&config, text).expect("the folder is ours");
        let arguments = ["--config", &config.display().to_string()];
        let mut program = Program::start("radicale", "radicale", folder.path(), &arguments);
        program.wait_until(|| accepts(addr));
        Self { addr, program, _folder: folder }
    }

    /// What it has logged, one line and more for each request.
    pub(crate) fn log(&self) -> String {
        self.program.said()
    }
}

#[test]
fn radicale_believes_the_header_and_keeps_people_apart() {
    let radicale = Radicale::start();
    for (user, path, wanted) in [
        ("X-Remote-User: alice", "/alice/", &["207"][..]),
        ("X-Remote-User: alice", "/bob/", &["403", "404"]),
        ("X-Nothing: 1", "/alice/", &["401", "403"]),
    ] {
        let response = exchange(radicale.addr, &format!("PROPFIND {path} HTTP/1.1\r\nDepth: 0\r\n{user}")).unwrap();
        assert!(wanted.contains(&status(&response)), "{user} {path}: {response}");
    }
}
