//! One direction of an emulated access link, without a clock and without a socket.
//!
//! A packet passes four places in this order:
//!
//! ```text
//! push → waiting (drop-tail) → bottleneck (rate or trace) → loss, duplication → flying (delay + jitter) → pop
//! ```
//!
//! The order of packets never changes, and packets due at the same instant leave in their order.
//! Loss comes after the bottleneck, because a packet that radio loses has used the air. A black
//! hole swallows what enters and what would leave; a stall lets nothing leave and serves nothing
//! until it ends.
//!
//! Times are microseconds of the caller's clock and must not go backwards. Inside, nanoseconds are
//! kept, so that a rate is not rounded packet by packet. Everything random comes from the seed:
//! the same seed and the same calls give the same result.

mod bottleneck;
pub mod config;
pub mod counters;
pub mod histogram;
mod jitter;
mod loss;
pub mod trace;

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub use self::config::{
    Change, Jitter, JitterLaw, LinkConfig, Loss, QueueLimit, Rate, Stalls, Switch,
};
pub use self::counters::{DropLog, DropReason, DroppedPacket, LinkCounters};
pub use self::histogram::{Histogram, Summary};
pub use self::trace::Trace;

use self::bottleneck::Bottleneck;
use self::counters::Tally;
use self::jitter::JitterProcess;
use self::loss::LossProcess;

/// One direction of an emulated link that carries tokens of type `T`.
///
/// | happened                | then                                               |
/// |-------------------------|----------------------------------------------------|
/// | [`push`](Self::push)    | [`pop`](Self::pop) until `None`, then              |
/// | time passed             | sleep until [`next_due_us`](Self::next_due_us)     |
/// | [`apply`](Self::apply)  | ask [`next_due_us`](Self::next_due_us) again       |
#[derive(Debug)]
pub struct Link<T> {
    config: LinkConfig,
    /// Packets in the queue, the one in service first.
    waiting: VecDeque<Waiting<T>>,
    waiting_bytes: u64,
    /// When the first of `waiting` leaves the bottleneck.
    head_departs_ns: u64,
    bottleneck: Bottleneck,
    /// Packets on their way, in order of delivery.
    flying: VecDeque<Flying<T>>,
    /// Nothing leaves before this instant: the end of the last stall asked for.
    held_until_ns: u64,
    jitter: JitterProcess,
    loss: LossProcess,
    duplication: StdRng,
    tally: Tally,
}

impl<T: Clone> Link<T> {
    /// A link that is idle and empty.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        // Each process has its own sequence, so that changing one does not change the others.
        let sequence = |which: u64| StdRng::seed_from_u64(seed ^ which.rotate_right(8));
        Self {
            bottleneck: Bottleneck::default(),
            jitter: JitterProcess::new(sequence(1)),
            loss: LossProcess::new(sequence(2)),
            duplication: sequence(3),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            head_departs_ns: 0,
            flying: VecDeque::new(),
            held_until_ns: 0,
            tally: Tally::default(),
            config,
        }
    }

    /// Hands a packet of `len` bytes to the link. `key` is what the drop log calls it.
    ///
    /// # Errors
    /// Why the link refused it. Packets lost later are seen only in the counters and the log.
    pub fn push(&mut self, now_us: u64, item: T, len: usize, key: u64) -> Result<(), DropReason> {
        let now_ns = now_us * 1000;
        self.advance(now_ns);
        let len = len as u64;
        self.tally.offer(len);
        if let Some(reason) = self.refusal(len) {
            self.tally.drop_packet(DroppedPacket { at_us: now_us, key, len, reason });
            return Err(reason);
        }
        self.waiting.push_back(Waiting { item, len, key, arrived_ns: now_ns });
        self.waiting_bytes += len;
        if self.waiting.len() == 1 {
            self.serve_head();
            self.advance(now_ns);
        }
        self.tally.note_backlog(self.waiting_bytes);
        Ok(())
    }

    /// The next packet due at or before `now_us`.
    pub fn pop(&mut self, now_us: u64) -> Option<T> {
        let now_ns = now_us * 1000;
        self.advance(now_ns);
        while self.flying.front()?.due_ns.max(self.held_until_ns) <= now_ns {
            let packet = self.flying.pop_front()?;
            if self.config.blackhole == Switch::On {
                let Flying { key, len, .. } = packet;
                let reason = DropReason::Blackhole;
                self.tally.drop_packet(DroppedPacket { at_us: now_us, key, len, reason });
                continue;
            }
            let due_ns = packet.due_ns.max(self.held_until_ns);
            self.tally.deliver(packet.len, packet.arrived_ns, packet.departed_ns, due_ns, now_ns);
            return Some(packet.item);
        }
        None
    }

    /// When to call [`pop`](Self::pop) next, or `None` while the link is empty.
    ///
    /// Never later than the next delivery; it may be earlier while packets still wait. After a
    /// [`pop`](Self::pop) that returned `None` it lies in the future.
    pub fn next_due_us(&self) -> Option<u64> {
        let due_ns = match self.flying.front() {
            Some(packet) => packet.due_ns,
            // Jitter is never negative, so nothing that waits can arrive before this.
            None if !self.waiting.is_empty() => self.head_departs_ns + self.config.delay_us * 1000,
            None => return None,
        };
        Some(due_ns.max(self.held_until_ns).div_ceil(1000))
    }

    /// Changes one property from `now_us` on. Packets on their way keep what they were given.
    pub fn apply(&mut self, now_us: u64, change: Change) {
        let now_ns = now_us * 1000;
        self.advance(now_ns);
        match change {
            Change::Blackhole(switch) => self.config.blackhole = switch,
            Change::Delay { us } => self.config.delay_us = us,
            Change::Duplication { probability } => self.config.duplication = probability,
            Change::Jitter(jitter) => self.config.jitter = jitter,
            Change::Loss(loss) => self.config.loss = loss,
            Change::Mtu { bytes } => self.config.mtu = bytes,
            Change::Queue(limit) => self.config.queue = limit,
            Change::Rate(rate) => self.set_rate(now_ns, rate),
            Change::StallNow { us } => {
                self.held_until_ns = self.held_until_ns.max(now_ns + us * 1000);
                self.head_departs_ns = self.head_departs_ns.max(self.held_until_ns);
            }
            Change::Stalls(stalls) => self.config.stalls = stalls,
        }
    }

    /// What the link is set to.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// What has happened since the start or the last reset.
    pub fn counters(&self) -> LinkCounters {
        self.tally.counters(self.waiting.len() as u64, self.waiting_bytes, self.flying.len() as u64)
    }

    /// Sets every counter to zero; packets inside and the drop log stay.
    pub fn reset_counters(&mut self) {
        self.tally.reset();
    }

    /// Starts (or, with 0, stops) noting which packets are dropped, at most `max` of them.
    pub fn log_drops(&mut self, max: usize) {
        self.tally.log_drops(max);
    }

    /// Takes what the drop log holds and empties it.
    pub fn take_drops(&mut self) -> DropLog {
        self.tally.take_drops()
    }

    fn refusal(&self, len: u64) -> Option<DropReason> {
        if self.config.blackhole == Switch::On {
            return Some(DropReason::Blackhole);
        }
        if len > u64::from(self.config.mtu) {
            return Some(DropReason::TooBig);
        }
        let full = !self.waiting.is_empty()
            && self.waiting_bytes + len > self.config.queue.bytes(&self.config.rate);
        let crowded = self.waiting.len() + self.flying.len() >= PACKETS_MAX;
        (full || crowded).then_some(DropReason::QueueFull)
    }

    /// Moves everything that has left the bottleneck by `now_ns` on its way.
    fn advance(&mut self, now_ns: u64) {
        while !self.waiting.is_empty() && self.head_departs_ns <= now_ns {
            let Some(packet) = self.waiting.pop_front() else { return };
            self.waiting_bytes -= packet.len;
            let departed_ns = self.head_departs_ns;
            if !self.waiting.is_empty() {
                self.serve_head();
            }
            self.fly(packet, departed_ns);
        }
    }

    /// Finds when the first waiting packet leaves the bottleneck.
    fn serve_head(&mut self) {
        let Some(head) = self.waiting.front() else { return };
        let ready_ns = head.arrived_ns.max(self.held_until_ns);
        let (rate, stalls) = (&self.config.rate, self.config.stalls);
        self.head_departs_ns = self.bottleneck.serve(rate, stalls, ready_ns, head.len);
    }

    fn set_rate(&mut self, now_ns: u64, rate: Rate) {
        self.config.rate = rate;
        self.bottleneck.restart(now_ns);
        // The packet in service starts again at the new rate, if that is sooner than its old end.
        if let Some(head) = self.waiting.front() {
            let ready_ns = now_ns.max(self.held_until_ns);
            let (rate, stalls) = (&self.config.rate, self.config.stalls);
            let again_ns = self.bottleneck.serve(rate, stalls, ready_ns, head.len);
            if again_ns > self.head_departs_ns {
                self.bottleneck.restart(self.head_departs_ns);
            }
            self.head_departs_ns = self.head_departs_ns.min(again_ns);
        }
    }

    fn fly(&mut self, packet: Waiting<T>, departed_ns: u64) {
        let Waiting { item, len, key, arrived_ns } = packet;
        let at_us = departed_ns / 1000;
        if self.loss.strikes(self.config.loss) {
            let reason = DropReason::Loss;
            self.tally.drop_packet(DroppedPacket { at_us, key, len, reason });
            return;
        }
        let jitter_ns = self.jitter.draw_ns(self.config.jitter, departed_ns);
        let free_ns = departed_ns + self.config.delay_us * 1000 + jitter_ns;
        let last_ns = self.flying.back().map_or(0, |last| last.due_ns);
        let due_ns = self.config.stalls.release_ns(free_ns).max(last_ns);
        let twice = self.config.duplication > 0.0
            && self.duplication.random_bool(self.config.duplication.min(1.0));
        if twice {
            self.tally.duplicate();
            let item = item.clone();
            self.flying.push_back(Flying { item, len, key, arrived_ns, departed_ns, due_ns });
        }
        self.flying.push_back(Flying { item, len, key, arrived_ns, departed_ns, due_ns });
    }
}

/// Packets inside one direction at most: 256 Ki of 1500 bytes are 3 s at 1 Gbit/s.
pub const PACKETS_MAX: usize = 1 << 18;

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    len: u64,
    key: u64,
    arrived_ns: u64,
}

#[derive(Debug)]
struct Flying<T> {
    item: T,
    len: u64,
    key: u64,
    arrived_ns: u64,
    departed_ns: u64,
    due_ns: u64,
}

#[cfg(test)]
mod tests;
