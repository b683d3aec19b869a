//! Programs that run until dropped, each on one core, and what they cost.

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where the proxies run, and where everything else does.
pub(crate) const PROXY_CORE: u8 = 0;
pub(crate) const OTHER_CORE: u8 = 1;

/// The kernel counts time for user programs in these, whatever it counts in itself.
const TICKS_PER_SECOND: u64 = 100;
const PAGE_BYTES: u64 = 4096;

/// A program, and all that it forks.
pub(crate) struct Program(Child);

/// A command that runs on one core, and ends with us even if we are killed.
pub(crate) fn on_core(core: u8, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    // Servers lie in `sbin`, and what Go installs where Go likes it, where not everybody looks.
    let home = std::env::var("HOME").unwrap_or_default();
    let path = format!("{}:/usr/sbin:{home}/go/bin", std::env::var("PATH").unwrap_or_default());
    command.args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string(), program]).env("PATH", path);
    command.stdin(Stdio::null());
    command
}

/// This program once more, in another role.
pub(crate) fn ourselves(core: u8, role: &str) -> Command {
    let exe = std::env::current_exe().expect("we are a file");
    let mut command = on_core(core, exe.to_str().expect("Cargo's paths are text"));
    command.arg(role);
    command
}

/// Whether a program is installed.
pub(crate) fn is_there(program: &str) -> bool {
    let home = std::env::var("HOME").unwrap_or_default();
    let path = format!("{}:/usr/sbin:{home}/go/bin", std::env::var("PATH").unwrap_or_default());
    program.starts_with('/') && Path::new(program).exists()
        || path.split(':').any(|folder| Path::new(folder).join(program).exists())
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        use std::os::unix::process::CommandExt;
        match command.process_group(0).spawn() {
            Ok(child) => Self(child),
            Err(error) if error.kind() == ErrorKind::NotFound => panic!("apt-get install -y util-linux"),
            Err(error) => panic!("{command:?} does not start: {error}"),
        }
    }

    /// Starts it, and waits for the first line that it prints.
    pub(crate) fn first_line(command: &mut Command) -> (Self, String) {
        let mut program = Self::start(command.stdout(Stdio::piped()));
        let mut line = String::new();
        let stdout = program.0.stdout.take().expect("it was asked for");
        BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
        (program, line.trim().to_owned())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// User and system time of the whole tree of processes.
    pub(crate) fn cpu_time(&self) -> Duration {
        let ticks: u64 = self.tree().iter().map(|stat| stat.ticks).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// Resident memory of the whole tree in bytes. What processes share counts for each of them.
    pub(crate) fn resident(&self) -> u64 {
        self.tree().iter().map(|stat| stat.pages * PAGE_BYTES).sum()
    }

    fn tree(&self) -> Vec<Stat> {
        let all = std::fs::read_dir("/proc").expect("this is Linux");
        let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // The program leads a group of its own, to which belongs what it forks.
        all.filter_map(Stat::read).filter(|stat| stat.group == self.0.id()).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = Command::new("sh").arg("-c").arg(format!("kill -s KILL -- -{}", self.0.id())).status();
        let _ = self.0.wait();
    }
}

/// What `/proc/PID/stat` says (proc(5)).
struct Stat {
    group: u32,
    ticks: u64,
    pages: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may have spaces and brackets in it; what follows it has none.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self { group: fields.get(2)?.parse().ok()?, ticks: number(11)? + number(12)?, pages: number(21)? })
    }
}
