//! Handshakes over loopback: what clients and we agree on.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::clock::Clock;

struct World {
    certificates: Vec<Certificate>,
    by_name: Arc<ByName>,
    server: TlsAcceptor,
}

/// What was agreed on.
struct Agreed {
    chain: Vec<u8>,
    protocol: Option<Vec<u8>>,
    version: ProtocolVersion,
    suite: CipherSuite,
    kind: HandshakeKind,
}

impl World {
    fn new(min_version: MinVersion) -> Self {
        let now = Clock::system().now();
        let certificates: Vec<_> =
            ["first.test", "*.example.com", "wiki.example.com"].map(|name| in_memory(&[name], now).unwrap()).into();
        let by_name = ByName::new(&certificates).unwrap();
        let server = TlsAcceptor::from(server_config(Arc::clone(&by_name), min_version).unwrap());
        Self { certificates, by_name, server }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.certificates {
            roots.add(certificate.chain()[0].clone()).unwrap();
        }
        Arc::new(roots)
    }

    /// A client as other programs have it: AES-256 first.
    fn client(&self, versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> ClientConfig {
        let mut client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        client
    }

    /// One connection that carries a byte each way, so that tickets arrive.
    async fn meet(&self, client: &Arc<ClientConfig>, name: &str) -> std::io::Result<Agreed> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = async {
            let mut stream = self.server.accept(listener.accept().await?.0).await?;
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await?;
            stream.shutdown().await
        };
        let client = async {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let mut stream =
                TlsConnector::from(Arc::clone(client)).connect(name, TcpStream::connect(address).await?).await?;
            stream.write_u8(7).await?;
            assert_eq!(stream.read_u8().await?, 7);
            let tls = stream.get_ref().1;
            Ok(Agreed {
                chain: tls.peer_certificates().unwrap()[0].to_vec(),
                protocol: tls.alpn_protocol().map(<[u8]>::to_vec),
                version: tls.protocol_version().unwrap(),
                suite: tls.negotiated_cipher_suite().unwrap().suite(),
                kind: tls.handshake_kind().unwrap(),
            })
        };
        let (agreed, _) = tokio::join!(client, server);
        agreed
    }
}

#[tokio::test]
async fn the_certificate_follows_the_name_that_was_asked_for() {
    let world = World::new(MinVersion::Tls12);
    let client = Arc::new(world.client(&[&TLS13, &TLS12], &[]));
    for (name, wanted) in [("wiki.example.com", 2), ("git.example.com", 1), ("first.test", 0), ("127.0.0.1", 0)] {
        let agreed = world.meet(&client, name).await.unwrap();
        assert_eq!(agreed.chain, world.certificates[wanted].chain()[0].as_ref(), "{name}");
    }
    let stranger = world.meet(&client, "elsewhere.test").await;
    assert!(stranger.is_err(), "the first certificate is shown, and does not cover the name");
}

#[tokio::test]
async fn the_next_connection_sees_a_renewed_certificate() {
    let world = World::new(MinVersion::Tls12);
    let client = Arc::new(world.client(&[&TLS13], &[]));
    let renewed = &world.certificates[1..];
    let before = world.meet(&client, "localhost").await.unwrap();
    world.by_name.replace(renewed).unwrap();
    let stranger = Arc::new(world.client(&[&TLS13], &[]));
    let after = world.meet(&stranger, "localhost").await.unwrap();
    assert_eq!(before.chain, world.certificates[0].chain()[0].as_ref());
    assert_eq!(after.chain, renewed[0].chain()[0].as_ref());
}

#[tokio::test]
async fn http_2_comes_before_http_1_1() {
    let world = World::new(MinVersion::Tls12);
    for (offered, wanted) in
        [(&["http/1.1", "h2"][..], Some("h2")), (&["h2"], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let client = Arc::new(world.client(&[&TLS13], offered));
        let agreed = world.meet(&client, "first.test").await.unwrap();
        assert_eq!(agreed.protocol.as_deref(), wanted.map(str::as_bytes), "{offered:?}");
    }
    assert!(world.meet(&Arc::new(world.client(&[&TLS13], &["spdy/3"])), "first.test").await.is_err());
}

#[tokio::test]
async fn both_versions_are_spoken_with_aes_128_whatever_the_client_prefers() {
    let world = World::new(MinVersion::Tls12);
    for (version, number, suite) in [
        (&TLS13, ProtocolVersion::TLSv1_3, CipherSuite::TLS13_AES_128_GCM_SHA256),
        (&TLS12, ProtocolVersion::TLSv1_2, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ] {
        let agreed = world.meet(&Arc::new(world.client(&[version], &[])), "first.test").await.unwrap();
        assert_eq!((agreed.version, agreed.suite), (number, suite));
    }
}

#[tokio::test]
async fn the_oldest_version_can_be_raised() {
    let world = World::new(MinVersion::Tls13);
    assert!(world.meet(&Arc::new(world.client(&[&TLS12], &[])), "first.test").await.is_err());
    assert!(world.meet(&Arc::new(world.client(&[&TLS13], &[])), "first.test").await.is_ok());
}

#[tokio::test]
async fn a_client_that_returns_resumes() {
    let world = World::new(MinVersion::Tls12);
    for version in [&TLS13, &TLS12] {
        let mut client = world.client(&[version], &[]);
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        let first = world.meet(&client, "first.test").await.unwrap();
        assert_ne!(first.kind, HandshakeKind::Resumed);
        let second = world.meet(&client, "first.test").await.unwrap();
        assert_eq!(second.kind, HandshakeKind::Resumed, "{:?}", second.version);
    }
}

#[tokio::test]
async fn an_upstream_is_believed_only_if_the_given_authorities_vouch_for_it() {
    let world = World::new(MinVersion::Tls12);
    let ours = client_config(&Roots::Given(world.roots())).unwrap();
    assert_eq!(world.meet(&ours, "first.test").await.unwrap().protocol.as_deref(), Some(&b"http/1.1"[..]));
    assert!(world.meet(&ours, "elsewhere.test").await.is_err());
    let strangers = client_config(&Roots::Given(World::new(MinVersion::Tls12).roots())).unwrap();
    assert!(world.meet(&strangers, "first.test").await.is_err());
}

#[test]
fn authorities_are_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let made = ensure(folder.path(), &["a.test"], Clock::system().now()).unwrap();
    assert!(matches!(Roots::read(&made.chain), Ok(Roots::Given(store)) if store.len() == 1));
    let mistake = Roots::read(&made.key).unwrap_err();
    assert!(matches!(mistake.mistake, Mistake::NoCertificate { holds_key: true }));
}
