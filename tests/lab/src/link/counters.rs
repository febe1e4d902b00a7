//! What a link has done, and which packets it dropped.

use serde::{Deserialize, Serialize};

use super::histogram::{Histogram, Summary};

/// What one direction of a link has done. Packets duplicated by the link count once as offered and
/// twice as delivered.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LinkCounters {
    /// Packets handed to the link.
    pub offered: u64,
    /// Bytes handed to the link.
    pub offered_bytes: u64,
    /// Packets that came out.
    pub delivered: u64,
    /// Bytes that came out.
    pub delivered_bytes: u64,
    /// Packets that the loss process took.
    pub lost: u64,
    /// Packets for which the queue had no room.
    pub queue_dropped: u64,
    /// Packets that a black hole swallowed.
    pub blackholed: u64,
    /// Packets larger than the link's MTU.
    pub too_big: u64,
    /// Packets that came out twice.
    pub duplicated: u64,
    /// Packets that wait for the bottleneck at this moment.
    pub waiting: u64,
    /// Bytes that wait for the bottleneck at this moment.
    pub waiting_bytes: u64,
    /// The most bytes that waited.
    pub waiting_bytes_max: u64,
    /// Packets past the bottleneck, not yet out.
    pub flying: u64,
    /// Time in the queue and in service, in microseconds.
    pub queue_us: Summary,
    /// Time from the bottleneck to the exit, in microseconds: delay, jitter and stalls.
    pub delay_us: Summary,
    /// How much later than due the caller took packets out, in microseconds.
    pub lateness_us: Summary,
}

impl LinkCounters {
    /// All packets that went in and will not come out.
    pub fn dropped(&self) -> u64 {
        self.lost + self.queue_dropped + self.blackholed + self.too_big
    }
}

/// Why a packet did not come out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The link is a black hole.
    Blackhole,
    /// The loss process took it.
    Loss,
    /// The queue had no room.
    QueueFull,
    /// It is larger than the link's MTU.
    TooBig,
}

/// One packet that was dropped.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DroppedPacket {
    /// When, by the caller's clock, in microseconds.
    pub at_us: u64,
    /// What the caller called it.
    pub key: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Why.
    pub reason: DropReason,
}

/// Which packets were dropped.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DropLog {
    /// In the order of the drops.
    pub drops: Vec<DroppedPacket>,
    /// How many more there were than the log could hold.
    pub missing: u64,
}

/// Counts for a link.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counters: LinkCounters,
    queue: Histogram,
    delay: Histogram,
    lateness: Histogram,
    log: DropLog,
    log_max: usize,
}

impl Tally {
    pub(super) fn offer(&mut self, len: u64) {
        self.counters.offered += 1;
        self.counters.offered_bytes += len;
    }

    pub(super) fn drop_packet(&mut self, drop: DroppedPacket) {
        *match drop.reason {
            DropReason::Blackhole => &mut self.counters.blackholed,
            DropReason::Loss => &mut self.counters.lost,
            DropReason::QueueFull => &mut self.counters.queue_dropped,
            DropReason::TooBig => &mut self.counters.too_big,
        } += 1;
        if self.log.drops.len() < self.log_max {
            self.log.drops.push(drop);
        } else if self.log_max > 0 {
            self.log.missing += 1;
        }
    }

    pub(super) fn duplicate(&mut self) {
        self.counters.duplicated += 1;
    }

    pub(super) fn note_backlog(&mut self, bytes: u64) {
        self.counters.waiting_bytes_max = self.counters.waiting_bytes_max.max(bytes);
    }

    pub(super) fn deliver(
        &mut self,
        len: u64,
        arrived_ns: u64,
        departed_ns: u64,
        due_ns: u64,
        now_ns: u64,
    ) {
        self.counters.delivered += 1;
        self.counters.delivered_bytes += len;
        self.queue.insert(departed_ns.saturating_sub(arrived_ns));
        self.delay.insert(now_ns.saturating_sub(departed_ns));
        self.lateness.insert(now_ns.saturating_sub(due_ns));
    }

    pub(super) fn counters(&self, waiting: u64, waiting_bytes: u64, flying: u64) -> LinkCounters {
        LinkCounters {
            waiting,
            waiting_bytes,
            flying,
            queue_us: self.queue.summary(0.001),
            delay_us: self.delay.summary(0.001),
            lateness_us: self.lateness.summary(0.001),
            ..self.counters
        }
    }

    pub(super) fn reset(&mut self) {
        let (log, log_max) = (std::mem::take(&mut self.log), self.log_max);
        *self = Self { log, log_max, ..Self::default() };
    }

    pub(super) fn log_drops(&mut self, max: usize) {
        self.log_max = max.min(DROPS_MAX);
        self.log = DropLog::default();
    }

    pub(super) fn take_drops(&mut self) -> DropLog {
        std::mem::take(&mut self.log)
    }
}

/// Entries of a drop log at most: 24 MiB.
pub const DROPS_MAX: usize = 1 << 20;
