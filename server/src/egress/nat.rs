//! The nft table of the egress: pins flows to uplinks, translates addresses, stops leaks.
//!
//! Pure text: what is to hold ([`Table`], [`Elements`]) in, scripts for one transaction out.
//!
//! A packet from the tunnel whose source is not a client's is dropped. The first packet of a flow
//! gets the mark of the chosen uplink into its conntrack entry, later ones copy it from there, and
//! a rule for each mark leads to the uplink's own routing table. Where several uplinks share the
//! flows, the hash of a flow's key chooses a bucket, and the bucket has an uplink. A packet that
//! gets no uplink's mark carries [`Table::nowhere`], for which nothing but a route of the main table
//! that is no default route is open. Visitors from outside pin their flow to the uplink that they
//! came by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shared::host::Family;

use super::buckets::{BUCKETS, Owners};
use super::mark::{MARK_MASK, UplinkMark};
use crate::egress_config::Key;

/// What does not change while we run.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The name of the table, family inet.
    pub(super) name: String,
    /// The device that inner packets come from.
    pub(super) tun: String,
    /// The mark of each uplink; none where the host's own default routes are the way out.
    pub(super) marks: Vec<UplinkMark>,
    /// The mark of packets for which no uplink is left.
    pub(super) nowhere: UplinkMark,
    /// Whether packets from the tunnel may go back into it.
    pub(super) between_clients: bool,
    /// What is hashed to find a flow's bucket.
    pub(super) key: Key,
}

/// What changes, and only in what differs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Elements {
    /// Who may be the source of an inner packet.
    pub(super) sources: BTreeSet<IpNet>,
    /// Where new flows of a family go; nowhere if it is not here.
    pub(super) choice: BTreeMap<Family, Lead>,
    /// Interfaces on whose way out addresses are translated, and their uplinks if there are any.
    pub(super) exits: BTreeMap<String, Option<usize>>,
}

/// Where new flows go, by places in [`Table::marks`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Lead {
    /// To one uplink.
    One(usize),
    /// To the owner of the bucket that the flow's key falls into.
    Buckets(Box<Owners>),
}

impl Table {
    /// A script that makes the table, in place of one that may be there.
    pub(super) fn create(&self, elements: &Elements) -> String {
        let Self { name, tun, nowhere, .. } = self;
        let back = if self.between_clients {
            String::new()
        } else {
            format!("\t\tiifname \"{tun}\" oifname \"{tun}\" counter drop\n")
        };
        let mask = MARK_MASK;
        let keep = !MARK_MASK;
        let nowhere = nowhere.value();
        let mut pins = String::new();
        for (at, mark) in self.marks.iter().enumerate() {
            let value = mark.value();
            let pin = pin(at);
            let _ = writeln!(
                pins,
                "\tchain {pin} {{ ct mark set ct mark and {keep:#010x} or {value:#010x}; }}"
            );
        }
        let steer = if self.marks.is_empty() {
            String::new()
        } else {
            // Packets that conntrack knows nothing of go nowhere: a comparison with a mark that
            // doesn't exist is no match. Nor does what is left in the mark by the search for a
            // bucket lead anywhere.
            format!(
                "\t\tct mark and {mask:#010x} == 0 meta nfproto vmap @choice\n\
                 \t\tmeta mark set {nowhere:#010x}\n\
                 \t\tct mark and {mask:#010x} != 0 meta mark set ct mark and {mask:#010x}\n"
            )
        };
        let share = self.share();
        let body = format!(
            "add table inet {name}\n\
             delete table inet {name}\n\
             table inet {name} {{\n\
             \tset sources4 {{ type ipv4_addr; flags interval; }}\n\
             \tset sources6 {{ type ipv6_addr; flags interval; }}\n\
             \tset exits {{ type ifname; }}\n\
             \tmap choice {{ type nf_proto : verdict; }}\n\
             \tmap arrivals {{ type ifname : verdict; }}\n\
             {pins}\
             {share}\
             \tchain from-tunnel {{\n\
             \t\ttype filter hook prerouting priority mangle; policy accept;\n\
             \t\tiifname != \"{tun}\" return\n\
             \t\tip saddr != @sources4 counter drop\n\
             \t\tip6 saddr != @sources6 counter drop\n\
             {steer}\
             \t}}\n\
             \tchain through {{\n\
             \t\ttype filter hook forward priority mangle; policy accept;\n\
             {back}\
             \t\tiifname \"{tun}\" oifname @exits ct state invalid counter drop\n\
             \t\toifname \"{tun}\" ct state new ct mark and {mask:#010x} == 0 \
             iifname vmap @arrivals\n\
             \t}}\n\
             \tchain leave {{\n\
             \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
             \t\tip saddr @sources4 oifname @exits masquerade\n\
             \t\tip6 saddr @sources6 oifname @exits masquerade\n\
             \t}}\n\
             }}\n"
        );
        body + &self.change(&Elements::default(), elements)
    }

    /// The chains that look a flow's bucket up, of each family. What has no ports is looked up by its
    /// addresses.
    fn share(&self) -> String {
        let mut chains = String::new();
        for (ip, family) in [("ip", Family::V4), ("ip6", Family::V6)] {
            let number = number(family);
            let addresses = format!("{ip} saddr . {ip} daddr");
            let keys = match self.key {
                Key::Source => vec![format!("{ip} saddr")],
                Key::SourceDestination => vec![addresses],
                Key::Flow => {
                    vec![format!("{addresses} . meta l4proto . th sport . th dport"), addresses]
                }
            };
            let mut lookups = String::new();
            for key in keys {
                let _ = write!(
                    lookups,
                    "\t\tmeta mark set jhash {key} mod {BUCKETS} seed {HASH_SEED:#010x}\n\
                     \t\tmeta mark vmap @buckets{number}\n"
                );
            }
            let _ = write!(
                chains,
                "\tmap buckets{number} {{ type mark : verdict; }}\n\
                 \tchain share{number} {{\n{lookups}\t}}\n"
            );
        }
        chains
    }

    /// A script that changes what differs; empty when nothing does.
    pub(super) fn change(&self, from: &Elements, to: &Elements) -> String {
        let mut script = String::new();
        let mut set = |name: &str, from: BTreeSet<String>, to: BTreeSet<String>| {
            let list = |items: Vec<&String>| {
                items.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            };
            let gone = list(from.difference(&to).collect());
            let come = list(to.difference(&from).collect());
            for (verb, items) in [("delete", gone), ("add", come)] {
                if !items.is_empty() {
                    let table = &self.name;
                    let _ = writeln!(script, "{verb} element inet {table} {name} {{ {items} }}");
                }
            }
        };
        set("sources4", from.sources(Family::V4), to.sources(Family::V4));
        set("sources6", from.sources(Family::V6), to.sources(Family::V6));
        if from.choice != to.choice {
            // First what the choice leads to, then the choice.
            set("buckets4", from.buckets(Family::V4), to.buckets(Family::V4));
            set("buckets6", from.buckets(Family::V6), to.buckets(Family::V6));
            set("choice", from.choice(), to.choice());
        }
        set("exits", from.exits(), to.exits());
        set("arrivals", from.arrivals(), to.arrivals());
        script
    }
}

impl Elements {
    /// Merged, since the elements of a set with intervals must not overlap.
    fn sources(&self, family: Family) -> BTreeSet<String> {
        match family {
            Family::V4 => {
                let nets = self.sources.iter().filter_map(|net| match net {
                    IpNet::V4(net) => Some(net.trunc()),
                    IpNet::V6(_) => None,
                });
                let nets = Ipv4Net::aggregate(&nets.collect::<Vec<_>>());
                nets.iter().map(ToString::to_string).collect()
            }
            Family::V6 => {
                let nets = self.sources.iter().filter_map(|net| match net {
                    IpNet::V4(_) => None,
                    IpNet::V6(net) => Some(net.trunc()),
                });
                let nets = Ipv6Net::aggregate(&nets.collect::<Vec<_>>());
                nets.iter().map(ToString::to_string).collect()
            }
        }
    }

    fn choice(&self) -> BTreeSet<String> {
        let element = |(family, lead): (&Family, &Lead)| {
            let (protocol, number) = (protocol(*family), number(*family));
            match lead {
                Lead::One(at) => format!("{protocol} : jump {}", pin(*at)),
                Lead::Buckets(_) => format!("{protocol} : jump share{number}"),
            }
        };
        self.choice.iter().map(element).collect()
    }

    fn buckets(&self, family: Family) -> BTreeSet<String> {
        let Some(Lead::Buckets(owners)) = self.choice.get(&family) else { return BTreeSet::new() };
        let element = |(bucket, owner): (usize, &Option<u8>)| {
            Some(format!("{bucket} : goto {}", pin(usize::from((*owner)?))))
        };
        owners.iter().enumerate().filter_map(element).collect()
    }

    fn exits(&self) -> BTreeSet<String> {
        self.exits.keys().map(|interface| format!("\"{interface}\"")).collect()
    }

    fn arrivals(&self) -> BTreeSet<String> {
        let known =
            self.exits.iter().filter_map(|(interface, uplink)| Some((interface, (*uplink)?)));
        known.map(|(interface, at)| format!("\"{interface}\" : jump {}", pin(at))).collect()
    }
}

/// Fixed, so that a flow falls into the same bucket on every node and after every start.
const HASH_SEED: u32 = 0x6861_7773;

/// Whether a script may contain the name of this interface, in quotes, meaning only itself.
pub(super) fn is_plain_interface(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
    !name.is_empty() && name.len() < INTERFACE_NAME_SIZE && name.chars().all(plain)
}

/// IFNAMSIZ of linux/if.h, with the zero at the end.
const INTERFACE_NAME_SIZE: usize = 16;

fn protocol(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

/// The chain that pins a flow to an uplink.
fn pin(at: usize) -> String {
    format!("pin-{}", at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_choice_sends_only_that() {
        let from = elements(0);
        let to = elements(1);

        assert_eq!(
            table().change(&from, &to),
            "delete element inet hawser-x choice { ipv4 : jump pin-1 }\n\
             add element inet hawser-x choice { ipv4 : jump pin-2 }\n"
        );
        assert_eq!(table().change(&from, &from), "");
    }

    #[test]
    fn a_failed_member_sends_only_its_own_buckets() {
        let sharing = |owners: Owners| Elements {
            choice: BTreeMap::from([(Family::V6, Lead::Buckets(Box::new(owners)))]),
            ..elements(0)
        };
        let mut owners = [Some(0); BUCKETS];
        owners[7] = Some(1);
        let from = sharing(owners);
        owners[7] = Some(0);

        assert_eq!(
            table().change(&from, &sharing(owners)),
            "delete element inet hawser-x buckets6 { 7 : goto pin-2 }\n\
             add element inet hawser-x buckets6 { 7 : goto pin-1 }\n"
        );
    }

    #[test]
    fn overlapping_sources_are_one_element() {
        let mut with = elements(0);
        with.sources.extend(["10.9.0.0/25", "10.9.0.7/32", "10.9.1.0/24"].map(net));

        let script = table().change(&elements(0), &with);

        assert_eq!(
            script,
            "delete element inet hawser-x sources4 { 10.9.0.0/24 }\n\
             add element inet hawser-x sources4 { 10.9.0.0/23 }\n"
        );
    }

    #[test]
    fn names_that_mean_more_than_themselves_are_not_plain() {
        for plain in ["eth0", "wan.7", "ppp-1", "veth@2"] {
            assert!(is_plain_interface(plain), "{plain}");
        }
        for other in ["", "eth*", "a\"b", "a\\b", "interface-too-long", "a b", "é"] {
            assert!(!is_plain_interface(other), "{other}");
        }
    }

    fn table() -> Table {
        Table {
            name: "hawser-x".to_owned(),
            tun: "hawser0".to_owned(),
            marks: vec![UplinkMark::new(1), UplinkMark::new(2)],
            nowhere: UplinkMark::new(3),
            between_clients: false,
            key: Key::Source,
        }
    }

    fn elements(uplink: usize) -> Elements {
        Elements {
            sources: BTreeSet::from([net("10.9.0.0/24")]),
            choice: BTreeMap::from([(Family::V4, Lead::One(uplink))]),
            exits: BTreeMap::from([("wan1".to_owned(), Some(0)), ("wan2".to_owned(), Some(1))]),
        }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }
}
