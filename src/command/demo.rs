//! `vestibule demo`: everything in one process and in memory.

use std::path::Path;
use std::time::Duration;

use super::{Exit, serve};
use crate::assembly::{Checked, Keep};
use crate::config::Config;
use crate::crypto;
use crate::login::Logins;
use crate::login::stored::hash_now;
use crate::observe::log;
use crate::secret::Secret;

const GRACE: Duration = Duration::from_secs(2);

/// Serves the sample app to alice and bob, until told to stop.
pub(super) fn demo(port: u16) -> Exit {
    let (alice, bob) = (make_password(), make_password());
    let checked = match prepare(port, &alice, &bob) {
        Ok(checked) => checked,
        Err(problems) => {
            eprintln!("{problems}");
            return Exit::Failed;
        }
    };
    let _log = log::start(checked.config().log);
    serve::serve(checked, Keep::Nothing, GRACE, |running| {
        let port = running.https().first().map_or(port, std::net::SocketAddr::port);
        eprintln!();
        eprintln!("  Vestibule stands before a sample app at  https://localhost:{port}/");
        eprintln!();
        eprintln!("    user alice   password {}   groups staff, wiki", alice.expose());
        eprintln!("    user bob     password {}", bob.expose());
        eprintln!();
        eprintln!("  The certificate is self-signed, so your browser will ask. https://localhost:{port}/public");
        eprintln!("  is open to anyone, /staff to the group staff only. Nothing is written to disk. Ctrl-C ends it.");
        eprintln!();
    })
}

fn prepare(port: u16, alice: &Secret<String>, bob: &Secret<String>) -> Result<Checked, crate::problems::Problems> {
    let text = format!(
        r#"
        [listen]
        https = ["127.0.0.1:{port}"]
        [log]
        level = "warn"
        format = "human"
        [[app]]
        name = "sample"
        hosts = ["*"]
        upstreams = ["demo:"]
        [[app.rule]]
        path = "/public"
        allow = "anyone"
        [[app.rule]]
        path = "/staff"
        allow = {{ groups = ["staff"] }}
        "#
    );
    let (config, _) = Config::parse(Path::new("demo.toml"), text);
    let config = config?;
    let users = format!(
        r#"
        [[user]]
        name = "alice"
        display_name = "Alice Liddell"
        email = "alice@example.com"
        groups = ["staff", "wiki"]
        password = "{}"
        [[user]]
        name = "bob"
        display_name = "Bob Builder"
        email = "bob@example.com"
        password = "{}"
        "#,
        hash_now(alice),
        hash_now(bob)
    );
    let logins = Logins::in_memory(&config.login, &users)?;
    Ok(Checked::with_logins(config, logins))
}

/// 72 random bits in twelve letters and digits: good for an afternoon.
fn make_password() -> Secret<String> {
    Secret::new(crypto::to_base64url(&crypto::random::<9>()))
}
