//! What scenarios are made of: link pairs and senders.

use engine::{Mode, PathId};
use lab::link::{Change, Jitter, LinkConfig, Loss, QueueLimit, Switch};
use sim::flow::cbr::{CbrConfig, CbrReceiver, CbrSender};
use sim::flow::tcp::{Tcp, TcpConfig};
use sim::flow::{Congestion, Load, Report, Role};
use sim::packet::FourTuple;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

/// The modes that random tests draw from: another order, or more of them, would make other tests of their seeds.
pub(super) const MODES: [Mode; 5] =
    [Mode::Split, Mode::Duplicate, Mode::Adaptive, Mode::LowestLatency, Mode::ActiveStandby];

/// A fibre and an LTE link without flaws: 100 Mbit/s at 20 ms, 50 Mbit/s at 60 ms.
pub(super) fn flagship() -> Vec<LinkConfig> {
    vec![LinkConfig::mbit(100, 10_000), LinkConfig::mbit(50, 30_000)]
}

/// The same with what LTE really has: jitter, loss, and a deep queue.
pub(super) fn flagship_lte() -> Vec<LinkConfig> {
    let mut links = flagship();
    links[1].jitter = Jitter::held(8_000);
    links[1].loss = Loss::Independent { probability: 0.005 };
    links[1].queue = QueueLimit::Time { us: 500_000 };
    links
}

/// A world whose paths are open and whose MTU is known.
pub(super) fn opened(config: WorldConfig) -> World {
    let mut world = World::new(config);
    world.run_until(OPENED_AT);
    world
}

/// A stream of numbered packets of 200 bytes from one end, that begins at once.
pub(super) fn stream(world: &mut World, from: usize, interval: u64, count: u64) -> usize {
    stream_of(world, from, 200, interval, count)
}

/// The same with packets of another length, in bytes.
pub(super) fn stream_of(
    world: &mut World,
    from: usize,
    packet_len: usize,
    interval: u64,
    count: u64,
) -> usize {
    let port = 4000 + 2 * (world.now() / 1_000 % 20_000) as u16 + from as u16;
    let tuple =
        FourTuple { local: ([10, 0, 0, 2], port).into(), remote: ([10, 0, 0, 1], 9).into() };
    let tuple = if from == CLIENT { tuple } else { tuple.reversed() };
    let config = CbrConfig { tuple, packet_len, interval, start: world.now(), count };
    let sender = Box::new(CbrSender::new(config));
    let receiver = Box::new(CbrReceiver::new(tuple.reversed()));
    if from == CLIENT { world.add_flow(sender, receiver) } else { world.add_flow(receiver, sender) }
}

/// What the receiver of a stream saw, after everything had time to arrive. Counts as lost what was
/// sent and did not arrive, also at the end.
pub(super) fn received(world: &World, stream: usize, from: usize) -> Report {
    let reports = world.reports(stream);
    let (sent, mut report) = (&reports[from], reports[1 - from].clone());
    report.packets_lost = sent.packets_sent + report.packets_duplicate - report.packets_received;
    report
}

/// A TCP connection whose data goes from one end, as fast as it can.
pub(super) fn tcp(world: &mut World, from: usize, congestion: Congestion, mtu: u16) -> usize {
    tcp_of(world, from, congestion, mtu, 5000)
}

/// The same from another port.
pub(super) fn tcp_of(
    world: &mut World,
    from: usize,
    congestion: Congestion,
    mtu: u16,
    port: u16,
) -> usize {
    let tuple =
        FourTuple { local: ([10, 0, 0, 2], port).into(), remote: ([10, 0, 0, 9], 80).into() };
    let load = |end| if end == from { Load::Endless } else { Load::Nothing };
    let config = |tuple, role, end| {
        let plain = TcpConfig::new(tuple, role, load(end));
        TcpConfig { congestion, start: world.now(), mtu, ..plain }
    };
    let client = config(tuple, Role::Client, CLIENT);
    let server = config(tuple.reversed(), Role::Server, SERVER);
    world.add_flow(Box::new(Tcp::new(client)), Box::new(Tcp::new(server)))
}

/// Payload that arrived from one end in this span from here on, in Mbit/s.
pub(super) fn goodput(world: &mut World, flow: usize, from: usize, span: u64) -> f64 {
    let delivered = |world: &World| world.reports(flow)[1 - from].bytes_delivered;
    let before = delivered(world);
    world.run_for(span);
    (delivered(world) - before) as f64 * 8.0 / span as f64
}

/// Makes a link swallow everything, or carry again.
pub(super) fn black_hole(world: &mut World, line: usize, switch: Switch) {
    world.change_both(line, Change::Blackhole(switch));
}

/// Bytes that one end has sent on a path.
pub(super) fn bytes_on(world: &mut World, end: usize, slot: u8) -> u64 {
    let snapshot = world.session(end).outbound.path_snapshot(PathId(slot));
    snapshot.map_or(0, |path| path.sent.bytes)
}

/// What TCP carries over a link of ours in the best case, as a share of the link's rate: MSS with
/// timestamps over the packet on the wire.
pub(super) const PAYLOAD_SHARE: f64 = 1386.0 / 1500.0;

/// All paths are open and probed by then.
const OPENED_AT: u64 = 1_000_000;
