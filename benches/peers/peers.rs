//! The proxies, each set up as its own documentation would have it for speed: one worker, kept connections to the app,
//! no log of requests.

use std::path::Path;
use std::process::Command;

use vestibule::login::stored::hash_now;
use vestibule::secret::Secret;

use super::clients::{ask, cookies_set, head};
use super::peer::{Kind, Place};

/// Whom all are compared with.
pub(crate) const BASELINE: &str = "nginx";

const USER: &str = "ann";
const PASSWORD: &str = "test";
/// Of [`PASSWORD`]; the cheapest that htpasswd files may have, as Apache looks at it with each request.
const PASSWORD_SHA1: &str = "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=";

/// The work that proxies with sessions of their own are asked to do.
const SMALL: &[&str] = &["get", "quiet"];

/// In the order of the tables.
pub(crate) fn all(other: Option<&Path>) -> Vec<Kind> {
    let mut all = vec![nginx(BASELINE, Nginx::Plain, &[]), vestibule("Vestibule", env!("CARGO_BIN_EXE_vestibule"))];
    if let Some(other) = other.and_then(Path::to_str) {
        all.push(vestibule("Vestibule (other)", other));
    }
    all.extend([
        open_vestibule(),
        haproxy(),
        nginx("nginx, unbuffered", Nginx::Unbuffered, &["upload"]),
        nginx("nginx + auth_request", Nginx::AuthRequest, &["get", "h2", "100k"]),
        apache(),
        oauth2_proxy(),
    ]);
    all
}

/// With a session demanded, looked up and told to the app.
fn vestibule(name: &str, program: &str) -> Kind {
    Kind {
        name: name.into(),
        program: program.into(),
        install: "cargo build --release",
        joins: &[],
        prepare: Box::new(|place, command| vestibule_toml(place, command, "")),
        sign_in: sign_in_to_vestibule,
    }
}

/// The same without sessions: what the session check costs is the difference.
fn open_vestibule() -> Kind {
    Kind {
        joins: &["get", "h2"],
        prepare: Box::new(|place, command| vestibule_toml(place, command, "[[app.rule]]\nallow = \"anyone\"\n")),
        sign_in: no_session,
        ..vestibule("Vestibule, anyone may pass", env!("CARGO_BIN_EXE_vestibule"))
    }
}

fn vestibule_toml(place: &Place<'_>, command: &mut Command, rule: &str) {
    let hash = hash_now(&Secret::new(PASSWORD.to_owned()));
    place.put(
        "users.toml",
        &format!(
            "[[user]]\nname = \"{USER}\"\npassword = \"{hash}\"\nemail = \"ann@example.com\"\ngroups = [\"staff\"]\n"
        ),
    );
    let (certificate, app_port) = (&place.stage.certificate, place.stage.app_port);
    let toml = format!(
        "[listen]\nhttps = [\"127.0.0.1:{}\"]\nthreads = 1\n[tls]\ncertificates = [{{ chain = {:?}, key = {:?} }}]\n\
         [log]\naccess = false\n[[app]]\nname = \"bench\"\nhosts = [\"*\"]\nupstreams = [\"http://127.0.0.1:{app_port}\"]\n\
         {rule}",
        place.port, certificate.chain, certificate.key
    );
    let path = place.put("vestibule.toml", &toml);
    command.args(["run", "--config", &path]);
}

/// Through the page, as a person does.
fn sign_in_to_vestibule(port: u16) -> Result<String, String> {
    let asked = |request: String| ask(port, &request).map_err(|error| error.to_string());
    let navigate = "Connection: close\r\nSec-Fetch-Mode: navigate\r\n";
    let page_head = head(port, "theme=dark", navigate).replacen("GET / ", "GET /.vestibule/login ", 1);
    let (set, page) = asked(page_head)?;
    let token = page.split("name=\"csrf_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = token.ok_or_else(|| format!("no form in {page}"))?;
    let form = format!("username={USER}&password={PASSWORD}&csrf_token={token}&return_to=/");
    let more = format!("{navigate}Sec-Fetch-Site: same-origin\r\nOrigin: https://127.0.0.1:{port}\r\n");
    let cookies = format!("theme=dark; {}", cookies_set(&set));
    let (set, _) = asked(post(port, "/.vestibule/login", &cookies, &more, &form))?;
    signed_in(&set, "__Host-vestibule=")
}

fn post(port: u16, path: &str, cookies: &str, more: &str, form: &str) -> String {
    let more = format!("{more}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", form.len());
    head(port, cookies, &more).replacen("GET / ", &format!("POST {path} "), 1) + form
}

/// The cookies of a load: a stranger one, and of those that were set the session's.
fn signed_in(set: &str, session: &str) -> Result<String, String> {
    let cookies = cookies_set(set);
    let session = cookies.split("; ").find(|pair| pair.starts_with(session));
    session.map(|pair| format!("theme=dark; {pair}")).ok_or_else(|| format!("cannot sign in: {set}"))
}

/// As large as a session's, for proxies that ask for none.
fn no_session(_: u16) -> Result<String, String> {
    Ok(format!("theme=dark; __Host-session={}", "s".repeat(43)))
}

#[derive(Clone, Copy, PartialEq)]
enum Nginx {
    Plain,
    /// Uploads are streamed, as all others here do.
    Unbuffered,
    /// Asks a responder that always says yes: the best case of everything that signs people in this way.
    AuthRequest,
}

fn nginx(name: &str, variant: Nginx, joins: &'static [&'static str]) -> Kind {
    Kind {
        name: name.into(),
        program: "nginx".into(),
        install: "apt-get install -y nginx-light",
        joins,
        prepare: Box::new(move |place, command| {
            let path = place.put("nginx.conf", &nginx_conf(place, variant));
            let folder = place.folder.to_str().expect("the folder's name is text");
            command.args(["-e", "stderr", "-p", folder, "-c", &path]);
        }),
        sign_in: no_session,
    }
}

fn nginx_conf(place: &Place<'_>, variant: Nginx) -> String {
    let (certificate, app_port, port) = (&place.stage.certificate, place.stage.app_port, place.port);
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let buffering = if variant == Nginx::Unbuffered { "proxy_request_buffering off;" } else { "" };
    let (user, ask, told) = if variant == Nginx::AuthRequest {
        let ask = "auth_request /auth; auth_request_set $user $upstream_http_x_frame_options;
            auth_request_set $mail $upstream_http_server;";
        ("$user", ask, "proxy_set_header Remote-Email $mail;")
    } else {
        ("\"\"", "", "")
    };
    format!(
        "user root; worker_processes 1; daemon off; pid nginx.pid; error_log stderr error;
        worker_rlimit_nofile 20000;
        events {{ worker_connections 9000; multi_accept on; }}
        http {{
            access_log off; client_max_body_size 0; keepalive_requests 1000000000;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            upstream app {{ server 127.0.0.1:{app_port}; keepalive 256; keepalive_requests 1000000000; }}
            server {{
                listen 127.0.0.1:{port} ssl http2 backlog=4096;
                ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;
                ssl_session_cache shared:TLS:20m; ssl_session_tickets on;
                proxy_http_version 1.1; proxy_set_header Connection $switch; proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;
                proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header Remote-User {user}; {told}
                proxy_read_timeout 1h; {buffering}
                location / {{ proxy_pass http://app; {ask} }}
                location = /auth {{
                    internal; proxy_pass http://app; proxy_pass_request_body off; proxy_set_header Content-Length \"\";
                    proxy_set_header Connection \"\"; proxy_http_version 1.1;
                }}
            }}
            map $http_upgrade $switch {{ default upgrade; '' ''; }}
        }}"
    )
}

fn haproxy() -> Kind {
    Kind {
        name: "HAProxy".into(),
        program: "haproxy".into(),
        install: "apt-get install -y haproxy",
        joins: &[],
        prepare: Box::new(|place, command| {
            let (both, app_port, port) = (place.stage.certificate.both.display(), place.stage.app_port, place.port);
            let conf = format!(
                "global\n nbthread 1\n maxconn 9000\n ssl-default-bind-options ssl-min-ver TLSv1.3\n\
                 defaults\n mode http\n timeout client 1h\n timeout server 1h\n timeout connect 5s\n timeout tunnel 1h\n\
                 \x20http-reuse always\n option forwardfor\n\
                 frontend tls\n bind 127.0.0.1:{port} ssl crt {both} alpn h2,http/1.1\n http-request del-header Remote-User\n\
                 \x20http-request set-header X-Forwarded-Proto https\n default_backend app\n\
                 backend app\n server app 127.0.0.1:{app_port} pool-max-conn 256\n"
            );
            command.args(["-db", "-f", &place.put("haproxy.cfg", &conf)]);
        }),
        sign_in: no_session,
    }
}

/// A form, and a session in an encrypted cookie: `mod_auth_form`, `mod_session_cookie`, `mod_session_crypto`.
fn apache() -> Kind {
    Kind {
        name: "Apache, mod_auth_form + mod_session_crypto".into(),
        program: "apache2".into(),
        install: "apt-get install -y apache2",
        joins: SMALL,
        prepare: Box::new(|place, command| {
            place.put("htpasswd", &format!("{USER}:{PASSWORD_SHA1}\n"));
            let path = place.put("httpd.conf", &apache_conf(place));
            command.args(["-DFOREGROUND", "-f", &path]);
        }),
        sign_in: |port| {
            let form = format!("httpd_username={USER}&httpd_password={PASSWORD}");
            let request = post(port, "/sign-in", "theme=dark", "Connection: close\r\n", &form);
            let (set, _) = ask(port, &request).map_err(|error| error.to_string())?;
            signed_in(&set, "session=")
        },
    }
}

fn apache_conf(place: &Place<'_>) -> String {
    let (certificate, app_port, port) = (&place.stage.certificate, place.stage.app_port, place.port);
    let (chain, key, folder) = (certificate.chain.display(), certificate.key.display(), place.folder.display());
    let modules: String = [
        "mpm_event",
        "authn_core",
        "authn_file",
        "authz_core",
        "authz_user",
        "auth_form",
        "request",
        "session",
        "session_cookie",
        "session_crypto",
        "ssl",
        "socache_shmcb",
        "proxy",
        "proxy_http",
        "headers",
    ]
    .iter()
    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
    .collect();
    let form = "AuthType form\nAuthName bench\nAuthFormProvider file\nAuthUserFile htpasswd\nSession On\n\
                SessionCookieName session path=/\nSessionCryptoPassphrase correcthorsebattery\n";
    format!(
        "ServerRoot {folder}\nServerName localhost\n{modules}Listen 127.0.0.1:{port}\nPidFile httpd.pid\n\
         ErrorLog /dev/stderr\nLogLevel error\nDefaultRuntimeDir {folder}\nMutex sem\n\
         StartServers 1\nServerLimit 1\nThreadsPerChild 128\nMaxRequestWorkers 128\n\
         KeepAlive On\nMaxKeepAliveRequests 0\nSSLSessionCache shmcb:{folder}/tls(512000)\n\
         SSLEngine on\nSSLProtocol TLSv1.3\nSSLCertificateFile {chain}\nSSLCertificateKeyFile {key}\n\
         <Location />\n{form}Require valid-user\nRequestHeader set Remote-User expr=%{{REMOTE_USER}}\n</Location>\n\
         <Location /sign-in>\nSetHandler form-login-handler\nAuthFormLoginSuccessLocation /\n</Location>\n\
         ProxyPass /sign-in !\nProxyPass / http://127.0.0.1:{app_port}/ keepalive=On max=256\n"
    )
}

/// Its session is in a cookie that it encrypts. Nobody signs in with the provider, which therefore need not exist.
fn oauth2_proxy() -> Kind {
    Kind {
        name: "oauth2-proxy, cookie session".into(),
        program: "oauth2-proxy".into(),
        install: "go install github.com/oauth2-proxy/oauth2-proxy/v7@latest",
        joins: SMALL,
        prepare: Box::new(|place, command| {
            let (certificate, app_port, port) = (&place.stage.certificate, place.stage.app_port, place.port);
            let users = place.put("htpasswd", &format!("{USER}:{PASSWORD_SHA1}\n"));
            command.env("GOMAXPROCS", "1").args(
                "--provider=oidc --skip-oidc-discovery --oidc-issuer-url=http://127.0.0.1:9 --client-id=bench \
                 --login-url=http://127.0.0.1:9/login --redeem-url=http://127.0.0.1:9/token \
                 --oidc-jwks-url=http://127.0.0.1:9/keys --client-secret=bench --email-domain=* --reverse-proxy=false \
                 --cookie-secret=0123456789abcdef0123456789abcdef --request-logging=false --auth-logging=false \
                 --tls-min-version=TLS1.3 --http-address="
                    .split(' '),
            );
            command.args([
                format!("--https-address=127.0.0.1:{port}"),
                format!("--tls-cert-file={}", certificate.chain.display()),
                format!("--tls-key-file={}", certificate.key.display()),
                format!("--htpasswd-file={users}"),
                format!("--upstream=http://127.0.0.1:{app_port}/"),
            ]);
        }),
        sign_in: |port| {
            let form = format!("username={USER}&password={PASSWORD}&rd=/");
            let request = post(port, "/oauth2/sign_in", "theme=dark", "Connection: close\r\n", &form);
            let (set, _) = ask(port, &request).map_err(|error| error.to_string())?;
            signed_in(&set, "_oauth2_proxy=")
        },
    }
}
