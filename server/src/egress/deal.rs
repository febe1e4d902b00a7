//! Who gets the next new source, where a hash would be unfair: with a handful of sources it may put
//! all of them on one uplink.

use super::buckets::{BUCKETS, Owners};

/// One that new sources may be dealt to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Hand {
    /// What its share is to be, relative to the others'; none for who gets nothing.
    pub(super) weight: u64,
    /// The sources that it has.
    pub(super) sources: u64,
}

/// The order in which new sources are dealt out, which is gone through again and again.
///
/// Who has fewer than its share of the present sources and as many new ones is served more often.
/// Each gets its turns as evenly spaced as can be, so that any few in a row are fair.
pub(super) fn deal(hands: &[Hand]) -> Owners {
    let total: u64 = hands.iter().map(|hand| hand.weight).sum();
    let present: u64 = hands.iter().map(|hand| hand.sources).sum();
    if total == 0 {
        return [None; BUCKETS];
    }
    let after = present * 2 + hands.len() as u64;
    // In units of 1 / total of a source, so that nothing is rounded away.
    let missing = |hand: &Hand| (hand.weight * after).saturating_sub(hand.sources * total);
    let wanted: Vec<i128> = hands.iter().map(|hand| i128::from(missing(hand))).collect();
    let all: i128 = wanted.iter().sum();
    let mut credit = vec![0; hands.len()];
    std::array::from_fn(|_| {
        for (credit, wanted) in credit.iter_mut().zip(&wanted) {
            *credit += wanted;
        }
        let next = (0..hands.len()).filter(|at| wanted[*at] > 0).max_by_key(|at| {
            // The first of those that are alike.
            (credit[*at], std::cmp::Reverse(*at))
        })?;
        credit[next] -= all;
        Some(next as u8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handful_of_sources_is_spread_from_wherever_the_turn_begins() {
        let owners = deal(&[hand(1, 0), hand(1, 0), hand(1, 0)]);

        for begin in 0..BUCKETS - 8 {
            let most = most(&owners[begin..begin + 8], 3);
            assert!(most <= 3, "{most} of 8 for one of three, from {begin}");
        }
    }

    #[test]
    fn turns_follow_the_weights() {
        let owners = deal(&[hand(3, 0), hand(0, 0), hand(1, 0)]);

        let counts = counts(&owners, 3);
        assert_eq!(counts[1], 0);
        assert!(counts[0].abs_diff(768) <= 1 && counts[2].abs_diff(256) <= 1, "{counts:?}");
    }

    #[test]
    fn who_has_come_back_with_none_is_served_first() {
        let owners = deal(&[hand(1, 4), hand(1, 4), hand(1, 0)]);

        let counts = counts(&owners[..8], 3);
        assert!(counts[2] >= 4, "{counts:?}");
        assert!(counts[0] > 0, "but not alone");
    }

    #[test]
    fn nobody_is_served_when_there_is_nobody() {
        assert_eq!(deal(&[]), [None; BUCKETS]);
        assert_eq!(deal(&[hand(0, 5)]), [None; BUCKETS]);
    }

    fn hand(weight: u64, sources: u64) -> Hand {
        Hand { weight, sources }
    }

    fn most(owners: &[Option<u8>], hands: usize) -> usize {
        counts(owners, hands).into_iter().max().unwrap()
    }

    fn counts(owners: &[Option<u8>], hands: usize) -> Vec<usize> {
        let of = |at: usize| owners.iter().filter(|owner| **owner == Some(at as u8)).count();
        (0..hands).map(of).collect()
    }
}
