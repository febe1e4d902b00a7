//! Which machines, links and uplinks a lab has, and the addresses they get.
//!
//! ```text
//! lan ── client ══ link 0 ══╗
//!           ╚═════ link 1 ══╬══ server ── up0 ──╗
//! guest ══════════ link 2 ══╝     └────── up1 ──╨── inet
//! ```

pub mod text;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::link::{LinkConfig, Rate, Switch};

/// What to raise.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Topology {
    /// The access links, in order: link `i` has the subnets 10.71.i.0/24 and fd71:i::/64.
    pub links: Vec<LinkSpec>,
    /// Bottlenecks that several links pass after their own.
    #[serde(default)]
    pub shared: Vec<SharedBottleneck>,
    /// How many uplinks lead from the server to the `inet` machine; 0 is no such machine.
    #[serde(default)]
    pub uplinks: u8,
    /// Whether a machine stands behind the client.
    #[serde(default)]
    pub lan: Switch,
    /// Start of everything random.
    #[serde(default)]
    pub seed: u64,
    /// For how many microseconds before a packet is due the emulator spins instead of sleeping.
    #[serde(default)]
    pub spin_us: u64,
}

/// One access link.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LinkSpec {
    /// Name of the link and of the device at both of its ends.
    pub name: String,
    /// Which client it belongs to: 0 is [`Node::Client`], `n` is [`Node::Guest`]`(n)`.
    #[serde(default)]
    pub client: u8,
    /// From the client to the server.
    pub up: LinkConfig,
    /// From the server to the client.
    pub down: LinkConfig,
    /// Whether a NAT stands between the client and the link.
    #[serde(default)]
    pub nat: Switch,
    /// Whether a packet too big for the link is answered by ICMP, or vanishes silently.
    #[serde(default)]
    pub icmp_too_big: Switch,
    /// MTU of the client's device, in bytes; the server's is always 1500.
    pub device_mtu: u16,
    /// Whether the kernel joins both ends, as fast as the machine is, and nothing is emulated.
    #[serde(default)]
    pub wire: Switch,
}

impl LinkSpec {
    /// A clean link of the same rate in both directions, half of the round trip each way.
    pub fn new(name: &str, rate_mbit_per_second: u64, rtt_ms: u64) -> Self {
        Self::with(name, LinkConfig::mbit(rate_mbit_per_second, rtt_ms * 500))
    }

    /// A link that is the same in both directions.
    pub fn with(name: &str, config: LinkConfig) -> Self {
        Self {
            name: name.to_owned(),
            client: 0,
            up: config.clone(),
            down: config,
            nat: Switch::Off,
            icmp_too_big: Switch::Off,
            device_mtu: DEVICE_MTU,
            wire: Switch::Off,
        }
    }

    /// A link that the kernel joins back to back, with all of its offloads.
    pub fn wire(name: &str) -> Self {
        let config = LinkConfig::new(Rate::Unlimited, 0);
        Self { wire: Switch::On, ..Self::with(name, config) }
    }
}

/// A bottleneck that the packets of several links pass after their own link.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SharedBottleneck {
    /// Names of the links that feed it.
    pub links: Vec<String>,
    /// From the clients to the server.
    pub up: LinkConfig,
    /// From the server to the clients.
    pub down: LinkConfig,
}

/// One machine of a lab.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// The client's end of the links.
    Client,
    /// A further client, counted from 1, with links of its own.
    Guest(u8),
    /// What the uplinks lead to.
    Inet,
    /// A host behind the client.
    Lan,
    /// The server's end of the links.
    Server,
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client => write!(f, "client"),
            Self::Guest(number) => write!(f, "guest{number}"),
            Self::Inet => write!(f, "inet"),
            Self::Lan => write!(f, "lan"),
            Self::Server => write!(f, "server"),
        }
    }
}

impl std::str::FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "client" => Ok(Self::Client),
            "inet" => Ok(Self::Inet),
            "lan" => Ok(Self::Lan),
            "server" => Ok(Self::Server),
            _ => text
                .strip_prefix("guest")
                .and_then(|number| number.parse().ok())
                .filter(|number| (1..=GUESTS_MAX).contains(number))
                .map(Self::Guest)
                .ok_or(format!(
                    "no machine '{text}'; one of client, server, inet, lan, guest1 ..."
                )),
        }
    }
}

/// From the client to the server, or back.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Up => "up",
        })
    }
}

impl Topology {
    /// A lab of these links and nothing else.
    pub fn of(links: impl IntoIterator<Item = LinkSpec>) -> Self {
        Self { links: links.into_iter().collect(), seed: 1, ..Self::default() }
    }

    /// The machines, the client first.
    pub fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.links.iter().map(|link| client_node(link.client)).collect();
        nodes.extend([Node::Client, Node::Server]);
        nodes.extend((self.uplinks > 0).then_some(Node::Inet));
        nodes.extend((self.lan == Switch::On).then_some(Node::Lan));
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Place of a link in [`links`](Self::links).
    ///
    /// # Errors
    /// Names the links that exist.
    pub fn position(&self, link: &str) -> Result<usize, String> {
        self.links.iter().position(|spec| spec.name == link).ok_or_else(|| {
            let names: Vec<&str> = self.links.iter().map(|spec| spec.name.as_str()).collect();
            format!("no link '{link}'; this lab has {}", names.join(", "))
        })
    }

    /// Whether it can be raised.
    ///
    /// # Errors
    /// Says what is wrong and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.links.is_empty() {
            return Err("a lab needs a link, for example fibre=100M/20ms".to_owned());
        }
        if self.links.len() > LINKS_MAX {
            return Err(format!("{} links; at most {LINKS_MAX}", self.links.len()));
        }
        if self.uplinks > UPLINKS_MAX {
            return Err(format!("{} uplinks; at most {UPLINKS_MAX}", self.uplinks));
        }
        for (index, link) in self.links.iter().enumerate() {
            validate_name(&link.name)?;
            if self.links[..index].iter().any(|other| other.name == link.name) {
                return Err(format!("two links are called '{}'; names are unique", link.name));
            }
            if link.client > GUESTS_MAX {
                return Err(format!("link '{}': at most {GUESTS_MAX} guests", link.name));
            }
            if !(1280..=1500).contains(&link.device_mtu) {
                let name = &link.name;
                return Err(format!("link '{name}': a device's MTU is from 1280 to 1500"));
            }
        }
        for shared in &self.shared {
            for name in &shared.links {
                self.position(name)?;
            }
        }
        Ok(())
    }
}

/// The machine that has a link of this client number.
pub fn client_node(client: u8) -> Node {
    if client == 0 { Node::Client } else { Node::Guest(client) }
}

/// Address of one end of link `index`: `host` 1 is the client, 2 the server, 3 the NAT's outer
/// side, 66 the copier's.
pub fn link_address(index: usize, host: u8) -> [IpAddr; 2] {
    let number = index as u8;
    [
        Ipv4Addr::new(10, 71, number, host).into(),
        Ipv6Addr::new(0xfd71, index as u16, 0, 0, 0, 0, 0, hextet(host)).into(),
    ]
}

/// Address of one end of uplink `index`: `host` 1 is the server, 2 the inet machine.
pub fn uplink_address(index: u8, host: u8) -> [IpAddr; 2] {
    [
        Ipv4Addr::new(10, 98, index, host).into(),
        Ipv6Addr::new(0xfd98, u16::from(index), 0, 0, 0, 0, 0, hextet(host)).into(),
    ]
}

/// Address on the network behind the client: `host` 1 is the client, 2 the host.
pub fn lan_address(host: u8) -> [IpAddr; 2] {
    [
        Ipv4Addr::new(10, 72, 0, host).into(),
        Ipv6Addr::new(0xfd72, 0, 0, 0, 0, 0, 0, hextet(host)).into(),
    ]
}

/// The server's address that every link reaches.
pub const SERVER_ADDRESS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 70, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd70, 0, 0, 0, 0, 0, 0, 1)),
];
/// The inet machine's address that every uplink reaches.
pub const INET_ADDRESS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1)),
];
/// Links of a lab at most.
pub const LINKS_MAX: usize = 64;
/// Uplinks of a lab at most.
pub const UPLINKS_MAX: u8 = 8;
/// Clients beside the first at most.
pub const GUESTS_MAX: u8 = 32;
/// MTU of the devices at the ends of a link, in bytes.
pub const DEVICE_MTU: u16 = 1500;

/// The host number as people write it: 66 is `::66`.
fn hextet(host: u8) -> u16 {
    u16::from(host / 10) * 16 + u16::from(host % 10)
}

fn validate_name(name: &str) -> Result<(), String> {
    // IFNAMSIZ is 16 with the final zero.
    let good = (1..=15).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let taken = name == "lo" || name.starts_with("lan0") || name.starts_with("up");
    if !good || taken {
        return Err(format!(
            "'{name}' can't name a link; 1 to 15 letters, digits, - or _, not lo, lan0 or up..."
        ));
    }
    Ok(())
}
