//! One emulated access link with both of its directions, and what stands between it and the client.
//!
//! ```text
//! client → (too big?) → NAT → copier → up   → server
//! client ←             NAT  ←          down ← (copier's catch, too big?) ← server
//! ```

use super::copier::{Catch, Copier};
use super::nat::Nat;
use super::packet;
use crate::link::{Link, Switch};
use crate::topology::{Direction, LinkSpec, link_address};

/// One access link. It does nothing by itself: packets go in by [`accept`](Self::accept) and come
/// out of [`poll`](Self::poll).
#[derive(Debug)]
pub(super) struct Span {
    index: usize,
    icmp_too_big: Switch,
    up: Link<Vec<u8>>,
    down: Link<Vec<u8>>,
    nat: Option<Nat>,
    copier: Option<Copier>,
}

impl Span {
    pub(super) fn new(index: usize, spec: &LinkSpec, seed: u64) -> Self {
        let seed = seed.wrapping_mul(SEED_STEP).wrapping_add(2 * index as u64);
        let nat = match spec.nat {
            Switch::Off => None,
            Switch::On => Some(Nat::new(link_address(index, NAT_HOST))),
        };
        Self {
            index,
            icmp_too_big: spec.icmp_too_big,
            up: Link::new(spec.up.clone(), seed),
            down: Link::new(spec.down.clone(), seed + 1),
            nat,
            copier: None,
        }
    }

    /// Takes a packet that enters in `direction`. Returns what goes back to its sender at once.
    pub(super) fn accept(
        &mut self,
        now_us: u64,
        direction: Direction,
        mut packet: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let mtu = self.link(direction).config().mtu;
        if packet.len() > mtu as usize && self.icmp_too_big == Switch::On {
            let answer = packet::too_big(&packet, mtu);
            self.push(now_us, direction, packet);
            return answer;
        }
        match direction {
            Direction::Down => {
                let caught =
                    self.copier.as_mut().is_some_and(|copier| copier.catches(now_us, &packet));
                if !caught {
                    self.push(now_us, direction, packet);
                }
            }
            Direction::Up => {
                if let Some(nat) = &mut self.nat
                    && !nat.translate_outward(&mut packet)
                {
                    return None;
                }
                match &mut self.copier {
                    None => self.push(now_us, direction, packet),
                    Some(copier) => {
                        if let Some(copy) = copier.copy(now_us, packet) {
                            self.push(now_us, direction, copy);
                        }
                    }
                }
            }
        }
        None
    }

    /// The next packet that leaves in `direction`.
    pub(super) fn poll(&mut self, now_us: u64, direction: Direction) -> Option<Vec<u8>> {
        match direction {
            Direction::Down => self.down.pop(now_us),
            Direction::Up => {
                while let Some(original) = self.copier.as_mut().and_then(|c| c.held.pop(now_us)) {
                    self.push(now_us, direction, original);
                }
                self.up.pop(now_us)
            }
        }
    }

    /// Passes a packet that has left the links, and a shared bottleneck if there is one, through
    /// what stands before the client. Returns whether it arrives.
    pub(super) fn arrives(&mut self, direction: Direction, packet: &mut [u8]) -> bool {
        match (direction, &mut self.nat) {
            (Direction::Down, Some(nat)) => nat.translate_inward(packet),
            (Direction::Down, None) | (Direction::Up, _) => true,
        }
    }

    /// When [`poll`](Self::poll) may have something.
    pub(super) fn next_due_us(&self) -> Option<u64> {
        let held = self.copier.as_ref().and_then(|copier| copier.held.next_due_us());
        [self.up.next_due_us(), self.down.next_due_us(), held].into_iter().flatten().min()
    }

    pub(super) fn link(&self, direction: Direction) -> &Link<Vec<u8>> {
        match direction {
            Direction::Down => &self.down,
            Direction::Up => &self.up,
        }
    }

    pub(super) fn link_mut(&mut self, direction: Direction) -> &mut Link<Vec<u8>> {
        match direction {
            Direction::Down => &mut self.down,
            Direction::Up => &mut self.up,
        }
    }

    /// Forgets the NAT's mappings. Returns whether there is a NAT.
    pub(super) fn rebind(&mut self) -> bool {
        self.nat.as_mut().map(Nat::rebind).is_some()
    }

    /// Packets to the client that fitted no mapping of the NAT.
    pub(super) fn packets_refused(&self) -> u64 {
        self.nat.as_ref().map_or(0, |nat| nat.packets_refused)
    }

    /// Lets a copier in who is ahead of the originals by `lead_us`, or with 0 sends him away.
    pub(super) fn set_copier(&mut self, lead_us: u64) {
        let addresses = link_address(self.index, COPIER_HOST);
        self.copier = (lead_us > 0).then(|| Copier::new(addresses, lead_us));
    }

    /// What the copier has got; all 0 if there is none.
    pub(super) fn catch(&self) -> Catch {
        self.copier.as_ref().map_or_else(Catch::default, Copier::catch)
    }

    fn push(&mut self, now_us: u64, direction: Direction, packet: Vec<u8>) {
        let (len, key) = (packet.len(), packet::key(&packet));
        // What the link refuses it has counted.
        let _ = self.link_mut(direction).push(now_us, packet, len, key);
    }
}

/// Host number of a NAT's outer side on its link.
const NAT_HOST: u8 = 3;
/// Host number of a copier on his link.
const COPIER_HOST: u8 = 66;
/// An odd constant that spreads seeds: 2^64 divided by the golden ratio.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::super::packet::tests::udp;
    use super::*;

    #[test]
    fn a_copy_wins_the_race_and_answers_to_it_are_caught() {
        let spec = LinkSpec::new("fibre", 100, 20);
        let mut span = Span::new(0, &spec, 1);
        span.set_copier(5000);
        let [client, server] = ["10.71.0.1", "10.70.0.1"].map(|text| text.parse().unwrap());
        let copier = "10.71.0.66".parse().unwrap();

        span.accept(0, Direction::Up, udp(client, server, 1, 2, b"hello"));
        assert_eq!(span.next_due_us(), Some(5000));
        assert_eq!(span.poll(5000, Direction::Up), None);
        let early = span.poll(10_100, Direction::Up).unwrap();
        assert_eq!(early, udp(copier, server, 1, 2, b"hello"));
        assert_eq!(span.poll(10_100, Direction::Up), None);
        let due = span.next_due_us().unwrap();
        assert!(due <= 15_100, "{due}");
        let late = span.poll(15_100, Direction::Up).unwrap();
        assert_eq!(late, udp(client, server, 1, 2, b"hello"));
        span.accept(20_000, Direction::Down, udp(server, copier, 2, 1, b"challenge"));
        span.accept(29_000, Direction::Down, udp(server, copier, 2, 1, b"challenge"));

        let catch = span.catch();
        assert_eq!((catch.packets_copied, catch.packets_caught), (1, 2));
        assert_eq!((catch.bytes_caught, catch.interval_min_us), (74, Some(9000)));
        assert_eq!(span.poll(100_000, Direction::Down), None);
    }

    #[test]
    fn a_packet_too_big_is_answered_only_when_asked() {
        let [client, server] = ["10.71.0.1", "10.70.0.1"].map(|text| text.parse().unwrap());
        let mut spec = LinkSpec::new("dsl", 100, 20);
        spec.up.mtu = 1492;
        let packet = udp(client, server, 1, 2, &[0; 1472]);

        let mut silent = Span::new(0, &spec, 1);
        assert_eq!(silent.accept(0, Direction::Up, packet.clone()), None);
        spec.icmp_too_big = Switch::On;
        let mut honest = Span::new(0, &spec, 1);
        assert!(honest.accept(0, Direction::Up, packet).is_some());

        assert_eq!(silent.link(Direction::Up).counters().too_big, 1);
        assert_eq!(honest.link(Direction::Up).counters().too_big, 1);
    }
}
