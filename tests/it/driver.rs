//! A real browser, without a screen: Chromium, led by chromedriver. Each has a profile of its own, and both end when it
//! is dropped.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::time::Duration;

use fantoccini::error::CmdError;
use fantoccini::wd::{TimeoutConfiguration, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::apps::{Program, accepts, free_address};

/// The longest wait for anything to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// One browser.
pub(crate) struct Chromium {
    client: Client,
    session: String,
    address: SocketAddr,
    _driver: Program,
    _profile: TempDir,
}

impl Chromium {
    pub(crate) async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// A browser whose owner has switched scripts off.
    pub(crate) async fn without_scripts() -> Self {
        Self::with(json!({ "profile.managed_default_content_settings.javascript": 2 })).await
    }

    async fn with(preferences: Value) -> Self {
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let address = free_address();
        let port = format!("--port={}", address.port());
        let mut driver = Program::start("chromedriver", "chromium chromium-driver", profile.path(), &[&port]);
        driver.wait_until(|| accepts(address));
        let folder = format!("--user-data-dir={}", profile.path().join("profile").display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--ignore-certificate-errors",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP *.test 127.0.0.1",
            &folder,
        ];
        let options = json!({ "args": arguments, "prefs": preferences, "binary": "/usr/bin/chromium" });
        let Value::Object(capabilities) =
            json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } })
        else {
            unreachable!("it is written as an object");
        };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://{address}"))
            .await
            .expect("this test needs Chromium: apt-get install -y chromium chromium-driver");
        let session = client.session_id().await.expect("an answer").expect("a session with chromedriver");
        let limit = Some(PATIENCE);
        client.update_timeouts(TimeoutConfiguration::new(limit, limit, None)).await.expect("timeouts can be set");
        Self { client, session, address, _driver: driver, _profile: profile }
    }

    /// Waits for a text on the page.
    pub(crate) async fn wait_for_text(&self, text: &str) {
        let path = format!("//body[contains(normalize-space(.), {text:?})]");
        if self.client.wait().at_most(PATIENCE).for_element(Locator::XPath(&path)).await.is_err() {
            let (address, source) = (self.client.current_url().await, self.client.source().await);
            panic!("{text:?} does not appear at {address:?}: {source:?}");
        }
    }

    /// Waits until the browser is at this address.
    pub(crate) async fn wait_for_address(&self, address: &str) {
        let wanted = Url::parse(address).expect("an address");
        if self.client.wait().at_most(PATIENCE).for_url(&wanted).await.is_err() {
            panic!("{address} is not where it is: {:?}", self.client.current_url().await);
        }
    }

    /// Types into whatever has the focus.
    pub(crate) async fn type_keys(&self, keys: &str) {
        self.client.active_element().await.expect("a focus").send_keys(keys).await.expect("keys");
    }

    pub(crate) async fn click(&self, css: &str) {
        self.client.find(Locator::Css(css)).await.expect(css).click().await.expect(css);
    }

    /// Signs in by the form that is shown.
    pub(crate) async fn sign_in(&self, user: &str, password: &str) {
        self.wait_for_text("User name").await;
        let name = self.client.find(Locator::Css("#username")).await.expect("a field for the name");
        name.clear().await.expect("it can be emptied");
        name.send_keys(user).await.expect("it can be typed into");
        let field = self.client.find(Locator::Css("#password")).await.expect("a field for the password");
        field.send_keys(password).await.expect("it can be typed into");
        self.click("button[type=submit]").await;
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.expect("a script of the test")
    }

    /// What the console has said since the last time, warnings and errors only.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.ask("se/log", json!({ "type": "browser" })).await;
        let lines = log.as_array().cloned().unwrap_or_default();
        let grave = lines.iter().filter(|line| line["level"] != "INFO" && line["level"] != "DEBUG");
        grave.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A command of Chromium's own protocol for developers.
    pub(crate) async fn command(&self, name: &str, parameters: Value) -> Value {
        self.ask("goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await
    }

    /// Pretends to have another screen.
    pub(crate) async fn show_as(&self, scheme: &str, width: u32, height: u32) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.command("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    async fn ask(&self, path: &'static str, body: Value) -> Value {
        let answer: Result<Value, CmdError> = self.client.issue_cmd(Ask { path, body }).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Deref for Chromium {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Chromium is not of the driver's process group; it ends with the session, before the answer comes.
        let Ok(mut stream) = TcpStream::connect(self.address) else { return };
        let head = format!("DELETE /session/{} HTTP/1.1\r\nHost: {}\r\n\r\n", self.session, self.address);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.read(&mut [0; 100]));
    }
}

/// A command that WebDriver itself does not have.
#[derive(Debug)]
struct Ask {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Ask {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
