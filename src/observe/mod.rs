//! What the operator can see: the log and its access lines.

pub mod access_log;
pub mod log;

#[cfg(test)]
mod lines;
