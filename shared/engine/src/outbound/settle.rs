//! What feedback, replies and silence say about what was sent.

use super::{
    Event, Outbound,
    data::GIVE_UP_AFTER,
    path::{Claim, Path},
};
use crate::{
    notice::Told,
    path::{
        FourTuple, PathId, PathState,
        mtu::MTU_MIN,
        progress::Progress,
        sent::{Content, Messages, Segment, Sent},
    },
    time::{Span, Time},
    wire::{feedback::Report, message::Preference},
};

impl Outbound {
    /// The peer says what arrived on a path.
    pub(super) fn on_feedback(&mut self, now: Time, report: &Report, stamp: u32, at: Time) {
        let mut settled = std::mem::take(&mut self.settled);
        let id = PathId(report.path);
        let Some(path) = self.path_mut(id) else {
            self.settled = settled;
            return;
        };
        settled.clear();
        let newest = path.sent.acknowledge(report, |sent| settled.push(*sent));
        let heard = !settled.is_empty();
        let current = report.epoch == (self.keys.epoch & 15) as u8;
        if heard && current {
            self.epoch.confirmed = self.keys.epoch;
        }
        let Some(path) = self.path_mut(id) else { return };
        if let Some(newest) = newest {
            let held = u64::from(stamp.wrapping_sub(report.received_at) & i32::MAX as u32);
            let sample = Span(at.since(newest.stamp).0.saturating_sub(held));
            path.rtt.on_sample(now, sample);
        }
        if heard {
            path.heard_at = now;
            path.stats.acknowledged += settled.len() as u64;
        }
        let fresh = settled.iter().map(|sent| sent.stamp).max();
        let acknowledged = settled.len();
        path.sent.lose(now - GIVE_UP_AFTER, |sent| settled.push(*sent));
        path.count_lost(&settled[acknowledged..]);
        if path.state == PathState::Probation {
            let (arrived, missing) = settled.split_at(acknowledged);
            let since = path.state_since;
            let count = |part: &[Sent]| {
                part.iter().filter(|sent| sent.eliciting && sent.stamp >= since).count()
            };
            path.flaps.on_settled(count(arrived), count(missing));
        }
        // A probe that is lost for its size says nothing of what the path carries.
        let missed = settled[acknowledged..].iter().filter(|sent| sent.eliciting);
        let missed = missed.filter(|sent| !matches!(sent.content, Content::Padding));
        let lost: u64 = missed.map(|sent| u64::from(sent.len)).sum();
        self.on_progress(now, id, report, lost);
        for sent in &settled[..acknowledged] {
            self.on_acknowledged(id, sent);
        }
        for sent in &settled[acknowledged..] {
            self.doubt_size(now, id, sent);
            self.on_lost(now, sent);
        }
        self.settled = settled;
        self.on_sign_of_life(now, id, fresh);
    }

    /// Feeds the path's window and delay.
    fn on_progress(&mut self, now: Time, id: PathId, report: &Report, lost: u64) {
        let repairs = self.repairs();
        let Some(path) = self.path_mut(id) else { return };
        let bytes = u64::from(report.bytes.wrapping_sub(path.bytes_reported));
        // Reports may overtake each other on different paths: an older one says nothing more.
        if bytes == 0 || bytes > u64::from(u32::MAX / 2) {
            return;
        }
        path.bytes_reported = report.bytes;
        // No more can have arrived than was sent.
        let bytes = bytes.min(path.stats.bytes.saturating_sub(path.bytes_arrived));
        path.bytes_arrived += bytes;
        let marked = report.ce.wrapping_sub(path.ce_reported) != 0;
        path.ce_reported = report.ce;
        let delay = i64::from(report.delay_mean);
        path.delay = Some(match path.delay {
            Some(before) if before.abs_diff(delay) < 10_000_000 => before + (delay - before) / 4,
            _ => delay,
        });
        path.delays.note(now, report.delay_mean);
        let progress = Progress {
            bytes,
            arrived: path.bytes_arrived,
            received_at: report.received_at,
            fresh: u64::from(report.fresh),
            delay_mean: delay,
            delay_min: i64::from(report.delay_min),
            lost,
            repairs,
            marked,
            sparse: path.metered,
            rtt: path.rtt.smoothed(),
            rtt_min: path.rtt.minimum().unwrap_or(path.rtt.smoothed()),
        };
        if path.window.on_feedback(now, &progress) {
            path.rtt.forget_minimum();
        }
        path.weigh();
        self.review_lead(now);
    }

    fn on_acknowledged(&mut self, id: PathId, sent: &Sent) {
        match sent.content {
            Content::Messages(Messages { report, state }) => {
                if let Some((path, epoch, largest)) = report {
                    let path = PathId(path);
                    self.notices.push(Told::ReportSeen { path, epoch, largest });
                }
                if let Some(state) = state
                    && state == self.state
                {
                    self.state_acknowledged = state;
                }
            }
            Content::Packet(segment, _) => {
                self.slots.release(segment.slot);
                self.ingress.on_settled(segment.flow, true);
                self.on_size(id, sent);
                if let Some(path) = self.path_mut(id) {
                    path.waking &= sent.stamp < path.woken_at;
                }
            }
            Content::Padding => {
                self.on_size(id, sent);
                self.review_mtu();
            }
        }
    }

    fn on_size(&mut self, id: PathId, sent: &Sent) {
        if let Some(path) = self.path_mut(id) {
            let size = sent.len + path.outer_len() as u16;
            if size > MTU_MIN {
                path.mtu.on_acknowledged(size, sent.stamp);
            }
        }
    }

    /// A datagram was lost while others got through: its size may be why.
    fn doubt_size(&mut self, now: Time, id: PathId, sent: &Sent) {
        if let (Content::Packet(..), Some(path)) = (sent.content, self.path_mut(id)) {
            let size = sent.len + path.outer_len() as u16;
            if path.mtu.on_lost(now, size, sent.stamp) {
                self.review_mtu();
            }
        }
    }

    pub(super) fn on_lost(&mut self, now: Time, sent: &Sent) {
        let Content::Packet(segment, copied) = sent.content else { return };
        let worthwhile = now.since(segment.first_sent) < REPAIR_WITHIN && segment.tries < TRIES_MAX;
        // In every mode: what has no copy has no other remedy.
        let remedy = worthwhile && self.has_alternatives() && self.repair.len() < REPAIR_MAX;
        if copied || !remedy {
            self.give_up(&segment);
            return;
        }
        self.repair.push_back(Segment { tries: segment.tries + 1, ..segment });
    }

    /// Nothing more is done about a segment.
    pub(super) fn give_up(&mut self, segment: &Segment) {
        self.slots.release(segment.slot);
        self.ingress.on_settled(segment.flow, false);
        self.stats.given_up += 1;
    }

    /// Sends everything unsettled of a path again, on others, ahead of what is new. What had a copy needs
    /// that only if the copy's path may have failed as well.
    pub(super) fn reinject(&mut self, now: Time, id: PathId) {
        let failed = |path: &Path| {
            let down = matches!(path.state, PathState::Dead | PathState::Suspect);
            path.id != id && down && now.since(path.state_since) < GIVE_UP_AFTER
        };
        let copies_fail = self.paths.iter().flatten().any(|path| failed(path));
        let mut settled = std::mem::take(&mut self.settled);
        settled.clear();
        if let Some(path) = self.path_mut(id) {
            path.sent.clear(|sent| settled.push(*sent));
            path.count_lost(&settled);
        }
        for sent in &settled {
            let Content::Packet(segment, copied) = sent.content else { continue };
            if copied && !copies_fail || self.repair.len() >= REPAIR_MAX {
                self.give_up(&segment);
            } else {
                self.repair.push_back(segment);
            }
        }
        self.settled = settled;
    }

    /// The peer answered a probe.
    pub(super) fn on_reply(&mut self, now: Time, id: PathId, token: u64) {
        let Some(path) = self.path_mut(id) else { return };
        if let Some(claim) = path.claim
            && claim.token == token
        {
            // Who read the challenge has the keys, so it reached the peer at that address, whoever
            // was first to bring the answer. But somebody on the way may have passed it on: an
            // address that was proved, and shows life beside the claim, is not given up.
            let proved = path.state != PathState::Validating;
            if !(proved && claim.present_at.is_some()) {
                self.settle_claim(now, id, claim);
            }
            return;
        }
        let Some(sent_at) = path.probe.on_answer(token) else { return };
        path.rtt.on_sample(now, now.since(sent_at));
        path.heard_at = now;
        let state = path.state;
        match state {
            PathState::Closed | PathState::Up => {}
            // Never without a path: how often this one died does not matter then.
            PathState::Dead if self.is_needed(now, id) => self.enter(now, id, PathState::Up),
            PathState::Dead => self.enter(now, id, PathState::Probation),
            PathState::Probation => self.review_probation(now, id),
            PathState::Suspect | PathState::Validating => self.enter(now, id, PathState::Up),
        }
    }

    /// An address that claimed a path has proved itself: the path goes there from here on.
    fn settle_claim(&mut self, now: Time, id: PathId, claim: Claim) {
        let Some(path) = self.path_mut(id) else { return };
        path.go_to(now, claim.tuple);
        path.heard_at = now;
        let tuple = path.tuple;
        let state = path.state;
        self.notices.push(Told::Settled { path: id, tuple });
        self.push_event(Event::Rebound(id));
        // What was sent to the address before is lost, most likely.
        self.reinject(now, id);
        if matches!(state, PathState::Dead | PathState::Suspect | PathState::Validating) {
            self.enter(now, id, PathState::Up);
        }
    }

    /// The client has said how a path is to be used.
    pub(super) fn on_preference(&mut self, id: PathId, preference: Preference) {
        let Some(path) = self.path_mut(id) else { return };
        let changed = path.metered != preference.metered;
        (path.rank, path.metered) = (preference.rank, preference.metered);
        if changed {
            // What is due sooner than it would be now goes as it was planned, once.
            let told = Told::Metered { path: id, metered: preference.metered };
            let same = |it: &Told| matches!(it, Told::Metered { path, .. } if *path == id);
            self.notices.push_newest(told, same);
        }
    }

    /// The peer asks for a reply. A path that we hold for dead is probed by us as well, at once: where we ask
    /// seldom, it would come back in one direction only.
    pub(super) fn on_probe(&mut self, now: Time, id: PathId, token: u64) {
        let Some(path) = self.path_mut(id) else { return };
        if path.state == PathState::Dead {
            path.probe.next_at = path.probe.next_at.min(now.max(path.probe.sent_at + ASKED_AFTER));
        }
        // The answer goes to the path's own address: an unproven one gets challenges, nothing else.
        if path.replies.len() < REPLIES_MAX {
            path.replies.push_back(token);
        }
    }

    /// The newest datagram of a path came from another address.
    pub(super) fn on_moved(&mut self, now: Time, id: PathId, from: FourTuple, bytes: u32) {
        use rand::Rng;
        let token = self.random.next_u64();
        let alone = self.is_sole(id);
        let Some(path) = self.path_mut(id) else { return };
        if path.tuple == from {
            return;
        }
        match &mut path.claim {
            Some(claim) if claim.tuple == from => {
                claim.credit += 3 * u64::from(bytes);
                claim.heard_at = now;
                return;
            }
            Some(claim) if now.since(claim.since) < CLAIM_KEPT => return,
            _ => {}
        }
        path.claim = Some(Claim {
            tuple: from,
            token,
            since: now,
            heard_at: now,
            challenge_at: now,
            credit: 3 * u64::from(bytes),
            present_at: None,
        });
        if !alone {
            self.reinject(now, id);
        }
    }

    /// Something that was sent on a path has arrived: `fresh` is when the newest of it was sent.
    fn on_sign_of_life(&mut self, now: Time, id: PathId, fresh: Option<Time>) {
        let Some(path) = self.path(id) else { return };
        if path.state == PathState::Suspect && fresh.is_some_and(|at| at >= path.state_since) {
            self.enter(now, id, PathState::Up);
        }
    }
}

/// A packet that is older when its loss is found is of no use to anyone.
pub(super) const REPAIR_WITHIN: Span = Span::millis(500);

/// Retransmissions of one segment: on links that lose 5 % the peer waits for one segment in a million in
/// vain with four, and on those that lose more nearly everything waits.
const TRIES_MAX: u8 = 8;

/// Segments that wait to be sent again: the windows of all paths.
const REPAIR_MAX: usize = 1 << 17;

/// Probes answered before a path that was dead carries data again.
pub(super) const PROBATION: u32 = 3;

/// Probes that wait for an answer on one path.
const REPLIES_MAX: usize = 8;

/// A dead path is probed no sooner after the probe before, however often the peer asks.
const ASKED_AFTER: Span = Span::millis(50);

/// An address that claims a path is heard out for so long before another may.
const CLAIM_KEPT: Span = Span::millis(50);
