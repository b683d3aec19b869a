//! Clients and apps that speak in raw bytes, to say what no honest library would.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{HOST, World};

/// Nothing in these tests may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A rule that lets everybody in: what protects the app then is not the rule.
pub(crate) const OPEN: &str = "[[app.rule]]\nallow = \"anyone\"";

/// Waits for an event, not for ever.
pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// A connection on which any bytes can be said.
pub(crate) struct Raw<S = TlsStream<TcpStream>> {
    pub(crate) stream: S,
    pub(crate) bytes: Vec<u8>,
}

/// One answer in HTTP/1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The values of a header field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    pub(crate) fn says_close(&self) -> bool {
        self.all("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// The values of a field of a raw head, in order.
pub(crate) fn fields<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// A TLS connection that offers one protocol and believes any certificate.
pub(crate) async fn shake_hands(address: SocketAddr, name: &str, protocol: &str) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("the gate accepts");
    try_shake_hands(stream, name, protocol).await.expect("the gate shakes hands")
}

/// The same over a connection on which something may have been said before.
pub(crate) async fn try_shake_hands(
    stream: TcpStream,
    name: &str,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    stream.set_nodelay(true).expect("a TCP connection");
    let name = ServerName::try_from(name.to_owned()).expect("a name for the handshake");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

impl Raw {
    pub(crate) async fn open(world: &World) -> Self {
        Self::open_as(world, HOST).await
    }

    pub(crate) async fn open_as(world: &World, name: &str) -> Self {
        Self { stream: soon("a handshake", shake_hands(world.address(), name, "http/1.1")).await, bytes: Vec::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// Says bytes; whether the other side still listens shows in what it answers.
    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// The next answer; none if the connection ended before one was complete.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        soon("an answer", self.read_answer(false)).await
    }

    /// The next answer, to a HEAD request.
    pub(crate) async fn answer_to_head(&mut self) -> Option<Answer> {
        soon("an answer", self.read_answer(true)).await
    }

    async fn read_answer(&mut self, to_head: bool) -> Option<Answer> {
        let head = self.head().await?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, head, body: Vec::new() };
        if to_head || matches!(status, 204 | 304) || status < 200 {
            return Some(answer);
        }
        let length = answer.all("content-length").first().map(|length| length.parse::<usize>());
        answer.body = match length {
            Some(length) => self.take(length.ok()?).await?,
            None if answer.all("transfer-encoding") == ["chunked"] => self.chunks().await?,
            None => self.rest().await,
        };
        Some(answer)
    }

    /// A head with its last line, without the empty one.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let head = self.until(b"\r\n\r\n").await?;
        Some(String::from_utf8_lossy(&head[..head.len() - 2]).into_owned())
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n").await?;
            let digits = String::from_utf8_lossy(&line).trim().to_owned();
            let size = usize::from_str_radix(&digits, 16).ok()?;
            let chunk = self.take(size + 2).await?;
            if size == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut from = 0;
        loop {
            if let Some(at) = self.bytes[from..].windows(end.len()).position(|window| window == end) {
                return Some(self.bytes.drain(..from + at + end.len()).collect());
            }
            from = self.bytes.len().saturating_sub(end.len());
            self.more().await?;
        }
    }

    pub(crate) async fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        while self.bytes.len() < size {
            self.more().await?;
        }
        Some(self.bytes.drain(..size).collect())
    }

    /// Reads some more; none at the end.
    pub(crate) async fn more(&mut self) -> Option<usize> {
        self.stream.read_buf(&mut self.bytes).await.ok().filter(|read| *read > 0)
    }

    /// All that comes until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        soon("the end of a connection", async { while self.more().await.is_some() {} }).await;
        std::mem::take(&mut self.bytes)
    }

    /// Whether the connection has ended, without another word.
    pub(crate) async fn is_over(&mut self) -> bool {
        self.rest().await.is_empty()
    }
}

/// An app that does with each connection what a test wants.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
}

impl Stage {
    pub(crate) async fn start<F, P>(play: F) -> Self
    where
        F: Fn(Raw<TcpStream>) -> P + Send + 'static,
        P: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(play(Raw::new(stream)));
            }
        });
        Self { address }
    }

    /// Reads a head and says these bytes, again and again, then closes if they say so.
    pub(crate) async fn saying(answer: &'static str) -> Self {
        Self::start(move |mut raw| async move {
            while raw.head().await.is_some() {
                raw.say(answer).await;
                if answer.to_ascii_lowercase().contains("connection: close") {
                    return;
                }
            }
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// As a [`Stage`], on a socket in the file system.
pub(crate) fn stage_at(path: &Path, answer: &'static str) {
    let listener = UnixListener::bind(path).expect("the folder is ours");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut raw = Raw::new(stream);
            while raw.head().await.is_some() {
                raw.say(answer).await;
            }
        }
    });
}

/// Tells a test that something happened, from within an app.
pub(crate) fn bell() -> (mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>) {
    mpsc::unbounded_channel()
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// An HTTP/2 connection of a library that keeps the rules.
pub(crate) async fn http2(world: &World) -> h2::client::SendRequest<bytes::Bytes> {
    let stream = soon("a handshake", shake_hands(world.address(), HOST, "h2")).await;
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender.ready().await.expect("HTTP/2")
}

/// An HTTP/2 connection on which any frames can be sent.
pub(crate) struct Frames {
    pub(crate) raw: Raw,
}

/// One frame that was received (RFC 9113 §4.1).
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals without indexing, names and values as they are (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |bytes: &mut Vec<u8>, text: &str| {
        match text.len() {
            short @ 0..127 => bytes.push(u8::try_from(short).expect("less than 127")),
            mut rest => {
                bytes.push(127);
                rest -= 127;
                while rest >= 128 {
                    bytes.push(u8::try_from(rest % 128 + 128).expect("a byte"));
                    rest /= 128;
                }
                bytes.push(u8::try_from(rest).expect("a byte"));
            }
        }
        bytes.extend(text.as_bytes());
    };
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

impl Frames {
    /// After the preface, with these settings of ours.
    pub(crate) async fn open(world: &World, settings: &[u8]) -> Self {
        let stream = soon("a handshake", shake_hands(world.address(), HOST, "h2")).await;
        let mut raw = Raw::new(stream);
        raw.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.say(frame(SETTINGS, 0, 0, settings)).await;
        Self { raw }
    }

    pub(crate) async fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.raw.say(frame(kind, flags, stream, payload)).await;
    }

    /// The next frame; none at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        soon("a frame", async {
            let head = self.raw.take(9).await?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            Some(Frame { kind: head[3], stream, payload: self.raw.take(length).await? })
        })
        .await
    }

    /// What became of a stream: the status of its answer, or none if it, or the connection, was ended instead.
    pub(crate) async fn fate(&mut self, stream: u32) -> Option<u16> {
        while let Some(frame) = self.next().await {
            match frame.kind {
                HEADERS if frame.stream == stream => return Some(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return None,
                GOAWAY if frame.payload[4..8] != [0; 4] => return None,
                _ => {}
            }
        }
        None
    }
}

/// The status at the start of a connection's first answer (RFC 7541 §5.2, appendices A and B).
fn status(block: &[u8]) -> u16 {
    // The encoder may announce the size of its table first.
    let block = &block[block.iter().position(|byte| byte & 0xe0 != 0x20).expect("a field")..];
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x48 | 0x08, length, rest @ ..] if length & 0x80 != 0 => {
            let bits: String = rest[..usize::from(length & 0x7f)].iter().map(|byte| format!("{byte:08b}")).collect();
            let mut bits = bits.as_str();
            let mut status = 0;
            for _ in 0..3 {
                let (size, zero) = if bits < "00011" { (5, 0) } else { (6, 0b011_001 - 3) };
                status = status * 10 + u16::from_str_radix(&bits[..size], 2).expect("bits") - zero;
                bits = &bits[size..];
            }
            status
        }
        [0x48 | 0x08, 3, rest @ ..] => std::str::from_utf8(&rest[..3]).expect("digits").parse().expect("a number"),
        other => panic!("no status at the start of {other:02x?}"),
    }
}
