//! What a request says about itself, read once and strictly; and the one type of body.

pub mod arrival;
pub mod body;
pub mod cookies;
pub mod host;
pub mod inbound;
pub mod path;
pub mod return_to;
pub mod trusted;
pub mod websocket;
