//! The program itself, as an operator starts it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

fn vestibule(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end, with `input` in its pipe.
pub(crate) fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = vestibule(folder, arguments).spawn().expect("the program was built with this test");
    let mut stdin = child.stdin.take().expect("it has a pipe");
    // Who does not read hangs up; that is not what these tests are about.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// What a command said to people.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `vestibule run`, until this is dropped.
pub(crate) struct Serving {
    child: Child,
    /// Where it serves.
    pub(crate) address: SocketAddr,
}

impl Serving {
    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(folder: &Path, config: &str) -> Self {
        let mut child = vestibule(folder, &["run", "--config", config]).spawn().expect("built with this test");
        let mut lines = BufReader::new(child.stderr.take().expect("it has a pipe")).lines();
        let mut heard = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.wait();
                panic!("it does not start:\n{heard}");
            };
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "ready" {
                let first = event["https"].as_str().unwrap_or_default().split(' ').next().unwrap_or_default();
                break first.parse().expect("it says where");
            }
            heard += &line;
            heard.push('\n');
        };
        // Read to the end, or a full pipe would stop the program.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// SIGTERM, and how it ended. The test's browsers go on meanwhile, or they could not agree to the end.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        let kill = Command::new("sh").arg("-c").arg(format!("kill -s TERM {}", self.child.id())).status();
        assert!(kill.is_ok_and(|status| status.success()));
        tokio::task::spawn_blocking(move || self.child.wait()).await.expect("nothing panics").expect("it ends")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
