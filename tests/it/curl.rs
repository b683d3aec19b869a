//! A second client with its own reading of HTTP: curl, over HTTP/1.1 and over HTTP/2.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::world::{HOST, PASSWORD, World, csrf_token};

/// curl, with a cookie jar of its own.
pub(crate) struct Curl {
    address: SocketAddr,
    arguments: Vec<String>,
    folder: TempDir,
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) heads: String,
    pub(crate) body: Vec<u8>,
    /// What it told on the way (`-v`).
    pub(crate) told: String,
}

impl Curl {
    pub(crate) fn at(world: &World) -> Self {
        let folder = tempfile::tempdir().expect("a folder for cookies");
        Self { address: world.address(), arguments: Vec::new(), folder }
    }

    /// Always with these arguments.
    fn always(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// With a session that a browser has opened.
    pub(crate) fn within(self, session: &str) -> Self {
        self.always(&["-H", &format!("Cookie: __Host-vestibule={session}")])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Asks for a path, which is the last argument.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Got {
        let (path, rest) = arguments.split_last().expect("a path");
        let (port, jar) = (self.address.port(), self.file("jar"));
        let (heads, body) = (self.file("heads"), self.file("body"));
        for file in [&heads, &body] {
            std::fs::write(file, "").expect("the folder is ours");
        }
        let mut command = Command::new("curl");
        command
            .args(["-q", "-k", "-s", "-S", "-v", "--noproxy", "*", "--max-time", "60"])
            .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1"), "-w", "%{http_code}"])
            .args([&PathBuf::from("-b"), &jar, &PathBuf::from("-c"), &jar])
            .args([&PathBuf::from("-D"), &heads, &PathBuf::from("-o"), &body])
            .args(&self.arguments)
            .args(rest)
            .arg(format!("https://{HOST}:{port}{path}"));
        // Elsewhere, because the app may run on this thread.
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("curl is waited for");
        let output = match output {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("this test needs the program curl: apt-get install -y curl")
            }
            output => output.expect("curl can be run"),
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Got {
            status: text(output.stdout).trim().parse().unwrap_or_default(),
            heads: text(std::fs::read(heads).expect("curl leaves it")),
            body: std::fs::read(body).expect("curl leaves it"),
            told: text(output.stderr),
        }
    }

    async fn sign_in(&self) -> Got {
        let page = self.run(&["/.vestibule/login"]).await;
        let token = format!("csrf_token={}", csrf_token(&page.text()));
        let (password, user) = (format!("password={PASSWORD}"), "username=ann");
        let mut arguments = Vec::new();
        for field in [user, &password, &token, "return_to=/here?a=1&b"] {
            arguments.extend(["--data-urlencode", field]);
        }
        arguments.push("/.vestibule/login");
        self.run(&arguments).await
    }
}

impl Got {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The values of a header of the last answer, in order.
    fn all(&self, name: &str) -> Vec<&str> {
        let last = self.heads.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default();
        let fields = last.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// An app that keeps what is put on it, gives parts of it back, and sets three cookies.
struct Shelf {
    address: SocketAddr,
    kept: Arc<Mutex<Bytes>>,
}

impl Shelf {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let kept: Arc<Mutex<Bytes>> = Arc::default();
        let shelf = Arc::clone(&kept);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shelf = Arc::clone(&shelf);
                let service = service_fn(move |request| shelve(request, Arc::clone(&shelf)));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, kept }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn kept(&self) -> Bytes {
        self.kept.lock().expect("nobody panics while holding it").clone()
    }
}

async fn shelve(request: Request<Incoming>, shelf: Arc<Mutex<Bytes>>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let mut answer = Response::builder().header("set-cookie", "z=1; Path=/").header("set-cookie", "a=2; Path=/");
    answer = answer.header("set-cookie", "z=3; Path=/z").header("accept-ranges", "bytes");
    let keeps = parts.method == "POST" || parts.method == "PUT";
    if keeps {
        let bytes = body.collect().await?.to_bytes();
        *shelf.lock().expect("nobody panics while holding it") = bytes;
    }
    let kept = shelf.lock().expect("nobody panics while holding it").clone();
    let part =
        parts.headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let (status, bytes) = match part.and_then(|(from, to)| Some((from.parse().ok()?, to.parse::<usize>().ok()?))) {
        Some((from, to)) => {
            answer = answer.header("content-range", format!("bytes {from}-{to}/{}", kept.len()));
            (206, kept.slice(from..=to))
        }
        None if keeps => (201, Bytes::new()),
        None => (200, kept),
    };
    Ok(answer.status(status).body(Full::from(bytes)).expect("a valid answer"))
}

const PROTOCOLS: [(&str, &str); 2] = [("--http1.1", "HTTP/1.1 "), ("--http2", "HTTP/2 ")];

/// Bytes that no two places share.
fn noise(length: usize) -> Vec<u8> {
    let random = (0..length).scan(7_u64, |state, _| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Some((*state >> 56) as u8)
    });
    random.collect()
}

async fn world(more: &str) -> (World, Shelf) {
    let shelf = Shelf::start().await;
    let world = World::plan().app(&shelf.url(), more).start().await;
    (world, shelf)
}

#[tokio::test]
async fn curl_alone_can_sign_in_and_out() {
    let (world, _shelf) = world("").await;
    for (protocol, version) in PROTOCOLS {
        let curl = Curl::at(&world).always(&[protocol]);
        let asked = curl.run(&["/"]).await;
        assert_eq!((asked.status, asked.all("location").len()), (401, 0), "curl is a program: {}", asked.heads);
        assert!(asked.heads.starts_with(version), "{}", asked.heads);
        let asked = curl.run(&["-H", "Accept: text/html", "/here"]).await;
        assert_eq!((asked.status, asked.all("location")), (303, vec!["/.vestibule/login?return_to=%2Fhere"]));

        let signed_in = curl.sign_in().await;
        assert_eq!((signed_in.status, signed_in.all("location")), (303, vec!["/here?a=1&b"]), "{}", signed_in.heads);
        assert_eq!(curl.run(&["/"]).await.status, 200);
        let page = curl.run(&["/.vestibule/logout"]).await.text();
        let token = format!("csrf_token={}", csrf_token(&page));
        assert_eq!(curl.run(&["--data-urlencode", &token, "/.vestibule/logout"]).await.status, 200);
        assert_eq!(curl.run(&["/"]).await.status, 401);
    }
}

#[tokio::test]
async fn uploads_arrive_whole_however_they_are_framed() {
    let (world, shelf) = world("").await;
    let bytes = noise(5 << 20);
    let file = world.folder().join("upload");
    std::fs::write(&file, &bytes).unwrap();
    let data = format!("@{}", file.display());
    for (protocol, version) in PROTOCOLS {
        let curl = Curl::at(&world).always(&[protocol]);
        curl.sign_in().await;
        let framings: [&[&str]; 3] =
            [&["-H", "Expect:"], &["-H", "Expect: 100-continue"], &["-H", "Transfer-Encoding: chunked"]];
        for framing in framings {
            *shelf.kept.lock().unwrap() = Bytes::new();
            let got = curl.run(&[framing, &["--data-binary", &data, "/up"]].concat()).await;
            assert_eq!(got.status, 201, "{protocol} {framing:?}: {}", got.told);
            assert!(got.heads.contains(version) && shelf.kept() == bytes, "{protocol} {framing:?}");
            let waited = framing[1] == "Expect: 100-continue" && protocol == "--http1.1";
            assert!(!waited || got.told.contains("< HTTP/1.1 100 Continue"), "{}", got.told);
        }
    }
}

#[tokio::test]
async fn heads_parts_and_cookies_come_back_as_the_app_sent_them() {
    let (world, shelf) = world("").await;
    *shelf.kept.lock().unwrap() = noise(100_000).into();
    for (protocol, _) in PROTOCOLS {
        let curl = Curl::at(&world).always(&[protocol]);
        curl.sign_in().await;
        let head = curl.run(&["-I", "/"]).await;
        assert_eq!((head.status, head.all("content-length")), (200, vec!["100000"]), "{}", head.told);
        assert_eq!(head.all("set-cookie"), ["z=1; Path=/", "a=2; Path=/", "z=3; Path=/z"]);
        let part = curl.run(&["-r", "70000-79999", "/"]).await;
        assert_eq!((part.status, part.all("content-range")), (206, vec!["bytes 70000-79999/100000"]));
        assert!(part.body == noise(100_000)[70_000..80_000]);
        let whole = curl.run(&["/"]).await;
        assert!(whole.status == 200 && whole.body == noise(100_000));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_gets_a_413_that_curl_can_read() {
    let (world, shelf) = world("max_body_size = \"1MiB\"").await;
    let (fits, exceeds) = (world.folder().join("fits"), world.folder().join("exceeds"));
    std::fs::write(&fits, noise(1 << 20)).unwrap();
    std::fs::write(&exceeds, noise(8 << 20)).unwrap();
    let (fits, exceeds) = (format!("@{}", fits.display()), format!("@{}", exceeds.display()));
    for (protocol, _) in PROTOCOLS {
        let curl = Curl::at(&world).always(&[protocol]);
        curl.sign_in().await;
        for framing in ["Expect:", "Expect: 100-continue", "Transfer-Encoding: chunked"] {
            let got = curl.run(&["-H", framing, "--data-binary", &fits, "/up"]).await;
            assert_eq!(got.status, 201, "{protocol} {framing}: {}", got.told);
            assert_eq!(shelf.kept().len(), 1 << 20);
            *shelf.kept.lock().unwrap() = Bytes::new();
            let got = curl.run(&["-H", framing, "--data-binary", &exceeds, "/up"]).await;
            assert_eq!(got.status, 413, "{protocol} {framing}: {}", got.told);
            assert!(got.text().contains("\"status\":413"), "{protocol} {framing}: {}", got.text());
            assert_eq!(shelf.kept().len(), 0, "{protocol} {framing}: the app got no part for the whole");
        }
    }
}

#[tokio::test]
async fn an_upload_that_nobody_signed_in_for_gets_its_401_and_not_a_broken_connection() {
    let (world, shelf) = world("").await;
    let file = world.folder().join("upload");
    std::fs::write(&file, noise(8 << 20)).unwrap();
    let data = format!("@{}", file.display());
    for (protocol, _) in PROTOCOLS {
        for framing in ["Expect:", "Expect: 100-continue", "Transfer-Encoding: chunked"] {
            let got = Curl::at(&world).run(&[protocol, "-H", framing, "--data-binary", &data, "/up"]).await;
            assert_eq!(got.status, 401, "{protocol} {framing}: {}", got.told);
            assert!(got.text().contains("\"status\":401") && !got.told.contains("100 Continue"), "{}", got.told);
        }
    }
    assert_eq!(shelf.kept().len(), 0);
}
