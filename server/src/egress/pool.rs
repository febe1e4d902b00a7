//! Chooses the uplinks that packets leave by: of the healthy ones of the lowest tier the first, or
//! all of them.
//!
//! When none is healthy the probes may be what is broken, so packets go on by what has a link at
//! least (fail open), and flows are left alone. IPv4 and IPv6 are chosen apart, since an uplink may
//! have only one of them.

use super::buckets::WHOLE;
use super::event::Reason;
use super::health::State;
use super::uplink::Duty;
use crate::policy::Choose;

/// What the choice depends on, for one uplink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Candidate {
    /// The lower is preferred.
    pub(super) tier: u16,
    /// Of several in one tier the cheapest is used alone.
    pub(super) cost: u32,
    /// The verdict of its probes.
    pub(super) state: State,
    /// Whether its verdict may be about to change for the worse.
    pub(super) trust: Trust,
    /// Whether it has a next hop for the family, on an interface with a carrier, and the traffic
    /// may use it.
    pub(super) route: Way,
    /// Whether it keeps the limits of the traffic.
    pub(super) fit: Fit,
    /// How many thousandths of its weight count.
    pub(super) part: u32,
    /// What the operator lets it do.
    pub(super) duty: Duty,
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

/// Whether an uplink is good enough for the traffic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fit {
    Keeps,
    Breaks,
}

/// The uplinks that new flows of one family take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Choice {
    /// How many thousandths of its weight count, of each uplink in the order of the configuration:
    /// none of those that take no new flow.
    pub(super) parts: Vec<u32>,
    pub(super) reason: Reason,
}

impl Choice {
    /// No uplink at all, of so many.
    pub(super) fn none(uplinks: usize) -> Self {
        Self { parts: vec![0; uplinks], reason: Reason::NoneLeft }
    }

    /// Whether an uplink takes new flows.
    pub(super) fn has(&self, uplink: usize) -> bool {
        self.parts.get(uplink).is_some_and(|part| *part > 0)
    }

    /// The uplinks that take new flows.
    pub(super) fn members(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().enumerate().filter(|(_, part)| **part > 0).map(|(at, _)| at)
    }

    fn of(candidates: &[Candidate], members: &[usize], reason: Reason) -> Self {
        let mut choice = Self { parts: vec![0; candidates.len()], reason };
        for member in members {
            choice.parts[*member] = candidates[*member].part.clamp(1, WHOLE);
        }
        choice
    }
}

/// Chooses among uplinks in the order of the configuration; those in `current` win a tie.
pub(super) fn choose(how: Choose, candidates: &[Candidate], current: &Choice) -> Choice {
    let pool = Pool { how, candidates, current };
    let of = |members: &[usize], reason| Choice::of(candidates, members, reason);
    // Moving to where nothing is better, or to a doubtful verdict, would only add damage.
    let stay = pool.still_open();
    // At the start the first tier is given the time to answer, rather than be left for another one
    // that was asked a moment earlier. Later on a newcomer has to answer first.
    let settled = stay.iter().any(|at| candidates[*at].state == State::Up);
    let works = |it: &Candidate| it.state == State::Up || it.state == State::Unknown && !settled;
    let best = pool.best(|it| works(it) && it.fit == Fit::Keeps);
    if best.is_empty() {
        let working: Vec<usize> =
            stay.iter().copied().filter(|at| works(&candidates[*at])).collect();
        let breaking = if working.is_empty() { pool.best(works) } else { working };
        if !breaking.is_empty() {
            return of(&breaking, Reason::NoneFits);
        }
        let open = if stay.is_empty() { pool.best(|_| true) } else { stay };
        let reason = if open.is_empty() { Reason::NoneLeft } else { Reason::FailOpen };
        return of(&open, reason);
    }
    // If all that is left has missed an answer too, it may be failing for the same reason as what
    // it would replace, which is then not the uplinks': the next round tells.
    let doubtful = best.iter().all(|at| candidates[*at].trust == Trust::Doubtful);
    if doubtful && stay.iter().any(|at| !best.contains(at)) {
        return of(&stay, Reason::Unproven);
    }
    let proven =
        |at: &usize| candidates[*at].state == State::Up && candidates[*at].trust == Trust::Fresh;
    let reason = if best.iter().any(proven) { Reason::Healthy } else { Reason::Unproven };
    of(&best, reason)
}

struct Pool<'a> {
    how: Choose,
    candidates: &'a [Candidate],
    current: &'a Choice,
}

impl Pool<'_> {
    /// Of those that have a way and pass, the ones of the lowest tier: all, or the first.
    fn best(&self, pass: impl Fn(&Candidate) -> bool) -> Vec<usize> {
        let usable = |at: &usize| {
            let candidate = &self.candidates[*at];
            candidate.route == Way::Open && pass(candidate)
        };
        let usable: Vec<usize> = (0..self.candidates.len()).filter(usable).collect();
        let tier = usable.iter().map(|at| self.candidates[*at].tier).min();
        let mut best: Vec<usize> =
            usable.into_iter().filter(|at| Some(self.candidates[*at].tier) == tier).collect();
        if self.how == Choose::ActiveStandby {
            best.sort_by_key(|at| (self.candidates[*at].cost, !self.current.has(*at)));
            best.truncate(1);
        }
        best
    }

    /// Those in use that still have a way.
    fn still_open(&self) -> Vec<usize> {
        let open = |at: &usize| self.candidates.get(*at).is_some_and(|it| it.route == Way::Open);
        self.current.members().filter(open).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn the_healthy_uplink_of_the_lowest_tier_is_chosen() {
        let pool = [open(2, State::Up), open(1, State::Down), open(1, State::Up)];

        assert_eq!(one(&pool, &[0]), (vec![2], Reason::Healthy));
    }

    #[test]
    fn the_current_uplink_wins_a_tie() {
        let pool = [open(1, State::Up), open(1, State::Up)];

        assert_eq!(one(&pool, &[1]), (vec![1], Reason::Healthy));
        assert_eq!(one(&pool, &[]), (vec![0], Reason::Healthy));
    }

    #[test]
    fn the_cheapest_of_a_tier_is_used_alone() {
        let dear = Candidate { cost: 5, ..open(1, State::Up) };

        assert_eq!(one(&[dear, open(1, State::Up)], &[0]).0, [1], "even if the other is in use");
        assert_eq!(one(&[dear, open(2, State::Up)], &[]).0, [0], "a tier is a tier");
        assert_eq!(all(&[dear, open(1, State::Up)], &[]).0, [0, 1]);
    }

    #[test]
    fn all_healthy_uplinks_of_the_lowest_tier_share() {
        let pool = [open(1, State::Up), open(2, State::Up), open(1, State::Up)];
        let ill = [open(1, State::Down), open(2, State::Up), open(1, State::Down)];

        assert_eq!(all(&pool, &[1]), (vec![0, 2], Reason::Healthy));
        assert_eq!(all(&[pool[0], pool[1], ill[2]], &[0, 2]), (vec![0], Reason::Healthy));
        assert_eq!(all(&ill, &[0, 2]), (vec![1], Reason::Healthy));
    }

    #[test]
    fn an_unproven_uplink_keeps_its_place() {
        let pool = [open(1, State::Unknown), open(2, State::Up)];

        assert_eq!(one(&pool, &[]), (vec![0], Reason::Unproven));
        assert_eq!(all(&pool, &[]), (vec![0], Reason::Unproven));
    }

    #[test]
    fn with_none_healthy_it_stays_where_it_is_and_says_so() {
        let pool = [open(1, State::Down), open(1, State::Down), open(2, State::Down)];

        assert_eq!(one(&pool, &[2]), (vec![2], Reason::FailOpen));
        assert_eq!(one(&pool, &[]), (vec![0], Reason::FailOpen));
        assert_eq!(all(&pool, &[1, 2]), (vec![1, 2], Reason::FailOpen));
        assert_eq!(all(&pool, &[]), (vec![0, 1], Reason::FailOpen));
    }

    #[test]
    fn fail_open_needs_a_way() {
        let closed = Candidate { route: Way::None, ..open(1, State::Down) };

        assert_eq!(one(&[closed, open(2, State::Down)], &[0]).0, [1]);
        assert_eq!(one(&[closed, closed], &[0]), (vec![], Reason::NoneLeft));
        assert_eq!(all(&[closed, closed], &[0, 1]), (vec![], Reason::NoneLeft));
        assert_eq!(one(&[], &[]), (vec![], Reason::NoneLeft));
    }

    #[test]
    fn a_doubtful_uplink_is_no_refuge_unless_the_link_itself_is_lost() {
        let doubtful = Candidate { trust: Trust::Doubtful, ..open(2, State::Up) };
        let silent = open(1, State::Down);
        let lost = Candidate { route: Way::None, ..silent };

        for choose in [one, all] {
            assert_eq!(choose(&[silent, doubtful], &[0]), (vec![0], Reason::Unproven), "no flush");
            assert_eq!(choose(&[silent, open(2, State::Up)], &[0]), (vec![1], Reason::Healthy));
            assert_eq!(choose(&[lost, doubtful], &[0]), (vec![1], Reason::Unproven), "not yet");
        }
    }

    #[test]
    fn who_shares_does_not_leave_one_for_others_that_doubt_too() {
        let doubtful = Candidate { trust: Trust::Doubtful, ..open(1, State::Up) };
        let silent = open(1, State::Down);

        assert_eq!(all(&[silent, doubtful, doubtful], &[0, 1, 2]).0, [0, 1, 2]);
        assert_eq!(all(&[silent, doubtful, open(1, State::Up)], &[0, 1, 2]).0, [1, 2]);
    }

    #[test]
    fn an_uplink_that_breaks_the_limits_is_left_for_one_that_keeps_them() {
        let bad = Candidate { fit: Fit::Breaks, ..open(1, State::Up) };
        let good = open(2, State::Up);

        for choose in [one, all] {
            assert_eq!(choose(&[bad, good], &[0]), (vec![1], Reason::Healthy));
            assert_eq!(choose(&[open(1, State::Up), good], &[1]).0, [0], "and taken again");
        }
    }

    #[test]
    fn where_none_keeps_the_limits_the_one_in_use_stays() {
        let bad = |tier| Candidate { fit: Fit::Breaks, ..open(tier, State::Up) };
        let dead = open(1, State::Down);

        for choose in [one, all] {
            assert_eq!(choose(&[bad(1), bad(2)], &[1]), (vec![1], Reason::NoneFits));
            assert_eq!(choose(&[bad(1), bad(2)], &[]), (vec![0], Reason::NoneFits));
            assert_eq!(choose(&[dead, bad(2)], &[0]), (vec![1], Reason::NoneFits), "bad, not dead");
        }
    }

    #[test]
    fn a_newcomer_is_not_used_before_it_has_answered() {
        let newcomer = open(1, State::Unknown);

        assert_eq!(one(&[open(2, State::Up), newcomer], &[0]).0, [0]);
        assert_eq!(all(&[open(1, State::Up), newcomer], &[0]).0, [0]);
        assert_eq!(one(&[open(2, State::Down), newcomer], &[0]).0, [1]);
    }

    #[test]
    fn who_has_just_come_back_takes_a_part() {
        let back = Candidate { part: 300, ..open(1, State::Up) };
        let choice = choose(Choose::Share, &[back, open(1, State::Up)], &Choice::none(2));

        assert_eq!(choice.parts, [300, 1000]);
    }

    fn one(candidates: &[Candidate], current: &[usize]) -> (Vec<usize>, Reason) {
        chosen(Choose::ActiveStandby, candidates, current)
    }

    fn all(candidates: &[Candidate], current: &[usize]) -> (Vec<usize>, Reason) {
        chosen(Choose::Share, candidates, current)
    }

    fn chosen(how: Choose, candidates: &[Candidate], current: &[usize]) -> (Vec<usize>, Reason) {
        let current = Choice::of(candidates, current, Reason::Healthy);
        let choice = choose(how, candidates, &current);
        (choice.members().collect(), choice.reason)
    }

    pub(in super::super) fn open(tier: u16, state: State) -> Candidate {
        let (trust, fit) = (Trust::Fresh, Fit::Keeps);
        Candidate {
            tier,
            cost: 0,
            state,
            trust,
            route: Way::Open,
            fit,
            part: WHOLE,
            duty: Duty::Normal,
        }
    }
}
