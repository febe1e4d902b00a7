//! The loads of a scenario as conversations in a world.

use engine::{Hint, PathId, Time};
use lab::Direction;
use lab::link::{Change, Histogram, Switch};
use sim::flow::cbr::{CbrConfig, CbrReceiver, CbrSender};
use sim::flow::quic::{Quic, QuicConfig};
use sim::flow::tcp::{Tcp, TcpConfig};
use sim::flow::{Congestion, Flow, Load as Amount, Role};
use sim::packet::FourTuple;
use sim::world::{CLIENT, SERVER, World};

use super::echo::{Echo, Ping};
use super::{Totals, tunnel};
use crate::row::{InnerFigures, PingFigures, StreamFigures, WebFigures};
use crate::scenario::{Event, Family, Happening, Load, Scenario, Sender};
use crate::series::reachable_mbit;

/// The conversations of one repetition.
pub(super) struct Scene {
    began: u64,
    bulk: Vec<usize>,
    sender: Sender,
    from: usize,
    /// Bytes that arrived of each bulk flow, in tenths of a second.
    pub(super) series: Vec<Vec<f64>>,
    ping: Option<usize>,
    /// The call's flow.
    pub(super) call: Option<usize>,
    /// The stream's flow and its interval.
    pub(super) stream: Option<(usize, u64)>,
    /// Fetches, and when each began.
    pages: Vec<(usize, u64)>,
    /// Somebody else's flow on the first link, and what it had brought when counting began.
    neighbour: Option<(usize, u64)>,
}

impl Scene {
    /// Adds the conversations to a world; they begin at once.
    pub(super) fn begin(
        world: &mut World,
        scenario: &Scenario,
        sender: Sender,
        from: usize,
        seed: u64,
    ) -> Self {
        let began = world.now();
        let span = scenario.seconds * 1_000_000;
        let mut scene = Self {
            began,
            bulk: Vec::new(),
            sender,
            from,
            series: Vec::new(),
            ping: None,
            call: None,
            stream: None,
            pages: Vec::new(),
            neighbour: None,
        };
        for load in &scenario.loads {
            match *load {
                Load::Bulk(flows) => {
                    for index in 0..flows {
                        let plan = Plan { seed: seed + u64::from(index), ..Plan::at(began) };
                        let tuple = tuple_of(scenario.family, 5000 + index as u16, 80);
                        scene.bulk.push(bulk(world, tuple, sender, from, Amount::Endless, plan));
                    }
                }
                Load::Neighbour => {
                    let (client, server) =
                        ends(tuple(7000, 80), sender, from, Amount::Endless, Plan::at(began));
                    scene.neighbour = Some((world.add_neighbour(0, client, server), 0));
                }
                Load::Call => {
                    scene.call = Some(stream(world, 6000, from, 200, CALL_INTERVAL, span));
                }
                Load::Ping => scene.ping = Some(ping(world, span)),
                Load::Stream { per_second, bytes } => {
                    let interval = 1_000_000 / u64::from(per_second);
                    let port = 20_000 + (seed % 10_000) as u16;
                    let flow = stream(world, port, from, bytes as usize, interval, span);
                    scene.stream = Some((flow, interval));
                }
                Load::Web => scene.pages = pages(world, scenario.seconds),
            }
        }
        scene.series = vec![Vec::new(); scene.bulk.len()];
        scene
    }

    /// Lets the scenario happen, and gives what the tunnel had done when counting began.
    pub(super) fn run(&mut self, world: &mut World, scenario: &Scenario, seed: u64) -> Totals {
        let events = scenario.events_for(seed);
        let mut events = events.iter().peekable();
        let mut delivered = vec![0; self.bulk.len()];
        let mut before = Totals::default();
        for tenth in 0..scenario.seconds * 10 {
            if tenth == scenario.count_from * 10 {
                world.reset_counters();
                before = tunnel(world, self.from);
                self.count_neighbour(world);
            }
            let end = (tenth + 1) * 100_000;
            while let Some(event) = events.next_if(|event| event.at_us < end) {
                world.run_until(self.began + event.at_us);
                apply(world, event);
            }
            world.run_until(self.began + end);
            for (index, &flow) in self.bulk.iter().enumerate() {
                let bytes = world.reports(flow)[1 - self.from].bytes_delivered;
                self.series[index].push((bytes - delivered[index]) as f64);
                delivered[index] = bytes;
            }
        }
        before
    }

    /// Gives the last packets of streams the time to arrive.
    pub(super) fn linger(&self, world: &mut World) {
        if self.bulk.is_empty() || self.call.is_some() {
            world.run_for(LINGER);
        }
    }

    /// Notes what the neighbour has got so far.
    fn count_neighbour(&mut self, world: &World) {
        if let Some((flow, so_far)) = &mut self.neighbour {
            *so_far = world.neighbours(*flow)[1 - self.from].bytes_delivered;
        }
    }

    /// What the neighbour got since then, as a share of what the first link carries.
    pub(super) fn neighbour_share(
        &self,
        world: &World,
        scenario: &Scenario,
        seed: u64,
    ) -> Option<f64> {
        let (flow, before) = self.neighbour?;
        let bytes = world.neighbours(flow)[1 - self.from].bytes_delivered - before;
        let way = if self.from == CLIENT { Direction::Up } else { Direction::Down };
        let (from, until) = (scenario.count_from, scenario.seconds);
        let carries = reachable_mbit(&scenario.over(&[0]), way, seed, from, until);
        Some(bytes as f64 * 8.0 / 1e6 / (until - from) as f64 / carries)
    }

    /// What the senders of the bulk flows saw.
    pub(super) fn inner(&self, world: &World, from: usize) -> Option<InnerFigures> {
        let mut figures: Option<InnerFigures> = None;
        for &flow in &self.bulk {
            let report = &world.reports(flow)[from];
            let sum = figures.get_or_insert_default();
            sum.retransmits += report.retransmits;
            // QUIC counts as timeouts the connections that were lost.
            match self.sender {
                Sender::Quic => sum.broken += report.timeouts,
                _ => sum.timeouts = Some(sum.timeouts.unwrap_or_default() + report.timeouts),
            }
            sum.min_rtt_ms = report.min_rtt.unwrap_or_default() as f64 / 1000.0;
            sum.srtt_ms = report.smoothed_rtt.unwrap_or_default() as f64 / 1000.0;
        }
        figures
    }

    /// The ping beside the load.
    pub(super) fn ping(&self, world: &World) -> Option<PingFigures> {
        let report = &world.reports(self.ping?)[CLIENT];
        // Those asked in the last moments have no answer yet.
        let (sent, received) = (report.packets_sent, report.packets_received);
        let sent = if sent <= received + UNANSWERED_MAX { received } else { sent };
        Some(PingFigures::new(&report.one_way_delay, sent))
    }

    /// The pages fetched beside the load.
    pub(super) fn web(&self, world: &World) -> Option<WebFigures> {
        let (mut times, mut failed) = (Histogram::default(), 0);
        for &(flow, began) in &self.pages {
            let report = &world.reports(flow)[CLIENT];
            match report.last_delivery_at.filter(|_| report.bytes_delivered == PAGE_BYTES) {
                Some(at) => times.insert(at - began),
                None => failed += 1,
            }
        }
        let quantile = |share| times.quantile(share) as f64 / 1000.0;
        let figures = WebFigures { p50_ms: quantile(0.5), p95_ms: quantile(0.95), failed };
        (!self.pages.is_empty()).then_some(figures)
    }
}

/// Lets the tunnel find out what its links carry, by a flow that ends.
pub(super) fn prime(world: &mut World, sender: Sender, from: usize, reachable_mbit: f64) {
    let bytes = (reachable_mbit * 1e6 / 8.0 * PRIME_SECONDS) as u64;
    let began = world.now();
    let plan = Plan::at(began);
    let flow = bulk(world, tuple(4999, 80), sender, from, Amount::Bytes(bytes), plan);
    while world.now() < began + PRIME_MAX && world.reports(flow)[1 - from].bytes_delivered < bytes {
        world.run_for(100_000);
    }
    world.run_for(1_000_000);
}

/// Adds what a stream's ends saw to its figures.
pub(super) fn counts(
    world: &World,
    flow: usize,
    from: usize,
    interval: u64,
    figures: &mut StreamFigures,
) {
    let reports = world.reports(flow);
    let (sent, received) = (&reports[from], &reports[1 - from]);
    let lost = sent.packets_sent + received.packets_duplicate - received.packets_received;
    let gap = received.gap_max.saturating_sub(interval) as f64;
    figures.add(sent.packets_sent, lost, &received.one_way_delay, gap);
}

/// When a bulk flow begins and what its numbers come from.
#[derive(Clone, Copy)]
struct Plan {
    start: u64,
    seed: u64,
}

impl Plan {
    fn at(start: u64) -> Self {
        Self { start, seed: 1 }
    }
}

fn bulk(
    world: &mut World,
    tuple: FourTuple,
    sender: Sender,
    from: usize,
    amount: Amount,
    plan: Plan,
) -> usize {
    let (client, server) = ends(tuple, sender, from, amount, plan);
    world.add_flow(client, server)
}

/// The two ends of a bulk flow.
fn ends(
    tuple: FourTuple,
    sender: Sender,
    from: usize,
    amount: Amount,
    plan: Plan,
) -> (Box<dyn Flow>, Box<dyn Flow>) {
    let Plan { start, seed } = plan;
    // Ours are as large as the tunnel takes; what is a little too large for others' links costs them nothing.
    let mtu = if tuple.local.is_ipv6() { MTU_V6 } else { MTU };
    let congestion = if sender == Sender::Bbr { Congestion::Bbr } else { Congestion::Cubic };
    let load = |end| if end == from { amount } else { Amount::Nothing };
    let end = |tuple, role, end| -> Box<dyn Flow> {
        if sender == Sender::Quic {
            let plain = QuicConfig::new(tuple, role, load(end));
            return Box::new(Quic::new(QuicConfig { start, seed, mtu, ..plain }));
        }
        let plain = TcpConfig::new(tuple, role, load(end));
        Box::new(Tcp::new(TcpConfig { congestion, start, seed, mtu, ..plain }))
    };
    let client = end(tuple, Role::Client, CLIENT);
    (client, end(tuple.reversed(), Role::Server, SERVER))
}

fn stream(
    world: &mut World,
    port: u16,
    from: usize,
    packet_len: usize,
    interval: u64,
    span: u64,
) -> usize {
    let tuple = if from == CLIENT { tuple(port, 9) } else { tuple(port, 9).reversed() };
    let count = span / interval;
    let config = CbrConfig { tuple, packet_len, interval, start: world.now(), count };
    let sender = Box::new(CbrSender::new(config));
    let receiver = Box::new(CbrReceiver::new(tuple.reversed()));
    if from == CLIENT { world.add_flow(sender, receiver) } else { world.add_flow(receiver, sender) }
}

fn ping(world: &mut World, span: u64) -> usize {
    let tuple = tuple(6500, 7);
    let client = Ping::new(tuple, world.now(), PING_INTERVAL, span / PING_INTERVAL);
    world.add_flow(Box::new(client), Box::new(Echo::new(tuple.reversed())))
}

/// A page each second, asked for by the client.
fn pages(world: &mut World, seconds: u64) -> Vec<(usize, u64)> {
    let now = world.now();
    let page = |second: u64| {
        let start = now + second * 1_000_000;
        let tuple = tuple(30_000 + second as u16, 80);
        let amount = Amount::Bytes(PAGE_BYTES);
        let plan = Plan { seed: second, ..Plan::at(start) };
        (bulk(world, tuple, Sender::Cubic, SERVER, amount, plan), start)
    };
    // The last one has a second to end.
    (0..seconds.saturating_sub(1)).map(page).collect()
}

fn apply(world: &mut World, event: &Event) {
    let change = match &event.change {
        Happening::Carrier(switch) => return plug(world, event.link, *switch),
        Happening::Link(change) => change.clone(),
    };
    match event.direction {
        None => world.change_both(event.link, change),
        Some(Direction::Up) => world.change(event.link, CLIENT, change),
        Some(Direction::Down) => world.change(event.link, SERVER, change),
    }
}

/// Pulls a link's plug at the client, or puts it in again: its kernel says so.
pub(super) fn plug(world: &mut World, link: usize, carrier: Switch) {
    let hole = if carrier == Switch::On { Switch::Off } else { Switch::On };
    world.change_both(link, Change::Blackhole(hole));
    if carrier == Switch::On {
        world.wake_path(CLIENT, link as u8);
    } else {
        let (now, path) = (Time(world.now()), PathId(link as u8));
        world.session(CLIENT).outbound.fail_path(now, path, Hint::Carrier, now);
    }
}

fn tuple(client: u16, server: u16) -> FourTuple {
    FourTuple { local: ([10, 0, 0, 2], client).into(), remote: ([10, 0, 0, 9], server).into() }
}

/// The same between addresses of a family.
fn tuple_of(family: Family, client: u16, server: u16) -> FourTuple {
    match family {
        Family::V4 => tuple(client, server),
        Family::V6 => FourTuple {
            local: ([0xfd20, 0, 0, 0, 0, 0, 0, 2], client).into(),
            remote: ([0xfd20, 0, 0, 0, 0, 0, 0, 9], server).into(),
        },
    }
}

/// The tunnel's MTU over links of 1500 bytes.
const MTU: u16 = 1438;
const MTU_V6: u16 = 1418;
/// Time between two packets of a call, in microseconds.
pub(super) const CALL_INTERVAL: u64 = 20_000;
const PING_INTERVAL: u64 = 50_000;
const PAGE_BYTES: u64 = 30_000;
/// How long a flow goes before, and how long it may take.
const PRIME_SECONDS: f64 = 3.0;
const PRIME_MAX: u64 = 10_000_000;
/// How late the last packets of a stream may be, in microseconds.
const LINGER: u64 = 1_000_000;
/// Pings that may be on their way at the end.
const UNANSWERED_MAX: u64 = 2;
