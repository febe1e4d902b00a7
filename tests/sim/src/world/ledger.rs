//! The ledger of nonces: no two datagrams of a direction may share epoch, path and number.

use std::collections::BTreeMap;

use engine::wire::Outer;

/// Follows every datagram that is sent and finds a nonce used twice.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By direction and path: epoch and number of the last datagram.
    last: BTreeMap<(usize, u8), (u64, u32)>,
    datagrams: u64,
    epochs: BTreeMap<usize, u64>,
}

impl Ledger {
    /// Notes a datagram that one end sends.
    ///
    /// # Panics
    /// When its nonce does not come after the path's last one: a nonce was used twice, or might be.
    pub fn note(&mut self, end: usize, datagram: &[u8]) {
        let outer = Outer::parse(datagram).expect("an engine sends well-formed datagrams");
        self.datagrams += 1;
        let newest = self.epochs.get(&end).copied().unwrap_or(0);
        // Paths are staged side by side: one may still have a datagram of the epoch before.
        let ahead = u64::from(outer.epoch).wrapping_sub(newest) & 3;
        assert!(ahead != 2, "an epoch was skipped or taken up again");
        let epoch = if ahead == 3 { newest - 1 } else { newest + ahead };
        self.epochs.insert(end, epoch.max(newest));
        let now = (epoch, outer.number);
        let last = self.last.insert((end, outer.index.path), now);
        let follows = last.is_none_or(|l| now.0 > l.0 || now == (l.0, l.1 + 1));
        assert!(follows, "path {}: {now:?} was sent after {last:?}", outer.index.path);
        assert!(outer.number < u32::MAX / 2, "numbers stay far from their end");
    }

    /// How many datagrams were noted.
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// The newest epoch in which an end has sealed.
    pub fn epoch(&self, end: usize) -> u64 {
        self.epochs.get(&end).copied().unwrap_or(0)
    }
}
