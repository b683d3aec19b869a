//! An app that answers with what it received, head byte for byte, and keeps it for the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The app. It speaks just enough HTTP/1.1 to be asked over a connection again and again.
pub(crate) struct Mirror {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    /// Answers everything with 200 and the request's head as text.
    pub(crate) async fn start() -> Self {
        Self::answering("").await
    }

    /// As [`Mirror::start`], with more header lines in the answers; each ends with CRLF.
    pub(crate) async fn answering(lines: &'static str) -> Self {
        Self::saying("200 OK", lines).await
    }

    /// Answers everything with a redirect; the line ends with CRLF.
    pub(crate) async fn redirecting(location: &'static str) -> Self {
        Self::saying("302 Found", location).await
    }

    async fn saying(status: &'static str, lines: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&kept), status, lines));
            }
        });
        Self { address, heads }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no test panics while it holds this").clone()
    }
}

async fn converse(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>, status: &'static str, lines: &'static str) {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = find(&bytes, b"\r\n\r\n") else {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes.drain(..end + 4);
        if skip_body(&mut stream, &mut bytes, &head).await.is_none() {
            return;
        }
        let body = if head.starts_with("HEAD ") { "" } else { head.as_str() };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\n{lines}content-length: {}\r\n\r\n{body}",
            head.len()
        );
        heads.lock().expect("no test panics while it holds this").push(head.clone());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn skip_body(stream: &mut TcpStream, bytes: &mut Vec<u8>, head: &str) -> Option<()> {
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
        Some(line[name.len()..].trim().to_owned())
    };
    let end = match (field("content-length:"), field("transfer-encoding:")) {
        (Some(length), _) => Some(length.parse::<usize>().ok()?),
        (None, Some(_)) => None,
        (None, None) => return Some(()),
    };
    loop {
        let complete = match end {
            Some(length) => (bytes.len() >= length).then_some(length),
            None => find(bytes, b"0\r\n\r\n").map(|at| at + 5),
        };
        if let Some(length) = complete {
            bytes.drain(..length);
            return Some(());
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
