//! The receiving half of a session.
//!
//! ```text
//! datagram ─ parse ─ replay window ─ open ─┬─ packet ─ filter ─ lane ─┬─ deliver
//!                                          ├─ message ─ Heard         └─ hold ─ release ─ deliver
//!                                          └─ padding
//! ```
//! It never sends: what is to be said to the peer it tells [`Outbound`](crate::Outbound) by
//! [`Heard`].

use self::{
    lane::Patience,
    lanes::{Lanes, Order},
    messages::elicits,
    passage::Passage,
    received::Received,
};
use crate::{
    filter::Filter,
    keys::OpeningKeys,
    notice::{Heard, Notices, Told},
    packet::{Ecn, Headers},
    path::{FourTuple, PathId},
    replay::Verdict,
    stats::{InboundStats, PathReceived},
    time::{Span, Time},
    trial::{Ablation, Trial},
    wire::{self, INNER_LEN, Inner, Kind, OUTER_LEN, Outer, PATHS_MAX, TAG_LEN},
};

mod bound;
mod lane;
mod lanes;
mod messages;
mod passage;
mod received;

pub use self::lanes::HELD_BYTES_MAX;
pub(crate) use self::received::{INTERVAL_LONE, INTERVAL_METERED};

/// Opens datagrams, sorts out duplicates, puts packets in order, and keeps account of what arrived.
pub struct Inbound {
    keys: OpeningKeys,
    filter: Filter,
    /// Whether the peer's paths may move to other addresses: a client's may, a server's don't.
    may_move: bool,
    paths: [Option<Box<Received>>; PATHS_MAX],
    lanes: Lanes,
    passage: Passage,
    /// The paths on which the peer has something on its way, one bit each.
    live: u16,
    /// Those among them that the peer has left; they count until the others have come as far.
    leaving: u16,
    /// Paths whose links the peer says to be gone.
    gone: u16,
    /// The newest stamp seen on any path, and when it arrived.
    newest: Time,
    newest_at: Time,
    /// The stamp of the state block that was obeyed last.
    state_at: Time,
    allowance: Span,
    /// The paths whose links are metered, one bit each.
    metered: u16,
    notices: Notices<Heard>,
    stats: InboundStats,
}

impl Inbound {
    pub(crate) fn new(keys: OpeningKeys, filter: Filter, may_move: bool, trial: Trial) -> Self {
        let order = match trial {
            _ if trial.has(Ablation::NoHold) => Order::None,
            _ if trial.has(Ablation::HoldKnownLost) => Order::KnownLost,
            _ => Order::Watermark,
        };
        Self {
            keys,
            filter,
            may_move,
            paths: [const { None }; PATHS_MAX],
            lanes: Lanes::new(order),
            passage: Passage::default(),
            live: 0,
            leaving: 0,
            gone: 0,
            newest: Time::ZERO,
            newest_at: Time::ZERO,
            state_at: Time::ZERO,
            allowance: Span::ZERO,
            metered: 0,
            notices: Notices::new(),
            stats: InboundStats::default(),
        }
    }

    /// Takes in one datagram, decrypting it in place. Returns the packet it carried if that is to
    /// be delivered at once; what is [`ready`](Self::ready) follows it.
    pub fn handle_datagram<'d>(
        &mut self,
        now: Time,
        from: &FourTuple,
        ecn: Ecn,
        datagram: &'d mut [u8],
    ) -> Option<&'d [u8]> {
        let (path, header, stamp) = self.open(now, from, ecn, datagram)?;
        let len = datagram.len();
        let payload = &mut datagram[OUTER_LEN + INNER_LEN..len - TAG_LEN];
        match header.kind {
            Kind::Padding => self.after(now, path, None),
            Kind::Message => {
                self.handle_messages(now, path, stamp, payload);
                self.after(now, path, None);
            }
            Kind::Packet => {
                let deliver = self.handle_packet(now, &header, stamp, ecn, payload);
                self.after(now, path, header.flags.wake.then_some(stamp));
                if let Some(len) = deliver {
                    self.stats.packets += 1;
                    self.stats.bytes += len as u64;
                    return Some(&payload[..len]);
                }
            }
        }
        None
    }

    /// The packets to deliver, in their order, until [`forget_ready`](Self::forget_ready).
    pub fn ready(&self) -> impl Iterator<Item = &[u8]> {
        self.lanes.ready()
    }

    /// They are delivered.
    pub fn forget_ready(&mut self) {
        for packet in self.lanes.ready() {
            self.stats.packets += 1;
            self.stats.bytes += packet.len() as u64;
        }
        self.lanes.forget_ready();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.release(now);
        for path in 0..PATHS_MAX {
            self.poll_report(now, path);
        }
        for index in bits(self.live) {
            if self.paths[index].as_mut().is_some_and(|path| path.poll_faded(now)) {
                self.notices.push(Heard::Faded(PathId(index as u8)));
            }
        }
        if self.lanes.sweep(now) {
            self.passage.shrink();
            self.notices.shrink();
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) if nothing happens before.
    pub fn poll_timeout(&self) -> Time {
        let reports = self.paths.iter().flatten().map(|path| path.poll_timeout());
        let lanes = self.lanes.poll_timeout(&self.patience());
        let live = bits(self.live).filter_map(|index| self.paths[index].as_ref());
        let faded = live.map(|path| path.fades_at()).min().unwrap_or(Time::MAX);
        reports.min().unwrap_or(Time::MAX).min(lanes).min(faded)
    }

    /// The next thing that [`Outbound`](crate::Outbound) has to hear.
    pub fn poll_notice(&mut self) -> Option<Heard> {
        self.notices.pop()
    }

    /// Takes in what [`Outbound`](crate::Outbound) tells.
    pub fn handle_notice(&mut self, told: Told) {
        match told {
            Told::Metered { path, metered } => {
                let others = self.metered & !path.bit();
                self.metered = others | if metered { path.bit() } else { 0 };
                if let Some(received) = &mut self.paths[path.index()] {
                    received.metered = metered;
                }
            }
            Told::ReportSeen { path, epoch, largest } => {
                if let Some(received) = &mut self.paths[path.index()] {
                    received.on_report_seen(epoch, largest);
                }
            }
            Told::Settled { path, tuple } => {
                if let Some(received) = &mut self.paths[path.index()] {
                    received.tuple = tuple;
                    received.moved = None;
                    received.proved = true;
                }
            }
        }
    }

    /// What was counted.
    pub fn stats(&self) -> InboundStats {
        self.stats
    }

    /// What was counted on one path.
    pub fn path_stats(&self, path: PathId) -> PathReceived {
        self.paths[path.index()].as_ref().map(|path| path.stats).unwrap_or_default()
    }

    /// Bytes of packets that wait for earlier ones.
    pub fn held_bytes(&self) -> usize {
        self.lanes.held_bytes()
    }

    /// Checks and decrypts a datagram, and keeps account of it. `None` if it is to be dropped.
    fn open(
        &mut self,
        now: Time,
        from: &FourTuple,
        ecn: Ecn,
        datagram: &mut [u8],
    ) -> Option<(usize, Inner, Time)> {
        let Some(outer) = Outer::parse(datagram) else {
            self.stats.malformed += 1;
            return None;
        };
        let slot = usize::from(outer.index.path);
        let Some((epoch, cipher)) = self.keys.cipher(outer.epoch) else {
            self.stats.too_old += 1;
            return None;
        };
        let window = self.paths[slot].as_ref().and_then(|path| path.window(epoch));
        let number = wire::expand_number(window.map_or(0, |w| w.next()), outer.number);
        let verdict = window.map_or(Verdict::New, |window| window.verdict(number));
        // A replayed datagram is opened only where it can bear witness for an address: the path's own
        // while another claims the path, or another while the path's own was never proved.
        let received = self.paths[slot].as_ref();
        let claimed = received.is_some_and(|it| it.moved.is_some() && it.tuple == *from);
        let contested = received.is_some_and(|it| !it.proved && it.tuple != *from) && self.may_move;
        match verdict {
            Verdict::TooOld => self.stats.too_old += 1,
            Verdict::Duplicate => self.stats.replayed += 1,
            Verdict::New => {}
        }
        let witness = claimed || contested;
        if verdict == Verdict::TooOld || (verdict == Verdict::Duplicate && !witness) {
            return None;
        }
        let (clear, sealed) = datagram.split_at_mut(OUTER_LEN);
        let (content, tag) = sealed.split_at_mut(sealed.len() - TAG_LEN);
        let tag: &[u8; TAG_LEN] = (&*tag).try_into().ok()?;
        if !cipher.open(wire::nonce(outer.index.path, number), clear, content, tag) {
            self.stats.forged += 1;
            return None;
        }
        let bytes = OUTER_LEN + content.len() + TAG_LEN;
        if claimed {
            self.note_present(now, slot);
        }
        if verdict == Verdict::Duplicate {
            if contested {
                self.note_moved(slot, from, bytes);
            }
            return None;
        }
        if self.keys.on_authentic(epoch) {
            self.notices.push_once(Heard::Epoch(epoch));
        }
        let Some(header) = Inner::parse(content) else {
            self.stats.malformed += 1;
            return None;
        };
        // A stamp has come round after 72 minutes; the peer's clock runs on while it says nothing.
        let stamp = (self.newest + now.since(self.newest_at)).expand(header.stamp);
        let newest = self.account(now, from, &outer, (epoch, number), bytes, ecn);
        if stamp + STALE_AFTER < self.newest {
            self.stats.stale += 1;
            return None;
        }
        if stamp > self.newest {
            (self.newest, self.newest_at) = (stamp, now);
        }
        let eliciting = header.kind != Kind::Message || elicits(&content[INNER_LEN..]);
        if let Some(path) = &mut self.paths[slot] {
            path.on_stamp(now, stamp, newest, bytes, eliciting);
        }
        Some((slot, header, stamp))
    }

    /// Notes an authentic datagram on its path, which it opens if need be. Returns whether it is the newest there.
    fn account(
        &mut self,
        now: Time,
        from: &FourTuple,
        outer: &Outer,
        (epoch, number): (u32, u64),
        bytes: usize,
        ecn: Ecn,
    ) -> bool {
        let id = PathId(outer.index.path);
        let (notices, metered) = (&mut self.notices, self.metered & id.bit() != 0);
        let path = self.paths[id.index()].get_or_insert_with(|| {
            notices.push_once(Heard::Opened { path: id, from: *from });
            Box::new(Received::new(*from, metered))
        });
        let newest = path.insert(now, epoch, number);
        path.stats.datagrams += 1;
        path.stats.bytes += bytes as u64;
        if ecn == Ecn::Ce {
            path.stats.ce += 1;
            path.urge();
        }
        if self.may_move && *from != path.tuple && newest {
            self.note_moved(id.index(), from, bytes);
        }
        newest
    }

    /// An authentic datagram came from another address than the path's. Notices are fixed in size and
    /// few: one for the first datagram, then one each 2 KiB.
    fn note_moved(&mut self, slot: usize, from: &FourTuple, bytes: usize) {
        let Some(path) = &mut self.paths[slot] else { return };
        let unsaid = path.moved.map_or(u32::MAX, |before| before + bytes as u32);
        if unsaid > MOVED_STEP {
            let bytes = if unsaid == u32::MAX { bytes as u32 } else { unsaid };
            self.notices.push(Heard::Moved { path: PathId(slot as u8), from: *from, bytes });
            path.moved = Some(0);
        } else {
            path.moved = Some(unsaid);
        }
    }

    /// The path's own address shows life although another claims the path. Said now and then.
    fn note_present(&mut self, now: Time, slot: usize) {
        let Some(path) = &mut self.paths[slot] else { return };
        if now.since(path.present_at) >= PRESENT_INTERVAL {
            path.present_at = now;
            self.notices.push(Heard::Present(PathId(slot as u8)));
        }
    }

    /// Puts an inner packet into its lane. Returns its length if it is to be delivered at once.
    fn handle_packet(
        &mut self,
        now: Time,
        header: &Inner,
        stamp: Time,
        ecn: Ecn,
        payload: &mut [u8],
    ) -> Option<usize> {
        let Some(headers) = Headers::parse(payload) else {
            self.stats.malformed += 1;
            return None;
        };
        if !self.filter.admits(&headers) {
            self.stats.refused += 1;
            return None;
        }
        if ecn == Ecn::Ce {
            match Ecn::of(payload) {
                // RFC 6040, 4.2: what can't be marked is dropped, for the mark stood for a drop.
                Ecn::NotEct => {
                    self.stats.unmarkable += 1;
                    return None;
                }
                Ecn::Ce => {}
                Ecn::Ect0 | Ecn::Ect1 => Ecn::mark(payload),
            }
        }
        let packet = &payload[..headers.len];
        let lanes = &mut self.lanes;
        lanes
            .insert(now, header, stamp, packet, &self.passage, &mut self.stats)
            .then_some(headers.len)
    }

    /// Draws the conclusions from a datagram that arrived: a stamp of its own if it woke its path.
    fn after(&mut self, now: Time, path: usize, woken: Option<Time>) {
        if woken.is_some_and(|stamp| stamp >= self.state_at) {
            self.live |= 1 << path;
            self.leaving &= !(1 << path);
        }
        self.release(now);
        self.poll_report(now, path);
    }

    fn release(&mut self, now: Time) {
        // A path is left after everything it carried has arrived or was sent again elsewhere, before
        // the word about it. That word came on one path; the others have to come as far.
        let staying = self.live & !self.leaving;
        let watermark = |path: &Option<Box<Received>>| path.as_ref().map(|p| p.watermark());
        let reached = bits(staying).map(|i| watermark(&self.paths[i]).unwrap_or_default()).min();
        if reached.is_none_or(|reached| reached >= self.state_at) {
            self.live = staying;
            self.leaving = 0;
        }
        let paths = &mut self.paths;
        // Where no path is live, one may have been woken since: only the word itself is certain.
        let passed = bits(self.live)
            .map(|i| paths[i].as_mut().map_or(Time::ZERO, |path| path.passed(now)))
            .min()
            .unwrap_or(self.state_at);
        self.passage.on_passed(now, passed);
        if self.lanes.is_blocked() {
            let patience = Patience { passage: &self.passage, allowance: self.allowance };
            self.lanes.release(now, &patience, &mut self.stats);
        }
    }

    fn patience(&self) -> Patience<'_> {
        Patience { passage: &self.passage, allowance: self.allowance }
    }

    fn poll_report(&mut self, now: Time, path: usize) {
        let Some(received) = &mut self.paths[path] else { return };
        while let Some(report) = received.poll_report(now, path as u8) {
            self.notices.push(Heard::Report(report));
        }
    }
}

/// The places of the bits that are set.
fn bits(mut set: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (place < PATHS_MAX).then_some(place)
    })
}

/// A datagram stamped longer ago than this, by its sender's own clock, is none that anyone waits
/// for, and may belong to a lane's former flow.
const STALE_AFTER: Span = Span::secs(5);

/// The longest that a packet waits for an earlier one: four fifths of the shortest retransmission
/// timeout of an inner TCP (Linux: 200 ms beside the round trip), so that waiting never causes one.
pub(crate) const HOLD_MAX: Span = Span::millis(160);

/// How many bytes come from an unproven address before it is mentioned again.
const MOVED_STEP: u32 = 2048;

/// Signs of life of a claimed path's address are told no more often.
const PRESENT_INTERVAL: Span = Span::millis(10);
