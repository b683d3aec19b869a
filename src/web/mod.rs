//! What a request says about itself, read once and strictly.

pub mod cookies;
pub mod host;
