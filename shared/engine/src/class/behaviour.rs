//! What a flow is, by how it behaves in the one direction that we see.
//!
//! A *transfer* pours: it fills packets, and sends more in a moment than anybody reads. A *call*
//! keeps time: whoever cuts time into slots of 60 ms finds some of its packets in nearly every one,
//! for as long as somebody speaks, and among them packets that are small, or end a picture and so
//! have any size. It does so under jitter too, which a rule about single spacings would not bear.
//! Everything else is *interactive*.
//!
//! Calls begin small and can't be told from much else at first, but their first packets matter
//! most, and copies of small packets are cheap. So a flow of datagrams that begins small is a
//! *candidate*, treated as a call for two seconds, in which it has to keep time or stop being one.
//! Silence speaks against no call, for many send nothing while nobody speaks.

use super::Class;
use crate::{
    packet::{Headers, TCP, UDP},
    segment::Cut,
    time::{Span, Time},
};

/// What one flow has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behaviour {
    stage: Stage,
    /// Whether the flow looks like QUIC, whose acknowledgements are small datagrams in time too.
    doubtful: bool,
    /// The last 64 slots, the one that runs at bit 0: in which there was a packet...
    busy: u64,
    /// ...in which one that a transfer would not send, and in which one that is not small.
    varied: u64,
    large: u64,
    slot: u32,
    /// Full packets in a row, and small ones.
    full_run: u8,
    small_run: u8,
    /// The largest packet.
    largest: u16,
    /// Until when a candidate may prove itself, and a call need not have kept time before.
    until: Time,
    seen_at: Time,
    /// Bytes within a moment, and within ten seconds; small packets within a second.
    burst: f32,
    volume: f32,
    swarm: f32,
}

/// What a flow is taken for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    /// It has sent nothing yet.
    #[default]
    New,
    /// It may become a call.
    Candidate,
    /// It is a call.
    Call,
    Interactive,
    Transfer,
}

/// What counts of a packet, or of a super-packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    datagrams: bool,
    /// Whether it is a query of a name, or the answer.
    name_query: bool,
    quic_port: bool,
    /// All bytes, but none where only something is acknowledged.
    weight: u32,
    /// Bytes of the first segment, and of the last.
    first: u16,
    last: u16,
    count: u16,
}

impl Behaviour {
    /// Notes what the flow sends now. Returns the class of it.
    pub(super) fn on_packets(&mut self, now: Time, shape: &Shape) -> Class {
        let silent_for = now.since(self.seen_at);
        self.pass(now);
        if self.stage == Stage::New {
            self.begin(now, shape);
        }
        self.note(shape);
        let before = self.stage;
        self.stage = self.judge(now, silent_for, shape);
        if before != self.stage {
            self.turn(now, before);
        }
        match self.stage {
            Stage::Candidate | Stage::Call => Class::RealTime,
            Stage::Interactive | Stage::New => Class::Interactive,
            Stage::Transfer => Class::Bulk,
        }
    }

    /// Whether the flow was seen to keep the time of a call.
    pub(super) fn keeps_time(&self) -> bool {
        self.stage == Stage::Call
    }

    /// Whether it sends more than any call does.
    pub(super) fn floods(&self) -> bool {
        self.burst > CALL_BURST_MAX
    }

    fn begin(&mut self, now: Time, shape: &Shape) {
        // QUIC begins with datagrams of 1200 bytes or more in both directions (RFC 9000, 14.1).
        self.doubtful = shape.quic_port || shape.first >= QUIC_FIRST_MIN;
        let candidate = shape.datagrams && (!self.doubtful || shape.name_query);
        self.stage = if candidate { Stage::Candidate } else { Stage::Interactive };
        // Who asks for names has no time to keep, and never stops being urgent.
        self.until = if shape.name_query { Time::MAX } else { now + CANDIDATE_SPAN };
    }

    /// Notes that the flow is taken for something else than before.
    fn turn(&mut self, now: Time, before: Stage) {
        match (before, self.stage) {
            (_, Stage::Call) => self.until = now + SLOT * 64,
            (_, Stage::Candidate) => self.until = now + CANDIDATE_SPAN,
            (Stage::Call, _) => self.doubtful = true,
            // What was poured before is no part of what follows.
            (Stage::Transfer, _) => self.volume = self.burst,
            _ => {}
        }
    }

    /// Lets time go by until `now`.
    fn pass(&mut self, now: Time) {
        let slot = (now.0 / SLOT.0) as u32;
        let passed = slot.wrapping_sub(self.slot);
        self.busy = self.busy.checked_shl(passed).unwrap_or(0);
        self.varied = self.varied.checked_shl(passed).unwrap_or(0);
        self.large = self.large.checked_shl(passed).unwrap_or(0);
        self.slot = slot;
        let gap = now.since(self.seen_at).0 as f32;
        let left = |span: Span| (1.0 - gap / span.0 as f32).max(0.0);
        self.burst *= left(MOMENT);
        self.volume *= left(MEMORY);
        self.swarm *= left(Span::secs(1));
        self.seen_at = now;
    }

    fn note(&mut self, shape: &Shape) {
        let small = shape.first <= SMALL;
        self.largest = self.largest.max(shape.first);
        let full = |len: u16| len > SMALL && len.saturating_add(SLACK) >= self.largest;
        self.busy |= 1;
        self.large |= u64::from(!small);
        if !full(shape.last) {
            self.varied |= 1;
            self.full_run = 0;
        } else {
            self.full_run = self.full_run.saturating_add(shape.count.min(255) as u8);
        }
        self.small_run = if small { self.small_run.saturating_add(1) } else { 0 };
        self.swarm += if small { f32::from(shape.count) } else { 0.0 };
        // Small ones may be the acknowledgements of a stream inside of another tunnel.
        self.burst += shape.weight as f32 * if small { SMALL_WEIGHT } else { 1.0 };
        self.volume += if small { 0.0 } else { shape.weight as f32 };
    }

    fn judge(&self, now: Time, silent_for: Span, shape: &Shape) -> Stage {
        let endless = self.full_run == u8::MAX && self.volume > VOLUME / 2.0;
        let pours = self.burst > BURST || self.volume > VOLUME || endless;
        match self.stage {
            Stage::Call if silent_for > SILENCE_MAX && !shape.name_query => Stage::Candidate,
            Stage::Call if self.stays_call(now) => Stage::Call,
            _ if shape.datagrams && self.in_time() && !self.is_uneven(now) => Stage::Call,
            Stage::Candidate if !pours && self.may_become_call(now) => Stage::Candidate,
            Stage::Transfer if self.rests() => Stage::Interactive,
            Stage::Transfer => Stage::Transfer,
            Stage::Call | Stage::Candidate | Stage::Interactive | Stage::New => {
                if pours {
                    Stage::Transfer
                } else {
                    Stage::Interactive
                }
            }
        }
    }

    /// Whether a candidate still may prove to be a call.
    fn may_become_call(&self, now: Time) -> bool {
        now <= self.until && self.full_run < FULL_RUN_MAX && !self.swarms()
    }

    fn stays_call(&self, now: Time) -> bool {
        !self.floods() && !self.swarms() && !self.lost_time() && !self.is_uneven(now)
    }

    /// Whether a call has had large packets now and then, not steadily as pictures come: then it is
    /// many things mixed in another tunnel's datagrams.
    fn is_uneven(&self, now: Time) -> bool {
        let (large, busy) = ((self.large >> 1).count_ones(), (self.busy >> 1).count_ones());
        self.stage == Stage::Call && now > self.until && large >= LARGE_MIN && busy < EVEN_MIN
    }

    /// Whether the last slots were filled as a call fills them. The one that runs does not count.
    fn in_time(&self) -> bool {
        let (slots, enough) = match () {
            () if self.doubtful => (63, 58),
            () if self.largest <= SMALL => (6, 6),
            () => (16, 14),
        };
        let filled = self.varied >> 1 & ((1 << slots) - 1);
        filled.count_ones() >= enough && !self.floods() && !self.swarms()
    }

    /// Whether what kept time has changed into a transfer: as busy as before, with full packets.
    fn lost_time(&self) -> bool {
        let last = |slots: u64| (slots >> 1) as u32;
        let busy = last(self.busy).count_ones();
        busy >= BUSY_MIN && last(self.varied).count_ones() * 2 < busy
    }

    /// Whether there are more small packets than in any call: acknowledgements inside of datagrams.
    fn swarms(&self) -> bool {
        self.swarm > SWARM
    }

    /// Whether a transfer has ended, and what comes is something else.
    fn rests(&self) -> bool {
        let answers = self.small_run >= SMALL_RUN && self.burst < BURST / 16.0;
        answers || self.burst < BURST / 4.0 && self.volume < VOLUME / 4.0
    }
}

impl Shape {
    pub(super) fn new(headers: &Headers, cut: &Cut) -> Self {
        let ports = [(headers.ports >> 16) as u16, headers.ports as u16];
        let len = |index| u16::try_from(cut.len(index)).unwrap_or(u16::MAX);
        // Of the protocols with ports only these come without a stream's acknowledgements.
        let datagrams = matches!(headers.protocol, UDP | 33 | 136);
        let acknowledges =
            headers.protocol == TCP && headers.len - headers.transport <= TCP_HEADER_MAX;
        Self {
            datagrams,
            name_query: datagrams && ports.contains(&53),
            quic_port: ports.contains(&443),
            weight: if acknowledges { 0 } else { headers.len as u32 },
            first: len(0),
            last: len(cut.count.saturating_sub(1)),
            count: cut.count,
        }
    }
}

/// Voice frames come each 10 to 60 ms, pictures each 16 to 50.
const SLOT: Span = Span::millis(60);

/// The largest packet that counts as small: G.711 with 20 ms takes 200 bytes, a game's state more.
const SMALL: u16 = 300;

/// How much of a small packet counts towards a transfer: 16 Mbit/s of them are one.
const SMALL_WEIGHT: f32 = 0.125;

/// Packets that differ by less have the same size: a QUIC number is longer or shorter.
const SLACK: u16 = 16;

const QUIC_FIRST_MIN: u16 = 1200;

/// From the first packet of a call to its media: candidates of both sides are tried, and keys agreed on.
const CANDIDATE_SPAN: Span = Span::secs(2);

/// So many full packets in a row are no call's first picture.
const FULL_RUN_MAX: u8 = 24;

/// After this much silence another call, or no call, may have the same addresses.
const SILENCE_MAX: Span = Span::secs(5);

/// As the queue at the entrance counts: a flow that sends 64 KiB within a moment, or goes on at
/// 2 Mbit/s, gains by a second path.
const BURST: f32 = 65_536.0;
const MOMENT: Span = Span::millis(250);

/// Transfers that are held back from outside: 0.8 Mbit/s for long, more than pages that are read. Half
/// of it where every packet is full.
const VOLUME: f32 = 1_048_576.0;
const MEMORY: Span = Span::secs(10);

/// 8 Mbit/s: twice what a video call takes, so that a whole picture may come at once.
const CALL_BURST_MAX: f32 = 4.0 * BURST;

/// Small packets a second: the fastest games send 128, and sound at most 100.
const SWARM: f32 = 250.0;

/// So many of the last 32 slots are to be busy before their content can speak against a call.
const BUSY_MIN: u32 = 24;

/// Of the last 63 slots, this many with large packets are pictures, or a mixture; and pictures fill
/// this many, with the sound between them.
const LARGE_MIN: u32 = 8;
const EVEN_MIN: u32 = 44;

/// So many small packets in a row are somebody who types again after much was printed.
const SMALL_RUN: u8 = 4;

/// TCP's header with all options that an acknowledgement has. A SYN is one of these, and a key typed
/// into a terminal is not.
const TCP_HEADER_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_one_from_its_first_packet_and_through_silence() {
        let mut flow = Behaviour::default();

        assert!((0..50).all(|i| flow.at(i * 20, &datagram(200)) == Class::RealTime));
        assert!(flow.keeps_time());
        assert!((0..10).all(|i| flow.at(1000 + i * 400, &datagram(56)) == Class::RealTime));
        assert!(flow.keeps_time());
    }

    #[test]
    fn a_candidate_that_keeps_no_time_is_none_after_two_seconds() {
        let mut flow = Behaviour::default();

        assert_eq!(flow.at(0, &datagram(100)), Class::RealTime);
        assert_eq!(flow.at(1900, &datagram(100)), Class::RealTime);
        assert_eq!(flow.at(2100, &datagram(100)), Class::Interactive);
        assert_eq!(flow.at(30_000, &datagram(100)), Class::Interactive);
    }

    #[test]
    fn a_call_that_was_held_is_one_again_when_it_goes_on() {
        let mut flow = Behaviour::default();
        for at in 0..50 {
            flow.at(at * 20, &datagram(200));
        }

        assert!((0..50).all(|i| flow.at(60_000 + i * 20, &datagram(200)) == Class::RealTime));
        assert!(flow.keeps_time());
    }

    #[test]
    fn a_transfer_that_begins_small_is_found_by_its_full_packets() {
        let mut flow = Behaviour::default();
        flow.at(0, &datagram(48));

        let classes: Vec<Class> = (0..300).map(|i| flow.at(10 + i * 5, &datagram(1400))).collect();

        let first = classes.iter().position(|&class| class == Class::Interactive).expect("seen");
        assert!(first <= 25, "after {first} packets");
        assert!(!classes[first..].contains(&Class::RealTime));
        assert_eq!(classes[299], Class::Bulk);
    }

    #[test]
    fn a_call_that_turns_into_a_transfer_is_none() {
        let mut flow = Behaviour::default();
        for i in 0..100 {
            flow.at(i * 20, &datagram(200));
        }

        let bulk = (0..5000).find(|&i| flow.at(2000 + i, &datagram(1400)) != Class::RealTime);
        assert!(bulk.is_some_and(|millis| millis < 500), "{bulk:?}");
    }

    #[test]
    fn acknowledgements_of_a_stream_are_no_transfer() {
        let mut flow = Behaviour::default();
        let ack = Shape { datagrams: false, weight: 0, ..datagram(52) };

        assert!((0..50_000).all(|i| flow.on_packets(Time(i * 100), &ack) == Class::Interactive));
    }

    #[test]
    fn names_are_urgent_until_there_are_too_many() {
        let mut flow = Behaviour::default();
        let query = Shape { name_query: true, ..datagram(80) };

        assert_eq!(flow.at(0, &Shape { first: 1232, last: 1232, ..query }), Class::RealTime);
        assert_eq!(flow.at(600_000, &query), Class::RealTime);
        assert!((0..1000).any(|i| flow.at(600_001 + i, &query) != Class::RealTime));
    }

    #[test]
    fn typing_is_interactive_again_after_much_was_printed() {
        let mut flow = Behaviour::default();
        let stream = |len| Shape { datagrams: false, ..datagram(len) };
        for i in 0..5000 {
            flow.at(i, &stream(1400));
        }
        assert_eq!(flow.at(5000, &stream(1400)), Class::Bulk);

        let classes: Vec<Class> = (1..8).map(|i| flow.at(5000 + i * 200, &stream(90))).collect();
        assert_eq!(classes[3..], [Class::Interactive; 4]);
    }

    #[test]
    fn no_time_and_no_size_makes_it_panic() {
        let mut flow = Behaviour::default();
        let huge = Shape { count: u16::MAX, weight: u32::MAX, ..datagram(u16::MAX) };
        for at in [0, u64::MAX, 5, 1 << 60] {
            flow.on_packets(Time(at), &huge);
            flow.on_packets(Time(at), &Shape { count: 0, weight: 0, ..datagram(0) });
        }
    }

    impl Behaviour {
        fn at(&mut self, millis: u64, shape: &Shape) -> Class {
            self.on_packets(Time(millis * 1000), shape)
        }
    }

    /// A datagram of any size.
    fn datagram(len: u16) -> Shape {
        Shape {
            datagrams: true,
            name_query: false,
            quic_port: false,
            weight: u32::from(len),
            first: len,
            last: len,
            count: 1,
        }
    }
}
