//! Others on the same link.

use lab::link::{LinkConfig, QueueLimit};
use sim::flow::tcp::{Tcp, TcpConfig};
use sim::flow::{Congestion, Load, Role};
use sim::packet::FourTuple;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{self, opened};

#[test]
fn a_download_beside_the_tunnel_and_one_inside_share_a_lone_link() {
    for (seed, congestion) in [(71, Congestion::Cubic), (72, Congestion::Bbr)] {
        let link =
            LinkConfig { queue: QueueLimit::Time { us: 100_000 }, ..LinkConfig::mbit(50, 20_000) };
        let mut world = opened(WorldConfig::symmetric(vec![link], seed));
        let ours = scene::tcp(&mut world, CLIENT, Congestion::Cubic, 1438);
        world.run_for(5_000_000);
        let theirs = neighbour(&mut world, 0, congestion);
        world.run_for(20_000_000);

        let before = world.neighbours(theirs)[SERVER].bytes_delivered;
        let ours = scene::goodput(&mut world, ours, CLIENT, 20_000_000);
        let theirs = world.neighbours(theirs)[SERVER].bytes_delivered - before;
        let theirs = theirs as f64 * 8.0 / 20e6;
        println!("{congestion:?}: {ours:.1} Mbit/s ours, {theirs:.1} theirs");
        assert!(ours > 12.0 && theirs > 12.0, "{ours} against {theirs} Mbit/s");
    }
}

/// A TCP connection over one link outside the tunnel.
fn neighbour(world: &mut World, line: usize, congestion: Congestion) -> usize {
    let tuple =
        FourTuple { local: ([10, 0, 7, 2], 6000).into(), remote: ([10, 0, 7, 9], 80).into() };
    let start = world.now();
    let config = |tuple, role, load| {
        let plain = TcpConfig::new(tuple, role, load);
        Box::new(Tcp::new(TcpConfig { congestion, start, ..plain }))
    };
    let client = config(tuple, Role::Client, Load::Endless);
    let server = config(tuple.reversed(), Role::Server, Load::Nothing);
    world.add_neighbour(line, client, server)
}
