//! One path as its sender sees it.

use std::collections::VecDeque;

use super::{batch::Batch, data::GIVE_UP_AFTER, probation::Flaps, settle::PROBATION, worth::Worth};
use crate::{
    inbound::{INTERVAL_LONE, INTERVAL_METERED},
    path::{
        FourTuple, PathId, PathState,
        delays::Delays,
        mtu::MtuSearch,
        rtt::RttEstimator,
        sent::{Content, STEADY_BYTES, STEADY_METERED, Sent, SentRing},
        window::Window,
    },
    stats::PathSent,
    time::{Span, Time},
    wire::{
        OVERHEAD,
        message::{BACKUP, Preference},
    },
};

/// The sending side of one path.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) id: PathId,
    pub(super) tuple: FourTuple,
    /// Another address that claims to be the path's.
    pub(super) claim: Option<Claim>,
    pub(super) state: PathState,
    pub(super) state_since: Time,
    pub(super) rank: u8,
    /// Whether each byte on its link costs.
    pub(super) metered: bool,
    /// Whether the peer waits for this path: it carries data, and has not been said to be quiet.
    pub(super) live: bool,
    /// Whether data carries WAKE, until something of it is acknowledged.
    pub(super) waking: bool,
    /// Since when, or since when it did last.
    pub(super) woken_at: Time,
    /// The epoch of the numbers, and the next one.
    pub(super) epoch: u32,
    pub(super) number: u64,
    pub(super) sent: SentRing,
    pub(super) rtt: RttEstimator,
    pub(super) window: Window,
    pub(super) mtu: MtuSearch,
    pub(super) probe: Probe,
    /// Tokens to be answered.
    pub(super) replies: VecDeque<u64>,
    /// Whether the state block has to go out here before any data.
    pub(super) state_due: bool,
    /// Bytes a second in this turn, and at most in it.
    pace: u64,
    turn_bytes: usize,
    /// When the pace lets the next datagram go.
    pub(super) next_send: Time,
    pub(super) full_since: Option<Time>,
    pub(super) data_at: Time,
    /// When something of a transfer was last sent for the first time.
    pub(super) bulk_at: Time,
    pub(super) marks: u32,
    /// Whether none are sent, for an experiment.
    pub(super) marks_off: bool,
    /// When the peer last acknowledged or answered something.
    pub(super) heard_at: Time,
    /// Mean one-way delay, clocks' offset included.
    pub(super) delay: Option<i64>,
    /// How they were distributed lately.
    pub(super) delays: Delays,
    /// What the peer's counter of received bytes said last, and what it has added up to.
    pub(super) bytes_reported: u32,
    pub(super) bytes_arrived: u64,
    pub(super) ce_reported: u16,
    pub(super) batch: Batch,
    pub(super) worth: Worth,
    /// What it carries, as flows are shared out by it: no flow is to move for what is learnt of a path all the
    /// time.
    pub(super) weight: f64,
    pub(super) flaps: Flaps,
    /// When the kernel said that its link is gone, until something goes by another.
    pub(super) hinted_at: Option<Time>,
    /// Whether the kernel said that its link is gone, and nothing was heard by it since.
    pub(super) gone: bool,
    /// Whether the socket takes nothing at the moment.
    pub(super) blocked: bool,
    pub(super) stats: PathSent,
}

/// An address that sent the path's newest datagram, and has not proved itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) tuple: FourTuple,
    pub(super) token: u64,
    pub(super) since: Time,
    /// When something last came from it.
    pub(super) heard_at: Time,
    pub(super) challenge_at: Time,
    /// Bytes that may be sent there before it has proved itself.
    pub(super) credit: u64,
    /// When the path's own address last showed life.
    pub(super) present_at: Option<Time>,
}

/// The probing of a path.
#[derive(Debug)]
pub(super) struct Probe {
    /// Tokens that were not answered, and when they were sent.
    unanswered: VecDeque<(u64, Time)>,
    pub(super) sent_at: Time,
    pub(super) next_at: Time,
    /// Answers since the path's state changed.
    pub(super) answers: u32,
}

impl Probe {
    fn new(now: Time) -> Self {
        Self { unanswered: VecDeque::new(), sent_at: now, next_at: now, answers: 0 }
    }

    /// Notes that a probe is sent, and when the next one is due.
    pub(super) fn on_sent(&mut self, now: Time, token: u64, next_at: Time) {
        if self.unanswered.len() == UNANSWERED_MAX {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back((token, now));
        self.sent_at = now;
        self.next_at = next_at;
    }

    /// Notes an answer. Returns when its probe was sent, unless there was none with this token.
    pub(super) fn on_answer(&mut self, token: u64) -> Option<Time> {
        let at = self.unanswered.iter().position(|&(sent, _)| sent == token)?;
        let (_, sent_at) = self.unanswered[at];
        // Those before it are lost.
        self.unanswered.drain(..=at);
        self.answers += 1;
        Some(sent_at)
    }
}

impl Path {
    pub(super) fn new(
        now: Time,
        id: PathId,
        tuple: FourTuple,
        preference: Preference,
        epoch: u32,
    ) -> Self {
        let mut sent = SentRing::default();
        sent.start_epoch(epoch);
        Self {
            id,
            tuple,
            claim: None,
            state: PathState::Validating,
            state_since: now,
            rank: preference.rank,
            metered: preference.metered,
            live: false,
            waking: false,
            woken_at: now,
            epoch,
            number: 0,
            sent,
            rtt: RttEstimator::new(),
            window: Window::new(),
            mtu: MtuSearch::new(now),
            probe: Probe::new(now),
            replies: VecDeque::new(),
            state_due: false,
            pace: 0,
            turn_bytes: 0,
            next_send: now,
            full_since: None,
            data_at: now,
            bulk_at: Time::ZERO,
            marks: 0,
            marks_off: false,
            heard_at: now,
            delay: None,
            delays: Delays::default(),
            bytes_reported: 0,
            bytes_arrived: 0,
            ce_reported: 0,
            batch: Batch::default(),
            worth: Worth::default(),
            weight: CARRIES_MIN,
            flaps: Flaps::default(),
            hinted_at: None,
            gone: false,
            blocked: false,
            stats: PathSent::default(),
        }
    }

    pub(super) fn enter(&mut self, now: Time, state: PathState) {
        let used = match self.state {
            PathState::Probation => self.probe.answers >= PROBATION,
            state => matches!(state, PathState::Suspect | PathState::Up),
        };
        match state {
            PathState::Dead if used => self.flaps.on_death(now),
            PathState::Probation => self.flaps.begin(now),
            _ => {}
        }
        self.gone &= state == PathState::Dead;
        self.state = state;
        self.state_since = now;
        self.probe.next_at = now;
        self.probe.answers = 0;
    }

    /// Sends to another address from here on, over a route that may differ in everything.
    pub(super) fn go_to(&mut self, now: Time, tuple: FourTuple) {
        self.tuple = tuple;
        self.claim = None;
        self.blocked = false;
        self.batch.clear();
        self.window.on_new_route();
        self.rtt.forget_minimum();
        self.delays.forget();
        self.mtu.search_again(now);
    }

    /// IP and UDP headers of the path's datagrams.
    pub(super) fn outer_len(&self) -> usize {
        if self.tuple.remote.is_ipv4() { 28 } else { 48 }
    }

    /// The longest inner packet that the path carries.
    pub(super) fn packet_max(&self) -> u16 {
        self.mtu.confirmed() - (self.outer_len() + OVERHEAD) as u16
    }

    /// Whether a datagram of this length may go now, as far as window and pace are concerned.
    pub(super) fn has_room(&self, now: Time, len: usize) -> bool {
        !self.blocked && !self.is_full(len) && self.next_send <= now + TURN
    }

    /// Whether a datagram of this length would exceed the window.
    pub(super) fn is_full(&self, len: usize) -> bool {
        self.sent.is_full() || self.sent.in_flight() + len as u64 > self.window.size()
    }

    /// Weighs the path anew where it carries clearly more or less than it did.
    pub(super) fn weigh(&mut self) {
        let carries = self.window.carries().max(CARRIES_MIN);
        if !(self.weight / STEP..=self.weight * STEP).contains(&carries) {
            self.weight = carries;
        }
    }

    /// How long the path takes for what is on its way beyond its window.
    pub(super) fn excess(&self) -> Span {
        let pace = self.wanted_pace();
        let bytes = self.sent.in_flight().saturating_sub(self.window.size());
        Span::of_bytes(bytes, pace)
    }

    /// Begins a turn: until the next one, the pace stays as it is.
    pub(super) fn begin_turn(&mut self) {
        self.sent.advance_copied();
        self.pace = self.wanted_pace();
        self.turn_bytes = TURN.carries(self.pace) as usize;
    }

    fn wanted_pace(&self) -> u64 {
        self.window.pace(self.rtt.minimum().unwrap_or(self.rtt.smoothed()))
    }

    /// Charges a datagram to the pace.
    pub(super) fn charge(&mut self, now: Time, len: usize) {
        self.next_send = self.next_send.max(now) + Span::of_bytes(len as u64, self.pace);
    }

    /// The most bytes of one turn: what the pace carries in half a millisecond, and at least one
    /// datagram.
    pub(super) fn turn_bytes(&self) -> usize {
        self.turn_bytes
    }

    /// How long others may have to wait, for order's sake, for what this path carries, given the
    /// least delay of any path and how long a retransmission takes. The queue that others may keep up on
    /// it counts as well.
    pub(super) fn straggle(&self, soonest: i64, repair: Span) -> Span {
        let most = self.window.delay_most().max(self.delay);
        let most = most.map_or(0, |most| most.saturating_sub(soonest).max(0));
        let repair = if self.window.is_lossy() { repair } else { Span::ZERO };
        Span(most as u64) + repair
    }

    /// How long ago the oldest unanswered datagram may have been sent before the path is suspected.
    pub(super) fn patience(&self) -> Span {
        // The peer's report of a lone datagram waits for 20 ms; a loaded host adds a few.
        let (held, _) = self.rhythm();
        let patience = self.rtt.overdue() + held + Span::millis(10);
        // Nothing is at stake on a path without data, and a lone probe says little of its jitter.
        if self.live { patience } else { patience * 3 }.min(PATIENCE_MAX)
    }

    /// How its peer reports: how long a lone datagram waits for that, and how many bytes are reported as they come.
    pub(super) fn rhythm(&self) -> (Span, usize) {
        if self.metered {
            (INTERVAL_METERED, STEADY_METERED)
        } else {
            (INTERVAL_LONE, STEADY_BYTES)
        }
    }

    /// Whether something is overdue, and nothing was heard for as long.
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        now >= self.overdue_at()
    }

    /// The time between probes in the path's state.
    pub(super) fn probe_interval(&self, now: Time) -> Span {
        let age = now.since(self.state_since);
        let interval = match self.state {
            PathState::Closed => Span(u64::MAX),
            PathState::Dead if self.metered && age < PROBED_OFTEN => Span::secs(5),
            PathState::Dead if self.metered => METERED_IDLE,
            PathState::Dead if age < PROBED_OFTEN => Span::millis(200),
            PathState::Dead => Span::secs(1),
            PathState::Probation => Span::millis(50).max(self.flaps.term / 40),
            PathState::Suspect => Span::millis(20),
            PathState::Up if self.metered || self.rank >= BACKUP => METERED_IDLE,
            PathState::Up => Span::secs(5),
            PathState::Validating if age < Span::secs(5) => Span::millis(100),
            PathState::Validating => Span::secs(1),
        };
        // An answer has to come before its token is forgotten.
        interval.max(self.rtt.smoothed() / (UNANSWERED_MAX as u64 / 2))
    }

    /// When the next mark is due: while the path is live and idle, so that the peer's watermark
    /// moves. Not with the next packet of what comes each 5, 10 or 20 ms, which would wait for it.
    pub(super) fn mark_at(&self) -> Time {
        if !self.live || self.marks >= MARKS_MAX || self.marks_off {
            return Time::MAX;
        }
        self.data_at + MARK_FIRST * (1 << self.marks)
    }

    /// When the path is quiet, if nothing more is sent on it.
    pub(super) fn quiet_at(&self) -> Time {
        if !self.live || self.sent.awaits_acknowledgement() {
            return Time::MAX;
        }
        self.data_at + self.rtt.overdue().max(Span::millis(50))
    }

    /// When the path's silence becomes suspicious.
    pub(super) fn overdue_at(&self) -> Time {
        let at = |sent: Option<Time>, patience: Span| {
            sent.map_or(Time::MAX, |sent| sent.max(self.heard_at) + patience + Span(1))
        };
        let lone = at(self.sent.oldest(), self.patience());
        // What keeps coming is reported each 5 ms, by this path and another in turn.
        let (_, reported) = self.rhythm();
        let steady = self.live.then(|| self.sent.steady(reported)).flatten();
        lone.min(at(steady, self.rtt.overdue() + Span::millis(5)))
    }

    /// Gives back the memory of buffers.
    pub(super) fn shrink(&mut self) {
        self.batch.shrink();
        self.sent.shrink();
        self.window.shrink();
        self.replies.shrink_to_fit();
    }

    /// How long what was sent is remembered: until long after the path is suspected for it.
    pub(super) fn memory(&self) -> Span {
        GIVE_UP_AFTER.max(self.patience() * 2)
    }

    /// When the pace lets a datagram go, if nothing else keeps it from going.
    pub(super) fn paced_until(&self, now: Time) -> Time {
        let full = usize::from(self.packet_max()) + OVERHEAD;
        if !self.is_full(full) && self.next_send > now + TURN {
            self.next_send - TURN
        } else {
            Time::MAX
        }
    }

    /// Counts what was lost; of what the peer does not acknowledge unasked, nobody knows.
    pub(super) fn count_lost(&mut self, settled: &[Sent]) {
        self.stats.lost += settled.iter().filter(|sent| sent.eliciting).count() as u64;
    }

    pub(super) fn push_sent(&mut self, content: Content, stamp: Time, len: usize, eliciting: bool) {
        self.sent.push(content, stamp, len as u16, eliciting);
        self.stats.datagrams += 1;
        self.stats.bytes += len as u64;
    }
}

/// What a path may send in one go, and how early the pace lets it.
pub(super) const TURN: Span = Span(500);

/// A path that carries so many times more, or less, is weighed anew.
const STEP: f64 = 1.5;

/// What a path is taken to carry at the least when flows are shared out: 1 Mbit/s, in bytes a second.
const CARRIES_MIN: f64 = 125_000.0;

/// However long a path's round trip: nobody waits so long for a packet, and what a peer says of its round trip may be
/// made up.
const PATIENCE_MAX: Span = Span::secs(5);

/// How long a dead path is probed often: most outages are over by then.
const PROBED_OFTEN: Span = Span::secs(30);

/// Between two probes of a path that costs and is idle. NATs keep a mapping for 30 s or more (RFC 4787, 4.3, asks for
/// two minutes, and many give less).
const METERED_IDLE: Span = Span::secs(25);

/// Probes of a path that may still be answered.
const UNANSWERED_MAX: usize = 16;

/// At 5.5, 11, 22 and 44 ms; then the path is quiet.
const MARK_FIRST: Span = Span(5_500);
const MARKS_MAX: u32 = 4;
