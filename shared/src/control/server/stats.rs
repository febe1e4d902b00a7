//! What the server's control plane counts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::super::wire::WireCounts;

/// Everything counted since the server started. All counters only grow, except the two gauges at
/// the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ControlStats {
    /// Control datagrams that were pushed.
    pub datagrams_received: u64,
    /// Of these, dropped as malformed or too long.
    pub datagrams_malformed: u64,
    /// Of these, first datagrams dropped because there were too many.
    pub initials_limited: u64,
    /// Of these, dropped because quinn did not keep up.
    pub inbox_full: u64,
    /// Control datagrams that quinn sent.
    pub datagrams_sent: u64,
    /// Of these, refused by a socket.
    pub send_failures: u64,
    /// Handshakes answered by Retry, to see whether the client's address is real.
    pub retries_sent: u64,
    /// Handshakes ignored because too many were half open.
    pub handshakes_ignored: u64,
    /// Handshakes begun.
    pub handshakes_started: u64,
    /// Handshakes in which the client proved a known key.
    pub handshakes_completed: u64,
    /// Handshakes that failed, or took too long.
    pub handshakes_failed: u64,
    /// Of these, with a key that is not known.
    pub unknown_keys: u64,
    /// Connections that completed the handshake and went away without a hello: they lost a race.
    pub races_lost: u64,
    /// Clients let in.
    pub grants: u64,
    /// Clients refused after they had proven their key.
    pub refusals: u64,
    /// Clients replaced by another machine with the same key.
    pub replacements: u64,
    /// Handshakes under way, hello included.
    pub half_open: u64,
    /// Clients that are in.
    pub members: u64,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) retries_sent: AtomicU64,
    pub(super) handshakes_ignored: AtomicU64,
    pub(super) handshakes_started: AtomicU64,
    pub(super) handshakes_completed: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) unknown_keys: AtomicU64,
    pub(super) races_lost: AtomicU64,
    pub(super) grants: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) replacements: AtomicU64,
    pub(super) half_open: AtomicUsize,
    /// The number of the next connection.
    pub(super) next_number: AtomicU64,
    /// Whether the server takes nobody any more.
    pub(super) stopping: AtomicBool,
}

impl Counters {
    pub(super) fn snapshot(&self, wire: WireCounts) -> ControlStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ControlStats {
            datagrams_received: wire.received,
            datagrams_malformed: wire.malformed,
            initials_limited: wire.initials_limited,
            inbox_full: wire.inbox_full,
            datagrams_sent: wire.sent,
            send_failures: wire.send_failures,
            retries_sent: read(&self.retries_sent),
            handshakes_ignored: read(&self.handshakes_ignored),
            handshakes_started: read(&self.handshakes_started),
            handshakes_completed: read(&self.handshakes_completed),
            handshakes_failed: read(&self.handshakes_failed),
            unknown_keys: read(&self.unknown_keys),
            races_lost: read(&self.races_lost),
            grants: read(&self.grants),
            refusals: read(&self.refusals),
            replacements: read(&self.replacements),
            half_open: self.half_open.load(Ordering::Relaxed) as u64,
            members: 0,
        }
    }
}

/// Counts one.
pub(super) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
