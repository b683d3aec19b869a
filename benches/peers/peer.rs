//! One proxy before the app: how it is started, signed in to, and shown to work before it is measured.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::certificate::Certificate;
use super::clients;
use super::process::{OTHER_CORE, PROXY_CORE, Program, is_there, on_core, ourselves};

/// What all proxies share.
pub(crate) struct Backstage {
    folder: PathBuf,
    pub(crate) certificate: Certificate,
    pub(crate) app_port: u16,
    _app: Program,
}

type Prepare = Box<dyn Fn(&Place<'_>, &mut Command)>;

/// A proxy that may take part.
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) program: String,
    /// How to install it.
    pub(crate) install: &'static str,
    /// The work that it takes part in; all if empty.
    pub(crate) joins: &'static [&'static str],
    /// Writes its configuration, and says with which arguments it is run.
    pub(crate) prepare: Prepare,
    /// Returns the cookies of somebody signed in; without a session, something of that size.
    pub(crate) sign_in: fn(u16) -> Result<String, String>,
}

/// Where one proxy is put.
pub(crate) struct Place<'a> {
    pub(crate) stage: &'a Backstage,
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
}

/// A running proxy.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) cookies: String,
    pub(crate) program: Program,
}

impl Backstage {
    pub(crate) fn prepare(folder: &Path) -> Self {
        let (app, port) = Program::first_line(&mut ourselves(OTHER_CORE, "as-app"));
        let app_port = port.parse().expect("the app prints its port");
        Self { folder: folder.to_owned(), certificate: Certificate::make(folder), app_port, _app: app }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Kind {
    pub(crate) fn joins(&self, load: &str) -> bool {
        self.joins.is_empty() || self.joins.contains(&load)
    }

    pub(crate) fn start(&self, stage: &Backstage) -> Result<Peer, String> {
        if !is_there(&self.program) {
            return Err(format!("not installed; `{}`", self.install));
        }
        let port = free_port();
        let place = Place { stage, folder: stage.folder.join(port.to_string()), port };
        std::fs::create_dir(&place.folder).map_err(|error| error.to_string())?;
        let log = place.folder.join("output");
        let out = File::create(&log).map_err(|error| error.to_string())?;
        let mut command = on_core(PROXY_CORE, &self.program);
        command.current_dir(&place.folder).stderr(out.try_clone().map_err(|error| error.to_string())?).stdout(out);
        (self.prepare)(&place, &mut command);
        let mut program = Program::start(&mut command);
        let said = |what: &str| format!("{what}: {}", std::fs::read_to_string(&log).unwrap_or_default());
        if !accepts(port, &mut program) {
            return Err(said("it does not accept connections"));
        }
        let cookies = (self.sign_in)(port).map_err(|reason| said(&reason))?;
        let (head, body) = clients::ask(port, &clients::head(port, &cookies, "Connection: close\r\n"))
            .map_err(|error| said(&error.to_string()))?;
        if !head.starts_with("HTTP/1.1 200") || !body.contains("xxxx") {
            return Err(said(&format!("it does not let us through: {head}")));
        }
        Ok(Peer { name: self.name.clone(), port, cookies, program })
    }
}

impl Place<'_> {
    /// Writes a file into the folder of this proxy.
    pub(crate) fn put(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        write_private(&path, text);
        path.to_str().expect("the folder's name is text").to_owned()
    }
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("the folder is ours");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("and its files can be made private");
}

/// One that nobody listened on a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn accepts(port: u16, program: &mut Program) -> bool {
    (0..100).any(|_| {
        sleep(Duration::from_millis(100));
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() && !program.has_ended()
    })
}
