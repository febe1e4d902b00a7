//! What came of one case.

use lab::Direction;
use lab::link::{LinkCounters, Summary};
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::scenario::{Scenario, Sender};
use crate::series::reachable_mbit;

/// The figures of one case. What is not known, or was not sent, is absent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// What ran it.
    pub runner: Runner,
    /// How its bulk flows were sent.
    pub sender: Sender,
    /// Which way they went.
    pub way: Direction,
    /// Where everything random came from.
    pub seed: u64,
    /// How long it took, in seconds, as far as loads were sent.
    pub seconds: u64,
    /// How long of that counts.
    #[serde(default)]
    pub counted_seconds: u64,
    /// What was changed of the engine's rules, at both ends.
    pub rules: Vec<String>,
    /// What the links could carry of inner payload, in Mbit/s.
    pub reachable_mbit: f64,
    /// What they carried of it.
    pub goodput_mbit: Option<f64>,
    /// One beside the other.
    pub share: Option<f64>,
    /// The same for the first ten seconds.
    pub first_share: Option<f64>,
    /// How evenly several flows shared, by Jain's index.
    pub fairness: Option<f64>,
    /// What somebody else's flow on the first link got, as a share of what that carries.
    #[serde(default)]
    pub neighbour_share: Option<f64>,
    /// The comparison that the scenario asks for.
    pub against: Option<Comparison>,
    /// Other systems over the same links.
    pub peers: Vec<Comparison>,
    /// Each link, in the direction of the load.
    pub links: Vec<LinkFigures>,
    /// What the tunnel did.
    pub tunnel: TunnelFigures,
    /// What the bulk flows' senders saw.
    pub inner: Option<InnerFigures>,
    /// A ping beside the load.
    pub ping: Option<PingFigures>,
    /// A call beside the load.
    pub call: Option<StreamFigures>,
    /// A stream of numbered packets.
    pub stream: Option<StreamFigures>,
    /// Pages fetched beside the load.
    pub web: Option<WebFigures>,
    /// Which of the scenario's limits it misses, and by what.
    pub missed: Vec<String>,
}

/// What runs a case.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    /// The real programs in namespaces.
    Namespaces,
    /// The simulator.
    VirtualTime,
}

/// The same load over something else.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Comparison {
    /// Over what.
    pub with: String,
    /// What it carried there, in Mbit/s.
    pub goodput_mbit: f64,
    /// What the row carried, beside that.
    pub ratio: f64,
    /// Whether it was only reckoned: the most that it could carry there.
    pub is_bound: bool,
}

/// One link, in the direction of the load.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LinkFigures {
    /// Its name.
    pub name: String,
    /// Mean time in its queue and in service, in milliseconds.
    pub queue_mean_ms: f64,
    /// What 99 % of the packets did not exceed.
    pub queue_p99_ms: f64,
    /// Bytes of the packets that it carried.
    pub bytes: u64,
    /// The same in the other direction.
    #[serde(default)]
    pub bytes_back: u64,
    /// Packets that it lost by chance.
    pub lost: u64,
    /// Packets for which its queue had no room.
    pub dropped: u64,
}

/// What the tunnel did in the direction of the load while it counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct TunnelFigures {
    /// Bytes of inner packets sent for the first time.
    pub carried_bytes: Option<u64>,
    /// Bytes of our headers on them.
    pub header_bytes: Option<u64>,
    /// Bytes of feedback, marks and probes that the receiver sent back.
    pub feedback_bytes: Option<u64>,
    /// Bytes of copies.
    pub copy_bytes: Option<u64>,
    /// Bytes of retransmissions.
    pub retransmitted_bytes: Option<u64>,
    /// Packets that waited for an earlier one.
    pub held: Option<u64>,
    /// How long they waited, in milliseconds: the mean.
    pub hold_mean_ms: Option<f64>,
    /// What 99 % of them did not exceed.
    pub hold_p99_ms: Option<f64>,
    /// The share of all that waiting that was for packets that did not come.
    #[serde(default)]
    pub hold_futile: Option<f64>,
    /// Packets that came after their place was given up.
    pub late: Option<u64>,
    /// Packets whose place was given up and that never came.
    pub lost: Option<u64>,
    /// Packets that the sender's own queue dropped.
    pub dropped: Option<u64>,
}

/// What the senders of the bulk flows saw, all together.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct InnerFigures {
    /// Segments sent again.
    pub retransmits: u64,
    /// Retransmission timeouts.
    pub timeouts: Option<u64>,
    /// Connections that ended by themselves.
    #[serde(default)]
    pub broken: u64,
    /// The smallest round trip, in milliseconds.
    pub min_rtt_ms: f64,
    /// The smoothed round trip at the end, in milliseconds.
    pub srtt_ms: f64,
}

/// Round trips of lone packets.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PingFigures {
    /// Their median, in milliseconds.
    pub p50_ms: f64,
    /// What 99 % did not exceed.
    pub p99_ms: f64,
    /// Packets without an answer.
    pub lost: u64,
}

/// Numbered packets, of all repetitions.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct StreamFigures {
    /// Packets sent.
    pub sent: u64,
    /// Packets that never arrived.
    pub lost: u64,
    /// The median of the one-way delays, in milliseconds.
    pub delay_p50_ms: f64,
    /// What 99 % did not exceed; of several repetitions the worst.
    pub delay_p99_ms: f64,
    /// The longest time without a packet less the sender's interval, for each repetition, in
    /// milliseconds.
    pub gaps_ms: Vec<f64>,
}

/// Pages fetched one after the other.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct WebFigures {
    /// The median of the times until a page was there, in milliseconds.
    pub p50_ms: f64,
    /// What 95 % did not exceed.
    pub p95_ms: f64,
    /// Pages that did not come whole.
    pub failed: u64,
}

impl Row {
    /// A row without figures.
    pub fn empty(case: &Case, scenario: &Scenario) -> Self {
        let (from, until) = (scenario.count_from, scenario.seconds);
        Self {
            scenario: scenario.name.clone(),
            runner: Runner::VirtualTime,
            sender: case.sender,
            way: case.way,
            seed: case.seed,
            seconds: until,
            counted_seconds: until - from,
            rules: Vec::new(),
            reachable_mbit: reachable_mbit(scenario, case.way, case.seed, from, until),
            goodput_mbit: None,
            share: None,
            first_share: None,
            fairness: None,
            neighbour_share: None,
            against: None,
            peers: Vec::new(),
            links: Vec::new(),
            tunnel: TunnelFigures::default(),
            inner: None,
            ping: None,
            call: None,
            stream: None,
            web: None,
            missed: Vec::new(),
        }
    }

    /// Says which of its scenario's limits it misses.
    pub fn judge(&mut self, scenario: &Scenario) {
        self.missed = scenario.limits.iter().filter_map(|limit| limit.missed(self)).collect();
        let broken = self.inner.map_or(0, |inner| inner.broken);
        self.missed.extend((broken > 0).then(|| format!("{broken} connections broke")));
    }
}

impl Comparison {
    /// A row's goodput beside another's.
    pub fn new(with: &str, goodput_mbit: f64, own_mbit: f64) -> Self {
        let ratio = if goodput_mbit > 0.0 { own_mbit / goodput_mbit } else { 0.0 };
        Self { with: with.to_owned(), goodput_mbit, ratio, is_bound: false }
    }
}

impl LinkFigures {
    /// What a link counted in the direction of the load, and in the other.
    pub fn new(name: &str, counters: &LinkCounters, back: &LinkCounters) -> Self {
        Self {
            name: name.to_owned(),
            queue_mean_ms: counters.queue_us.mean / 1000.0,
            queue_p99_ms: counters.queue_us.p99 / 1000.0,
            bytes: counters.delivered_bytes,
            bytes_back: back.delivered_bytes,
            lost: counters.lost,
            dropped: counters.queue_dropped,
        }
    }
}

impl TunnelFigures {
    /// Copies and retransmissions, as a share of what was carried.
    pub fn added_share(&self) -> Option<f64> {
        let added = self.copy_bytes? + self.retransmitted_bytes?;
        self.of_carried(added)
    }

    /// Feedback, as a share of what was carried.
    pub fn feedback_share(&self) -> Option<f64> {
        self.of_carried(self.feedback_bytes?)
    }

    fn of_carried(&self, bytes: u64) -> Option<f64> {
        self.carried_bytes.filter(|&all| all > 0).map(|all| bytes as f64 / all as f64)
    }
}

impl PingFigures {
    /// Round trips, in microseconds, of so many packets.
    pub fn new(rtt_us: &Summary, sent: u64) -> Self {
        let lost = sent.saturating_sub(rtt_us.count);
        Self { p50_ms: rtt_us.p50 / 1000.0, p99_ms: rtt_us.p99 / 1000.0, lost }
    }
}

impl StreamFigures {
    /// Adds what another repetition saw: one-way delays and the longest gap, in microseconds.
    pub fn add(&mut self, sent: u64, lost: u64, delay_us: &Summary, gap_us: f64) {
        self.sent += sent;
        self.lost += lost;
        self.delay_p50_ms = self.delay_p50_ms.max(delay_us.p50 / 1000.0);
        self.delay_p99_ms = self.delay_p99_ms.max(delay_us.p99 / 1000.0);
        self.gaps_ms.push(gap_us / 1000.0);
    }

    /// The median of the repetitions' gaps.
    pub fn gap_median_ms(&self) -> f64 {
        crate::series::median(&self.gaps_ms)
    }

    /// The worst of them.
    pub fn gap_worst_ms(&self) -> f64 {
        self.gaps_ms.iter().copied().fold(0.0, f64::max)
    }
}
