use super::*;
use crate::flow::quic::Quic;
use crate::flow::quic::QuicConfig;

#[test]
fn a_quic_flow_fills_a_clean_link() {
    for congestion in [Congestion::Cubic, Congestion::Bbr] {
        for (rate, rtt) in [(10, 80_000), (50, 30_000), (100, 10_000)] {
            let case = Case { congestion, ..Case::clean(rate, rtt) };
            let mut pipe = bulk(case);
            pipe.run_until(10 * SECOND);
            let before = pipe.b.report().bytes_delivered;
            pipe.run_until(30 * SECOND);

            let rate = (pipe.b.report().bytes_delivered - before) as f64 * 8.0 / 20e6;
            let share = rate / (case.rate as f64 * PAYLOAD_SHARE);
            println!(
                "{congestion:?} {} Mbit/s, {rtt} us: {share:.3}, {}",
                case.rate,
                line(&pipe.a.report())
            );
            assert!((0.94..1.02).contains(&share), "{case:?}: {share}");
        }
    }
}

#[test]
fn times_and_lengths_of_quic_packets_follow_from_the_seed() {
    for congestion in [Congestion::Cubic, Congestion::Bbr] {
        let trace = |seed| {
            let mut pipe = bulk(Case { loss: 0.005, congestion, seed, ..Case::clean(50, 30_000) });
            pipe.run_until(5 * SECOND);
            pipe.trace()
        };

        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1), trace(2));
    }
}

#[test]
fn every_byte_arrives_and_both_ends_finish_under_loss_both_ways() {
    for (seed, bytes) in [(1, 1), (2, 1_400), (3, 3_000_000)] {
        let case = Case {
            loss: 0.05,
            loss_back: 0.05,
            load: Load::Bytes(bytes),
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

#[test]
fn a_quic_server_may_be_the_sender() {
    let case = Case { load: Load::Nothing, ..Case::clean(20, 40_000) };
    let (a, mut b) = configs(case);
    b.load = Load::Bytes(1_000_000);
    let mut pipe = pipe(case, Quic::new(a), Quic::new(b));

    pipe.run_until(60 * SECOND);

    assert!(pipe.a.is_finished() && pipe.b.is_finished());
    assert_eq!(pipe.a.report().bytes_delivered, 1_000_000);
}

#[test]
fn overtaking_by_three_packets_is_loss_for_quic() {
    let case = Case::clean(50, 30_000);
    let (a, b) = configs(case);
    let mut pipe = pipe(case, Detour::new(Quic::new(a), 60, 3, 5_000), Quic::new(b));

    pipe.run_until(20 * SECOND);

    let share = pipe.b.report().goodput_since(0) / (50.0 * PAYLOAD_SHARE);
    println!("{share:.3}, {}", line(&pipe.a.report()));
    assert!(share < 0.5 && pipe.a.report().reductions > 100, "{share}");
}

fn bulk(case: Case) -> Pipe<Quic, Quic> {
    let (a, b) = configs(case);
    pipe(case, Quic::new(a), Quic::new(b))
}

fn configs(case: Case) -> (QuicConfig, QuicConfig) {
    let sender = QuicConfig {
        congestion: case.congestion,
        seed: case.seed,
        ..QuicConfig::new(tuple(), Role::Client, case.load)
    };
    let receiver = QuicConfig::new(tuple().reversed(), Role::Server, Load::Nothing);
    (sender, QuicConfig { seed: !case.seed, ..receiver })
}

/// Stream data in a packet of 1500 bytes.
const PAYLOAD_SHARE: f64 = 1_432.0 / 1_500.0;
