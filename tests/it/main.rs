//! The behaviour of the real gate, before real apps: one binary, so that it is linked once.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is an answer")]

mod apps;
mod binary;
mod config_mistakes;
mod example_config;
mod house_rules;
mod mirror;
mod signing_in;
mod world;
