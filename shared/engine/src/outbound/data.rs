//! From the queue into datagrams: scheduling, segmenting, stamping, sealing.

use super::{Note, Outbound, path::Path, settle::REPAIR_WITHIN, turn::Turn};
use crate::{
    class::Class,
    ingress::{Head, Ingress},
    packet::Ecn,
    path::{
        FourTuple, PathId, PathState,
        sent::{Content, Segment},
    },
    scheduler::{Choice, PacketView, PathView},
    time::{Span, Time},
    trial::Ablation,
    wire::{
        self, Flags, INNER_LEN, Inner, Kind, OUTER_LEN, OVERHEAD, Outer, ReceiverIndex, TAG_LEN,
    },
};

impl Outbound {
    /// Fills batches with what may be sent: messages first, then what is sent again, then the queue.
    pub(super) fn stage(&mut self, now: Time) {
        self.stage_messages(now);
        if self.is_staged() {
            return;
        }
        for path in self.paths.iter_mut().flatten() {
            path.begin_turn();
        }
        let mut turn = Turn::new(self, now);
        while self.stage_repair(now, &mut turn) {}
        if self.repair.is_empty() {
            while self.stage_queued(now, &mut turn) {}
            if self.ingress.segments() == 0 {
                while self.stage_rescue(now, &mut turn) {}
            }
        }
        self.views = turn.list;
        self.note_refused(now);
        if !self.is_staged() {
            // A path had to be announced as live before data may go.
            self.stage_messages(now);
        }
        self.note_standing(now);
    }

    pub(super) fn is_staged(&self) -> bool {
        self.paths.iter().flatten().any(|path| !path.batch.is_empty() && !path.blocked)
    }

    /// Stages one segment that is sent again. Returns whether to go on.
    fn stage_repair(&mut self, now: Time, turn: &mut Turn) -> bool {
        let Some(segment) = self.repair.front().copied() else { return false };
        // What was lost and found no room in time is of no use any more.
        let patience = if segment.tries > 0 { REPAIR_WITHIN } else { GIVE_UP_AFTER };
        if now.since(segment.first_sent) > patience {
            self.repair.pop_front();
            self.give_up(&segment);
            return true;
        }
        let len = self.segment_len(&segment);
        turn.refresh(self, now, len);
        // A lost segment is waited for: it takes the path on which it arrives first even a little past that
        // path's window. What is sent again because its path fell silent is a windowful, and waits for room.
        let urgent = segment.tries > 0;
        let fits = || turn.views().iter().filter(|path| usize::from(path.packet_max) >= len);
        if fits().next().is_none() && !turn.views().is_empty() {
            // Cut for a path that is gone: nothing that is left carries it, and others wait behind.
            self.repair.pop_front();
            self.give_up(&segment);
            return true;
        }
        let excess = |view: &PathView| match self.path(view.id)? {
            _ if view.room => Some(Span::ZERO),
            path if urgent && self.is_open(view.id) => Some(path.excess()),
            _ => None,
        };
        let ready = fits().filter_map(|view| Some((view, excess(view)?)));
        let ready = ready.filter(|&(_, excess)| excess <= EXCESS_MAX);
        let soonest = ready.min_by_key(|&(view, excess)| view.delay + excess);
        let Some((&PathView { id, .. }, _)) = soonest else { return false };
        if !self.prepare(now, id, len, Ecn::NotEct, turn) {
            return false;
        }
        self.repair.pop_front();
        self.send_segment(now, id, segment, Sending::Again);
        true
    }

    /// Stages the segment at the head of the queue; or, if that waits for a better path, one of a flow
    /// that does not. Returns whether to go on.
    fn stage_queued(&mut self, now: Time, turn: &mut Turn) -> bool {
        let Some(head) = self.ingress.head() else { return false };
        if self.stage_head(now, head, turn) {
            return true;
        }
        // A path that woke is announced before anything else goes.
        let announces = self.paths.iter().flatten().any(|path| path.state_due && !path.blocked);
        if announces || turn.views().iter().all(|path| !path.room) {
            return false;
        }
        for _ in 1..LOOKED_AT {
            let next = self.ingress.pass_over_fresh();
            let Some(behind) = next.filter(|next| next.flow != head.flow) else { break };
            if self.stage_head(now, behind, turn) {
                return true;
            }
        }
        for _ in 0..LOOKED_AT {
            let Some(behind) = self.ingress.head_of_rest() else { return false };
            if behind.flow != head.flow && self.stage_head(now, behind, turn) {
                return true;
            }
            self.ingress.pass_over_rest();
        }
        false
    }

    fn stage_head(&mut self, now: Time, head: Head, turn: &mut Turn) -> bool {
        turn.refresh(self, now, head.len);
        if turn.views().is_empty() {
            return false;
        }
        if turn.views().iter().all(|path| usize::from(path.packet_max) < head.len) {
            if let Some((slot, segments)) = self.ingress.drop_head(&head) {
                self.slots.release(slot);
                self.stats.dropped_too_big += u64::from(segments);
            }
            return true;
        }
        let packet = self.packet_view(now, &head);
        if head.begins && packet.lead.is_some_and(|lead| self.may_recover(now, lead, head.since)) {
            return false;
        }
        let choice = self.schedulers[head.class.index()].select(&packet, turn.views());
        let (first, second) = match choice {
            Choice::Both(first, second) => (first, Some(second)),
            Choice::One(first) => (first, None),
            Choice::Wait => return false,
        };
        let ecn = self.slots.note(head.slot).ecn;
        let ready = self.prepare(now, first, head.len, ecn, turn)
            && second.is_none_or(|it| self.prepare(now, it, head.len, Ecn::NotEct, turn));
        if !ready {
            return false;
        }
        let mut marked = false;
        if self.standing.may_drop(now)
            && self.ingress.judge(now, &head, &self.standing.aqm.of(head.class))
        {
            if ecn == Ecn::NotEct {
                self.stats.dropped_standing += 1;
                if self.ingress.drop_segment(&head) {
                    self.slots.release(head.slot);
                }
                return true;
            }
            self.stats.marked += 1;
            marked = true;
        }
        let (sequence, last) = self.ingress.take(&head);
        let segment = Segment {
            slot: head.slot,
            index: head.index,
            flow: head.flow,
            class: head.class,
            sequence,
            first_sent: now,
            tries: 0,
            marked,
        };
        self.slots.hold(head.slot);
        let tries = turn.trials && second.is_none();
        let witness = tries.then(|| self.on_trial(now, head.len)).flatten();
        if second.or(witness).is_some() {
            self.slots.hold(head.slot);
            self.ingress.on_copied(head.flow);
        }
        if last {
            self.slots.release(head.slot);
        }
        self.send_segment(now, first, segment, Sending::First { copied: second.is_some() });
        if second.is_some() {
            self.copies.on_copied(head.len);
        }
        // For a witness nobody waits, so its path is not announced; and what it is a copy of has no remedy in it.
        if let Some(other) = second.or(witness) {
            self.send_segment(now, other, segment, Sending::Copy);
        }
        true
    }

    /// The segment at the head, as schedulers see it.
    fn packet_view(&mut self, now: Time, head: &Head) -> PacketView {
        let roams = self.schedulers[head.class.index()].roams();
        let lead = self.ingress.lead_of(head).filter(|_| roams);
        let impatient = head.is_small() && lead.is_none();
        PacketView {
            len: head.len as u16,
            backlogged: self.is_backlogged(head.class),
            waited: if impatient { now.since(head.since) } else { Span::ZERO },
            steady: head.class <= Class::Interactive && !self.trial.has(Ablation::MeanDelay),
            copy: self.copies.allow(head.len, head.keeps_time),
            lead,
            hashes: head.hashes,
        }
    }

    /// Whether the queue has been standing for so long that every path is worth using for this class.
    fn is_backlogged(&self, class: Class) -> bool {
        match self.trial {
            _ if self.trial.has(Ablation::Greedy) => true,
            _ if self.trial.has(Ablation::EarliestFirst) => false,
            _ => self.standing.backlogged && class >= Class::Bulk,
        }
    }

    /// Makes sure that the path's batch takes a segment of this length with this ECN field, and that
    /// the peer has been told that the path is live. Returns false if something has to be sent first.
    pub(super) fn prepare(
        &mut self,
        now: Time,
        id: PathId,
        len: usize,
        ecn: Ecn,
        turn: &Turn,
    ) -> bool {
        let Some(path) = self.path_mut(id) else { return false };
        if !path.live {
            return self.wake(now, id);
        }
        let bytes_max = path.turn_bytes();
        let tuple = path.destination(now, || turn.sole);
        path.batch.takes(len + OVERHEAD, ecn, &tuple, bytes_max)
    }

    /// Uses a path that was quiet. Returns false if the peer has to be told before.
    fn wake(&mut self, now: Time, id: PathId) -> bool {
        let others_live = self.paths.iter().flatten().any(|path| path.live && path.id != id);
        let Some(path) = self.path_mut(id) else { return false };
        path.live = true;
        path.waking = true;
        path.woken_at = now;
        path.data_at = now;
        self.change_state();
        if others_live {
            self.announce_state();
        }
        !others_live
    }

    pub(super) fn send_segment(
        &mut self,
        now: Time,
        id: PathId,
        segment: Segment,
        sending: Sending,
    ) {
        let Note { cut: Some(cut), ecn } = self.slots.note(segment.slot) else { return };
        let len = cut.len(segment.index);
        let first = self.ingress.is_first(segment.flow, segment.sequence);
        let stamp = self.next_stamp(now, Some(id));
        let Some(tuple) = self.path(id).map(|path| path.destination(now, || self.is_sole(id)))
        else {
            return;
        };
        self.count_segment(sending, segment.class, len);
        if self.hinted {
            self.note_moved(now, id);
        }
        if let Sending::First { .. } = sending {
            self.copies.on_sent(now, len);
            self.rescue.on_sent(len);
        }
        let Some(path) = self.paths[id.index()].as_deref_mut() else { return };
        let header = Inner {
            kind: Kind::Packet,
            flags: Flags {
                copy: matches!(sending, Sending::Copy),
                first,
                retx: matches!(sending, Sending::Again),
                wake: path.live && path.waking,
            },
            lane: Ingress::lane(segment.flow),
            class: segment.class.bits(),
            sequence: segment.sequence,
            stamp: stamp.low(),
        };
        // Copies and retransmissions are not to be marked twice for one packet (RFC 6040 knows no
        // copies; a mark on either would count for the flow).
        let ecn = if matches!(sending, Sending::First { .. }) { ecn } else { Ecn::NotEct };
        path.spend_claim(&tuple, len + OVERHEAD);
        let datagram = path.batch.add(len + OVERHEAD, ecn, tuple);
        let packet = self.slots.packet(segment.slot);
        let payload = OUTER_LEN + INNER_LEN;
        let inner = &mut datagram[payload..payload + len];
        cut.emit(packet, segment.index, inner);
        if segment.marked {
            Ecn::mark(inner);
        }
        datagram[OUTER_LEN..payload].copy_from_slice(&header.emit());
        let copied = matches!(sending, Sending::Copy | Sending::First { copied: true });
        if matches!(sending, Sending::First { .. }) && segment.class >= Class::Bulk {
            path.bulk_at = now;
        }
        path.data_at = now;
        path.marks = 0;
        path.full_since = None;
        path.charge(now, len + OVERHEAD);
        self.seal(now, id, Content::Packet(segment, copied), stamp, len + OVERHEAD, true);
    }

    fn count_segment(&mut self, sending: Sending, class: Class, len: usize) {
        let (len, stats) = (len as u64, &mut self.stats);
        stats.header_bytes += OVERHEAD as u64;
        match sending {
            Sending::Again => {
                stats.retransmissions += 1;
                stats.retransmission_bytes += len;
            }
            Sending::Copy => {
                stats.copies += 1;
                stats.copy_bytes += len;
            }
            Sending::First { .. } => {
                stats.packets_sent += 1;
                stats.class_bytes[class.index()] += len;
                stats.bytes_sent += len;
            }
        }
    }

    /// Numbers and seals the datagram that was added last to the path's batch, and remembers it.
    pub(super) fn seal(
        &mut self,
        now: Time,
        id: PathId,
        content: Content,
        stamp: Time,
        len: usize,
        eliciting: bool,
    ) {
        self.advance_epoch(now);
        let Some(path) = self.paths[id.index()].as_deref_mut() else { return };
        if path.epoch != self.keys.epoch {
            path.epoch = self.keys.epoch;
            path.number = 0;
            path.sent.start_epoch(path.epoch);
        }
        let number = path.number;
        path.number += 1;
        self.epoch.datagrams += 1;
        let outer = Outer {
            epoch: (path.epoch & 3) as u8,
            index: ReceiverIndex { session: self.peer_slot, path: id.0 },
            number: number as u32,
        };
        let datagram = path.batch.last_mut(len);
        let clear = outer.emit();
        datagram[..OUTER_LEN].copy_from_slice(&clear);
        let nonce = wire::nonce(id.0, number);
        let end = len - TAG_LEN;
        let tag = self.keys.cipher.seal(nonce, &clear, &mut datagram[OUTER_LEN..end]);
        datagram[end..].copy_from_slice(&tag);
        path.push_sent(content, stamp, len, eliciting);
    }

    /// Whether the path's socket takes datagrams, whatever its window says.
    fn is_open(&self, id: PathId) -> bool {
        self.path(id).is_some_and(|path| !path.blocked && !path.sent.is_full())
    }

    pub(super) fn segment_len(&self, segment: &Segment) -> usize {
        self.slots.note(segment.slot).cut.map_or(0, |cut| cut.len(segment.index))
    }

    /// Notes on every usable path without room that it was what limited sending.
    fn note_refused(&mut self, now: Time) {
        if self.ingress.segments() == 0 && self.repair.is_empty() {
            return;
        }
        for path in self.paths.iter_mut().flatten() {
            let full = usize::from(path.packet_max()) + OVERHEAD;
            if path.state == PathState::Up && !path.has_room(now, full) {
                path.window.on_refused();
                path.full_since.get_or_insert(now);
            }
        }
    }

    /// Whether no other path may carry data.
    pub(super) fn is_sole(&self, id: PathId) -> bool {
        !self.paths.iter().flatten().any(|path| path.id != id && path.state == PathState::Up)
    }
}

/// In what role a segment is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sending {
    Again,
    Copy,
    First { copied: bool },
}

impl Path {
    /// Where data goes: to the path's own address, unless only a claimed one is alive. It matters then
    /// whether no other path may carry data.
    pub(super) fn destination(&self, now: Time, is_sole: impl FnOnce() -> bool) -> FourTuple {
        match &self.claim {
            Some(claim)
                if is_sole()
                    && claim.present_at.is_none()
                    && now.since(claim.since) > CLAIM_GRACE
                    && claim.credit > 0 =>
            {
                claim.tuple
            }
            _ => self.tuple,
        }
    }

    pub(super) fn spend_claim(&mut self, tuple: &FourTuple, len: usize) {
        if let Some(claim) = &mut self.claim
            && claim.tuple == *tuple
        {
            claim.credit = claim.credit.saturating_sub(len as u64);
        }
    }
}

/// Flows behind one that waits for its path which are looked at for one that does not.
const LOOKED_AT: usize = 8;

/// After this, nobody waits for a packet any more (the receiver forgets a lane's numbers later).
pub(super) const GIVE_UP_AFTER: Span = Span::secs(3);

/// By how much a window is exceeded for what was lost, in the time that its path takes for that: hundreds of segments
/// may be lost at once, and a queue of seconds is worse than to wait.
const EXCESS_MAX: Span = Span::millis(20);

/// How long the path's own address is given to show that it is alive, before data goes to one that
/// claims to be the same: a copier on the path is ahead by less.
const CLAIM_GRACE: Span = Span::millis(20);
