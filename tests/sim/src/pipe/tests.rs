mod detour;
mod quic;

use lab::Change;
use lab::link::Jitter;
use lab::link::Loss;
use lab::link::QueueLimit;
use lab::link::Switch;
use proptest::prelude::*;

use self::detour::Detour;
use super::*;
use crate::flow::Congestion;
use crate::flow::Load;
use crate::flow::Report;
use crate::flow::Role;
use crate::flow::cbr::CbrConfig;
use crate::flow::cbr::CbrReceiver;
use crate::flow::cbr::CbrSender;
use crate::flow::tcp::Offload;
use crate::flow::tcp::Tcp;
use crate::flow::tcp::TcpConfig;
use crate::packet::FourTuple;

#[test]
fn a_tcp_flow_fills_a_clean_link_of_any_size() {
    for congestion in [Congestion::Cubic, Congestion::Bbr] {
        for (rate, rtt) in sizes() {
            let case = Case { congestion, ..Case::clean(rate, rtt) };
            let (share, pipe) = share_of(case, 10 * SECOND, 30 * SECOND);

            let report = pipe.a.report();
            println!("{congestion:?} {rate} Mbit/s, {rtt} us: {share:.3}, {}", line(&report));
            assert!((0.94..1.02).contains(&share), "{case:?}: {share}");
            assert_eq!(report.timeouts, 0, "{case:?}");
        }
    }
}

#[test]
fn super_packets_fill_a_link_as_well() {
    for (congestion, floor) in [(Congestion::Cubic, 0.94), (Congestion::Bbr, 0.9)] {
        for (rate, rtt) in sizes() {
            let offload = Offload::SuperPackets;
            let case = Case { congestion, offload, ..Case::clean(rate, rtt) };
            let (share, pipe) = share_of(case, 10 * SECOND, 30 * SECOND);

            println!(
                "{congestion:?} {rate} Mbit/s, {rtt} us: {share:.3}, {}",
                line(&pipe.a.report())
            );
            assert!((floor..1.02).contains(&share), "{case:?}: {share}");
        }
    }
}

#[test]
fn cubic_under_random_loss_has_the_window_of_the_formula() {
    for loss in [0.001, 0.01] {
        for (rate, rtt) in sizes() {
            let case = Case { loss, ..Case::clean(rate, rtt) };
            let (share, pipe) = share_of(case, 10 * SECOND, 130 * SECOND);

            // RFC 9438, section 5.1 (the window of CUBIC) and section 4.3 (its Reno-friendly one), and
            // no more than the link and the queue hold.
            let seconds = rtt as f64 / 1e6;
            let cubic = (0.4 * 3.7 / 1.2_f64).powf(0.25) * (seconds / loss).powf(0.75);
            let window = cubic.max((1.5 / loss).sqrt());
            let expected = (window / seconds / segments_per_second(rate)).min(1.0);
            println!(
                "{rate} Mbit/s, {rtt} us, {loss}: {share:.3} of {expected:.3}, {}",
                line(&pipe.a.report())
            );
            assert!((0.6..1.5).contains(&(share / expected)), "{case:?}: {share} of {expected}");
        }
    }
}

#[test]
fn bbr_under_random_loss_keeps_the_link_full() {
    for (rate, rtt) in sizes() {
        let case = Case { loss: 0.01, congestion: Congestion::Bbr, ..Case::clean(rate, rtt) };
        let (share, pipe) = share_of(case, 10 * SECOND, 40 * SECOND);

        println!("{rate} Mbit/s, {rtt} us: {share:.3}, {}", line(&pipe.a.report()));
        assert!(share > 0.85, "{case:?}: {share}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for congestion in [Congestion::Cubic, Congestion::Bbr] {
        let trace = |seed| {
            let case = Case { loss: 0.005, congestion, seed, ..Case::clean(50, 30_000) };
            let mut pipe = bulk(case);
            pipe.run_until(10 * SECOND);
            pipe.trace()
        };

        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1), trace(2));
    }
}

#[test]
fn every_byte_arrives_and_both_ends_finish_under_loss_both_ways() {
    for (seed, bytes) in [(1, 0), (2, 1), (3, 1448), (4, 1449), (5, 100_000), (6, 3_000_000)] {
        for offload in [Offload::Segments, Offload::SuperPackets] {
            let case = Case {
                loss: 0.05,
                loss_back: 0.05,
                load: Load::Bytes(bytes),
                offload,
                seed,
                ..Case::clean(20, 40_000)
            };
            let mut pipe = bulk(case);

            pipe.run_until(600 * SECOND);

            assert!(pipe.a.is_finished() && pipe.b.is_finished(), "{case:?}");
            assert_eq!(pipe.b.report().bytes_delivered, bytes);
            assert_eq!(pipe.b.report().packets_bad + pipe.a.report().packets_bad, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_whatever_the_network_does(
        (rate, rtt) in (1u64..100, 1_000u64..200_000),
        (loss, loss_back, duplication) in (0.0..0.2, 0.0..0.2, 0.0..0.2),
        (period, run, by) in (1u64..100, 0u64..20, 0u64..100_000),
        (bytes, seed, kind) in (0u64..2_000_000, any::<u64>(), 0u8..4),
    ) {
        let congestion = if kind & 1 == 0 { Congestion::Bbr } else { Congestion::Cubic };
        let offload = if kind & 2 == 0 { Offload::Segments } else { Offload::SuperPackets };
        let load = Load::Bytes(bytes);
        let case = Case { rate, rtt, loss, loss_back, load, congestion, offload, seed };
        let (a, b) = configs(case);
        let mut pipe = pipe(case, Detour::new(Tcp::new(a), period, run, by), Tcp::new(b));
        pipe.links().0.apply(0, Change::Duplication { probability: duplication });
        pipe.links().1.apply(0, Change::Duplication { probability: duplication });

        pipe.run_until(36_000 * SECOND);

        prop_assert!(pipe.a.is_finished() && pipe.b.is_finished());
        prop_assert_eq!(pipe.b.report().bytes_delivered, bytes);
        prop_assert_eq!(pipe.b.report().packets_bad + pipe.a.report().packets_bad, 0);
    }
}

#[test]
fn both_ends_may_send_at_once() {
    let case = Case::clean(20, 40_000);
    let (a, mut b) = configs(Case { load: Load::Bytes(5_000_000), ..case });
    b.load = Load::Bytes(4_000_000);
    let mut pipe = pipe(case, Tcp::new(a), Tcp::new(b));

    pipe.run_until(60 * SECOND);

    assert!(pipe.a.is_finished() && pipe.b.is_finished());
    assert_eq!(pipe.b.report().bytes_delivered, 5_000_000);
    assert_eq!(pipe.a.report().bytes_delivered, 4_000_000);
}

#[test]
fn a_server_may_be_the_sender_over_ipv6() {
    let case = Case::clean(20, 40_000);
    let (mut a, mut b) = configs(Case { load: Load::Nothing, ..case });
    a.tuple = FourTuple {
        local: "[fd00::2]:4000".parse().unwrap(),
        remote: "[fd00::1]:443".parse().unwrap(),
    };
    (b.tuple, b.load) = (a.tuple.reversed(), Load::Bytes(1_000_000));
    let mut pipe = pipe(case, Tcp::new(a), Tcp::new(b));

    pipe.run_until(60 * SECOND);

    assert!(pipe.a.is_finished() && pipe.b.is_finished());
    assert_eq!(pipe.a.report().bytes_delivered, 1_000_000);
}

#[test]
fn a_lost_last_segment_is_repaired_by_a_probe_and_not_by_a_timeout() {
    // Ten segments, the initial window; 1.2 ms each, the last one leaves the link at 72.1 ms.
    let mut pipe = bulk(Case { load: Load::Bytes(14_480), ..Case::clean(10, 40_000) });
    for (time, switch) in [(71_500, Switch::On), (75_000, Switch::Off)] {
        pipe.run_until(time);
        pipe.links().0.apply(time, Change::Blackhole(switch));
    }

    pipe.run_until(20 * SECOND);

    let report = pipe.a.report();
    assert!(pipe.a.is_finished() && report.probes > 0, "{}", line(&report));
    assert_eq!(report.timeouts, 0, "{}", line(&report));
    assert_eq!(pipe.counters().0.blackholed, 1);
}

#[test]
fn a_flow_goes_on_after_a_silence() {
    for congestion in [Congestion::Cubic, Congestion::Bbr] {
        let mut pipe = bulk(Case { congestion, ..Case::clean(50, 30_000) });
        pipe.run_until(5 * SECOND);
        pipe.links().0.apply(5 * SECOND, Change::Blackhole(Switch::On));
        pipe.run_until(6 * SECOND);
        let silent = pipe.b.report().bytes_delivered;
        pipe.links().0.apply(6 * SECOND, Change::Blackhole(Switch::Off));

        pipe.run_until(12 * SECOND);

        let report = pipe.b.report();
        assert!(report.gap_max < 2 * SECOND, "{congestion:?}: {}", report.gap_max);
        assert!(report.bytes_delivered > silent + 20_000_000, "{congestion:?}");
        assert!(pipe.a.report().timeouts > 0);
    }
}

#[test]
fn reordering_costs_an_adapting_sender_little() {
    for (by, floor) in [(2_000, 0.9), (10_000, 0.9), (25_000, 0.5)] {
        let case = Case::clean(50, 30_000);
        let (a, b) = configs(case);
        // One packet in twenty arrives late, in runs of three.
        let mut pipe = pipe(case, Detour::new(Tcp::new(a), 60, 3, by), Tcp::new(b));

        pipe.run_until(30 * SECOND);

        let (sent, received) = (pipe.a.report(), pipe.b.report());
        let share = received.goodput_since(0) / (50.0 * PAYLOAD_SHARE);
        println!("{by} us late: {share:.3}, {}", line(&sent));
        assert!(sent.reorderings > 100 && received.packets_reordered > 100);
        assert!(share > floor, "{by} us late: {share}");
    }
}

#[test]
fn jitter_that_keeps_the_order_is_not_loss() {
    let case = Case::clean(50, 60_000);
    let (a, b) = configs(case);
    let mut pipe = pipe(case, Tcp::new(a), Tcp::new(b));
    pipe.links().0.apply(0, Change::Jitter(Jitter::held(8_000)));

    pipe.run_until(30 * SECOND);

    let share = pipe.b.report().goodput_since(0) / (50.0 * PAYLOAD_SHARE);
    assert!(share > 0.8, "{share}, {}", line(&pipe.a.report()));
    assert_eq!(pipe.a.report().timeouts, 0);
}

#[test]
fn a_constant_rate_loses_what_the_link_drops() {
    let case = Case { loss: 0.02, ..Case::clean(10, 30_000) };
    let tuple = tuple();
    let config = CbrConfig { tuple, packet_len: 1000, interval: 1000, start: 0, count: 10_000 };
    let mut pipe = pipe(case, CbrSender::new(config), CbrReceiver::new(tuple.reversed()));

    pipe.run_until(20 * SECOND);

    let lost = pipe.b.lost(pipe.a.sent()).count() as u64;
    assert_eq!(lost, pipe.counters().0.lost);
    assert!((120..300).contains(&lost), "{lost}");
    // 15 ms on the way and 0.8 ms on the wire.
    let delay = pipe.b.report().one_way_delay;
    assert!((15_799.0..=15_801.0).contains(&delay.min) && delay.max <= 15_801.0, "{delay:?}");
}

#[derive(Clone, Copy, Debug)]
struct Case {
    rate: u64,
    rtt: u64,
    loss: f64,
    loss_back: f64,
    load: Load,
    congestion: Congestion,
    offload: Offload,
    seed: u64,
}

impl Case {
    fn clean(rate: u64, rtt: u64) -> Self {
        Self {
            rate,
            rtt,
            loss: 0.0,
            loss_back: 0.0,
            load: Load::Endless,
            congestion: Congestion::Cubic,
            offload: Offload::Segments,
            seed: 1,
        }
    }
}

fn sizes() -> impl Iterator<Item = (u64, u64)> {
    [10, 50, 100].into_iter().flat_map(|rate| [10_000, 30_000, 80_000].map(|rtt| (rate, rtt)))
}

/// The share of what a link can carry that a flow gets between two times.
fn share_of(case: Case, from: u64, to: u64) -> (f64, Pipe<Tcp, Tcp>) {
    let mut pipe = bulk(case);
    pipe.run_until(from);
    let before = pipe.b.report().bytes_delivered;
    pipe.run_until(to);
    let bytes = pipe.b.report().bytes_delivered - before;
    let rate = bytes as f64 * 8.0 / (to - from) as f64;
    (rate / (case.rate as f64 * PAYLOAD_SHARE), pipe)
}

/// A flow from `a` to `b` over a link with a queue of one bandwidth-delay product.
fn bulk(case: Case) -> Pipe<Tcp, Tcp> {
    let (a, b) = configs(case);
    pipe(case, Tcp::new(a), Tcp::new(b))
}

fn configs(case: Case) -> (TcpConfig, TcpConfig) {
    let sender = TcpConfig {
        congestion: case.congestion,
        offload: case.offload,
        seed: case.seed,
        ..TcpConfig::new(tuple(), Role::Client, case.load)
    };
    let receiver = TcpConfig::new(tuple().reversed(), Role::Server, Load::Nothing);
    (sender, TcpConfig { seed: !case.seed, ..receiver })
}

fn pipe<A: Flow, B: Flow>(case: Case, a: A, b: B) -> Pipe<A, B> {
    let link = |loss: f64| {
        let mut link = LinkConfig::mbit(case.rate, case.rtt / 2);
        link.queue = QueueLimit::Time { us: case.rtt };
        if loss > 0.0 {
            link.loss = Loss::Independent { probability: loss };
        }
        link
    };
    Pipe::new(a, b, link(case.loss), link(case.loss_back), case.seed)
}

fn tuple() -> FourTuple {
    FourTuple { local: "10.0.0.2:4000".parse().unwrap(), remote: "10.0.0.1:443".parse().unwrap() }
}

fn segments_per_second(rate: u64) -> f64 {
    rate as f64 * 1e6 / 8.0 / 1500.0
}

fn line(report: &Report) -> String {
    format!(
        "{} resent, {} timeouts, {} probes, {} reductions, {} undone, {} reorderings",
        report.retransmits,
        report.timeouts,
        report.probes,
        report.reductions,
        report.undos,
        report.reorderings
    )
}

/// Payload of a packet of 1500 bytes with timestamps.
const PAYLOAD_SHARE: f64 = 1448.0 / 1500.0;

const SECOND: u64 = 1_000_000;
