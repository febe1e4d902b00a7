//! What a link is asked to be, and what can be changed while it runs.

use serde::{Deserialize, Serialize};

use super::trace::Trace;

/// The properties of one direction of a link.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LinkConfig {
    /// What the bottleneck carries.
    pub rate: Rate,
    /// How much may wait for the bottleneck.
    pub queue: QueueLimit,
    /// One-way delay that every packet gets after the bottleneck, in microseconds.
    pub delay_us: u64,
    /// Delay that varies, on top of `delay_us`.
    pub jitter: Jitter,
    /// Packets that vanish after the bottleneck.
    pub loss: Loss,
    /// Probability that a packet arrives twice.
    pub duplication: f64,
    /// Whether everything vanishes.
    pub blackhole: Switch,
    /// Pauses that return by themselves.
    pub stalls: Stalls,
    /// Largest packet carried, in bytes; larger ones vanish silently.
    pub mtu: u32,
}

impl LinkConfig {
    /// A clean link of `rate` and a one-way delay, with 100 ms of queue and an MTU of 1500.
    pub fn new(rate: Rate, delay_us: u64) -> Self {
        Self {
            rate,
            queue: QueueLimit::Time { us: 100_000 },
            delay_us,
            jitter: Jitter::default(),
            loss: Loss::None,
            duplication: 0.0,
            blackhole: Switch::Off,
            stalls: Stalls::default(),
            mtu: 1500,
        }
    }

    /// The same as [`new`](Self::new), the rate in megabits a second.
    pub fn mbit(rate_mbit_per_second: u64, delay_us: u64) -> Self {
        let bits_per_second = rate_mbit_per_second * 1_000_000;
        Self::new(Rate::Constant { bits_per_second }, delay_us)
    }

    /// Writes one change into the description, as [`super::Link::apply`] does on a running link.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Blackhole(switch) => self.blackhole = switch,
            Change::Delay { us } => self.delay_us = us,
            Change::Duplication { probability } => self.duplication = probability,
            Change::Jitter(jitter) => self.jitter = jitter,
            Change::Loss(loss) => self.loss = loss,
            Change::Mtu { bytes } => self.mtu = bytes,
            Change::Queue(limit) => self.queue = limit,
            Change::Rate(rate) => self.rate = rate,
            // A stall is an event, not a property.
            Change::StallNow { .. } => {}
            Change::Stalls(stalls) => self.stalls = stalls,
        }
    }
}

/// One change to a running link.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Swallow everything, or carry again.
    Blackhole(Switch),
    /// Another one-way delay.
    Delay {
        /// Microseconds.
        us: u64,
    },
    /// Another probability of arriving twice.
    Duplication {
        /// From 0 to 1.
        probability: f64,
    },
    /// Another jitter process.
    Jitter(Jitter),
    /// Another loss process.
    Loss(Loss),
    /// Another largest packet.
    Mtu {
        /// Bytes of the IP packet.
        bytes: u32,
    },
    /// Another queue limit. What already waits stays.
    Queue(QueueLimit),
    /// Another rate or trace. A trace starts at its beginning.
    Rate(Rate),
    /// One pause that begins at once.
    StallNow {
        /// Microseconds.
        us: u64,
    },
    /// Pauses that return, or none.
    Stalls(Stalls),
}

/// What the bottleneck carries. Bytes are those of the IP packet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// The same rate always; at least 1 kbit/s.
    Constant {
        /// Bits a second.
        bits_per_second: u64,
    },
    /// Delivery opportunities played in a loop.
    Trace(Trace),
    /// No bottleneck: nothing ever waits.
    Unlimited,
}

impl Rate {
    /// The mean rate in bits a second, `None` if unlimited.
    pub fn mean_bits_per_second(&self) -> Option<u64> {
        match self {
            Self::Constant { bits_per_second } => Some((*bits_per_second).max(RATE_MIN)),
            Self::Trace(trace) => Some(trace.mean_bits_per_second()),
            Self::Unlimited => None,
        }
    }
}

/// The slowest bottleneck, in bits a second: one packet still leaves within 12 s.
pub const RATE_MIN: u64 = 1000;

/// How much may wait. One packet may always wait, whatever its size.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueLimit {
    /// So many bytes, the packet in service included.
    Bytes(u64),
    /// What the mean rate carries in this time.
    Time {
        /// Microseconds.
        us: u64,
    },
}

impl QueueLimit {
    /// The limit in bytes for a bottleneck of `rate`.
    pub fn bytes(self, rate: &Rate) -> u64 {
        match (self, rate.mean_bits_per_second()) {
            (Self::Bytes(bytes), _) => bytes,
            (Self::Time { .. }, None) => u64::MAX,
            (Self::Time { us }, Some(bits)) => {
                let bytes = u128::from(us) * u128::from(bits) / 8_000_000;
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Delay that varies: |N(0, sigma)|, never negative; the order of packets is kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Jitter {
    /// The standard deviation of the normal distribution whose absolute value is taken, in
    /// microseconds; 0 is no jitter.
    pub sigma_us: u64,
    /// How long a drawn value stays.
    pub law: JitterLaw,
}

impl Jitter {
    /// Jitter redrawn every 10 ms.
    pub fn held(sigma_us: u64) -> Self {
        Self { sigma_us, law: JitterLaw::default() }
    }
}

/// How long one drawn jitter stays.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JitterLaw {
    /// All packets of one interval get the same value.
    Held {
        /// Microseconds, at least 1.
        interval_us: u64,
    },
    /// Each packet draws. Under load, with the order kept, that is nearly constant delay.
    PerPacket,
}

impl Default for JitterLaw {
    fn default() -> Self {
        Self::Held { interval_us: 10_000 }
    }
}

/// Packets that vanish.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Bursts: two states, of which the bad one loses everything (the simple Gilbert model).
    Bursts {
        /// Share of packets lost in the long run, from 0 to 1.
        mean: f64,
        /// Mean number of packets lost in a row, at least 1.
        burst: f64,
    },
    /// Bursts with loss in both states (Gilbert-Elliott). All are probabilities per packet.
    GilbertElliott {
        /// From good to bad.
        to_bad: f64,
        /// From bad to good.
        to_good: f64,
        /// Loss in the good state.
        good: f64,
        /// Loss in the bad state.
        bad: f64,
    },
    /// Each packet by itself.
    Independent {
        /// From 0 to 1.
        probability: f64,
    },
    /// Nothing vanishes.
    #[default]
    None,
}

/// Pauses that return: `every_us` after the clock's zero, and again each `every_us`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stalls {
    /// From the start of one pause to the start of the next, in microseconds; 0 is never.
    pub every_us: u64,
    /// How long one pause is, in microseconds; shorter than `every_us`.
    pub length_us: u64,
}

impl Stalls {
    /// The first instant at or after `at_ns` that lies in no pause.
    pub(super) fn release_ns(self, at_ns: u64) -> u64 {
        let every_ns = self.every_us.saturating_mul(1000);
        if every_ns == 0 || at_ns < every_ns {
            return at_ns;
        }
        let since_ns = at_ns % every_ns;
        let length_ns = self.length_us.saturating_mul(1000).min(every_ns - 1);
        if since_ns < length_ns { at_ns - since_ns + length_ns } else { at_ns }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// Off.
    #[default]
    Off,
    /// On.
    On,
}
