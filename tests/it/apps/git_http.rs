//! git's own server, as CGI behind nginx: large bodies both ways, and a user who arrives as `Remote-User`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::{Program, accepts, free_address};

const BACKEND: &str = "/usr/lib/git-core/git-http-backend";

/// A running git server with one repository, `wiki.git`, in which `README` is committed. Everybody may fetch; only
/// somebody with a name may push.
pub(crate) struct GitHttp {
    /// Where it listens, without TLS.
    pub(crate) addr: SocketAddr,
    repository: PathBuf,
    _nginx: Program,
    _fcgiwrap: Program,
    _folder: TempDir,
}

impl GitHttp {
    /// Starts one, and waits until it accepts connections.
    pub(crate) fn start() -> Self {
        assert!(Path::new(BACKEND).exists(), "this test needs {BACKEND}: apt-get install -y git");
        let temporary = tempfile::tempdir().expect("there is room for a folder");
        let folder = temporary.path();
        let repository = seed(folder);

        let socket = folder.join("fcgi.sock");
        let listen = format!("unix:{}", socket.display());
        let mut fcgiwrap = Program::start("fcgiwrap", "fcgiwrap", folder, &["-f", "-c", "4", "-s", &listen]);
        fcgiwrap.wait_until(|| socket.exists());

        let addr = free_address();
        std::fs::write(folder.join("nginx.conf"), nginx_config(addr, folder)).expect("the folder is ours");
        let prefix = folder.display().to_string();
        let mut nginx =
            Program::start("nginx", "nginx-light", folder, &["-p", &prefix, "-c", "nginx.conf", "-e", "error.log"]);
        nginx.wait_until(|| accepts(addr));
        Self { addr, repository, _nginx: nginx, _fcgiwrap: fcgiwrap, _folder: temporary }
    }

    /// Who moved `main` last, as the server was told.
    pub(crate) fn last_pusher(&self) -> String {
        let log = git(&self.repository, &["log", "-1", "--walk-reflogs", "--format=%gn", "main"]);
        String::from_utf8_lossy(&log.stdout).trim().to_owned()
    }
}

/// Runs git without the settings of this machine and its user.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Test").env(format!("GIT_{role}_EMAIL"), "test@example.com");
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("this test needs the program git: apt-get install -y git")
}

/// The same, and it has to work.
pub(crate) fn git_ok(folder: &Path, arguments: &[&str]) {
    let output = git(folder, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn seed(folder: &Path) -> PathBuf {
    let (work, repository) = (folder.join("seed"), folder.join("repositories/wiki.git"));
    git_ok(folder, &["init", "-q", "-b", "main", "seed"]);
    std::fs::write(work.join("README"), "hello\n").expect("the folder is ours");
    git_ok(&work, &["add", "README"]);
    git_ok(&work, &["commit", "-q", "-m", "Begin"]);
    git_ok(folder, &["clone", "-q", "--bare", "seed", "repositories/wiki.git"]);
    // `http.receivepack` stays unset, which means: for those who have a name.
    git_ok(&repository, &["config", "core.logAllRefUpdates", "true"]);
    repository
}

fn nginx_config(addr: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"]
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "user root;\ndaemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
         events {{}}\nhttp {{\n{temporary}    access_log off;\n    client_max_body_size 0;\n\
         server {{\n    listen {addr};\n    location / {{\n\
         fastcgi_pass unix:{folder}/fcgi.sock;\n\
         fastcgi_param SCRIPT_FILENAME {BACKEND};\n\
         fastcgi_param GIT_PROJECT_ROOT {folder}/repositories;\n\
         fastcgi_param GIT_HTTP_EXPORT_ALL 1;\n\
         fastcgi_param PATH_INFO $uri;\n\
         fastcgi_param QUERY_STRING $query_string;\n\
         fastcgi_param REQUEST_METHOD $request_method;\n\
         fastcgi_param CONTENT_TYPE $content_type;\n\
         fastcgi_param CONTENT_LENGTH $content_length;\n\
         fastcgi_param REMOTE_ADDR $remote_addr;\n\
         fastcgi_param REMOTE_USER $http_remote_user if_not_empty;\n\
         }}\n}}\n}}\n"
    )
}

#[test]
fn git_clones_and_lets_only_those_with_a_name_push() {
    let server = GitHttp::start();
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("wiki");
    git_ok(folder.path(), &["clone", "-q", &format!("http://{}/wiki.git", server.addr), "wiki"]);
    assert_eq!(std::fs::read_to_string(work.join("README")).unwrap(), "hello\n");

    // Larger than git's buffer, so that it is sent in chunks; and nothing that could be compressed.
    let noise = (0..3 << 20).scan(1_u64, |state, _| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Some((*state >> 56) as u8)
    });
    std::fs::write(work.join("noise"), noise.collect::<Vec<u8>>()).unwrap();
    git_ok(&work, &["add", "noise"]);
    git_ok(&work, &["commit", "-q", "-m", "Add noise"]);
    assert!(!git(&work, &["push", "-q"]).status.success(), "nobody may not push");
    git_ok(&work, &["-c", "http.extraHeader=Remote-User: alice", "push", "-q"]);
    assert_eq!(server.last_pusher(), "alice");
}
