//! What the data plane's thread says of itself when asked.

use engine::{
    PathSnapshot, Time,
    stats::{InboundStats, OutboundStats},
};

use super::Refusals;

/// The state of the data plane.
#[derive(Clone, Debug, Default)]
pub struct DriverReport {
    /// All sessions.
    pub sessions: Vec<SessionReport>,
    /// What sessions refused that have ended since.
    pub ended: Refusals,
    /// Datagrams that belonged to no session.
    pub unknown_session: u64,
    /// Packets from the TUN device for which there was no session.
    pub no_session: u64,
    /// Packets that the TUN device did not take.
    pub tun_refused: u64,
    /// Batches that a socket refused for good.
    pub send_failures: u64,
}

/// The state of one session.
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// Our slot of the session.
    pub slot: u32,
    /// The moment of the report, as the session counts time.
    pub at: Time,
    /// Its paths.
    pub paths: Vec<PathSnapshot>,
    /// What was sent.
    pub outbound: OutboundStats,
    /// What was received.
    pub inbound: InboundStats,
    /// Bytes of packets that wait for earlier ones.
    pub held_bytes: usize,
    /// Whether the peer has owed an answer for long.
    pub silent: bool,
    /// The longest packet that it carries; 0 before any path is up.
    pub tunnel_mtu: u16,
}
