//! The app behind every proxy: as little as HTTP/1.1 allows, in a process and on a core of its own.

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Result};
use tokio::net::{TcpListener, TcpStream};

const SMALL: usize = 1024;
const LARGE: usize = 100 * 1024;

/// Prints its port, and serves until killed.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        println!("{}", listener.local_addr().expect("a bound socket has an address").port());
        let answers: &'static Answers = Box::leak(Box::new(Answers::new()));
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answers));
        }
    });
}

/// Written once, as they go out.
struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    empty: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let answer = |length: usize| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: tiny\r\nDate: Sun, 01 Nov 2026 08:00:00 GMT\r\nContent-Type: text/plain\r\n\
                 Cache-Control: private\r\nVary: Accept-Encoding\r\nX-Frame-Options: DENY\r\nContent-Length: {length}\r\n\r\n"
            );
            let mut bytes = head.into_bytes();
            bytes.resize(bytes.len() + length, b'x');
            bytes
        };
        Self { small: answer(SMALL), large: answer(LARGE), empty: answer(0) }
    }
}

async fn serve(mut stream: TcpStream, answers: &Answers) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(at) = memmem::find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        if head.contains("\r\nupgrade: websocket") {
            return echo(stream).await;
        }
        let target = head.split(' ').nth(1).unwrap_or_default();
        let answer = match target {
            _ if head.starts_with("post") => &answers.empty,
            "/100k" => &answers.large,
            "/auth" => &answers.empty,
            _ => &answers.small,
        };
        let length = head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        discard(&mut stream, &mut buffer, end + length.unwrap_or(0usize)).await?;
        stream.write_all(answer).await?;
    }
}

/// Reads on until `bytes` have been read since the buffer began, and forgets them.
async fn discard(stream: &mut TcpStream, buffer: &mut Vec<u8>, bytes: usize) -> Result<()> {
    if let Some(rest) = buffer.len().checked_sub(bytes) {
        buffer.copy_within(bytes.., 0);
        buffer.truncate(rest);
        return Ok(());
    }
    let mut left = bytes - buffer.len();
    buffer.clear();
    let mut sink = vec![0; 64 * 1024];
    while left > 0 {
        let most = left.min(sink.len());
        let read = stream.read(&mut sink[..most]).await?;
        if read == 0 {
            break;
        }
        left -= read;
    }
    Ok(())
}

/// Switches without asking what for, and sends back what comes.
async fn echo(mut stream: TcpStream) -> Result<()> {
    // The answer to the key that our clients send (RFC 6455 §1.3).
    stream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await?;
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await.map(|_| ())
}
