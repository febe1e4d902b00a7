//! Scenarios: what happens, as data, and what must come of it.

mod drawn;
mod environments;
mod failures;
mod flagship;
mod limit;
mod mix;
mod quiet;
mod steps;

use lab::link::{Change, Rate, Switch};
use lab::{Direction, LinkSpec};
use serde::{Deserialize, Serialize};

pub use self::drawn::{describe, drawn};
pub use self::limit::{Bound, Figure, Limit};

/// One situation.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name in tables and for `--only`.
    pub name: String,
    /// The links, in both directions.
    pub links: Vec<LinkSpec>,
    /// Which of them cost by the byte.
    pub metered: Vec<usize>,
    /// The family of the tunnel's own datagrams, and of what goes inside.
    pub family: Family,
    /// What changes, in the order of time.
    pub events: Vec<Event>,
    /// Events are later by up to this, drawn from the seed, in microseconds.
    pub phase_us: u64,
    /// What is sent.
    pub loads: Vec<Load>,
    /// The senders of its bulk flows that it is run with.
    pub senders: Vec<Sender>,
    /// How long it takes, in seconds.
    pub seconds: u64,
    /// What happens before this does not count, in seconds.
    pub count_from: u64,
    /// Whether a flow goes before, so that the tunnel knows its links.
    pub primed: bool,
    /// How often it is repeated over the same tunnel: for what depends on chance.
    pub repeat: u32,
    /// What else is run, to compare with.
    pub against: Against,
    /// The direction in which it is harder.
    pub worse: Direction,
    /// Whether it is one of those that are judged by three seeds in namespaces.
    pub is_main: bool,
    /// What must hold.
    pub limits: Vec<Limit>,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A change to a link.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, in microseconds after the loads begin.
    pub at_us: u64,
    /// Which of the scenario's links.
    pub link: usize,
    /// `None` is both.
    pub direction: Option<Direction>,
    /// What changes.
    pub change: Happening,
}

/// What happens to a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The client's kernel says that its link has a carrier, or has none.
    Carrier(Switch),
    /// The link takes another property, and nobody says so.
    Link(Change),
}

impl Happening {
    /// Whether the link carries nothing from then on, or carries again; unless neither is so.
    pub fn hole(&self) -> Option<Switch> {
        match self {
            Self::Carrier(Switch::On) => Some(Switch::Off),
            Self::Carrier(Switch::Off) => Some(Switch::On),
            Self::Link(Change::Blackhole(switch)) => Some(*switch),
            Self::Link(_) => None,
        }
    }
}

/// Something that is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Load {
    /// So many flows that each send what they can.
    Bulk(u32),
    /// One bulk flow over the first link alone, outside of the tunnel.
    Neighbour,
    /// A real-time stream: 50 packets of 200 bytes a second.
    Call,
    /// 20 small packets a second that are sent back, whichever way the load goes.
    Ping,
    /// Numbered packets at a constant rate.
    Stream {
        /// Packets a second.
        per_second: u32,
        /// Bytes of each, IP header included.
        bytes: u32,
    },
    /// The client fetches 30 kB each second.
    Web,
}

/// How bulk flows are sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sender {
    /// TCP with CUBIC.
    Cubic,
    /// TCP with BBR, version 1.
    Bbr,
    /// QUIC with CUBIC and a packet threshold of 3.
    Quic,
    /// Nothing is sent in bulk.
    None,
}

impl std::fmt::Display for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Bbr => "bbr",
            Self::Cubic => "cubic",
            Self::None => "-",
            Self::Quic => "quic",
        })
    }
}

/// What a scenario is compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Against {
    /// Nothing.
    Nothing,
    /// The same over each link alone; the better one counts.
    BetterLink,
    /// The same without the last link.
    WithoutLast,
}

impl Scenario {
    /// Bulk over these links, both ways, that must reach nothing yet.
    fn bulk(name: &str, links: Vec<LinkSpec>) -> Self {
        Self {
            name: name.to_owned(),
            links,
            metered: Vec::new(),
            family: Family::V4,
            events: Vec::new(),
            phase_us: 0,
            loads: vec![Load::Bulk(1)],
            senders: vec![Sender::Cubic, Sender::Bbr],
            seconds: SECONDS,
            count_from: WARM_UP,
            primed: false,
            repeat: 1,
            against: Against::Nothing,
            worse: Direction::Up,
            is_main: false,
            limits: Vec::new(),
        }
    }

    fn with(mut self, loads: &[Load]) -> Self {
        self.loads.extend(loads);
        self
    }

    fn holds(mut self, limits: impl IntoIterator<Item = Limit>) -> Self {
        self.limits.extend(limits);
        self
    }

    /// The same over some of its links only.
    pub fn over(&self, links: &[usize]) -> Self {
        let position = |link: usize| links.iter().position(|&kept| kept == link);
        let events = self
            .events
            .iter()
            .filter_map(|event| position(event.link).map(|link| Event { link, ..event.clone() }));
        Self {
            links: links.iter().map(|&link| self.links[link].clone()).collect(),
            metered: self.metered.iter().filter_map(|&link| position(link)).collect(),
            events: events.collect(),
            ..self.clone()
        }
    }

    /// The smallest round trip over any of its links, in milliseconds.
    pub fn idle_rtt_ms(&self) -> f64 {
        let rtt = |link: &LinkSpec| (link.up.delay_us + link.down.delay_us) as f64 / 1000.0;
        self.links.iter().map(rtt).fold(f64::MAX, f64::min)
    }

    /// Its events, with those of a chance drawn from the seed.
    pub fn events_for(&self, seed: u64) -> Vec<Event> {
        // Golden-ratio steps spread evenly, however many seeds there are.
        let share = (seed as f64 * 0.618_033_988_75).fract();
        let later_us = (self.phase_us as f64 * share) as u64;
        let moved = |event: &Event| Event { at_us: event.at_us + later_us, ..event.clone() };
        self.events.iter().map(moved).collect()
    }

    /// What the links carry of inner payload between two moments in microseconds, as a mean in
    /// bits a second: the rate of each link that is there, less our header.
    pub fn reachable(&self, way: Direction, seed: u64, from_us: u64, until_us: u64) -> f64 {
        let events = self.events_for(seed);
        let mean = |link: usize| {
            let config = match way {
                Direction::Down => &self.links[link].down,
                Direction::Up => &self.links[link].up,
            };
            let (mut rate, mut holes) = (rate_of(&config.rate), [false; 2]);
            let (mut bits, mut at_us) = (0.0, from_us);
            let touching = events.iter().filter(|event| event.link == link);
            for event in touching.filter(|event| event.at_us < until_us) {
                let now_us = event.at_us.max(at_us);
                bits += if holes.contains(&true) { 0.0 } else { rate } * (now_us - at_us) as f64;
                at_us = now_us;
                let applies = |side: Direction| event.direction.is_none_or(|only| only == side);
                if let Some(switch) = event.change.hole() {
                    for (hole, side) in holes.iter_mut().zip([Direction::Up, Direction::Down]) {
                        *hole = if applies(side) { switch == Switch::On } else { *hole };
                    }
                }
                if let Happening::Link(Change::Rate(new)) = &event.change
                    && applies(way)
                {
                    rate = rate_of(new);
                }
            }
            bits += if holes.contains(&true) { 0.0 } else { rate } * (until_us - at_us) as f64;
            let stalls = config.stalls;
            let paused = stalls.length_us as f64 / stalls.every_us.max(1) as f64;
            bits / (until_us - from_us).max(1) as f64 * (1.0 - paused)
        };
        (0..self.links.len()).map(mean).sum::<f64>() * self.family.payload_share()
    }
}

impl Family {
    /// The share of a link's rate that inner TCP can have at our MTU and header.
    pub fn payload_share(self) -> f64 {
        match self {
            Self::V4 => PAYLOAD_SHARE,
            Self::V6 => PAYLOAD_SHARE_V6,
        }
    }
}

/// All scenarios, those of failures and steps for runs of about so many seconds.
pub fn all(seconds: u64) -> Vec<Scenario> {
    let mut all = flagship::all(seconds);
    all.extend(failures::all(seconds));
    all.extend(steps::all(seconds));
    all.extend(mix::all(seconds));
    all.extend(quiet::all());
    all.extend(environments::all(seconds));
    all
}

fn rate_of(rate: &Rate) -> f64 {
    rate.mean_bits_per_second().unwrap_or_default() as f64
}

/// The share of a link's rate that inner TCP can have at our MTU and header on IPv4.
pub const PAYLOAD_SHARE: f64 = 1386.0 / 1500.0;
/// The same on IPv6: both headers are 20 bytes longer.
const PAYLOAD_SHARE_V6: f64 = 1346.0 / 1500.0;
/// What counts as not below something else: two runs never carry exactly the same.
const NOT_BELOW: f64 = 0.99;
/// How long a scenario takes if nothing else is asked for.
pub const SECONDS: u64 = 20;
/// How long after its beginning a bulk flow counts.
const WARM_UP: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_a_line_to_hold() {
        let all = all(SECONDS);
        for (index, scenario) in all.iter().enumerate() {
            assert!(!scenario.limits.is_empty(), "{}", scenario.name);
            assert!(scenario.seconds > scenario.count_from, "{}", scenario.name);
            assert!(all[..index].iter().all(|other| other.name != scenario.name));
        }
        assert_eq!(all.iter().filter(|it| it.name.starts_with("env-")).count(), 16);
    }

    #[test]
    fn reachable_is_the_integral_over_what_the_links_are() {
        let mut scenario =
            Scenario::bulk("x", vec![LinkSpec::new("a", 100, 20), LinkSpec::new("b", 50, 60)]);
        let close = |a: f64, b: f64| assert!((a - b * PAYLOAD_SHARE).abs() < 1.0, "{a} {b}");
        close(scenario.reachable(Direction::Up, 1, 3_000_000, 20_000_000), 150e6);

        let event = |at_us, change| {
            let change = Happening::Link(change);
            Event { at_us, link: 1, direction: None, change }
        };
        scenario.events = vec![
            event(5_000_000, Change::Rate(Rate::Constant { bits_per_second: 20_000_000 })),
            event(10_000_000, Change::Blackhole(Switch::On)),
        ];
        close(scenario.reachable(Direction::Up, 1, 0, 20_000_000), 100e6 + 12.5e6 + 5e6);
        close(scenario.reachable(Direction::Down, 1, 12_000_000, 20_000_000), 100e6);
    }
}
