//! The command line as a whole.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::users::UsersArgs;
use super::{Console, demo, hash_password, serve, users};

/// A door before web apps: demands a session before a request reaches the app behind it.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, about, propagate_version = true)]
#[command(after_help = "Example: vestibule demo")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: a proxy with a sample app and two users, in memory only
    #[command(after_help = "Example: vestibule demo --port 9443")]
    Demo(DemoArgs),
    /// Serve
    #[command(after_help = "Example: vestibule run --config /etc/vestibule/vestibule.toml")]
    Run(ConfigArgs),
    /// Check the configuration and all files it names, and show the apps and rules
    #[command(after_help = "Example: vestibule check --config vestibule.toml")]
    Check(ConfigArgs),
    /// Add, change and list the users of the users file
    Users(UsersArgs),
    /// Make an argon2id hash of a password
    #[command(after_help = "Example: vestibule hash-password < password.txt")]
    HashPassword(hash_password::HashPasswordArgs),
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// The port to listen on, on the loopback interface
    #[arg(long, default_value_t = 8443)]
    port: u16,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration; without it vestibule.toml, then /etc/vestibule/vestibule.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command that the command line asks for.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo(demo) => demo::demo(demo.port),
        Command::Run(run) => serve::run(run.config.as_deref()),
        Command::Check(check) => serve::check(check.config.as_deref()),
        Command::Users(args) => Console::run(|console| users::users(&args, console)),
        Command::HashPassword(_) => Console::run(hash_password::hash_password),
    }
    .into()
}
