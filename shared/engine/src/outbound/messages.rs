//! Datagrams without packets: probes, replies, reports, the state block, marks, padding.

use super::{Outbound, path::Path};
use crate::{
    inbound::HOLD_MAX,
    packet::Ecn,
    path::{
        FourTuple, PathId, PathState,
        sent::{Content, Messages},
    },
    time::{Span, Time},
    trial::Ablation,
    wire::{
        INNER_LEN, Inner, Kind, OUTER_LEN, OVERHEAD, PATHS_MAX, TAG_LEN,
        feedback::Report,
        message::{Message, Preference},
    },
};

impl Outbound {
    /// Stages at most one datagram without a packet on each path.
    pub(super) fn stage_messages(&mut self, now: Time) {
        let best = self.messenger().map(|path| path.id);
        for index in 0..PATHS_MAX {
            let Some(path) = self.paths[index].as_deref() else { continue };
            if path.blocked || !path.batch.is_empty() || path.state == PathState::Closed {
                continue;
            }
            let id = path.id;
            // Nothing overtakes the state block: data on a path that woke may already be on its way.
            let first = path.state_due;
            if !first && (self.stage_challenge(now, id) || self.stage_padding(now, id)) {
                continue;
            }
            let mut payload = Payload::default();
            self.say_replies(now, id, &mut payload);
            self.say_reports(id, best, &mut payload);
            self.say_state(now, id, best, &mut payload);
            let mark = self.paths[index].as_deref().is_some_and(|path| now >= path.mark_at());
            if !payload.bytes.is_empty() || mark {
                self.send_messages(now, id, payload);
            }
        }
    }

    /// The usable path on which a message arrives soonest; any that may answer, if none is usable.
    pub(super) fn best(&self) -> Option<&Path> {
        self.soonest(|path| path.state == PathState::Up).or_else(|| {
            self.soonest(|path| !matches!(path.state, PathState::Closed | PathState::Dead))
        })
    }

    /// The path for messages that may go by any: the best, and a metered one only if no other is up.
    pub(super) fn messenger(&self) -> Option<&Path> {
        let free = |path: &Path| path.state == PathState::Up && !path.metered;
        self.soonest(free).or_else(|| self.best())
    }

    fn soonest(&self, fits: impl Fn(&Path) -> bool) -> Option<&Path> {
        let paths = self.paths.iter().flatten().map(|path| &**path);
        let fitting = paths.filter(|path| !path.blocked && fits(path));
        fitting.min_by_key(|path| path.delay.unwrap_or(path.rtt.smoothed().0 as i64))
    }

    /// Something that the state block says has changed.
    pub(super) fn change_state(&mut self) {
        self.state = self.state.wrapping_add(1);
    }

    /// Sends the state block on every live path before any more data: what is stamped after it
    /// arrives after it.
    pub(super) fn announce_state(&mut self) {
        for path in self.paths.iter_mut().flatten() {
            path.state_due = path.live;
        }
    }

    /// Whether the state block has to be said again, if no path asks for it by itself.
    pub(super) fn state_repeat_at(&self) -> Time {
        match self.messenger() {
            Some(best) if self.state != self.state_acknowledged => {
                self.state_sent_at + best.rtt.overdue().max(Span::millis(20))
            }
            _ => Time::MAX,
        }
    }

    fn say_replies(&mut self, now: Time, id: PathId, payload: &mut Payload) {
        let token = self.fresh_token(now, id);
        let Some(path) = self.path_mut(id) else { return };
        while let Some(token) = path.replies.pop_front() {
            Message::Reply { token }.emit(&mut payload.bytes);
            payload.eliciting = true;
        }
        if let Some(token) = token {
            let next_at = now + path.probe_interval(now);
            path.probe.on_sent(now, token, next_at);
            Message::Probe { token }.emit(&mut payload.bytes);
            payload.eliciting = true;
        }
    }

    /// A token for a probe, if one is due on the path.
    fn fresh_token(&mut self, now: Time, id: PathId) -> Option<u64> {
        use rand::Rng;
        let due = self.path(id)?.probe.next_at <= now;
        due.then(|| self.random.next_u64())
    }

    /// Adds the reports that are due: on the fastest path, and every other time on the path that a
    /// report is about, which proves that direction too.
    fn say_reports(&mut self, id: PathId, best: Option<PathId>, payload: &mut Payload) {
        let carrier = |report: &Report| {
            let about = PathId(report.path);
            // On probation too: if all others die, it is the only one that carries reports.
            let answers = |path: &Path| {
                matches!(path.state, PathState::Probation | PathState::Up) && !path.blocked
            };
            let own = self.reported_by & about.bit() != 0 && self.path(about).is_some_and(answers);
            if own { about } else { best.unwrap_or(about) }
        };
        let Some(at) = self.reports.iter().position(|report| carrier(report) == id) else { return };
        let Some(report) = self.reports.remove(at) else { return };
        self.reports_sent += 1;
        self.reported_by ^= PathId(report.path).bit();
        Message::Feedback(report).emit(&mut payload.bytes);
        payload.report = Some((report.path, report.epoch, report.largest));
        if self.reports_sent.is_multiple_of(REPORTS_UNASKED) {
            // Now and then the peer has to acknowledge, or reports would repeat everything.
            Message::Ping.emit(&mut payload.bytes);
            payload.eliciting = true;
        }
    }

    /// Takes up a report; it replaces an older one about the same. The delays are those of the larger part.
    pub(super) fn take_report(&mut self, mut report: Report) {
        let same = |r: &Report| (r.path, r.epoch) == (report.path, report.epoch);
        match self.reports.iter().position(same) {
            Some(at) => {
                let before = self.reports[at];
                if before.fresh > report.fresh {
                    report.fresh = before.fresh;
                    (report.delay_mean, report.delay_min) = (before.delay_mean, before.delay_min);
                }
                self.reports[at] = report;
            }
            None if self.reports.len() < REPORTS_MAX => self.reports.push_back(report),
            None => {}
        }
    }

    fn say_state(&mut self, now: Time, id: PathId, best: Option<PathId>, payload: &mut Payload) {
        let repeat = best == Some(id) && now >= self.state_repeat_at();
        let due = self.path(id).is_some_and(|path| path.state_due);
        if !repeat && !due {
            return;
        }
        Message::Live(bits(&self.paths, |path| path.live)).emit(&mut payload.bytes);
        self.allowance_told = self.allowance();
        Message::Allowance(self.allowance_told.0 as u32).emit(&mut payload.bytes);
        if !self.accepts_paths {
            for path in self.paths.iter().flatten() {
                let preference = Preference { rank: path.rank, metered: path.metered };
                Message::Preference { path: path.id.0, preference }.emit(&mut payload.bytes);
                if path.state == PathState::Closed {
                    Message::Close { path: path.id.0 }.emit(&mut payload.bytes);
                }
            }
            Message::Gone(bits(&self.paths, |path| path.gone)).emit(&mut payload.bytes);
        }
        payload.state = Some(self.state);
        payload.eliciting = true;
        self.state_sent_at = now;
        if let Some(path) = self.path_mut(id) {
            path.state_due = false;
        }
    }

    /// How long the receiver may wait for a retransmission. Nearly all that is lost comes again, so
    /// to give up early costs an inner sender a third of its window, and to wait in vain costs little.
    /// Nothing where nothing is sent again.
    pub(super) fn allowance(&self) -> Span {
        if self.repairs() { HOLD_MAX } else { Span::ZERO }
    }

    /// Whether the receiver is to wait for what is sent again: not where each packet has a copy.
    pub(super) fn repairs(&self) -> bool {
        self.schedulers.iter().any(|it| it.repairs()) && self.has_alternatives()
    }

    /// Whether there is more than one path, or a lone one that loses packets all the time. On a lone one
    /// that does not, nothing is sent again, for there the tunnel is to behave like the link.
    pub(super) fn has_alternatives(&self) -> bool {
        let mut held = self.paths.iter().flatten().filter(|path| {
            matches!(path.state, PathState::Probation | PathState::Suspect | PathState::Up)
        });
        let lossy = held.next().is_some_and(|first| first.window.is_lossy());
        (lossy || held.next().is_some()) && !self.trial.has(Ablation::NoRepair)
    }

    fn send_messages(&mut self, now: Time, id: PathId, payload: Payload) {
        let Some(tuple) = self.path(id).map(|path| path.tuple) else { return };
        let messages = Messages { report: payload.report, state: payload.state };
        self.send_plain(now, id, tuple, Kind::Message, &payload.bytes, payload.bytes.len());
        if let Some(path) = self.path_mut(id)
            && now >= path.mark_at()
        {
            path.marks += 1;
        }
        let stamp = self.stamp;
        let len = payload.bytes.len() + OVERHEAD;
        self.seal(now, id, Content::Messages(messages), stamp, len, payload.eliciting);
    }

    /// Asks an address that claims to be a path's whether it can be reached. Returns whether it did.
    fn stage_challenge(&mut self, now: Time, id: PathId) -> bool {
        let Some(claim) = self.path(id).and_then(|path| path.claim) else { return false };
        if now < claim.challenge_at {
            return false;
        }
        if let Some(claim) = self.path_mut(id).and_then(|path| path.claim.as_mut()) {
            claim.challenge_at = now + CHALLENGE_INTERVAL;
        }
        let mut payload = Payload::default();
        Message::Probe { token: claim.token }.emit(&mut payload.bytes);
        let len = payload.bytes.len();
        self.send_plain(now, id, claim.tuple, Kind::Message, &payload.bytes, len);
        let content = Content::Messages(Messages::default());
        self.seal(now, id, content, self.stamp, len + OVERHEAD, false);
        true
    }

    /// Probes the path's MTU, if that is due. Returns whether it did.
    fn stage_padding(&mut self, now: Time, id: PathId) -> bool {
        let Some(path) = self.path_mut(id) else { return false };
        if path.state != PathState::Up {
            return false;
        }
        let Some(size) = path.mtu.poll(now) else { return false };
        let (tuple, outer) = (path.tuple, path.outer_len());
        let len = usize::from(size) - outer - OVERHEAD;
        self.send_plain(now, id, tuple, Kind::Padding, &[], len);
        self.seal(now, id, Content::Padding, self.stamp, len + OVERHEAD, true);
        true
    }

    /// Adds a datagram without a packet to the path's batch, alone, and stamps it.
    fn send_plain(
        &mut self,
        now: Time,
        id: PathId,
        tuple: FourTuple,
        kind: Kind,
        payload: &[u8],
        len: usize,
    ) {
        let stamp = self.next_stamp(now, None);
        self.stats.message_bytes += (len + OVERHEAD) as u64;
        let Some(path) = self.path_mut(id) else { return };
        let datagram = path.batch.add(len + OVERHEAD, Ecn::NotEct, tuple);
        let header = Inner::without_packet(kind, stamp).emit();
        datagram[OUTER_LEN..OUTER_LEN + INNER_LEN].copy_from_slice(&header);
        debug_assert_eq!(datagram.len(), OUTER_LEN + INNER_LEN + len + TAG_LEN);
        let (said, padding) = datagram[OUTER_LEN + INNER_LEN..].split_at_mut(payload.len());
        said.copy_from_slice(payload);
        padding.fill(0);
        path.batch.close();
    }
}

/// The paths of which this is so, one bit each.
fn bits(paths: &[Option<Box<Path>>; PATHS_MAX], is_so: impl Fn(&Path) -> bool) -> u16 {
    let paths = paths.iter().flatten().filter(|path| is_so(path));
    paths.fold(0, |bits, path| bits | path.id.bit())
}

/// The messages of one datagram.
#[derive(Debug, Default)]
struct Payload {
    bytes: Vec<u8>,
    report: Option<(u8, u8, u64)>,
    state: Option<u16>,
    eliciting: bool,
}

/// Reports that wait: one for each path, and one more where its epoch came to an end.
const REPORTS_MAX: usize = 2 * PATHS_MAX;

/// Every so many reports ask to be acknowledged.
const REPORTS_UNASKED: u32 = 8;

/// Who claims a path's address gets no more than one datagram in this time.
const CHALLENGE_INTERVAL: Span = Span::millis(12);
