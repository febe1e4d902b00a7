//! Tools that make traffic and measure it. Each prints one JSON object when it ends.

mod arrivals;
pub mod fetch;
pub mod identity;
mod pace;
pub mod ping;
pub mod quic;
mod socket;
pub mod tcp;
pub mod udp;

pub use self::socket::Way;

/// The line that a tool which listens prints on standard error once it does.
pub const READY: &str = "ready";
