//! The real program, as an operator runs it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::world::{Browser, HOST, user_toml, write_private};

/// `vestibule run`, in a folder of its own, until dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
}

/// How long the program may take to say something.
const PATIENCE: Duration = Duration::from_secs(30);

impl Process {
    /// Starts it with an app on [`HOST`], and waits until it is ready.
    pub(crate) fn start(upstream: &str, more: &str) -> Self {
        Self::start_logging(upstream, more, "level = \"trace\"")
    }

    /// The same, without a line for each request.
    pub(crate) fn start_quietly(upstream: &str, more: &str) -> Self {
        Self::start_logging(upstream, more, "access = false")
    }

    fn start_logging(upstream: &str, more: &str, log: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        write_private(&folder.path().join("users.toml"), &user_toml("ann", &[]));
        let app = format!("[[app]]\nname = \"wiki\"\nhosts = [\"{HOST}\"]\nupstreams = [\"{upstream}\"]\n");
        let listen = format!("[listen]\nhttps = [\"127.0.0.1:0\"]\n[log]\nformat = \"json\"\n{log}\n");
        std::fs::write(folder.path().join("vestibule.toml"), format!("{more}\n{listen}{app}"))
            .expect("a configuration");
        Self::start_in(folder)
    }

    /// Waits for the end, and starts it anew in the same folder.
    pub(crate) fn restart(mut self) -> Self {
        self.end();
        let another = tempfile::tempdir().expect("a folder for the test");
        Self::start_in(std::mem::replace(&mut self.folder, another))
    }

    fn start_in(folder: TempDir) -> Self {
        let mut child = vestibule(folder.path()).arg("run").stderr(Stdio::piped()).spawn().expect("the program starts");
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("it was asked for"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child, lines, seen: Vec::new(), address: nowhere, folder };
        let ready = process.wait_for("\"message\":\"ready\"");
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        process.address = ready["https"].as_str().and_then(|text| text.parse().ok()).expect("an address");
        process
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(HOST, self.address, |builder| builder)
    }

    /// The first line from now on that contains this.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no {part:?} in\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the end; returns the exit status and everything it said.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        let status = self.child.wait().expect("it has ended");
        (status.code(), self.seen.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, in this folder.
pub(crate) fn vestibule(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}
