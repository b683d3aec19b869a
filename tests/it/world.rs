//! A gate on a free port with a clock that tests move, apps behind it, and browsers before it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{HeaderMap, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use tempfile::TempDir;
use vestibule::assembly::{self, Keep, Running};
use vestibule::clock::{Clock, Moment};
use vestibule::config::Config;
use vestibule::login::stored::hash_now;
use vestibule::secret::Secret;

/// Everybody's password, unless a test says otherwise.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// The host of most tests' app.
pub(crate) const HOST: &str = "wiki.test";

/// What a test starts from.
#[derive(Default)]
pub(crate) struct Plan {
    users: String,
    apps: String,
    more: String,
    http: bool,
    https_port: Option<u16>,
    trusted: String,
    proxy_protocol: bool,
}

/// A running gate.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) running: Running,
    folder: TempDir,
}

fn password_hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| hash_now(&Secret::new(PASSWORD.to_owned())))
}

/// A `[[user]]` with the usual password.
pub(crate) fn user_toml(name: &str, groups: &[&str]) -> String {
    let hash = password_hash();
    format!("[[user]]\nname = \"{name}\"\npassword = \"{hash}\"\nemail = \"{name}@example.com\"\ngroups = {groups:?}\n")
}

impl Plan {
    pub(crate) fn user(mut self, name: &str, groups: &[&str]) -> Self {
        self.users += &user_toml(name, groups);
        self
    }

    /// An app on [`HOST`], with more keys or rules.
    pub(crate) fn app(self, upstream: &str, more: &str) -> Self {
        self.app_at("wiki", HOST, upstream, more)
    }

    pub(crate) fn app_at(mut self, name: &str, host: &str, upstream: &str, more: &str) -> Self {
        self.apps +=
            &format!("[[app]]\nname = \"{name}\"\nhosts = [\"{host}\"]\nupstreams = [\"{upstream}\"]\n{more}\n");
        self
    }

    /// More sections of the configuration.
    pub(crate) fn with(mut self, toml: &str) -> Self {
        self.more += toml;
        self.more += "\n";
        self
    }

    /// Also listens without TLS.
    pub(crate) fn plain_port(mut self) -> Self {
        self.http = true;
        self
    }

    /// Believes what this network says of its clients.
    pub(crate) fn trusting(mut self, network: &str) -> Self {
        self.trusted = network.to_owned();
        self
    }

    /// Connections begin with a PROXY header.
    pub(crate) fn proxy_protocol(mut self) -> Self {
        self.proxy_protocol = true;
        self
    }

    /// Browsers come in by another port than we listen on.
    pub(crate) fn https_port(mut self, port: u16) -> Self {
        self.https_port = Some(port);
        self
    }

    pub(crate) async fn start(self) -> World {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let users = if self.users.is_empty() { user_toml("ann", &["staff"]) } else { self.users };
        write_private(&folder.path().join("users.toml"), &users);
        let http = if self.http { "http = [\"127.0.0.1:0\"]" } else { "" };
        let mut listen = format!("[listen]\nhttps = [\"127.0.0.1:0\"]\n{http}\nthreads = 2\n");
        if !self.trusted.is_empty() {
            listen += &format!("trusted_proxies = [{:?}]\n", self.trusted);
        }
        if self.proxy_protocol {
            listen += "proxy_protocol = true\n";
        }
        if let Some(port) = self.https_port {
            listen += &format!("https_port = {port}\n");
        }
        let text = format!("{listen}\n{}\n{}", self.more, self.apps);
        let (config, _) = Config::parse(&folder.path().join("vestibule.toml"), text);
        let checked = config.and_then(assembly::check).unwrap_or_else(|problems| panic!("{problems}"));
        let clock = Clock::manual(Moment::from_unix_millis(1_800_000_000_000));
        let running = assembly::start(checked, Keep::Files, clock.clone()).await.expect("the gate starts");
        World { clock, running, folder }
    }
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("the test's folder can be written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("and its files made private");
}

impl World {
    pub(crate) fn plan() -> Plan {
        Plan::default()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.https()[0]
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn users_file(&self) -> PathBuf {
        self.folder().join("users.toml")
    }

    pub(crate) fn pass_time(&self, minutes: u64) {
        self.clock.advance(Duration::from_secs(60 * minutes));
    }

    /// A browser on [`HOST`] that nobody has used yet.
    pub(crate) fn browser(&self) -> Browser {
        self.browser_at(HOST)
    }

    pub(crate) fn browser_at(&self, host: &str) -> Browser {
        Browser::new(host, self.address(), |builder| builder)
    }
}

/// A browser: keeps cookies, follows no redirect by itself.
#[derive(Clone)]
pub(crate) struct Browser {
    client: Client,
    pub(crate) origin: String,
}

impl Browser {
    pub(crate) fn new(
        host: &str,
        address: SocketAddr,
        more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Self {
        // Fails only if another test was faster.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .resolve(host, address)
            .no_proxy();
        let client = more(builder).build().expect("a browser");
        Self { client, origin: format!("https://{host}:{}", address.port()) }
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.origin))
    }

    /// What a script or an image asks for.
    pub(crate) async fn fetch(&self, path: &str) -> Response {
        self.ask(Method::GET, path).header("sec-fetch-mode", "cors").send().await.expect("an answer")
    }

    /// What a person asks for.
    pub(crate) async fn visit(&self, path: &str) -> Response {
        self.ask(Method::GET, path).header("sec-fetch-mode", "navigate").send().await.expect("an answer")
    }

    /// Fills in the form of the sign-in page that `path` leads to.
    pub(crate) async fn submit(&self, return_to: &str, user: &str, password: &str) -> Response {
        let query: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("return_to", return_to).finish();
        let page = self.visit(&format!("/.vestibule/login?{query}")).await.text().await.expect("a page");
        let fields =
            [("username", user), ("password", password), ("csrf_token", &csrf_token(&page)), ("return_to", return_to)];
        self.post("/.vestibule/login", &fields).await
    }

    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.ask(Method::POST, path)
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-site", "same-origin")
            .header("origin", &self.origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .expect("an answer")
    }

    /// Signs in, and returns the session cookie's value.
    pub(crate) async fn sign_in(&self, user: &str) -> String {
        let answer = self.submit("/", user, PASSWORD).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{user} can sign in");
        session_cookie(answer.headers()).expect("a session cookie")
    }

    pub(crate) async fn sign_out(&self) -> Response {
        let page = self.visit("/.vestibule/logout").await.text().await.expect("a page");
        self.post("/.vestibule/logout", &[("csrf_token", &csrf_token(&page))]).await
    }
}

/// The value of the session cookie that an answer sets.
pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.filter_map(|cookie| cookie.strip_prefix("__Host-vestibule=")).find_map(|rest| {
        let value = rest.split(';').next()?;
        (!value.is_empty()).then(|| value.to_owned())
    })
}

/// The hidden field of a form of ours.
pub(crate) fn csrf_token(page: &str) -> String {
    let rest = page.split("name=\"csrf_token\" value=\"").nth(1).unwrap_or_else(|| panic!("no form in {page}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// Whether an answer asks a person to sign in, and for what.
pub(crate) fn asks_to_sign_in(answer: &Response) -> Option<String> {
    let location = answer.headers().get("location")?.to_str().ok()?;
    let wanted = location.strip_prefix("/.vestibule/login?return_to=")?;
    (answer.status() == StatusCode::SEE_OTHER).then(|| wanted.to_owned())
}
