//! The sending half of a connection: what leaves, and when.
//!
//! The rules are those of Linux, because its sender is what most inner flows are: loss by RACK,
//! proportional rate reduction (RFC 6937), tail loss probes (RFC 8985), F-RTO (RFC 5682), and
//! reductions that are taken back when timestamps (RFC 3522) or duplicate SACKs (RFC 3708) show that
//! nothing had been lost.

mod arrival;
mod recovery;
mod timer;

pub(crate) use self::arrival::Acknowledgment;

use self::recovery::Episode;
use self::recovery::State;
use self::timer::Timer;
use super::TcpConfig;
use super::control::Control;
use super::control::Window;
use super::rack::Rack;
use super::rack::Surroundings;
use super::rate::Delivery;
use super::rtt::Rtt;
use super::scoreboard::SEGMENTS_MAX;
use super::scoreboard::Scoreboard;
use super::scoreboard::Sent;
use crate::flow::Load;

/// Numbers count bytes from the SYN, which has number 0; times are microseconds.
#[derive(Debug)]
pub(crate) struct Sender {
    mss: u32,
    /// Segments that may leave as one packet.
    burst_max: u32,
    /// One past the last byte of the data.
    data_end: u64,
    /// Whether a FIN follows the data.
    ends: bool,
    /// First number that is not acknowledged, and the next to send.
    unacknowledged: u64,
    next: u64,
    /// The peer takes numbers below this.
    window_end: u64,
    window: Window,
    /// Whether the window, and not the data, ended the last flight.
    is_window_limited: bool,
    /// The most segments that were outstanding in this round.
    outstanding_max: usize,
    control: Control,
    board: Scoreboard,
    rack: Rack,
    rtt: Rtt,
    delivery: Delivery,
    state: State,
    episode: Episode,
    retransmission: Retransmission,
    timer: Option<Timer>,
    /// End of the flight when the outstanding tail loss probe was sent, and what it carried.
    probe: Option<(u64, ProbeKind)>,
    probe_is_due: bool,
    /// When the last packet left.
    sent_at: u64,
    /// Nothing leaves before this time, nanoseconds.
    paced_until: u64,
    /// Whether the last attempt to send ended there.
    waits_for_pace: bool,
    /// Segments that arrived with one acknowledgment: kept for its memory.
    arrived: Vec<Sent>,
    pub(crate) counters: Counters,
}

/// What one packet is to carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Transmission {
    pub(crate) start: u64,
    pub(crate) payload_len: usize,
    pub(crate) fin: bool,
    /// Whether nothing follows at once.
    pub(crate) push: bool,
}

/// Counts of one sender.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) retransmits: u64,
    pub(crate) timeouts: u64,
    pub(crate) probes: u64,
    pub(crate) reductions: u64,
    pub(crate) undos: u64,
}

/// What may be sent besides data that was never sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Retransmission {
    /// What is lost, first.
    Lost,
    /// Nothing until data that was never sent has left: F-RTO, RFC 5682, step 2b.
    NewDataFirst,
    Nothing,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ProbeKind {
    NewData,
    Retransmission,
}

impl Sender {
    /// A sender whose handshake is done: the SYN is acknowledged. `window_end` is what the peer's
    /// last window field allows, `mss` the payload of a full segment.
    pub(crate) fn new(config: &TcpConfig, mss: u32, window_end: u64) -> Self {
        let (data_end, ends) = match config.load {
            Load::Bytes(bytes) => (1 + bytes, true),
            Load::Endless => (u64::MAX, false),
            Load::Nothing => (1, false),
        };
        Self {
            mss,
            burst_max: config.burst_max(mss),
            data_end,
            ends,
            unacknowledged: 1,
            next: 1,
            window_end,
            window: Window { size: WINDOW_INITIAL, threshold: u32::MAX },
            is_window_limited: false,
            outstanding_max: 0,
            control: Control::new(config.congestion, config.seed),
            board: Scoreboard::default(),
            rack: Rack::default(),
            rtt: Rtt::default(),
            delivery: Delivery::default(),
            state: State::Open,
            episode: Episode::default(),
            retransmission: Retransmission::Nothing,
            timer: None,
            probe: None,
            probe_is_due: false,
            sent_at: 0,
            paced_until: 0,
            waits_for_pace: false,
            arrived: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes the round-trip time of the handshake.
    pub(crate) fn on_handshake_rtt(&mut self, rtt: u64) {
        self.rtt.on_sample(rtt, 1, 1);
        self.rtt.on_min_sample(rtt);
        self.control.on_handshake_rtt(rtt, &self.window);
    }

    /// Ends the data where it is, with a FIN; that of a sender with a load of its own stands.
    pub(crate) fn close(&mut self) {
        if self.data_end == 1 {
            self.ends = true;
        }
    }

    /// What is to be sent at `now`, if anything.
    pub(crate) fn poll(&mut self, now: u64) -> Option<Transmission> {
        if std::mem::take(&mut self.probe_is_due) {
            return self.send_probe(now);
        }
        self.waits_for_pace = self.paced_until > now * 1000;
        if self.waits_for_pace {
            return None;
        }
        if self.retransmission == Retransmission::Lost
            && let Some(transmission) = self.retransmit(now)
        {
            return Some(transmission);
        }
        let room = (self.window.size as usize).saturating_sub(self.board.in_flight());
        if room == 0 {
            self.is_window_limited = true;
            return None;
        }
        let transmission = self.send_new(now, room);
        if transmission.is_none() && self.available() == 0 {
            self.is_window_limited = false;
            self.delivery.on_limited(self.board.in_flight());
        }
        if self.retransmission == Retransmission::NewDataFirst
            && transmission.is_none()
            && self.next <= self.episode.end
        {
            self.episode.is_doubtful = false;
            self.retransmission = Retransmission::Lost;
            return self.retransmit(now);
        }
        transmission
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) or, for pacing, [`poll`](Self::poll).
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        let timer = self.timer.map(|timer| timer.at);
        let pace = self.waits_for_pace.then(|| self.paced_until.div_ceil(1000));
        [timer, pace].into_iter().flatten().min()
    }

    /// The largest number that may be acknowledged: the next to send.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The first number that is not acknowledged.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.unacknowledged
    }

    /// Whether everything up to the FIN is acknowledged.
    pub(crate) fn is_finished(&self) -> bool {
        self.ends && self.unacknowledged == self.end()
    }

    /// Round-trip times.
    pub(crate) fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// Payload of a full segment.
    pub(crate) fn mss(&self) -> u32 {
        self.mss
    }

    /// Congestion window, bytes.
    pub(crate) fn window_bytes(&self) -> u64 {
        u64::from(self.window.size) * u64::from(self.mss)
    }

    /// How often reordering was seen.
    pub(crate) fn reorderings(&self) -> u64 {
        self.rack.reorderings
    }

    /// One past the last number, the FIN's included.
    fn end(&self) -> u64 {
        self.data_end.saturating_add(u64::from(self.ends))
    }

    /// Numbers that may be sent for the first time.
    fn available(&self) -> u64 {
        if self.board.len() >= SEGMENTS_MAX {
            return 0;
        }
        // The FIN is not under the peer's window.
        let limit = if self.window_end >= self.data_end { self.end() } else { self.window_end };
        limit.saturating_sub(self.next)
    }

    fn send_new(&mut self, now: u64, room: usize) -> Option<Transmission> {
        let available = self.available();
        let mss = u64::from(self.mss);
        // A part of a segment waits for more window, unless it is the end (RFC 9293, 3.8.6.2.1).
        if available == 0 || (available < mss && self.next + available < self.end()) {
            return None;
        }
        let whole = (available / mss).max(1);
        let burst = u64::from(self.burst());
        let segments = whole.min(room as u64).min(burst).max(1);
        if segments < whole.min(burst) && self.waits_for_room(now, room) {
            return None;
        }
        let was_idle = self.board.len() == 0;
        let start = self.next;
        for _ in 0..segments {
            let end = (self.next + mss).min(self.data_end);
            // The last segment of the data takes the FIN along.
            let end = if end == self.data_end { self.end() } else { end };
            let mark = self.delivery.on_sent(now, self.board.len());
            self.board.push(now, self.next, end, mark);
            self.next = end;
            if end == self.end() {
                break;
            }
        }
        self.note_sent(now, self.next - start);
        self.outstanding_max = self.outstanding_max.max(self.board.len());
        self.arm_after_sending(now, was_idle);
        Some(self.transmission(start, self.next))
    }

    /// Whether a super-packet waits to become larger, because acknowledgments that make more room are
    /// on their way: the rule of Linux's TSO deferral.
    fn waits_for_room(&self, now: u64, room: usize) -> bool {
        let Some((_, first)) = self.board.front() else { return false };
        let is_recent = now - self.sent_at <= DEFERRAL_MAX;
        let half = self.rtt.smoothed().unwrap_or(0) / 2;
        self.burst_max > 1
            && self.state <= State::Disorder
            && is_recent
            && room < self.window.size as usize / 3
            && now - first.at >= half
    }

    fn retransmit(&mut self, now: u64) -> Option<Transmission> {
        if self.board.in_flight() >= self.window.size as usize {
            self.is_window_limited |= self.board.lost() > 0;
            return None;
        }
        let (place, segment) = self.board.first_waiting()?;
        Some(self.resend(now, place, segment))
    }

    fn resend(&mut self, now: u64, place: u64, segment: Sent) -> Transmission {
        let mark = self.delivery.on_sent(now, self.board.len());
        self.board.resend(now, place, mark);
        self.episode.on_retransmission(now);
        self.counters.retransmits += 1;
        self.note_sent(now, segment.end - segment.start);
        if segment.start == self.unacknowledged {
            self.arm_retransmission(now);
        }
        self.transmission(segment.start, segment.end)
    }

    /// Sends data that was never sent or, if there is none, the last segment again.
    fn send_probe(&mut self, now: u64) -> Option<Transmission> {
        let high = self.next;
        self.counters.probes += 1;
        let new = self.send_new(now, 1);
        let kind = if new.is_some() { ProbeKind::NewData } else { ProbeKind::Retransmission };
        let transmission = match new {
            Some(transmission) => Some(transmission),
            None => {
                let (place, segment) = self.board.back().map(|(place, &last)| (place, last))?;
                Some(self.resend(now, place, segment))
            }
        };
        self.probe = Some((if new.is_some() { self.next } else { high }, kind));
        self.arm_retransmission(now);
        transmission
    }

    fn transmission(&self, start: u64, end: u64) -> Transmission {
        let data_end = end.min(self.data_end);
        Transmission {
            start,
            payload_len: data_end.saturating_sub(start) as usize,
            fin: end > self.data_end,
            push: end == self.next && self.available() == 0,
        }
    }

    fn note_sent(&mut self, now: u64, bytes: u64) {
        let segments = bytes.div_ceil(u64::from(self.mss)).max(1) as u32;
        self.episode.sent += segments;
        self.sent_at = now;
        if let Some(rate) = self.control.pacing_rate() {
            let nanoseconds = (f64::from(segments) / rate.max(1.0) * 1e9) as u64;
            // What was slept too long is made up for, by half of the packet at most.
            let credit = (now * 1000).saturating_sub(self.paced_until).min(nanoseconds / 2);
            self.paced_until = self.paced_until.max(now * 1000) + nanoseconds - credit;
        }
    }

    fn is_paced(&self) -> bool {
        self.control.pacing_rate().is_some()
    }

    /// Segments that leave as one packet: what goes out in a millisecond, as Linux sizes them.
    fn burst(&self) -> u32 {
        if self.burst_max <= 1 {
            return 1;
        }
        let rate = self.control.pacing_rate().unwrap_or_else(|| {
            let rtt = self.rtt.smoothed().unwrap_or(1_000).max(1) as f64;
            let gain = if self.window.size < self.window.threshold / 2 { 2.0 } else { 1.2 };
            f64::from(self.window.size) / rtt * 1e6 * gain
        });
        // Over a short path larger bursts do no harm: 64 KiB, halved for each half millisecond.
        let halvings = (self.rtt.min().unwrap_or(0) / 512).min(31);
        let short_path = (65_536 >> halvings) / self.mss;
        ((rate / 1024.0) as u32 + short_path).clamp(2, self.burst_max.max(2))
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            min_rtt: self.rtt.min().unwrap_or(0),
            smoothed_rtt: self.rtt.smoothed().unwrap_or(0),
            is_recovering: matches!(self.state, State::Recovery | State::Loss),
            sacked: self.board.sacked(),
        }
    }
}

/// Time since the last packet after which a super-packet does not wait to grow.
const DEFERRAL_MAX: u64 = 1_000;

/// RFC 6928.
const WINDOW_INITIAL: u32 = 10;
