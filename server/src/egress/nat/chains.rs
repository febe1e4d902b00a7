//! The chains and sets of each uplink.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use shared::host::Family;

use super::super::mark::{MARK_MASK, UplinkMark};
use super::super::shaping::QUEUES;
use super::elements::number;
use super::{Pin, Table, Translation, of};
use crate::policy::{HOME_FOR, Policy};

/// The chain that pins a flow to an uplink.
pub(super) fn pin(mark: UplinkMark) -> String {
    format!("pin-{}", mark.number())
}

/// The chain that pins a flow of a visitor to the uplink that it came by.
pub(super) fn arrive(mark: UplinkMark) -> String {
    format!("arrive-{}", mark.number())
}

/// The chain that gives packets the source of their uplink.
pub(super) fn translate(mark: UplinkMark) -> String {
    format!("translate-{}", mark.number())
}

/// The counter of what was answered by an uplink.
pub(in super::super) fn answers(mark: UplinkMark) -> String {
    format!("answers-{}", mark.number())
}

/// The set of the sources that a policy remembers to be at an uplink.
pub(in super::super) fn home(policy: usize, family: Family, mark: UplinkMark) -> String {
    format!("home{}{}-at-{}", number(family), of(policy), mark.number())
}

/// Makes what an uplink has of its own, or makes it anew.
pub(super) fn lay(table: &Table, mark: UplinkMark, uplink: &Pin, known: bool) -> String {
    let name = &table.name;
    let mut script = String::new();
    let mut chain = |chain: String, rules: Vec<String>| {
        let verb = if known { "flush" } else { "add" };
        let _ = writeln!(script, "{verb} chain inet {name} {chain}");
        for rule in rules {
            let _ = writeln!(script, "add rule inet {name} {chain} {rule}");
        }
    };
    let (keep, value) = (!MARK_MASK, mark.value());
    let set = format!("ct mark set ct mark and {keep:#010x} or {value:#010x}");
    let mut rules = Vec::new();
    if let Some(most) = uplink.flows_max {
        // A call that is refused is better than all calls spoilt.
        rules.push(format!("ct count over {most} counter reject with icmpx admin-prohibited"));
    }
    rules.push(set.clone());
    chain(pin(mark), rules);
    chain(arrive(mark), vec![set]);
    let mut rules = Vec::new();
    rules.extend(uplink.source4.map(|to| format!("ip saddr @sources4 snat ip to {to}")));
    rules.extend(uplink.source6.map(|translation| match translation {
        Translation::Address(to) => format!("ip6 saddr @sources6 snat ip6 to {to}"),
        Translation::Prefix { from, to } => {
            format!("ip6 saddr {from} snat ip6 prefix to ip6 saddr map {{ {from} : {to} }}")
        }
    }));
    chain(translate(mark), rules);
    if !known {
        let _ = writeln!(script, "add counter inet {name} {}", answers(mark));
        for set in homes(table, mark) {
            let kind = if set.starts_with("home4") { "ipv4_addr" } else { "ipv6_addr" };
            let _ = writeln!(
                script,
                "add set inet {name} {set} {{ type {kind}; size {HOMES_MAX}; \
                 flags dynamic,timeout; timeout {}s; }}",
                HOME_FOR.as_secs()
            );
        }
    }
    script
}

/// Removes what an uplink has of its own, once nothing leads there.
pub(super) fn remove(table: &Table, mark: UplinkMark) -> String {
    let name = &table.name;
    let mut script = String::new();
    for chain in [pin(mark), arrive(mark), translate(mark)] {
        let _ = writeln!(script, "flush chain inet {name} {chain}");
        let _ = writeln!(script, "delete chain inet {name} {chain}");
    }
    let _ = writeln!(script, "delete counter inet {name} {}", answers(mark));
    for set in homes(table, mark) {
        let _ = writeln!(script, "delete set inet {name} {set}");
    }
    script
}

/// The chains that go through all uplinks.
pub(super) fn list(table: &Table, pins: &BTreeMap<UplinkMark, Pin>) -> String {
    let name = &table.name;
    let mut script = String::new();
    let mut chain = |chain: String, rules: Vec<String>| {
        let _ = writeln!(script, "flush chain inet {name} {chain}");
        for rule in rules {
            let _ = writeln!(script, "add rule inet {name} {chain} {rule}");
        }
    };
    let is = |mark: &UplinkMark| format!("ct mark and {MARK_MASK:#010x} == {:#010x}", mark.value());
    let mut rules = Vec::new();
    for mark in pins.iter().filter(|(_, pin)| pin.queues).map(|(mark, _)| mark) {
        for (protocol, ip) in [("ipv4", "ip"), ("ipv6", "ip6")] {
            rules.push(format!(
                "{} meta nfproto {protocol} meta priority set jhash {ip} saddr mod {} offset {:#x}",
                is(mark),
                QUEUES.len(),
                QUEUES.start
            ));
        }
    }
    chain("queues".to_owned(), rules);
    let counts = |mark: &UplinkMark| format!("{} counter name \"{}\"", is(mark), answers(*mark));
    chain("answers".to_owned(), pins.keys().map(counts).collect());
    for policy in remembering(table) {
        let each = |rule: &dyn Fn(UplinkMark, &str, String) -> String| -> Vec<String> {
            let families = [(Family::V4, "ip"), (Family::V6, "ip6")];
            pins.keys()
                .flat_map(|mark| families.map(|(family, ip)| (*mark, family, ip)))
                .map(|(mark, family, ip)| rule(mark, ip, home(policy, family, mark)))
                .collect()
        };
        chain(
            format!("homes{}", of(policy)),
            each(&|mark, ip, home| format!("{ip} saddr @{home} goto {}", pin(mark))),
        );
        chain(
            format!("settle{}", of(policy)),
            each(&|mark, ip, home| format!("{} update @{home} {{ {ip} saddr }}", is(&mark))),
        );
    }
    script
}

fn homes(table: &Table, mark: UplinkMark) -> impl Iterator<Item = String> {
    remembering(table).flat_map(move |policy| Family::ALL.map(|family| home(policy, family, mark)))
}

fn remembering(table: &Table) -> impl Iterator<Item = usize> {
    let policies = table.policies.iter().filter(|_| table.chooses);
    policies.filter(|policy| policy.remembers()).map(Policy::number)
}

/// Sources that are remembered at one uplink; more are dealt out anew with each flow.
const HOMES_MAX: usize = 65_536;
