//! What sessions refused, by reason.

use std::ops::AddAssign;

use engine::stats::InboundStats;

/// Datagrams and packets that were refused, counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Refusals {
    /// Datagrams whose tag did not hold.
    pub forged: u64,
    /// Datagrams too short, of an unknown kind, or with content that makes no sense.
    pub malformed: u64,
    /// Packets that the peer may not send to or from where they claim.
    pub refused: u64,
    /// Datagrams with a packet number received before.
    pub replayed: u64,
    /// Datagrams stamped too far back.
    pub stale: u64,
    /// Datagrams numbered or keyed too far back.
    pub too_old: u64,
}

impl AddAssign<&InboundStats> for Refusals {
    fn add_assign(&mut self, session: &InboundStats) {
        self.forged += session.forged;
        self.malformed += session.malformed;
        self.refused += session.refused;
        self.replayed += session.replayed;
        self.stale += session.stale;
        self.too_old += session.too_old;
    }
}
