//! Where each client's datagrams last came to, in bounded memory.
//!
//! Two generations: entries go into the young one; when it is full it becomes the old one, and the
//! old one is forgotten. Whoever sent within the last [`GENERATION_MAX`] clients' time is found.

use std::collections::HashMap;
use std::net::SocketAddr;

/// The last `Door` of each remote address.
#[derive(Debug)]
pub(crate) struct Arrivals<Door> {
    young: HashMap<SocketAddr, Door>,
    old: HashMap<SocketAddr, Door>,
}

impl<Door: Copy> Arrivals<Door> {
    /// Notes that `remote` came to `door`.
    pub(crate) fn insert(&mut self, remote: SocketAddr, door: Door) {
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(&remote) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(remote, door);
    }

    /// Where `remote` came to last.
    pub(crate) fn get(&self, remote: &SocketAddr) -> Option<Door> {
        self.young.get(remote).or_else(|| self.old.get(remote)).copied()
    }
}

impl<Door> Default for Arrivals<Door> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

/// Clients of one process, with room for those that move.
const GENERATION_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_found_and_memory_stays_bounded() {
        let mut arrivals = Arrivals::default();
        let count = 3 * GENERATION_MAX;

        for n in 0..count {
            arrivals.insert(remote(n), n);
        }

        for n in count - GENERATION_MAX..count {
            assert_eq!(arrivals.get(&remote(n)), Some(n));
        }
        assert_eq!(arrivals.get(&remote(0)), None);
        assert!(arrivals.young.len() + arrivals.old.len() <= 2 * GENERATION_MAX);
    }

    #[test]
    fn a_client_that_moves_is_found_at_its_latest_door() {
        let mut arrivals = Arrivals::default();

        arrivals.insert(remote(1), 'a');
        arrivals.insert(remote(1), 'b');

        assert_eq!(arrivals.get(&remote(1)), Some('b'));
    }

    fn remote(n: usize) -> SocketAddr {
        let [_, _, _, _, _, a, b, c] = (n as u64).to_be_bytes();
        SocketAddr::from(([10, a, b, c], 1))
    }
}
