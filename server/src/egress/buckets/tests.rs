use super::*;

#[test]
fn the_whole_set_has_the_shares_that_were_asked_for() {
    for weights in [&[1][..], &[1, 1], &[1, 1, 1], &[5, 2, 1], &[100, 10, 1], &[1000, 1, 1]] {
        let names = names(weights.len());
        let buckets = Buckets::new(&members(&names, weights));

        let total: u32 = weights.iter().sum();
        for (at, weight) in weights.iter().enumerate() {
            let owned = count(&buckets.owners(&vec![WHOLE; weights.len()]), at);
            let fair = f64::from(*weight) / f64::from(total) * BUCKETS as f64;
            assert!((owned as f64 - fair).abs() < 2.0, "{weights:?}: {owned} of {fair}");
        }
    }
}

#[test]
fn who_leaves_moves_exactly_its_share_and_takes_exactly_that_back() {
    let names = names(6);
    let buckets = Buckets::new(&members(&names, &[1, 1, 2, 3, 5, 8]));
    // From every set of those present, each of them leaves.
    for present in 1_u32..64 {
        let before = buckets.owners(&parts(6, present));
        for leaving in (0..6).filter(|at| present & 1 << at != 0) {
            let after = buckets.owners(&parts(6, present & !(1 << leaving)));
            for (old, new) in before.iter().zip(&after) {
                if *old == Some(leaving) {
                    assert_ne!(*new, Some(leaving));
                } else {
                    assert_eq!(old, new, "{present:b}: {leaving} leaves");
                }
            }
        }
    }
    assert_eq!(buckets.owners(&[0; 6]), [None; BUCKETS]);
}

#[test]
fn those_who_are_left_share_by_their_weights() {
    let mut worst: f64 = 0.0;
    for (count_of, weights) in [(3, [1; 8]), (4, [1, 1, 2, 4, 1, 1, 1, 1]), (8, [1; 8])] {
        let names = names(count_of);
        let weights = &weights[..count_of];
        let buckets = Buckets::new(&members(&names, weights));
        for gone in 0..count_of {
            let owners = buckets.owners(&parts(count_of, !(1 << gone)));
            let total: u32 = weights.iter().sum::<u32>() - weights[gone];
            for at in (0..count_of).filter(|at| *at != gone) {
                let share = count(&owners, at) as f64 / BUCKETS as f64;
                worst = worst.max((share - f64::from(weights[at]) / f64::from(total)).abs());
            }
        }
    }
    assert!(worst < 0.02, "{worst}");
}

#[test]
fn the_order_of_the_configuration_means_nothing() {
    let forth = Buckets::new(&members(&["a", "b", "c"], &[1, 2, 3]));
    let back = Buckets::new(&members(&["c", "b", "a"], &[3, 2, 1]));

    let mirrored = back.owners(&[WHOLE; 3]).map(|owner| owner.map(|at| 2 - at));
    assert_eq!(forth.owners(&[WHOLE; 3]), mirrored);
}

#[test]
fn who_comes_back_slowly_takes_only_what_is_its_own() {
    let buckets = Buckets::new(&members(&["a", "b", "c"], &[1, 1, 1]));
    let whole = buckets.owners(&[WHOLE; 3]);
    let mut before = buckets.owners(&[0, WHOLE, WHOLE]);
    let mut owned = 0;
    for part in (100..=WHOLE).step_by(100) {
        let after = buckets.owners(&[part, WHOLE, WHOLE]);
        for bucket in 0..BUCKETS {
            if before[bucket] != after[bucket] {
                assert_eq!((after[bucket], whole[bucket]), (Some(0), Some(0)), "{bucket}");
            }
        }
        let now = count(&after, 0);
        assert!(now > owned, "{part}: {now} after {owned}");
        owned = now;
        before = after;
    }
    assert_eq!(before, whole);
}

#[test]
fn another_weight_moves_little_more_than_it_must() {
    let names = names(4);
    let before = Buckets::new(&members(&names, &[1, 1, 1, 1])).owners(&[WHOLE; 4]);
    let after = Buckets::new(&members(&names, &[2, 1, 1, 1])).owners(&[WHOLE; 4]);

    let moved = before.iter().zip(&after).filter(|(old, new)| old != new).count();
    // From a quarter to two fifths.
    let least = BUCKETS * 3 / 20;
    assert!(moved < least * 3 / 2, "{moved} of {least}");
}

/// Pinned, so that no change of ours moves the flows of a cluster whose nodes are not all of one
/// version.
#[test]
fn the_owners_are_those_of_the_first_release() {
    let owners = Buckets::new(&members(&["fibre", "lte"], &[3, 1])).owners(&[WHOLE; 2]);

    let first: String =
        owners[..32].iter().map(|owner| owner.map_or('-', |at| char::from(b'0' + at))).collect();
    assert_eq!(first, "00000000000101000010000000110001");
}

#[test]
fn the_logarithm_is_one() {
    for number in [1, 2, 3, 5, 1023, 1024, 2047, u32::MAX] {
        let exact = f64::from(number).log2() * f64::from(1 << FRACTION_BITS);
        assert!((log2(number) as f64 - exact).abs() < 4.0, "{number}");
    }
}

fn names(count: usize) -> Vec<&'static str> {
    ["fibre", "lte", "dsl", "sat", "isp-1", "isp-2", "eth3", "wan"][..count].to_vec()
}

fn members<'a>(names: &[&'a str], weights: &[u32]) -> Vec<Member<'a>> {
    let pairs = names.iter().zip(weights);
    pairs.map(|(&name, &weight)| Member { name, weight }).collect()
}

fn parts(count: usize, present: u32) -> Vec<u32> {
    (0..count).map(|at| if present & 1 << at != 0 { WHOLE } else { 0 }).collect()
}

fn count(owners: &Owners, member: usize) -> usize {
    owners.iter().filter(|owner| **owner == Some(member as u8)).count()
}
