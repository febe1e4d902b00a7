//! The attempts that are alive, and which of them an arriving datagram belongs to.
//!
//! Each has a quinn endpoint of its own, found by the mark in its connection ids.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::control::connection_id::{ConnectionIds, ID_LEN};
use crate::control::header::Header;
use crate::control::wire::ClientWire;
use crate::entropy;

/// The wires of all attempts, by mark.
pub(crate) struct Attempts {
    wires: RwLock<Wires>,
    ids: ConnectionIds,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Wires {
    by_mark: BTreeMap<u8, Arc<ClientWire>>,
    next_mark: u8,
}

/// The place of one attempt; dropping it ends its mail.
pub(crate) struct Place {
    attempts: Arc<super::Shared>,
    mark: u8,
}

impl Attempts {
    /// Gives `wire` a mark, `None` when all are taken.
    fn add(&self, wire: Arc<ClientWire>) -> Option<u8> {
        let mut wires = self.wires.write().unwrap_or_else(PoisonError::into_inner);
        if wires.by_mark.len() >= ATTEMPTS_MAX {
            return None;
        }
        while wires.by_mark.contains_key(&wires.next_mark) {
            wires.next_mark = wires.next_mark.wrapping_add(1);
        }
        let mark = wires.next_mark;
        wires.next_mark = mark.wrapping_add(1);
        wires.by_mark.insert(mark, wire);
        Some(mark)
    }

    fn remove(&self, mark: u8) {
        let mut wires = self.wires.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(wire) = wires.by_mark.remove(&mark) {
            self.dropped.fetch_add(wire.dropped(), Ordering::Relaxed);
        }
    }

    /// Gives a datagram to the attempt that it belongs to.
    pub(crate) fn push(&self, datagram: &[u8], ecn: u8) {
        if !self.deliver(datagram, ecn) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn deliver(&self, datagram: &[u8], ecn: u8) -> bool {
        let wires = self.wires.read().unwrap_or_else(PoisonError::into_inner);
        let (id, is_short) = match Header::parse(datagram, ID_LEN) {
            Some(Header::Short { destination }) => (destination, true),
            Some(Header::Initial { destination, .. } | Header::Long { destination }) => {
                (Some(destination), false)
            }
            None => return false,
        };
        if let Some(mark) = id.and_then(|id| self.ids.mark_of(id)) {
            let wire = wires.by_mark.get(&mark);
            return wire.map(|wire| wire.push(datagram, ecn)).is_some();
        }
        // A stateless reset has random bytes where the id would be (RFC 9000, section 10.3).
        let mut taken = false;
        for wire in wires.by_mark.values().filter(|wire| is_short && wire.is_established()) {
            wire.push(datagram, ecn);
            taken = true;
        }
        taken
    }
}

impl Default for Attempts {
    fn default() -> Self {
        let ids = ConnectionIds::new(&entropy::seed(), 0);
        Self { wires: RwLock::default(), ids, dropped: AtomicU64::new(0) }
    }
}

impl Place {
    /// Registers `wire`, `None` when [`ATTEMPTS_MAX`] attempts are alive.
    pub(crate) fn take(attempts: &Arc<super::Shared>, wire: &Arc<ClientWire>) -> Option<Self> {
        let mark = attempts.attempts.add(Arc::clone(wire))?;
        Some(Self { attempts: Arc::clone(attempts), mark })
    }

    /// The ids that lead here.
    pub(crate) fn ids(&self) -> ConnectionIds {
        self.attempts.attempts.ids.with_mark(self.mark)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.attempts.attempts.remove(self.mark);
    }
}

/// Attempts alive at once, with the connections that came of them: far below the 256 marks.
pub(crate) const ATTEMPTS_MAX: usize = 48;

#[cfg(test)]
mod tests {
    use std::io;

    use quinn::ConnectionIdGenerator;

    use super::*;
    use crate::control::wire::{ControlSend, Route};

    #[test]
    fn mail_finds_its_attempt_by_the_id_in_either_header() {
        let attempts = Attempts::default();
        let wires = [wire(), wire()];
        let marks = wires.each_ref().map(|wire| attempts.add(Arc::clone(wire)).unwrap());
        let id = attempts.ids.with_mark(marks[1]).generate_cid();

        attempts.push(&[&[0x40][..], &id, &[0; 30]].concat(), 0);
        assert!(wires[1].heard() && !wires[0].heard());

        let id = attempts.ids.with_mark(marks[0]).generate_cid();
        attempts.push(&[&[0xc0, 0, 0, 0, 1, 16][..], &id, &[0; 30]].concat(), 0);
        assert!(wires[0].heard());
        assert_eq!(attempts.dropped(), 0);
    }

    #[test]
    fn a_reset_reaches_established_connections_only() {
        let attempts = Attempts::default();
        let wires = [wire(), wire()];
        for wire in &wires {
            attempts.add(Arc::clone(wire)).unwrap();
        }
        wires[1].set_established();

        attempts.push(&[0x55; 40], 0);

        assert!(wires[1].heard() && !wires[0].heard());
    }

    #[test]
    fn mail_for_nobody_is_counted() {
        let attempts = Attempts::default();

        for datagram in [&[0x55; 40][..], &[0xc0, 0, 0, 0, 1, 0, 0, 0], &[0xc0], &[0x40]] {
            attempts.push(datagram, 0);
        }

        assert_eq!(attempts.dropped(), 4);
    }

    #[test]
    fn marks_are_reused_and_bounded() {
        let attempts = Attempts::default();
        for _ in 0..1000 {
            let mark = attempts.add(wire()).unwrap();
            attempts.remove(mark);
        }
        for _ in 0..ATTEMPTS_MAX {
            attempts.add(wire()).unwrap();
        }

        assert_eq!(attempts.add(wire()), None);
    }

    fn wire() -> Arc<ClientWire> {
        struct Nowhere;
        impl ControlSend for Nowhere {
            fn send(&self, _: &[u8], _: &Route, _: u8) -> io::Result<()> {
                Ok(())
            }
        }
        let remote = ([192, 0, 2, 1], 1).into();
        Arc::new(ClientWire::new(Arc::new(Nowhere), Route { socket: 0, remote, local: None }))
    }
}
