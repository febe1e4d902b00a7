//! A world of two flows and one link, to hold the senders against what is known of real ones.

use lab::Link;
use lab::LinkConfig;
use lab::link::LinkCounters;

use crate::flow::Flow;

/// Two ends of a conversation and the two directions of the link between them.
#[derive(Debug)]
pub struct Pipe<A, B> {
    /// The end at which the link's `forth` direction begins.
    pub a: A,
    /// The other end.
    pub b: B,
    forth: Link<Vec<u8>>,
    back: Link<Vec<u8>>,
    now: u64,
    packets: u64,
    trace: Trace,
}

impl<A: Flow, B: Flow> Pipe<A, B> {
    /// A world at time 0, in which nothing has been sent.
    pub fn new(a: A, b: B, forth: LinkConfig, back: LinkConfig, seed: u64) -> Self {
        Self {
            a,
            b,
            forth: Link::new(forth, seed),
            back: Link::new(back, !seed),
            now: 0,
            packets: 0,
            trace: Trace::default(),
        }
    }

    /// Runs until `end`, or until both flows are finished and nothing is left to happen.
    ///
    /// # Panics
    ///
    /// When a flow does not let time go on.
    pub fn run_until(&mut self, end: u64) {
        let mut rounds_at_once = 0;
        loop {
            self.send();
            let Some(next) = self.next_event().filter(|&next| next < end) else { break };
            rounds_at_once = if next > self.now { 0 } else { rounds_at_once + 1 };
            assert!(rounds_at_once < ROUNDS_AT_ONCE_MAX, "time stands still at {} µs", self.now);
            self.now = self.now.max(next);
            while let Some(packet) = self.forth.pop(self.now) {
                self.b.handle_packet(self.now, &packet);
                self.send();
            }
            while let Some(packet) = self.back.pop(self.now) {
                self.a.handle_packet(self.now, &packet);
                self.send();
            }
        }
        if !(self.a.is_finished() && self.b.is_finished()) {
            self.now = end;
        }
    }

    /// Microseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// A digest of the time, direction and length of all packets that were sent: two runs are equal
    /// if theirs are.
    pub fn trace(&self) -> u64 {
        self.trace.0
    }

    /// What the two directions did: from `a` to `b`, and back.
    pub fn counters(&self) -> (LinkCounters, LinkCounters) {
        (self.forth.counters(), self.back.counters())
    }

    /// The link's directions, to change them.
    pub fn links(&mut self) -> (&mut Link<Vec<u8>>, &mut Link<Vec<u8>>) {
        (&mut self.forth, &mut self.back)
    }

    fn send(&mut self) {
        let Self { a, b, forth, back, now, packets, trace } = self;
        let mut push = |link: &mut Link<Vec<u8>>, direction: u64, packet: Vec<u8>| {
            trace.add([*now, direction, packet.len() as u64]);
            *packets += 1;
            let len = packet.len();
            // What the link refuses is lost, and seen in its counters.
            link.push(*now, packet, len, *packets).ok();
        };
        while let Some(packet) = a.poll_packet(*now) {
            packet.into_segments().into_iter().for_each(|packet| push(forth, 0, packet));
        }
        while let Some(packet) = b.poll_packet(*now) {
            packet.into_segments().into_iter().for_each(|packet| push(back, 1, packet));
        }
    }

    fn next_event(&self) -> Option<u64> {
        let links = [self.forth.next_due_us(), self.back.next_due_us()];
        let flows = [self.a.poll_timeout(), self.b.poll_timeout()];
        links.into_iter().chain(flows).flatten().min()
    }
}

/// Times that something may happen at one instant: far more than packets fit into a link.
const ROUNDS_AT_ONCE_MAX: u32 = 1 << 20;

/// FNV-1a over words.
#[derive(Clone, Copy, Debug)]
struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    fn add(&mut self, words: [u64; 3]) {
        for word in words {
            self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests;
