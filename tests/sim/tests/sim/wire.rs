//! Paths that are faster than any access link.

use lab::link::LinkConfig;
use sim::flow::Congestion;
use sim::world::{CLIENT, WorldConfig};

use super::scene::{goodput, opened, tcp};

#[test]
fn more_than_a_million_packets_a_second_leave_delays_as_they_are() {
    // 20 Gbit/s are 1.7 million full packets a second, and stamps count microseconds.
    let links = vec![LinkConfig::mbit(20_000, 500)];
    let mut world = opened(WorldConfig::symmetric(links, 1));
    let flow = tcp(&mut world, CLIENT, Congestion::Cubic, 1438);
    world.run_for(300_000);

    let goodput = goodput(&mut world, flow, CLIENT, 100_000);

    let path = world.path_snapshot(CLIENT, 0).expect("a path");
    println!("{goodput:.0} Mbit/s, {path:?}");
    assert!(goodput > 12_000.0, "{goodput} Mbit/s");
    let shortest = path.min_rtt.expect("measured").0;
    assert!(shortest >= 1_000, "{shortest} us, and the wire alone takes a millisecond");
    assert!(path.queue.0 < 8_000, "{:?}", path.queue);
}
