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
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.expect("the gate accepts");
    stream.set_nodelay(true).expect("a TCP connection");
    let name = ServerName::try_from(name.to_owned()).expect("a name for the handshake");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("the gate shakes hands")
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
