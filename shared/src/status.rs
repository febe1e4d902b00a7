//! What a running program says about itself.
//!
//! One [`Snapshot`] feeds the table that people read and the JSON that programs read. Directions
//! are *up* (client to server) and *down*, at both ends. A figure that only the other end can know
//! is absent. In JSON, fields are only ever added while [`VERSION`] stays; times are seconds since
//! 1970, a field's unit is the end of its name.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr};

use serde::{Deserialize, Serialize};

pub use self::{
    addressee::Addressee,
    command::StatusArguments,
    event::{EVENTS, EVENTS_WAIT, Event, Events, EventsArguments, EventsRequest},
    instance::{Instance, validate_instance_name},
    query::ANSWER_TIME_MAX,
    requests::{NoArguments, Requests},
    socket::{CONNECTIONS_MAX, ControlSocket},
};

mod addressee;
mod command;
mod event;
mod instance;
mod interval;
mod live;
mod query;
mod requests;
mod screen;
mod socket;
mod table;
pub(crate) mod units;
mod watch;

/// The version of the JSON form.
pub const VERSION: u32 = 1;

/// Everything a program says about itself at one moment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Snapshot {
    /// Always [`VERSION`].
    pub version: u32,
    /// `hawser` or `hawser-server`.
    pub program: String,
    /// The program's version; empty where it does not tell.
    pub software: String,
    /// The name of the instance, as in `--name`.
    pub name: String,
    /// The process id.
    pub pid: u32,
    /// When the program started, in seconds since 1970.
    pub since: u64,
    /// The mode that new sessions get, by its name.
    pub mode: String,
    /// The client's one session, or all sessions of the server.
    pub sessions: Vec<Session>,
    /// The exits of the server.
    pub uplinks: Vec<Uplink>,
    /// Refused input by reason: datagrams and packets.
    pub refused: BTreeMap<String, u64>,
}

impl Snapshot {
    /// An empty snapshot of this process.
    pub fn new(program: &str, name: &str, since: u64) -> Self {
        Self {
            version: VERSION,
            program: program.to_owned(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            name: name.to_owned(),
            pid: std::process::id(),
            since,
            ..Self::default()
        }
    }
}

/// One client and the server.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Session {
    /// The client's name at the server; at the client the name of the instance.
    pub name: String,
    /// The public key of the other end.
    pub peer: String,
    /// `connecting`, `up`, `reconnecting`, `refused` or `closed`.
    pub state: String,
    /// The client's addresses inside the tunnel.
    pub inner: Vec<IpAddr>,
    /// When the session began, in seconds since 1970.
    pub since: u64,
    /// The mode in use, by its name.
    pub mode: String,
    /// Every path, the dead ones included.
    pub paths: Vec<Path>,
    /// Traffic from client to server.
    pub up: Traffic,
    /// Traffic from server to client.
    pub down: Traffic,
}

/// What carries datagrams between one link of the client and one address of the server.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Path {
    /// The number of the path in the session.
    pub id: u32,
    /// The client's interface; empty where it is not known.
    pub link: String,
    /// `available` or `backup`.
    pub status: String,
    /// Whether each byte on the link costs.
    pub metered: bool,
    /// Our address, where there are several.
    pub local: Option<IpAddr>,
    /// The address and port of the other end.
    pub remote: Option<SocketAddr>,
    /// The largest outer packet that the path was seen to carry, in bytes.
    pub mtu: Option<u16>,
    /// From client to server.
    pub up: PathDirection,
    /// From server to client.
    pub down: PathDirection,
}

impl Path {
    /// What is to be said behind the link's name.
    fn remark(&self) -> &'static str {
        match (self.status.as_str(), self.metered) {
            ("backup", false) => " (backup)",
            ("backup", true) => " (backup, metered)",
            (_, false) => "",
            (_, true) => " (metered)",
        }
    }
}

/// One direction of a path.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PathDirection {
    /// `validating`, `up`, `suspect`, `dead`, `probation` or `closed`, with ` quiet` behind it.
    pub state: Option<String>,
    /// Smoothed round trip time, in ms.
    pub srtt_ms: Option<f64>,
    /// Variation of the round trip time, in ms.
    pub rttvar_ms: Option<f64>,
    /// Least round trip time seen lately, in ms.
    pub min_rtt_ms: Option<f64>,
    /// Share of the datagrams sent so far that were lost, from 0 to 1.
    pub loss: Option<f64>,
    /// Estimated capacity or delivery rate, in bit/s.
    pub rate_bit_s: Option<u64>,
    /// Bytes that may be in flight.
    pub window_bytes: Option<u64>,
    /// Bytes that are in flight.
    pub in_flight_bytes: Option<u64>,
    /// How long what is sent waits on the path, in ms.
    pub queue_ms: Option<f64>,
    /// How much the path's delay varies without a queue, in ms.
    pub jitter_ms: Option<f64>,
    /// The most that is sent, in bit/s, with the outer headers of full datagrams.
    pub pace_bit_s: Option<u64>,
    /// What the path carries as far as is known, counted in the same way.
    pub capacity_bit_s: Option<u64>,
    /// Whether transfers begin on it although another path is nearer.
    pub leads: Option<bool>,
    /// Share of the bytes that was lost in the last seconds under load, from 0 to 1.
    pub loss_lately: Option<f64>,
    /// Whether as much would be lost if less were sent.
    pub loss_not_ours: Option<bool>,
    /// Why no more is sent, in a word: `full`, `held-back`, `policed`, ...
    pub cause_name: Option<String>,
    /// Why no more is sent, in words and figures for people.
    pub cause: Option<String>,
    /// Datagrams sent in this direction.
    pub datagrams_sent: Option<u64>,
    /// Bytes of these datagrams, with their outer headers.
    pub bytes_sent: Option<u64>,
    /// Datagrams that arrived and were authentic.
    pub datagrams_received: Option<u64>,
    /// Bytes of these datagrams, with their outer headers.
    pub bytes_received: Option<u64>,
    /// Datagrams found lost.
    pub datagrams_lost: Option<u64>,
    /// How often the kernel said that nothing leaves by the link.
    pub link_failures: Option<u64>,
    /// How it said so last: `carrier`, `address` or `send error`.
    pub link_failure: Option<String>,
    /// How long after that the first packet left by another link, in ms.
    pub moved_after_ms: Option<f64>,
}

/// One direction of a session.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Traffic {
    /// Inner packets taken from the host for this direction.
    pub packets_sent: Option<u64>,
    /// Their bytes.
    pub bytes_sent: Option<u64>,
    /// Inner packets given to the host.
    pub packets_received: Option<u64>,
    /// Their bytes.
    pub bytes_received: Option<u64>,
    /// Inner packets that arrived again and were dropped.
    pub duplicated: Option<u64>,
    /// Inner packets that arrived after a later one of their flow and were put in order.
    pub reordered: Option<u64>,
    /// Inner packets that came after their place was given up.
    pub late: Option<u64>,
    /// Inner packets that never came.
    pub lost: Option<u64>,
    /// Inner packets dropped by the sender's own queue.
    pub dropped: Option<u64>,
    /// How long those waited for an earlier one on average, in ms.
    pub hold_mean_ms: Option<f64>,
    /// What 99 of 100 of those waited at most, in ms.
    pub hold_p99_ms: Option<f64>,
    /// The share of all that waiting which was for packets that did not come, from 0 to 1.
    pub hold_futile: Option<f64>,
    /// Bytes of inner packets that wait for an older one.
    pub held_bytes: Option<u64>,
    /// Changes of the key that packets of this direction are sealed with.
    pub epochs: Option<u64>,
    /// What we added to the user's bytes.
    pub overhead: Overhead,
}

/// The bytes that we add, by reason. At each end those that this end sent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Overhead {
    /// Outer headers, our header and tag on datagrams that carry a packet.
    pub header_bytes: Option<u64>,
    /// Feedback, marks and probes, whole.
    pub feedback_bytes: Option<u64>,
    /// Second copies, whole.
    pub copies_bytes: Option<u64>,
    /// Retransmissions, whole.
    pub retransmissions_bytes: Option<u64>,
    /// The control connection that is open, without outer headers.
    pub control_bytes: Option<u64>,
}

/// One exit of the server.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Uplink {
    /// As configured.
    pub name: String,
    /// `healthy`, `unhealthy` or `unknown`.
    pub state: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// The order of preference.
    pub tier: u8,
    /// The operator's words for it.
    pub labels: Vec<String>,
    /// How much it takes where several share.
    pub weight: u32,
    /// Whether traffic leaves by it.
    pub active: bool,
    /// The classes whose new flows take it; `the rest` is what has no policy of its own.
    pub classes: Vec<String>,
    /// The limits that it breaks, by the name of the class.
    pub breaches: BTreeMap<String, String>,
    /// `draining` or `off`, where the operator wants it so.
    pub duty: Option<String>,
    /// How many sources it has, where they are remembered.
    pub sources: Option<u64>,
    /// The interface it stands on.
    pub interface: Option<String>,
    /// What its probes found last.
    pub probes: Vec<Probe>,
}

/// One question asked through an uplink.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Probe {
    /// As configured: `icmp 192.0.2.1`.
    pub target: String,
    /// Whether the last one was answered; absent before the first.
    pub answered: Option<bool>,
    /// How long the last answer took, in ms.
    pub rtt_ms: Option<f64>,
    /// Questions asked.
    pub sent: u64,
    /// Answers that came in time.
    pub received: u64,
    /// Why the last one failed.
    pub error: Option<String>,
    /// For how many days the certificate of its target is still good, if it has shown one.
    pub certificate_days: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_name_is_followed_by_what_is_special_about_it() {
        let remark = |status: &str, metered| {
            Path { status: status.to_owned(), metered, ..Path::default() }.remark()
        };
        assert_eq!(remark("available", false), "");
        assert_eq!(remark("available", true), " (metered)");
        assert_eq!(remark("backup", true), " (backup, metered)");
    }

    #[test]
    fn json_has_the_version_and_survives_fields_of_other_versions() {
        let snapshot =
            Snapshot { sessions: vec![Session::default()], ..Snapshot::new("p", "n", 7) };

        let mut value = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(value["version"], 1);
        value["sessions"][0]["invented"] = 3.into();
        value.as_object_mut().unwrap().remove("refused");

        assert_eq!(serde_json::from_value::<Snapshot>(value).unwrap(), snapshot);
    }
}
