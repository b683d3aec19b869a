//! `vestibule run` and `vestibule check`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{CONFIG_PLACES, Exit, find_config};
use crate::assembly::{self, Checked, Keep, Running, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::HostPattern;
use crate::observe::log;
use crate::problems::{Problem, Problems};

/// The file that was named, or the first default that exists.
fn config_path(named: Option<&Path>) -> Result<PathBuf, Problems> {
    find_config(named).ok_or_else(|| {
        let looked = CONFIG_PLACES.join(" nor ");
        let problem = Problem::general(format!("there is neither {looked}"));
        problem.hint("name the configuration with --config FILE; config.example.toml is one to start from").into()
    })
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(named: Option<&Path>) -> Exit {
    let checked = match config_path(named).and_then(|path| assembly::load(&path)) {
        Ok(checked) => checked,
        Err(problems) => return refuse(&problems),
    };
    let _log = log::start(checked.config().log);
    let (grace, config) = (checked.config().shutdown_grace, checked.config().path.clone());
    serve(checked, Keep::Files, grace, |running| {
        let https: Vec<_> = running.https().iter().map(ToString::to_string).collect();
        tracing::info!(
            config = %config.display(), https = https.join(" "), apps = running.gate().apps.all().len(),
            version = env!("CARGO_PKG_VERSION"), "ready"
        );
    })
}

/// Starts, tells that it is ready, and serves until told to stop.
pub(super) fn serve(checked: Checked, keep: Keep, grace: Duration, ready: impl FnOnce(&Running)) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return Exit::Failed;
        }
    };
    runtime.block_on(async {
        // Before anything else: a signal during the start must not kill it half-way.
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            eprintln!("cannot listen for signals");
            return Exit::Failed;
        };
        let running = match assembly::start(checked, keep, Clock::system()).await {
            Ok(running) => running,
            Err(error) => return refuse(&chain(&error)),
        };
        ready(&running);
        let mut stop = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        stop().await;
        tracing::info!(grace = ?grace, "stopping; a second signal stops at once");
        tokio::select! {
            () = running.stop(grace) => tracing::info!("stopped"),
            () = stop() => tracing::warn!("stopped at once"),
        }
        Exit::Done
    })
}

fn chain(error: &StartError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn refuse(reason: &impl std::fmt::Display) -> Exit {
    eprintln!("{reason}");
    Exit::Wrong
}

/// Says what `run` would serve, or everything that is wrong.
pub(super) fn check(named: Option<&Path>) -> Exit {
    match config_path(named).and_then(|path| assembly::load(&path)) {
        Ok(checked) => {
            eprint!("{}", describe(checked.config()));
            Exit::Done
        }
        Err(problems) => refuse(&problems),
    }
}

fn describe(config: &Config) -> String {
    let mut text = format!("{}: no problems\n", show(&config.path));
    for app in &config.apps {
        let hosts: Vec<_> = app.hosts.iter().map(HostPattern::to_string).collect();
        let upstreams: Vec<_> = app.upstream.addresses.iter().map(ToString::to_string).collect();
        let _ = write!(
            text,
            "\napp {}\n  at      {} {}\n  runs at {}\n  ends    after {} idle, {} in all\n",
            app.name,
            hosts.join(" "),
            app.path,
            upstreams.join(" "),
            crate::section::show_duration(app.limits.idle),
            crate::section::show_duration(app.limits.absolute),
        );
        let names: Vec<_> = app.upstream.identity.names().map(http::HeaderName::as_str).collect();
        let _ = writeln!(text, "  is told {}", if names.is_empty() { "nothing".into() } else { names.join(", ") });
        for line in app.rules.to_string().lines() {
            let _ = writeln!(text, "  rule    {line}");
        }
    }
    text
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
