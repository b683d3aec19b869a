//! The behaviour of the real gate, before real apps: one binary, so that it is linked once.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is an answer")]

mod apps;
mod binary;
mod chromium;
mod config_mistakes;
mod curl;
mod delivery;
mod driver;
mod errors;
mod example_config;
mod hostile_requests;
mod house_rules;
mod http2;
mod identity_headers;
mod limits;
mod mirror;
mod process;
mod proxy_protocol;
mod raw;
mod real_apps;
mod rules;
mod sessions_end;
mod side_doors;
mod signing_in;
mod stopping;
mod syscalls;
mod trailers;
mod upstreams;
mod websockets;
mod websockets_http2;
mod world;
