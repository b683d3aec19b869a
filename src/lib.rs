//! Vestibule: a TLS-terminating reverse proxy that demands a session before a request reaches the app behind it.
//!
//! The map of the house. A folder may import what stands above it, and `tests/it/house_rules.rs` holds it to that.
//!
//! | layer | modules | what they are |
//! |---|---|---|
//! | words | `clock secret crypto problems section names identity web` | plain values; no sockets |
//! | organs | `session login tls observe access upstream` | each does one thing; none writes a response of ours |
//! | gate | `gate` | the organs in concert: one request from top to bottom in `gate/answer.rs` |
//! | doors | `server admin` | where connections come in |
//! | assembly | `config assembly command` | the only places that know everybody |

pub mod access;
pub mod admin;
pub mod assembly;
pub mod clock;
pub mod command;
pub mod config;
pub mod crypto;
pub mod gate;
pub mod identity;
pub mod login;
pub mod names;
pub mod observe;
pub mod problems;
pub mod secret;
pub mod section;
pub mod server;
pub mod session;
pub mod tls;
pub mod upstream;
pub mod web;
