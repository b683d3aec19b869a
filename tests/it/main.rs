//! The behaviour of the real gate, before real apps: one binary, so that it is linked once.
#![allow(clippy::unwrap_used)] // to panic is how tests complain, in their helpers, too

mod apps;
mod errors;
mod hostile_requests;
mod http2;
mod identity_headers;
mod limits;
mod mirror;
mod raw;
mod rules;
mod side_doors;
mod signing_in;
mod world;
