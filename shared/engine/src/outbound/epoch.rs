//! When the sender goes on to the next key epoch.

use super::Outbound;
use crate::time::{Span, Time};

/// How far the current epoch has gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct EpochAge {
    pub(super) since: Time,
    pub(super) datagrams: u64,
    /// The newest epoch of ours from which the peer has acknowledged something.
    pub(super) confirmed: u32,
}

/// When the sender goes on to the next key epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EpochLimits {
    /// After so many datagrams, over all paths.
    pub datagrams: u64,
    /// After so long.
    pub age: Span,
}

impl Default for EpochLimits {
    /// Far below what the ciphers allow (RFC 9001, 6.6: 2^23 packets of 2^14 bytes for AES-GCM at
    /// its strictest margin; ours are a tenth as long), and as often as WireGuard.
    fn default() -> Self {
        Self { datagrams: 1 << 25, age: Span::secs(600) }
    }
}

impl Outbound {
    /// The peer has sealed in an epoch newer than any before.
    pub(super) fn on_epoch(&mut self, now: Time, epoch: u32) {
        while self.keys.epoch < epoch {
            self.next_epoch(now);
        }
    }

    /// Goes on to the next epoch if the current one has been used enough: not before the peer has
    /// acknowledged something of the current one, or it could not open the next. That the peer seals
    /// in it is not enough: it may have come there by itself, or lead.
    pub(super) fn advance_epoch(&mut self, now: Time) {
        let limits = self.epoch_limits;
        let spent =
            self.epoch.datagrams >= limits.datagrams || now.since(self.epoch.since) >= limits.age;
        let confirmed = self.epoch.confirmed >= self.keys.epoch;
        // Older datagrams are settled by then: the sender gives everything up after three seconds,
        // and the receiver opens two epochs back.
        let spaced = now.since(self.epoch.since) >= EPOCH_SPACING;
        if spent && confirmed && spaced {
            self.next_epoch(now);
        }
    }

    fn next_epoch(&mut self, now: Time) {
        self.keys.ratchet();
        self.epoch.since = now;
        self.epoch.datagrams = 0;
        self.stats.epochs += 1;
    }
}

/// The receiver opens two epochs back: what was sealed in an epoch has arrived, or never will, when
/// two more have passed.
const EPOCH_SPACING: Span = Span::millis(250);
