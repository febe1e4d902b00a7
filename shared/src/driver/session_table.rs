//! The sessions of the data plane, and which of them is due when.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use engine::{Session, Time};

use super::Refusals;

/// A session and what the driver knows of it.
pub(super) struct Entry {
    pub(super) session: Session,
    /// When the session began, on the driver's clock: its own time counts from there.
    pub(super) began: Duration,
    /// When it is due next, on the driver's clock.
    due: Option<Duration>,
    /// Something happened in this turn.
    touched: bool,
    /// Its silence was told.
    pub(super) silent: bool,
}

impl Entry {
    /// The session's own time.
    pub(super) fn time(&self, now: Duration) -> Time {
        Time(now.saturating_sub(self.began).as_micros() as u64)
    }
}

/// All sessions, by our slots of them.
#[derive(Default)]
pub(super) struct SessionTable {
    entries: BTreeMap<u32, Entry>,
    timers: BinaryHeap<Reverse<(Duration, u32)>>,
    touched: Vec<u32>,
    /// What sessions refused that have ended.
    ended: Refusals,
}

impl SessionTable {
    pub(super) fn insert(&mut self, now: Duration, slot: u32, session: Session) {
        let entry = Entry { session, began: now, due: None, touched: false, silent: false };
        let before = self.entries.insert(slot, entry);
        self.count_ended(before);
        self.touch(slot);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let ended = self.entries.remove(&slot);
        self.count_ended(ended);
    }

    /// What was refused by sessions that are no more.
    pub(super) fn ended(&self) -> Refusals {
        self.ended
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(&slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries.iter().map(|(&slot, entry)| (slot, entry))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Entry)> {
        self.entries.iter_mut().map(|(&slot, entry)| (slot, entry))
    }

    /// The session is looked after in this turn.
    pub(super) fn touch(&mut self, slot: u32) {
        if let Some(entry) = self.entries.get_mut(&slot)
            && !entry.touched
        {
            entry.touched = true;
            self.touched.push(slot);
        }
    }

    /// The next session that is to be looked after: something happened to it, or it is due.
    pub(super) fn next(&mut self, now: Duration) -> Option<u32> {
        while let Some(&Reverse((due, slot))) = self.timers.peek()
            && due <= now
        {
            self.timers.pop();
            // A timer that was set anew since is another entry of the heap.
            if let Some(entry) = self.entries.get_mut(&slot)
                && entry.due == Some(due)
            {
                entry.due = None;
                self.touch(slot);
            }
        }
        let slot = self.touched.pop()?;
        if let Some(entry) = self.entries.get_mut(&slot) {
            entry.touched = false;
        }
        Some(slot)
    }

    /// Notes when a session is due next.
    pub(super) fn set_timer(&mut self, slot: u32, at: Time) {
        let Some(entry) = self.entries.get_mut(&slot) else { return };
        let due = (at < Time::MAX).then(|| entry.began + Duration::from_micros(at.0));
        if due != entry.due {
            entry.due = due;
            self.timers.extend(due.map(|due| Reverse((due, slot))));
        }
    }

    /// When the next session is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.timers.peek().map(|&Reverse((due, _))| due)
    }

    fn count_ended(&mut self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            self.ended += &entry.session.inbound.stats();
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::{Ecn, EpochLimits, Filter, FourTuple, SessionConfig, Side, Trial, aead::Suite};

    use super::*;

    #[test]
    fn what_a_session_refused_is_counted_beyond_its_end() {
        let mut table = SessionTable::default();
        for slot in [1, 2] {
            assert_eq!(table.ended().malformed, 0);
            table.insert(Duration::ZERO, slot, session());
            for _ in 0..=slot {
                refuse(&mut table.get_mut(slot).unwrap().session);
            }
        }

        table.remove(1);
        assert_eq!(table.ended().malformed, 2);
        table.remove(1);
        assert_eq!(table.ended().malformed, 2, "counted once");
        table.insert(Duration::ZERO, 2, session());
        assert_eq!(table.ended().malformed, 5, "another session took its slot");
    }

    fn refuse(session: &mut Session) {
        let remote = "192.0.2.1:4500".parse().unwrap();
        let from = FourTuple { socket: 0, local: None, remote };
        let mut short = [0; 3];
        session.inbound.handle_datagram(Time::ZERO, &from, Ecn::default(), &mut short);
    }

    fn session() -> Session {
        let config = SessionConfig {
            side: Side::Client,
            suite: Suite::Aes256Gcm,
            root: [7; 32].into(),
            activation: [9; 16],
            peer_slot: 5,
            filter: Filter::Destinations(Vec::new()),
            steering: engine::Mode::default().into(),
            epoch_limits: EpochLimits::default(),
            trial: Trial::default(),
            seed: [3; 32],
        };
        Session::new(Time::ZERO, config)
    }
}
