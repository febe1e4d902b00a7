//! Which link and server address to try next, and when.
//!
//! Candidates begin [`STEP`] apart, the best link first and all links with one address before the
//! next address. One that has not answered is tried again with a fresh handshake, at intervals that
//! grow with the time the dial takes.

use std::net::SocketAddr;
use std::time::Duration;

use super::DialLink;
use crate::control::wire::Route;
use crate::entropy;

/// A link and a server address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) link: String,
    pub(crate) route: Route,
}

/// All candidates of one dial. Times count from its beginning.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    list: Vec<Slot>,
    /// When the next candidate that was never tried may begin.
    next_start: Duration,
}

#[derive(Debug)]
struct Slot {
    candidate: Candidate,
    due: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Dead,
    Fresh,
    Tried,
}

impl Candidates {
    /// Adds `addresses` by all `links`.
    pub(crate) fn add(&mut self, links: &[DialLink], addresses: &[SocketAddr]) {
        for address in addresses {
            for link in links {
                let socket = if address.is_ipv4() { link.socket_v4 } else { link.socket_v6 };
                let Some(socket) = socket else { continue };
                let route = Route { socket, remote: *address, local: None };
                let known = self.list.iter().any(|slot| slot.candidate.route == route);
                if known || self.list.len() >= CANDIDATES_MAX {
                    continue;
                }
                let candidate = Candidate { link: link.name.clone(), route };
                self.list.push(Slot { candidate, due: Duration::ZERO, state: State::Fresh });
            }
        }
    }

    /// When [`start`](Self::start) has a candidate, `None` if none is left.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.list.iter().filter_map(|slot| self.slot_due(slot)).min()
    }

    /// The candidate to try at `now`, if one is due.
    pub(crate) fn start(&mut self, now: Duration) -> Option<(usize, Candidate)> {
        let due = |slot: &Slot| self.slot_due(slot).filter(|due| *due <= now);
        let (index, _) = self
            .list
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index, due(slot)?)))
            .min_by_key(|(_, due)| *due)?;
        let slot = self.list.get_mut(index)?;
        if slot.state == State::Fresh {
            self.next_start = now + STEP;
        }
        slot.state = State::Tried;
        slot.due = now + again_after(now);
        Some((index, slot.candidate.clone()))
    }

    /// The candidate's server answered: QUIC knows the round trip and repeats what is lost, so a
    /// fresh handshake has time.
    pub(crate) fn postpone(&mut self, index: usize, now: Duration) {
        if let Some(slot) = self.list.get_mut(index) {
            slot.due = now + ANSWERED;
        }
    }

    /// Gives the candidate up for this dial.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(slot) = self.list.get_mut(index) {
            slot.state = State::Dead;
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether any was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Those that are not given up.
    pub(crate) fn living(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        self.list
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.state != State::Dead)
            .map(|(index, slot)| (index, &slot.candidate))
    }

    fn slot_due(&self, slot: &Slot) -> Option<Duration> {
        match slot.state {
            State::Dead => None,
            State::Fresh => Some(self.next_start),
            State::Tried => Some(slot.due),
        }
    }
}

/// How long after an attempt at `now` the next one begins: soon at first, then a sixteenth of the
/// time that the dial takes already, give or take a quarter, so that a server which returns is not
/// met by all of its clients in step.
fn again_after(now: Duration) -> Duration {
    let base = (now / 16).clamp(AGAIN_MIN, AGAIN_MAX);
    let mut byte = [0];
    entropy::fill(&mut byte);
    base * (192 + u32::from(byte[0]) / 2) / 256
}

/// Between the beginnings of two candidates.
pub(crate) const STEP: Duration = Duration::from_millis(100);
/// QUIC itself repeats a first flight after 300 ms, which is late on a lossy link: with 30 % of the
/// Initials lost on two links of 20 and 60 ms, a fresh handshake at this interval makes 95 % of the
/// joins take less than 0.6 s.
const AGAIN_MIN: Duration = Duration::from_millis(200);
/// What a server that is down for long is asked at: some 2.4 KB each time.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// How long an answered handshake is left alone.
const ANSWERED: Duration = Duration::from_millis(100);
/// Links times addresses that are tried: four links and all the names that a server may have.
const CANDIDATES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_come_before_addresses_and_one_step_apart() {
        let mut candidates = Candidates::default();
        candidates.add(&links(), &addresses());

        let mut begun = Vec::new();
        while begun.len() < 4 {
            let now = candidates.due().unwrap();
            let (index, candidate) = candidates.start(now).unwrap();
            // Those begun already are not due again within the test.
            candidates.postpone(index, now + Duration::from_secs(9));
            begun.push((now, candidate.route.socket, candidate.route.remote.port()));
        }

        let step = |n| STEP * n;
        assert_eq!(begun, [(step(0), 1, 1), (step(1), 2, 1), (step(2), 1, 2), (step(3), 2, 2)]);
    }

    #[test]
    fn a_link_without_the_family_is_passed_over() {
        let mut candidates = Candidates::default();
        let six: SocketAddr = "[2001:db8::1]:1".parse().unwrap();

        candidates.add(&links(), &[six]);

        assert!(candidates.is_empty());
    }

    #[test]
    fn what_is_given_up_is_not_due() {
        let mut candidates = Candidates::default();
        candidates.add(&links()[..1], &addresses()[..1]);

        candidates.kill(0);

        assert_eq!(candidates.due(), None);
        assert_eq!(candidates.living().count(), 0);
    }

    #[test]
    fn intervals_grow_and_stay_within_their_bounds() {
        for seconds in [0, 1, 10, 100, 10_000] {
            let base = (Duration::from_secs(seconds) / 16).clamp(AGAIN_MIN, AGAIN_MAX);
            for _ in 0..100 {
                let after = again_after(Duration::from_secs(seconds));
                assert!(base * 3 / 4 <= after && after <= base * 5 / 4, "{after:?} for {base:?}");
            }
        }
    }

    fn links() -> [DialLink; 2] {
        [1, 2].map(|n| DialLink { socket_v4: Some(n), socket_v6: None, name: format!("link{n}") })
    }

    fn addresses() -> [SocketAddr; 2] {
        [1, 2].map(|n| ([192, 0, 2, 1], n).into())
    }
}
