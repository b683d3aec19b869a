//! Real programs to put Vestibule before, as children of the test: on free ports, in folders of their own, gone when
//! dropped. Nothing here knows Vestibule.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

pub(crate) mod git_http;
pub(crate) mod prometheus;
pub(crate) mod radicale;
pub(crate) mod websocket;

/// A program that runs until this is dropped, and what it forked with it.
pub(crate) struct Program {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Program {
    /// Starts it; what it prints goes to a file in `folder`.
    pub(crate) fn start(name: &'static str, package: &str, folder: &Path, arguments: &[&str]) -> Self {
        let log = folder.join(format!("{name}.out"));
        let out = File::create(&log).expect("the folder is ours");
        // Servers lie in `sbin`, where not everybody looks.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new(name)
            .args(arguments)
            .env("PATH", path)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(out.try_clone().expect("a file can be written from two ends"))
            .stdout(out)
            .process_group(0)
            .spawn();
        match child {
            Ok(child) => Self { child, name, log },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("this test needs the program {name}: apt-get install -y {package}")
            }
            Err(error) => panic!("{name} does not start: {error}"),
        }
    }

    /// Waits until `is_up`, for a minute at most.
    pub(crate) fn wait_until(&mut self, is_up: impl Fn() -> bool) {
        for _ in 0..600 {
            if is_up() {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended with {status}:\n{}", self.name, self.said());
            }
            sleep(Duration::from_millis(100));
        }
        panic!("{} is not up after a minute:\n{}", self.name, self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its whole process group: some programs fork workers, and those would hold the port.
        let _ = Command::new("sh").arg("-c").arg(format!("kill -s KILL -- -{}", self.child.id())).status();
        let _ = self.child.wait();
    }
}

/// An address that nobody listened on a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// Whether somebody accepts connections there.
pub(crate) fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Sends one request as it is, and returns the whole response.
fn exchange(address: SocketAddr, head: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "{head}\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

/// The status of a response.
fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn a_program_and_its_children_end_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let mut program =
        Program::start("sh", "dash", folder.path(), &["-c", "sleep 600 & echo $! > new; mv new pid; wait"]);
    program.wait_until(|| pid.exists());
    let child = std::fs::read_to_string(&pid).unwrap().trim().to_owned();
    let lives = || match std::fs::read_to_string(format!("/proc/{child}/stat")) {
        Ok(stat) => !stat.contains(") Z "),
        Err(_) => false,
    };
    assert!(lives());
    drop(program);
    // The kernel may need a moment to end a grandchild.
    assert!((0..100).any(|_| !lives() || {
        sleep(Duration::from_millis(20));
        false
    }));
}
