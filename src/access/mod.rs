//! Who may pass. Plain functions of plain values: no I/O, no `async`, no clock, and nothing of HTTP but paths and
//! methods. How a refusal looks is not decided here.

pub mod decision;
pub mod rule;
pub mod settings;

pub use decision::{Decision, Pass, Proof, decide};
pub use rule::{Allow, Rule};
pub use settings::{EncodedSlash, Rules};
