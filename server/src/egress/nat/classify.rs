//! The rules that find the class of a new flow: what the operator wrote, then the mark of its packet.
//!
//! They are those of the tunnel, but for what a flow shows only as it goes on: here its first packet
//! decides.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use engine::{Class, Dscp, Match, Rules};
use ipnet::IpNet;

use super::of;
use crate::policy::Policy;

/// Lines of a chain, each of which goes to the policy of some flows.
pub(super) fn lines(rules: &Rules, policies: &[Policy]) -> String {
    let mut lines = String::new();
    if policies.len() < 2 {
        return lines;
    }
    let place = |class: Class| {
        let own = policies.iter().find(|policy| policy.class == Some(class));
        own.map(Policy::number).unwrap_or_default()
    };
    for rule in rules.iter() {
        for condition in conditions(&rule.when) {
            let _ = writeln!(lines, "\t\t{condition}goto flows{}", of(place(rule.class)));
        }
    }
    for class in Class::ALL.into_iter().filter(|class| place(*class) > 0) {
        let marks = (0..64).filter(|mark| Dscp::new(*mark).and_then(Dscp::class) == Some(class));
        for ip in ["ip", "ip6"] {
            if let Some(condition) = dscp(ip, marks.clone()) {
                let _ = writeln!(lines, "\t\t{condition} goto flows{}", of(place(class)));
            }
        }
    }
    lines
}

/// A packet fits when it fits one of these: each side may have the port, and each the network.
fn conditions(when: &Match) -> Vec<String> {
    let protocol = when.protocol.map(|number| format!("meta l4proto {number} "));
    let ports = if when.ports.is_empty() {
        vec![protocol.unwrap_or_default()]
    } else {
        let ranges = ranges(&when.ports);
        let protocol = protocol.unwrap_or_else(|| format!("meta l4proto {{ {WITH_PORTS} }} "));
        ["sport", "dport"].map(|side| format!("{protocol}th {side} {{ {ranges} }} ")).to_vec()
    };
    let mut conditions = Vec::new();
    for (ip, v4) in [("ip", true), ("ip6", false)] {
        let mut places = vec![format!("meta nfproto ipv{} ", if v4 { 4 } else { 6 })];
        if !when.prefixes.is_empty() {
            let own = when.prefixes.iter().filter(|prefix| prefix.address().is_ipv4() == v4);
            let own = own.filter_map(|it| IpNet::new(it.address(), it.bits()).ok());
            let nets = listed(IpNet::aggregate(&own.collect()).iter());
            if nets.is_empty() {
                continue;
            }
            places = ["saddr", "daddr"].map(|side| format!("{ip} {side} {{ {nets} }} ")).to_vec();
        }
        let marks = match when.dscp {
            None => String::new(),
            Some(bits) => match dscp(ip, (0..64).filter(|mark| bits & 1 << mark != 0)) {
                Some(condition) => condition + " ",
                None => continue,
            },
        };
        for ports in &ports {
            conditions.extend(places.iter().map(|place| format!("{place}{ports}{marks}")));
        }
    }
    conditions
}

fn dscp(ip: &str, marks: impl Iterator<Item = u8>) -> Option<String> {
    let marks = listed(marks);
    (!marks.is_empty()).then(|| format!("{ip} dscp {{ {marks} }}"))
}

/// Ranges that neither overlap nor touch, since the elements of a set must not.
fn ranges(ports: &[RangeInclusive<u16>]) -> String {
    let mut sorted: Vec<(u16, u16)> = ports.iter().map(|it| (*it.start(), *it.end())).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
    for (first, last) in sorted {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    listed(merged.iter().map(|(first, last)| format!("{first}-{last}")))
}

fn listed(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// Protocols whose header begins with the ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: &str = "6, 17, 33, 132, 136";
