//! The behaviour of the real gate, before real apps: one binary, so that it is linked once.

mod apps;
mod chromium;
mod curl;
mod driver;
mod errors;
mod hostile_requests;
mod mirror;
mod process;
mod raw;
mod real_apps;
mod sessions_end;
mod signing_in;
mod stopping;
mod websockets;
mod world;
