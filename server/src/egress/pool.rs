//! Chooses the uplink that packets leave by: the healthy one of the lowest tier.
//!
//! When none is healthy the probes may be what is broken, so packets go on by one that has a link
//! at least (fail open), and flows are left alone. IPv4 and IPv6 are chosen apart, since an uplink
//! may have only one of them.

use shared::host::Family;

use super::event::Reason;
use super::health::State;

/// What the choice depends on, for one uplink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Candidate {
    /// The lower is preferred.
    pub(super) tier: u8,
    /// The verdict of its probes.
    pub(super) state: State,
    /// Whether its verdict may be about to change for the worse.
    pub(super) trust: Trust,
    /// Whether it has a next hop for the family, on an interface with a carrier.
    pub(super) route: Way,
}

/// Whether a good verdict is fresh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trust {
    Fresh,
    Doubtful,
}

/// Whether packets of a family could leave by an uplink at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    Open,
    None,
}

/// The uplink that new flows of one family take, by its place in the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Choice {
    pub(super) uplink: Option<usize>,
    pub(super) reason: Reason,
}

impl Choice {
    pub(super) const NONE: Self = Self { uplink: None, reason: Reason::NoneLeft };
}

/// Chooses among uplinks in the order of the configuration; `current` wins a tie.
pub(super) fn choose(candidates: &[Candidate], current: Option<usize>) -> Choice {
    let best = |states: &[State]| {
        candidates
            .iter()
            .enumerate()
            .filter(|(_, it)| it.route == Way::Open && states.contains(&it.state))
            .min_by_key(|(at, it)| (it.tier, Some(*at) != current, *at))
            .map(|(at, _)| at)
    };
    // At the start the first tier is given the time to answer, rather than be left for another one
    // that was asked a moment earlier.
    let stay = current.filter(|at| candidates.get(*at).is_some_and(|it| it.route == Way::Open));
    if let Some(uplink) = best(&[State::Up, State::Unknown]) {
        // One that missed an answer too may be failing for the same reason as the current one,
        // which is then not the uplinks': the next round tells.
        let elsewhere = stay.filter(|at| *at != uplink);
        if elsewhere.is_some() && candidates[uplink].trust == Trust::Doubtful {
            return Choice { uplink: elsewhere, reason: Reason::Unproven };
        }
        let reason = match (candidates[uplink].state, candidates[uplink].trust) {
            (State::Up, Trust::Fresh) => Reason::Healthy,
            _ => Reason::Unproven,
        };
        return Choice { uplink: Some(uplink), reason };
    }
    // Moving between uplinks of which none answers would only add damage.
    match stay.or_else(|| best(&[State::Down])) {
        Some(uplink) => Choice { uplink: Some(uplink), reason: Reason::FailOpen },
        None => Choice::NONE,
    }
}

/// What is chosen for one family, and which flows have lost their uplink.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) family: Family,
    pub(super) choice: Choice,
    /// The choice that the kernel knows.
    pub(super) in_force: Choice,
    flows: Vec<Flows>,
}

/// The flows that are pinned to an uplink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flows {
    /// There are none.
    None,
    /// There may be some, and they are well.
    Held,
    /// There may be some, and their uplink has failed.
    Stale,
}

impl Selection {
    pub(super) fn new(family: Family, uplinks: usize) -> Self {
        Self {
            family,
            choice: Choice::NONE,
            in_force: Choice::NONE,
            flows: vec![Flows::None; uplinks],
        }
    }

    /// Chooses anew.
    pub(super) fn choose(&mut self, candidates: &[Candidate]) {
        let choice = choose(candidates, self.choice.uplink);
        for (at, (flows, candidate)) in self.flows.iter_mut().zip(candidates).enumerate() {
            let works = candidate.route == Way::Open && candidate.state != State::Down;
            *flows = match *flows {
                // Flows may come back by an uplink that isn't chosen: those of its own visitors.
                _ if works || choice.uplink == Some(at) => Flows::Held,
                Flows::Held | Flows::Stale => Flows::Stale,
                Flows::None => Flows::None,
            };
        }
        self.choice = choice;
    }

    /// The choice before and after, if it is another uplink, or the same in spite of everything.
    /// To be asked once it is in force.
    pub(super) fn poll_change(&mut self) -> Option<(Choice, Choice)> {
        let after = self.choice;
        let before = std::mem::replace(&mut self.in_force, after);
        let fails_open = |choice: Choice| choice.reason == Reason::FailOpen;
        let changed = before.uplink != after.uplink || fails_open(before) != fails_open(after);
        changed.then_some((before, after))
    }

    /// Uplinks whose flows must begin anew by the chosen one, each once for each failure.
    ///
    /// To be asked after the choice is in force: flows that begin before would come back to the
    /// failed uplink. While none is healthy, no flow is touched.
    pub(super) fn poll_flush(&mut self) -> Vec<usize> {
        if self.choice.reason != Reason::Healthy {
            return Vec::new();
        }
        let mut stale = Vec::new();
        for (at, flows) in self.flows.iter_mut().enumerate() {
            if *flows == Flows::Stale {
                *flows = Flows::None;
                stale.push(at);
            }
        }
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_healthy_uplink_of_the_lowest_tier_is_chosen() {
        let pool = [open(2, State::Up), open(1, State::Down), open(1, State::Up)];

        assert_eq!(choose(&pool, Some(0)), healthy(2));
    }

    #[test]
    fn the_current_uplink_wins_a_tie() {
        let pool = [open(1, State::Up), open(1, State::Up)];

        assert_eq!(choose(&pool, Some(1)), healthy(1));
        assert_eq!(choose(&pool, None), healthy(0));
    }

    #[test]
    fn an_unproven_uplink_keeps_its_place() {
        let pool = [open(1, State::Unknown), open(2, State::Up)];

        assert_eq!(choose(&pool, None), Choice { uplink: Some(0), reason: Reason::Unproven });
    }

    #[test]
    fn with_none_healthy_it_stays_where_it_is_and_says_so() {
        let pool = [open(1, State::Down), open(2, State::Down)];

        let stay = choose(&pool, Some(1));
        let first = choose(&pool, None);

        assert_eq!(stay, Choice { uplink: Some(1), reason: Reason::FailOpen });
        assert_eq!(first, Choice { uplink: Some(0), reason: Reason::FailOpen });
    }

    #[test]
    fn fail_open_needs_a_way() {
        let closed = Candidate { route: Way::None, ..open(1, State::Down) };

        assert_eq!(choose(&[closed, open(2, State::Down)], Some(0)).uplink, Some(1));
        assert_eq!(choose(&[closed, closed], Some(0)), Choice::NONE);
        assert_eq!(choose(&[], None), Choice::NONE);
    }

    #[test]
    fn a_doubtful_uplink_is_no_refuge_unless_the_link_itself_is_lost() {
        let doubtful = Candidate { trust: Trust::Doubtful, ..open(2, State::Up) };
        let silent = open(1, State::Down);
        let lost = Candidate { route: Way::None, ..silent };

        assert_eq!(choose(&[silent, doubtful], Some(0)).uplink, Some(0));
        assert_ne!(choose(&[silent, doubtful], Some(0)).reason, Reason::Healthy, "no flush");
        assert_eq!(choose(&[silent, open(2, State::Up)], Some(0)), healthy(1));
        assert_eq!(choose(&[lost, doubtful], Some(0)).uplink, Some(1));
        assert_ne!(choose(&[lost, doubtful], Some(0)).reason, Reason::Healthy, "no flush yet");
    }

    #[test]
    fn the_flows_of_a_failed_uplink_are_flushed_once() {
        let mut selection = Selection::new(Family::V4, 2);
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);
        assert_eq!(selection.poll_change(), Some((Choice::NONE, healthy(0))));
        assert_eq!(selection.poll_flush(), NONE);

        selection.choose(&[open(1, State::Down), open(2, State::Up)]);

        assert_eq!(selection.poll_change(), Some((healthy(0), healthy(1))));
        assert_eq!(selection.poll_flush(), [0]);
        selection.choose(&[open(1, State::Down), open(2, State::Up)]);
        assert_eq!(selection.poll_flush(), NONE);
    }

    #[test]
    fn an_uplink_that_proves_itself_is_no_change_and_failing_open_is_one() {
        let mut selection = Selection::new(Family::V4, 1);
        selection.choose(&[open(1, State::Unknown)]);
        assert!(selection.poll_change().is_some());

        selection.choose(&[open(1, State::Up)]);
        assert_eq!(selection.poll_change(), None);
        selection.choose(&[open(1, State::Down)]);
        let fails_open = Choice { uplink: Some(0), reason: Reason::FailOpen };
        assert_eq!(selection.poll_change(), Some((healthy(0), fails_open)));
    }

    #[test]
    fn the_failure_of_a_standby_flushes_its_own_flows_only() {
        let mut selection = Selection::new(Family::V4, 2);
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);
        selection.poll_change();

        selection.choose(&[open(1, State::Up), open(2, State::Down)]);

        assert_eq!(selection.poll_change(), None, "the choice stands");
        assert_eq!(selection.poll_flush(), [1]);
    }

    #[test]
    fn nothing_is_flushed_while_nothing_is_healthy() {
        let mut selection = Selection::new(Family::V4, 2);
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);

        selection.choose(&[open(1, State::Down), open(2, State::Down)]);
        assert_eq!(selection.poll_flush(), NONE);
        selection.choose(&[open(1, State::Down), open(2, State::Up)]);

        assert_eq!(selection.poll_flush(), [0], "once somebody can take them");
    }

    #[test]
    fn a_hundred_failovers_are_all_alike() {
        let mut selection = Selection::new(Family::V4, 2);
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);

        for _ in 0..100 {
            selection.choose(&[open(1, State::Down), open(2, State::Up)]);
            assert_eq!(selection.choice, healthy(1));
            assert_eq!(selection.poll_flush(), [0]);
            selection.choose(&[open(1, State::Up), open(2, State::Up)]);
            assert_eq!(selection.choice, healthy(0));
            assert_eq!(selection.poll_flush(), NONE);
        }
    }

    const NONE: [usize; 0] = [];

    fn open(tier: u8, state: State) -> Candidate {
        Candidate { tier, state, trust: Trust::Fresh, route: Way::Open }
    }

    fn healthy(uplink: usize) -> Choice {
        Choice { uplink: Some(uplink), reason: Reason::Healthy }
    }
}
