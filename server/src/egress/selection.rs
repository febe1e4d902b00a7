//! What is chosen for one family of some traffic at this moment, and which of its flows must begin
//! anew.

use shared::host::Family;

use super::event::Reason;
use super::health::State;
use super::pool::{Candidate, Choice, Fit, Way, choose};
use super::uplink::Duty;
use crate::policy::{Failback, OnBreach, Policy};

/// The choice for one family of the traffic of one policy.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) family: Family,
    /// The place of its policy.
    pub(super) policy: usize,
    pub(super) choice: Choice,
    /// The choice that the kernel knows.
    pub(super) in_force: Choice,
    rules: Policy,
    flows: Vec<Flows>,
    /// Where sources that are remembered come back to.
    homes: Vec<bool>,
}

/// The flows that are pinned to an uplink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flows {
    /// There are none.
    None,
    /// There may be some, and they are well.
    Held,
    /// There may be some, and they are to leave.
    Stale(Why),
    /// They are being forgotten.
    Leaving(Why),
}

/// Why flows are to leave their uplink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    /// It works, but it isn't good enough, or a better one is to have them.
    Unfit,
    /// It has failed.
    Failed,
    /// The operator has switched it off.
    Off,
}

impl Why {
    /// Whether flows may be touched for that, while new ones go where they go for this reason.
    fn is_enough(self, reason: Reason) -> bool {
        match self {
            Self::Unfit => reason == Reason::Healthy,
            Self::Failed => matches!(reason, Reason::Healthy | Reason::NoneFits),
            Self::Off => true,
        }
    }
}

impl Selection {
    pub(super) fn new(family: Family, policy: usize, rules: Policy, uplinks: usize) -> Self {
        Self {
            family,
            policy,
            choice: Choice::none(uplinks),
            in_force: Choice::none(uplinks),
            rules,
            flows: vec![Flows::None; uplinks],
            homes: vec![false; uplinks],
        }
    }

    /// Goes on where another selection was, whose uplinks stood at these places.
    pub(super) fn inherit(&mut self, before: &Self, places: &[Option<usize>]) {
        let part = |choice: &Choice, place: &Option<usize>| {
            place.and_then(|place| choice.parts.get(place).copied()).unwrap_or(0)
        };
        let moved = |choice: &Choice| Choice {
            parts: places.iter().map(|place| part(choice, place)).collect(),
            reason: choice.reason,
        };
        self.choice = moved(&before.choice);
        self.in_force = moved(&before.in_force);
        let flows = |place: &Option<usize>| {
            place.and_then(|place| before.flows.get(place).copied()).unwrap_or(Flows::None)
        };
        self.flows = places.iter().map(flows).collect();
    }

    /// The uplinks whose sources come back to them, for a policy that remembers.
    pub(super) fn homes(&self) -> impl Iterator<Item = usize> {
        let remembered = self.homes.iter().enumerate().filter(|_| self.rules.remembers());
        remembered.filter(|(_, home)| **home).map(|(at, _)| at)
    }

    /// Chooses anew.
    pub(super) fn choose(&mut self, candidates: &[Candidate]) {
        let choice = choose(self.rules.choose, candidates, &self.choice);
        let (on_breach, failback) = (self.rules.on_breach, self.rules.failback);
        for (at, (flows, candidate)) in self.flows.iter_mut().zip(candidates).enumerate() {
            let works = candidate.route == Way::Open && candidate.state != State::Down;
            // Who drains an uplink wants it to become empty by itself.
            let in_use = candidate.duty == Duty::Normal;
            let good = works && candidate.fit == Fit::Keeps;
            let sticks = failback == Failback::Sticky && good && in_use;
            self.homes[at] = choice.has(at) || sticks;
            let driven_out = failback == Failback::Force && in_use
                || candidate.fit == Fit::Breaks && on_breach == OnBreach::Steer;
            let why = match candidate.duty {
                Duty::Off => Why::Off,
                _ if works => Why::Unfit,
                _ => Why::Failed,
            };
            *flows = match *flows {
                _ if choice.has(at) => Flows::Held,
                // Flows may come back by an uplink that isn't chosen: those of its own visitors.
                _ if works && !driven_out => Flows::Held,
                Flows::Held | Flows::Stale(_) => Flows::Stale(why),
                Flows::None | Flows::Leaving(_) => Flows::None,
            };
        }
        self.choice = choice;
    }

    /// The choice before and after, if it is of other uplinks, or of the same in spite of
    /// everything. To be asked once it is in force.
    pub(super) fn poll_change(&mut self) -> Option<(Choice, Choice)> {
        let after = self.choice.clone();
        let before = std::mem::replace(&mut self.in_force, after.clone());
        let fails_open = |choice: &Choice| choice.reason == Reason::FailOpen;
        let changed =
            !before.members().eq(after.members()) || fails_open(&before) != fails_open(&after);
        changed.then_some((before, after))
    }

    /// Uplinks whose flows must begin anew by the chosen ones, each once for each failure.
    ///
    /// To be asked after the choice is in force: flows that begin before would come back to the
    /// failed uplink. While none is healthy, no flow is touched, but those of an uplink that is
    /// switched off.
    pub(super) fn poll_flush(&mut self) -> Vec<usize> {
        let reason = self.choice.reason;
        let mut stale = Vec::new();
        for (at, flows) in self.flows.iter_mut().enumerate() {
            if let Flows::Stale(why) = *flows
                && why.is_enough(reason)
            {
                *flows = Flows::Leaving(why);
                stale.push(at);
            }
        }
        stale
    }

    /// The flows of an uplink that was given out could not be forgotten.
    pub(super) fn put_back(&mut self, uplink: usize) {
        if let Flows::Leaving(why) = self.flows[uplink] {
            self.flows[uplink] = Flows::Stale(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pool::tests::open;
    use super::*;
    use crate::policy::Choose;

    #[test]
    fn the_flows_of_a_failed_uplink_are_flushed_once() {
        let mut selection = standby(2);
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);
        assert_eq!(change(&mut selection), Some((vec![], vec![0])));
        assert_eq!(selection.poll_flush(), NONE);

        selection.choose(&[open(1, State::Down), open(2, State::Up)]);

        assert_eq!(change(&mut selection), Some((vec![0], vec![1])));
        assert_eq!(selection.poll_flush(), [0]);
        selection.choose(&[open(1, State::Down), open(2, State::Up)]);
        assert_eq!(selection.poll_flush(), NONE);
    }

    #[test]
    fn who_shares_loses_only_the_flows_of_the_one_that_failed() {
        let sharing = Policy { choose: Choose::Share, ..Policy::default() };
        let mut selection = Selection::new(Family::V6, 0, sharing, 3);
        selection.choose(&[open(1, State::Up); 3]);
        assert_eq!(change(&mut selection), Some((vec![], vec![0, 1, 2])));

        selection.choose(&[open(1, State::Up), open(1, State::Down), open(1, State::Up)]);

        assert_eq!(change(&mut selection), Some((vec![0, 1, 2], vec![0, 2])));
        assert_eq!(selection.poll_flush(), [1]);
    }

    #[test]
    fn an_uplink_that_proves_itself_is_no_change_and_failing_open_is_one() {
        let mut selection = standby(1);
        selection.choose(&[open(1, State::Unknown)]);
        assert!(selection.poll_change().is_some());

        selection.choose(&[open(1, State::Up)]);
        assert_eq!(selection.poll_change(), None);
        selection.choose(&[open(1, State::Down)]);
        assert_eq!(change(&mut selection), Some((vec![0], vec![0])));
        assert_eq!(selection.in_force.reason, Reason::FailOpen);
    }

    #[test]
    fn the_failure_of_a_standby_flushes_its_own_flows_only() {
        let mut selection = standby(2);
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);
        selection.poll_change();

        selection.choose(&[open(1, State::Up), open(2, State::Down)]);

        assert_eq!(selection.poll_change(), None, "the choice stands");
        assert_eq!(selection.poll_flush(), [1]);
    }

    #[test]
    fn nothing_is_flushed_while_nothing_is_healthy() {
        let mut selection = standby(2);
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);

        selection.choose(&[open(1, State::Down), open(2, State::Down)]);
        assert_eq!(selection.poll_flush(), NONE);
        selection.choose(&[open(1, State::Down), open(2, State::Up)]);

        assert_eq!(selection.poll_flush(), [0], "once somebody can take them");
    }

    #[test]
    fn a_class_leaves_an_uplink_that_breaks_its_limits_with_or_without_its_flows() {
        for (on_breach, flushed) in
            [(OnBreach::Steer, &[0][..]), (OnBreach::SteerNew, &[]), (OnBreach::Keep, &[])]
        {
            let mut selection = class(Policy { on_breach, ..Policy::default() });
            selection.choose(&[open(1, State::Up), open(2, State::Up)]);

            selection.choose(&[breaking(1), open(2, State::Up)]);

            assert_eq!(selection.poll_flush(), flushed, "{on_breach:?}");
            selection.choose(&[open(1, State::Up), open(2, State::Up)]);
            assert_eq!(selection.poll_flush(), NONE, "the way back is for new flows");
        }
    }

    #[test]
    fn where_no_uplink_keeps_the_limits_flows_are_left_alone() {
        let mut selection = class(Policy::default());
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);

        selection.choose(&[breaking(1), breaking(2)]);

        assert_eq!(selection.poll_flush(), NONE);
        selection.choose(&[breaking(1), open(2, State::Up)]);
        assert_eq!(selection.poll_flush(), [0]);
    }

    #[test]
    fn calls_leave_a_dead_line_for_one_that_is_only_bad() {
        let mut selection = class(Policy::default());
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);

        selection.choose(&[open(1, State::Down), breaking(2)]);

        assert_eq!(selection.choice.reason, Reason::NoneFits);
        assert_eq!(selection.poll_flush(), [0]);
    }

    #[test]
    fn an_uplink_that_is_off_loses_its_flows_even_if_there_is_no_other() {
        let off = Candidate { duty: Duty::Off, route: Way::None, ..open(1, State::Up) };
        let mut selection = standby(1);
        selection.choose(&[open(1, State::Up)]);

        selection.choose(&[off]);

        assert_eq!(selection.poll_flush(), [0]);
    }

    #[test]
    fn a_drained_uplink_becomes_empty_by_itself_whatever_the_way_back_is() {
        let drained = Candidate { duty: Duty::Drain, ..open(300, State::Up) };
        for failback in [Failback::Drain, Failback::Sticky, Failback::Force] {
            let mut selection = class(Policy { failback, ..Policy::default() });
            selection.choose(&[open(1, State::Up), open(2, State::Up)]);

            selection.choose(&[drained, open(2, State::Up)]);

            assert_eq!(selection.poll_flush(), NONE, "{failback:?}");
            assert!(selection.homes().all(|home| home != 0), "{failback:?}");
        }
    }

    #[test]
    fn a_way_back_by_force_takes_the_flows_along() {
        let mut selection = class(Policy { failback: Failback::Force, ..Policy::default() });
        selection.choose(&[breaking(1), open(2, State::Up)]);
        assert_eq!(selection.poll_flush(), NONE, "nothing was there");

        selection.choose(&[open(1, State::Up), open(2, State::Up)]);

        assert_eq!(selection.poll_flush(), [1]);
    }

    #[test]
    fn a_hundred_failovers_are_all_alike() {
        let mut selection = standby(2);
        selection.choose(&[open(1, State::Up), open(2, State::Up)]);

        for _ in 0..100 {
            selection.choose(&[open(1, State::Down), open(2, State::Up)]);
            assert!(selection.choice.members().eq([1]));
            assert_eq!(selection.poll_flush(), [0]);
            selection.choose(&[open(1, State::Up), open(2, State::Up)]);
            assert!(selection.choice.members().eq([0]));
            assert_eq!(selection.poll_flush(), NONE);
        }
    }

    const NONE: [usize; 0] = [];

    fn class(rules: Policy) -> Selection {
        Selection::new(Family::V4, 1, rules, 2)
    }

    fn breaking(tier: u16) -> Candidate {
        Candidate { fit: Fit::Breaks, ..open(tier, State::Up) }
    }

    fn standby(uplinks: usize) -> Selection {
        Selection::new(Family::V4, 0, Policy::default(), uplinks)
    }

    fn change(selection: &mut Selection) -> Option<(Vec<usize>, Vec<usize>)> {
        let (before, after) = selection.poll_change()?;
        Some((before.members().collect(), after.members().collect()))
    }
}
