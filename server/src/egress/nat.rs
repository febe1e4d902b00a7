//! The nft table of the egress: pins flows to uplinks, translates addresses, stops leaks.
//!
//! Pure text: what is to hold ([`Table`], [`Elements`]) in, scripts for one transaction out.
//!
//! A packet from the tunnel whose source is not a client's is dropped. The first packet of a flow
//! finds the policy of its class, and the policy an uplink: the mark of both goes into its conntrack
//! entry, later packets copy it from there, and a rule for each mark leads to the uplink's own routing
//! table. Where several uplinks share the flows, the hash of a flow's key chooses a bucket, and the
//! bucket has an uplink. A policy that remembers sources looks first where the source was last. A
//! packet that gets no uplink's mark carries [`Table::nowhere`], for which nothing but a route of the
//! main table that is no default route is open. Visitors from outside pin their flow to the uplink
//! that they came by.

mod audit;
mod chains;
mod classify;
mod elements;
mod pin;
mod quick;

use std::fmt::Write as _;

use engine::Rules;

use super::buckets::BUCKETS;
use super::mark::{MARK_MASK, POLICY_MASK, UplinkMark, VISITOR, policy_bits};
use crate::policy::{Key, Policy};
pub(super) use chains::{answers, home};
#[cfg(test)]
use elements::Owners;
pub(super) use elements::{Elements, Lead};
pub(super) use pin::{Pin, Translation};

/// What does not change while we run.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The name of the table, family inet.
    pub(super) name: String,
    /// The device that inner packets come from.
    pub(super) tun: String,
    /// The mark of packets for which no uplink is left.
    pub(super) nowhere: UplinkMark,
    /// Whether packets from the tunnel may go back into it.
    pub(super) between_clients: bool,
    /// Whether there are uplinks to choose from; else the host's own default routes are the way out.
    pub(super) chooses: bool,
    /// What chooses for which traffic, the rest first.
    pub(super) policies: Vec<Policy>,
    /// What belongs to which class.
    pub(super) rules: Rules,
    /// Whether connections that have lost their uplink are reset.
    pub(super) reset_connections: bool,
}

impl Table {
    /// A script that makes the table, in place of one that may be there.
    pub(super) fn create(&self, elements: &Elements) -> String {
        let Self { name, tun, .. } = self;
        let mut maps = String::new();
        let mut chains = String::new();
        if self.chooses {
            for policy in &self.policies {
                let name = of(policy.number());
                let _ = writeln!(maps, "\tmap choice{name} {{ type nf_proto : verdict; }}");
                chains += &share(policy);
                chains += &choose(policy);
            }
            let _ = write!(
                chains,
                "\tchain assign {{\n{}\t\tgoto flows{}\n\t}}\n",
                classify::lines(&self.rules, &self.policies),
                of(0)
            );
        }
        let body = format!(
            "add table inet {name}\n\
             delete table inet {name}\n\
             table inet {name} {{\n\
             \tset sources4 {{ type ipv4_addr; flags interval; }}\n\
             \tset sources6 {{ type ipv6_addr; flags interval; }}\n\
             \tset exits {{ type ifname; }}\n\
             \tmap arrivals {{ type ifname : verdict; }}\n\
             \tmap translations {{ type mark : verdict; }}\n\
             \tchain queues {{ }}\n\
             \tchain answers {{ }}\n\
             {maps}\
             {chains}\
             \tchain from-tunnel {{\n\
             \t\ttype filter hook prerouting priority mangle; policy accept;\n\
             \t\tiifname != \"{tun}\" return\n\
             \t\tip saddr != @sources4 counter drop\n\
             \t\tip6 saddr != @sources6 counter drop\n\
             {}\
             \t}}\n\
             \tchain through {{\n\
             \t\ttype filter hook forward priority mangle; policy accept;\n\
             {}\
             \t}}\n\
             \tchain leave {{\n\
             \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
             \t\tct mark and {MARK_MASK:#010x} vmap @translations\n\
             \t\tip saddr @sources4 oifname @exits masquerade\n\
             \t\tip6 saddr @sources6 oifname @exits masquerade\n\
             \t}}\n\
             }}\n",
            self.steer(),
            self.through(),
        );
        body + &self.change(&Elements::default(), elements)
    }

    /// Gives packets from the tunnel the mark of their uplink.
    fn steer(&self) -> String {
        if !self.chooses {
            return String::new();
        }
        let (mask, nowhere) = (MARK_MASK, self.nowhere.value());
        // Packets that conntrack knows nothing of go nowhere: a comparison with a mark that doesn't
        // exist is no match. Nor does what is left in the mark by the search for a bucket lead
        // anywhere.
        format!(
            "\t\tct mark and {mask:#010x} == 0 jump assign\n\
             \t\tmeta mark set {nowhere:#010x}\n\
             \t\tct mark and {mask:#010x} != 0 meta mark set ct mark and {mask:#010x}\n"
        )
    }

    /// What packets meet on their way between the tunnel and the uplinks.
    fn through(&self) -> String {
        let Self { tun, .. } = self;
        let mut lines = String::new();
        if !self.between_clients {
            let _ = writeln!(lines, "\t\tiifname \"{tun}\" oifname \"{tun}\" counter drop");
        }
        let _ =
            writeln!(lines, "\t\tiifname \"{tun}\" oifname @exits ct state invalid counter drop");
        if self.reset_connections {
            // The middle of a connection that conntrack doesn't know: it was forgotten with its
            // uplink, or by a restart of the host. With another address outside it is lost, and only
            // a reset tells its program so at once.
            let _ = writeln!(
                lines,
                "\t\tiifname \"{tun}\" oifname @exits ct state new tcp flags & (syn | rst) == 0 \
                 counter reject with tcp reset"
            );
        }
        // An uplink may carry less in a packet than the tunnel does, as PPPoE does.
        let _ = writeln!(
            lines,
            "\t\tiifname \"{tun}\" oifname @exits tcp flags & (syn | rst) == syn \
             tcp option maxseg size set rt mtu"
        );
        let _ = writeln!(lines, "\t\tiifname \"{tun}\" oifname @exits jump queues");
        // What only somebody says who was asked a moment ago: the line carries packets both ways.
        for answer in ["tcp flags & (syn | ack | rst) == syn | ack", "udp sport 53"] {
            let _ = writeln!(
                lines,
                "\t\tiifname @exits oifname \"{tun}\" ct direction reply {answer} jump answers"
            );
        }
        let (mask, keep) = (MARK_MASK, !POLICY_MASK);
        let visitor = policy_bits(VISITOR);
        let _ = writeln!(
            lines,
            "\t\toifname \"{tun}\" ct state new ct mark and {mask:#010x} == 0 \
             ct mark set ct mark and {keep:#010x} or {visitor:#010x} iifname vmap @arrivals"
        );
        lines
    }
}

/// What the names of a policy's chains and maps end in.
fn of(policy: usize) -> String {
    if policy == 0 { String::new() } else { format!("-{policy}") }
}

/// The chain that finds the uplink of a new flow.
fn choose(policy: &Policy) -> String {
    let number = policy.number();
    let (name, keep, bits) = (of(number), !POLICY_MASK, policy_bits(number));
    let (before, after) = if policy.remembers() {
        (format!("\t\tjump homes{name}\n"), format!("\t\tjump settle{name}\n"))
    } else {
        (String::new(), String::new())
    };
    let lists = if policy.remembers() {
        format!("\tchain homes{name} {{ }}\n\tchain settle{name} {{ }}\n")
    } else {
        String::new()
    };
    format!(
        "{lists}\
         \tchain flows{name} {{\n\
         \t\tct mark set ct mark and {keep:#010x} or {bits:#010x}\n\
         {before}\
         \t\tct mark and {MARK_MASK:#010x} == 0 meta nfproto vmap @choice{name}\n\
         {after}\
         \t}}\n"
    )
}

/// The chains that look a flow's bucket up, of each family. What has no ports is looked up by its
/// addresses. A policy that remembers its sources deals new ones out in turn.
fn share(policy: &Policy) -> String {
    let name = of(policy.number());
    let mut chains = String::new();
    for (ip, number) in [("ip", 4), ("ip6", 6)] {
        let hash = |key: &str| format!("jhash {key} mod {BUCKETS} seed {HASH_SEED:#010x}");
        let addresses = format!("{ip} saddr . {ip} daddr");
        let keys = match policy.key {
            Key::Source => vec![hash(&format!("{ip} saddr"))],
            Key::SourceDestination => vec![hash(&addresses)],
            Key::Flow => {
                let flow = format!("{addresses} . meta l4proto . th sport . th dport");
                vec![hash(&flow), hash(&addresses)]
            }
            Key::LeastLoaded => vec![format!("numgen inc mod {BUCKETS}")],
        };
        let mut lookups = String::new();
        for key in keys {
            let _ = write!(
                lookups,
                "\t\tmeta mark set {key}\n\t\tmeta mark vmap @buckets{number}{name}\n"
            );
        }
        let _ = write!(
            chains,
            "\tmap buckets{number}{name} {{ type mark : verdict; }}\n\
             \tchain share{number}{name} {{\n{lookups}\t}}\n"
        );
    }
    chains
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

#[cfg(test)]
mod tests;
