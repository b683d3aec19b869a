//! Prometheus, a single-page app with a background life of its own: it polls, and knows nothing of users.

use std::net::SocketAddr;

use tempfile::TempDir;

use super::{Program, exchange, free_address, status};

/// A running Prometheus that watches itself.
pub(crate) struct Prometheus {
    /// Where it listens, without TLS.
    pub(crate) addr: SocketAddr,
    _program: Program,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one, and waits until it is ready.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let addr = free_address();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: self\n    static_configs:\n      \
             - targets: ['{addr}']\n"
        );
        std::fs::write(&config, text).expect("the folder is ours");
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={addr}"),
            "--log.level=warn".to_owned(),
        ];
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut program = Program::start("prometheus", "prometheus", folder.path(), &arguments);
        program.wait_until(|| exchange(addr, "GET /-/ready HTTP/1.1").is_ok_and(|response| status(&response) == "200"));
        Self { addr, _program: program, _folder: folder }
    }
}

#[test]
fn prometheus_answers_queries() {
    let prometheus = Prometheus::start();
    let response = exchange(prometheus.addr, "GET /api/v1/query?query=vector(1) HTTP/1.1").unwrap();
    assert!(status(&response) == "200" && response.contains("\"status\":\"success\""), "{response}");
}
