//! One TCP flow over the flagship pair, as a table.

use lab::link::{Jitter, JitterLaw, LinkConfig, Loss, QueueLimit};
use sim::flow::tcp::{Tcp, TcpConfig};
use sim::flow::{Congestion, Load, Role};
use sim::packet::FourTuple;
use sim::world::{World, WorldConfig};

fn main() {
    let seconds: u64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(20);
    for congestion in [Congestion::Cubic] {
        for lte in [false, true] {
            for pair in [vec![0], vec![1], vec![0, 1]] {
                run(congestion, lte, &pair, seconds);
            }
        }
    }
}

fn run(congestion: Congestion, lte: bool, pair: &[usize], seconds: u64) {
    let fibre = LinkConfig::mbit(100, 10_000);
    let mut second = LinkConfig::mbit(50, 30_000);
    if lte {
        second.jitter = Jitter { sigma_us: 8000, law: JitterLaw::Held { interval_us: 10_000 } };
        second.loss = Loss::Independent { probability: 0.005 };
        second.queue = QueueLimit::Time { us: 500_000 };
    }
    let links = [fibre, second];
    let links = pair.iter().map(|&i| links[i].clone()).collect();
    let mut world = World::new(WorldConfig::symmetric(links, 1));
    let tuple =
        FourTuple { local: ([10, 0, 0, 2], 5000).into(), remote: ([10, 0, 0, 9], 80).into() };
    world.run_until(500_000);
    let mut config = TcpConfig::new(tuple, Role::Client, Load::Endless);
    config.congestion = congestion;
    config.start = 500_000;
    config.mtu = 1438;
    let mut other = TcpConfig::new(tuple.reversed(), Role::Server, Load::Nothing);
    other.mtu = 1438;
    let flow = world.add_flow(Box::new(Tcp::new(config)), Box::new(Tcp::new(other)));
    let mut last = 0;
    let mut at = 500_000;
    let mut line = String::new();
    for second in 1..=seconds {
        world.run_until(500_000 + second * 1_000_000);
        let bytes = world.reports(flow)[1].bytes_delivered;
        line += &format!(" {:.0}", (bytes - last) as f64 * 8.0 / (world.now() - at) as f64);
        last = bytes;
        at = world.now();
    }
    println!("{congestion:?} lte={lte} links {pair:?}:{line}");
    let [c, s] = world.reports(flow);
    println!(
        "   sender: retx {} rto {} reductions {} undos {} srtt {:?} minrtt {:?} reord {}",
        c.retransmits,
        c.timeouts,
        c.reductions,
        c.undos,
        c.smoothed_rtt,
        c.min_rtt,
        s.packets_reordered
    );
    for index in 0..pair.len() {
        let [up, _] = world.counters(index);
        let path = world.session(0).outbound.path_snapshot(engine::PathId(index as u8));
        let path = path.expect("a path");
        println!(
            "   link {index}: delivered {} lost {} qdrop {} queue mean {:.1} p99 {:.1} ms; path {:?} srtt {:?} rate {:.1} M window {} mtu {} lost {}",
            up.delivered,
            up.lost,
            up.queue_dropped,
            up.queue_us.mean / 1e3,
            up.queue_us.p99 / 1e3,
            path.state,
            path.srtt,
            path.rate as f64 * 8.0 / 1e6,
            path.window,
            path.mtu,
            path.sent.lost,
        );
    }
    println!("   out {:?}", world.session(0).outbound.stats());
    println!("   in  {:?}", world.session(1).inbound.stats());
}
