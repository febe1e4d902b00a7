use super::*;

#[test]
fn a_saturated_link_carries_its_rate_and_its_queue_is_full() {
    let mut link = Link::new(LinkConfig::mbit(100, 10_000), 1);

    let out = saturate(&mut link, SECOND, 60);

    let counters = link.counters();
    // One second minus the delay of 10 ms, at 100 Mbit/s.
    assert!(out.len().abs_diff(8250) <= 2, "{}", out.len());
    assert!((counters.queue_us.p50 - 100_000.0).abs() < 3500.0, "{counters:?}");
    assert_eq!(counters.delay_us.max, 10_000.0);
    assert!(counters.queue_dropped > 7000, "{counters:?}");
    assert_eq!(
        counters.offered,
        counters.delivered + counters.dropped() + counters.waiting + counters.flying
    );
}

#[test]
fn a_lone_packet_takes_its_service_time_and_the_delay() {
    let mut link = Link::new(LinkConfig::mbit(10, 30_000), 1);

    link.push(500, 7, 1250, 0).unwrap();

    assert_eq!(link.next_due_us(), Some(31_500));
    assert_eq!(link.pop(31_499), None);
    assert_eq!(link.pop(31_500), Some(7));
    assert_eq!(link.next_due_us(), None);
}

#[test]
fn a_rate_is_not_rounded_packet_by_packet() {
    let mut link = Link::new(LinkConfig::mbit(7_000, 0), 1);
    link.apply(0, Change::Queue(QueueLimit::Bytes(u64::MAX)));
    (0..7000).for_each(|n| link.push(0, n, 1500, 0).unwrap());

    let out = drain(&mut link, 0);

    // 7000 × 12 000 bit at 7 Gbit/s are 12 ms.
    assert!(out.last().unwrap().0.abs_diff(12_000) <= 2, "{:?}", out.last());
}

#[test]
fn a_queue_of_bytes_holds_so_many_and_drops_the_rest() {
    let mut link = Link::new(LinkConfig::mbit(1, 0), 1);
    link.apply(0, Change::Queue(QueueLimit::Bytes(15_000)));

    let taken = (0..40).filter(|n| link.push(0, *n, 1500, 0).is_ok()).count();

    assert_eq!(taken, 10);
    assert_eq!(link.counters().queue_dropped, 30);
    assert_eq!(link.counters().waiting_bytes_max, 15_000);
}

#[test]
fn held_jitter_has_the_mean_of_a_half_normal_and_keeps_the_order() {
    let mut link = Link::new(unlimited(20_000), 3);
    link.apply(0, Change::Jitter(Jitter::held(8000)));

    let out = pace(&mut link, 100 * SECOND, 1000);

    assert!(out.windows(2).all(|pair| pair[0].1 < pair[1].1));
    // sigma × sqrt(2/π) = 6.4 ms, and a little more because nobody overtakes.
    let mean_us = link.counters().delay_us.mean - 20_000.0;
    assert!((6200.0..8500.0).contains(&mean_us), "{mean_us}");
    assert!(link.counters().delay_us.max > 20_000.0 + 2.0 * 8000.0);
}

#[test]
fn jitter_per_packet_under_load_is_nearly_constant_delay() {
    let mut held = Link::new(unlimited(0), 3);
    held.apply(0, Change::Jitter(Jitter::held(8000)));
    let mut each = Link::new(unlimited(0), 3);
    each.apply(0, Change::Jitter(Jitter { sigma_us: 8000, law: JitterLaw::PerPacket }));

    pace(&mut held, 20 * SECOND, 100);
    pace(&mut each, 20 * SECOND, 100);

    let (held, each) = (held.counters().delay_us, each.counters().delay_us);
    assert!(each.mean > 2.0 * held.mean, "{each:?} {held:?}");
    assert!(each.p50 > 2.0 * 8000.0, "{each:?}");
}

#[test]
fn independent_loss_takes_its_share() {
    let mut link = Link::new(unlimited(0), 5);
    link.apply(0, Change::Loss(Loss::Independent { probability: 0.02 }));

    let out = pace(&mut link, 100 * SECOND, 1000);

    let lost = link.counters().lost;
    assert!((1860..2140).contains(&lost), "{lost} of 100 000: 2000 ± 3 sigma are 133");
    assert_eq!(out.len() as u64 + lost, 100_000);
}

#[test]
fn bursts_take_their_share_in_rows_of_their_length() {
    let mut link = Link::new(unlimited(0), 5);
    link.apply(0, Change::Loss(Loss::Bursts { mean: 0.02, burst: 5.0 }));

    let out = pace(&mut link, 1000 * SECOND, 1000);

    let lost = link.counters().lost as f64;
    let rows = out.windows(2).filter(|pair| pair[1].1 - pair[0].1 > 1).count() as f64;
    assert!((0.018..0.022).contains(&(lost / 1e6)), "{lost}");
    assert!((4.7..5.3).contains(&(lost / rows)), "{lost} in {rows} rows");
}

#[test]
fn the_drop_log_names_exactly_what_is_missing_and_is_bounded() {
    let mut link = Link::new(unlimited(1000), 9);
    link.apply(0, Change::Loss(Loss::Independent { probability: 0.1 }));
    link.log_drops(150);

    let out = pace(&mut link, 2 * SECOND, 1000);

    let log = link.take_drops();
    let arrived: Vec<u64> = out.iter().map(|(_, item)| *item).collect();
    let missing: Vec<u64> = (0..2000).filter(|n| arrived.binary_search(n).is_err()).collect();
    let named: Vec<u64> = log.drops.iter().map(|drop| drop.key).collect();
    assert_eq!(named, missing[..150]);
    assert_eq!(log.missing, missing.len() as u64 - 150);
    assert!(log.drops.iter().all(|drop| drop.reason == DropReason::Loss && drop.len == 100));
}

#[test]
fn duplicates_follow_their_original() {
    let mut link = Link::new(unlimited(500), 2);
    link.apply(0, Change::Duplication { probability: 0.25 });

    let out = pace(&mut link, 10 * SECOND, 1000);

    let duplicated = link.counters().duplicated;
    assert!((2350..2650).contains(&duplicated), "{duplicated}");
    assert_eq!(out.len() as u64, 10_000 + duplicated);
    assert!(out.windows(2).all(|pair| pair[0].1 <= pair[1].1));
}

#[test]
fn a_black_hole_swallows_what_enters_and_what_is_inside() {
    let mut link = Link::new(LinkConfig::mbit(100, 10_000), 1);
    (0..10).for_each(|n| link.push(0, n, 1500, n).unwrap());
    link.apply(5000, Change::Blackhole(Switch::On));

    assert_eq!(link.push(6000, 10, 1500, 10), Err(DropReason::Blackhole));
    assert_eq!(link.pop(20_000), None);
    link.apply(20_000, Change::Blackhole(Switch::Off));
    link.push(20_000, 11, 1500, 11).unwrap();

    assert_eq!(drain(&mut link, 20_000), [(30_120, 11)]);
    assert_eq!(link.counters().blackholed, 11);
}

#[test]
fn a_stall_holds_everything_and_then_lets_go_in_order() {
    let mut link = Link::new(LinkConfig::mbit(12, 10_000), 1);
    (0..20).for_each(|n| link.push(n * 1000, n, 1500, n).unwrap());

    let before: Vec<u64> = std::iter::from_fn(|| link.pop(20_000)).collect();
    link.apply(20_000, Change::StallNow { us: 50_000 });
    (20..25).for_each(|n| link.push(n * 1000, n, 1500, n).unwrap());
    let out = drain(&mut link, 20_000);

    assert_eq!(before, (0..10).collect::<Vec<_>>());
    assert_eq!(out.iter().map(|(_, n)| *n).collect::<Vec<_>>(), (10..25).collect::<Vec<_>>());
    assert!(out[..10].iter().all(|(at, _)| *at == 70_000), "let go at once: {out:?}");
    assert_eq!(out[14].0, 70_000 + 5000 + 10_000, "the queue is served at the rate: {out:?}");
}

#[test]
fn stalls_return_by_themselves() {
    let mut link = Link::new(unlimited(0), 1);
    link.apply(0, Change::Stalls(Stalls { every_us: 1_000_000, length_us: 80_000 }));

    pace(&mut link, 10 * SECOND, 1000);

    assert_eq!(link.counters().queue_us.max, 80_000.0);
    assert_eq!(link.counters().queue_us.p50, 0.0);
}

#[test]
fn larger_packets_than_the_mtu_vanish() {
    let mut link = Link::new(unlimited(0), 1);
    link.apply(0, Change::Mtu { bytes: 1492 });

    assert_eq!(link.push(0, 1, 1493, 0), Err(DropReason::TooBig));
    assert_eq!(link.push(0, 2, 1492, 0), Ok(()));
    assert_eq!(link.counters().too_big, 1);
}

#[test]
fn a_trace_delivers_at_its_opportunities_small_packets_sharing_one() {
    let trace = Trace::parse("2\n5\n10\n").unwrap();
    let mut link = Link::new(LinkConfig::new(Rate::Trace(trace), 1000), 1);
    link.apply(0, Change::Queue(QueueLimit::Bytes(100_000)));
    // 1500 takes one opportunity; 500 + 500 share one; 1400 ends in the next one.
    for (n, len) in [1500, 500, 500, 1400].into_iter().enumerate() {
        link.push(0, n as u64, len, 0).unwrap();
    }

    assert_eq!(drain(&mut link, 0), [(3000, 0), (6000, 1), (6000, 2), (11_000, 3)]);
    link.push(10_500, 4, 1500, 0).unwrap();
    link.push(25_000, 5, 1500, 0).unwrap();
    assert_eq!(drain(&mut link, 25_000), [(25_000, 4), (26_000, 5)]);
}

#[test]
fn a_saturated_trace_carries_its_mean() {
    let trace = Trace::generate(4, 40_000_000, 5000);
    let mean = trace.mean_bits_per_second() as f64;
    let mut link = Link::new(LinkConfig::new(Rate::Trace(trace), 0), 1);

    let out = saturate(&mut link, 20 * SECOND, 100);

    let carried = out.len() as f64 * 12_000.0 / 20.0;
    assert!((0.99..1.01).contains(&(carried / mean)), "{carried} of {mean}");
}

#[test]
fn a_rate_changes_at_once_in_both_directions() {
    let mut link = Link::new(LinkConfig::new(Rate::Constant { bits_per_second: 12_000 }, 0), 1);
    link.apply(0, Change::Queue(QueueLimit::Bytes(1_000_000)));
    (0..100).for_each(|n| link.push(0, n, 1500, 0).unwrap());

    link.apply(500_000, Change::Rate(Rate::Constant { bits_per_second: 12_000_000 }));
    let out = drain(&mut link, 500_000);

    assert_eq!((out[0].0, out[99].0), (501_000, 600_000));
}

#[test]
fn the_same_seed_gives_the_same_result_and_another_another() {
    let run = |seed| {
        let mut link = Link::new(LinkConfig::mbit(20, 5000), seed);
        link.apply(0, Change::Jitter(Jitter::held(3000)));
        link.apply(0, Change::Loss(Loss::Bursts { mean: 0.05, burst: 3.0 }));
        link.apply(0, Change::Duplication { probability: 0.05 });
        pace(&mut link, 5 * SECOND, 700)
    };

    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}

#[test]
fn the_result_does_not_depend_on_how_often_it_is_asked() {
    let run = |step: u64| {
        let mut link = Link::new(LinkConfig::mbit(20, 5000), 11);
        link.apply(0, Change::Jitter(Jitter::held(3000)));
        link.apply(0, Change::Loss(Loss::Independent { probability: 0.05 }));
        let mut out = Vec::new();
        for now in 0..SECOND {
            if now % 700 == 0 {
                let _ = link.push(now, now, 1500, now);
            }
            if now % step == 0 {
                out.extend(std::iter::from_fn(|| link.pop(now)));
            }
        }
        out.extend(drain(&mut link, SECOND).into_iter().map(|(_, item)| item));
        out
    };

    assert_eq!(run(1), run(9000));
}

// Helpers.

const SECOND: u64 = 1_000_000;

fn unlimited(delay_us: u64) -> LinkConfig {
    LinkConfig::new(Rate::Unlimited, delay_us)
}

/// Offers a packet of 1500 bytes each `every_us` until `end_us`.
fn saturate(link: &mut Link<u64>, end_us: u64, every_us: u64) -> Vec<(u64, u64)> {
    offer(link, end_us, every_us, 1500).0
}

/// Offers a small packet each `every_us` until `end_us`, and waits for the last.
fn pace(link: &mut Link<u64>, end_us: u64, every_us: u64) -> Vec<(u64, u64)> {
    let (mut out, now) = offer(link, end_us, every_us, 100);
    out.extend(drain(link, now));
    out
}

fn offer(link: &mut Link<u64>, end_us: u64, every_us: u64, len: usize) -> (Vec<(u64, u64)>, u64) {
    let (mut out, mut n) = (Vec::new(), 0);
    loop {
        let push_at = n * every_us;
        let now = link.next_due_us().unwrap_or(u64::MAX).min(push_at);
        if now >= end_us {
            return (out, end_us);
        }
        if now == push_at {
            let _ = link.push(now, n, len, n);
            n += 1;
        }
        out.extend(std::iter::from_fn(|| link.pop(now)).map(|item| (now, item)));
    }
}

/// Takes out everything, each packet when it is due.
fn drain(link: &mut Link<u64>, from_us: u64) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    let mut now = from_us;
    while let Some(due) = link.next_due_us() {
        now = now.max(due);
        out.extend(std::iter::from_fn(|| link.pop(now)).map(|item| (now, item)));
    }
    out
}
