use std::collections::{BTreeMap, BTreeSet};

use engine::{Class, Match, Prefix, Rule};
use ipnet::IpNet;
use shared::host::Family;

use super::*;
use crate::policy::{Choose, Failback};

#[test]
fn a_change_of_choice_sends_only_that() {
    let from = elements(mark(1));
    let to = elements(mark(2));

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
        choice: BTreeMap::from([((0, Family::V6), Lead::Buckets(Box::new(owners)))]),
        ..elements(mark(1))
    };
    let mut owners = [Some(mark(1)); BUCKETS];
    owners[7] = Some(mark(2));
    let from = sharing(owners);
    owners[7] = Some(mark(1));

    assert_eq!(
        table().change(&from, &sharing(owners)),
        "delete element inet hawser-x buckets6 { 7 : goto pin-2 }\n\
         add element inet hawser-x buckets6 { 7 : goto pin-1 }\n"
    );
}

#[test]
fn a_class_has_maps_of_its_own() {
    let at = |policy| Elements {
        choice: BTreeMap::from([((policy, Family::V4), Lead::One(mark(1)))]),
        ..elements(mark(1))
    };

    assert_eq!(
        two_policies(Failback::Drain).change(&at(0), &at(1)),
        "delete element inet hawser-x choice { ipv4 : jump pin-1 }\n\
         add element inet hawser-x choice-1 { ipv4 : jump pin-1 }\n"
    );
}

#[test]
fn what_remembers_forgets_who_was_at_an_uplink_that_is_no_home_any_more() {
    let at = |homes: &[UplinkMark]| Elements {
        homes: BTreeMap::from([((1, Family::V4), homes.iter().copied().collect())]),
        ..elements(mark(1))
    };
    let table = two_policies(Failback::Sticky);

    assert_eq!(
        table.change(&at(&[mark(1), mark(2)]), &at(&[mark(2)])),
        "flush set inet hawser-x home4-1-at-1\n"
    );
    let created = table.create(&at(&[mark(1)]));
    assert!(created.contains("ip saddr @home4-1-at-2 goto pin-2"), "{created}");
    assert!(!created.contains("@home4-at-2"), "the rest remembers nobody: {created}");
}

#[test]
fn an_uplink_that_is_gone_takes_its_chains_along() {
    let from = elements(mark(1));
    let mut to = from.clone();
    to.pins.remove(&mark(2));
    to.exits.remove("wan2");

    let script = table().change(&from, &to);

    for line in [
        "delete element inet hawser-x arrivals { \"wan2\" : jump arrive-2 }\n",
        "delete chain inet hawser-x pin-2\n",
        "delete chain inet hawser-x translate-2\n",
    ] {
        assert!(script.contains(line), "{script}");
    }
    for own in ["pin-1", "arrive-1", "translate-1", "counter inet hawser-x answers-1"] {
        assert!(!script.contains(own), "the other one is left alone: {script}");
    }
}

#[test]
fn overlapping_sources_are_one_element() {
    let mut with = elements(mark(1));
    with.sources.extend(["10.9.0.0/25", "10.9.0.7/32", "10.9.1.0/24"].map(net));

    let script = table().change(&elements(mark(1)), &with);

    assert_eq!(
        script,
        "delete element inet hawser-x sources4 { 10.9.0.0/24 }\n\
         add element inet hawser-x sources4 { 10.9.0.0/23 }\n"
    );
}

#[test]
fn rules_of_classes_become_lines_in_their_order() {
    let when = Match {
        protocol: Some(17),
        ports: vec![5060..=5090, 5080..=6000, 53..=53],
        prefixes: vec![Prefix::new("10.1.0.0".parse().unwrap(), 16).unwrap()],
        dscp: Some(1 << 46),
    };
    let rules = vec![
        Rule { class: Class::Bulk, when: Match { protocol: Some(6), ..Match::default() } },
        Rule { class: Class::RealTime, when },
    ];
    let rules = Rules::new(rules).unwrap();

    let lines = classify::lines(&rules, &two_policies(Failback::Drain).policies);

    let lines: Vec<&str> = lines.lines().map(str::trim).collect();
    assert_eq!(lines[0], "meta nfproto ipv4 meta l4proto 6 goto flows");
    assert_eq!(
        lines[2],
        "ip saddr { 10.1.0.0/16 } meta l4proto 17 th sport { 53-53, 5060-6000 } ip dscp { 46 } \
         goto flows-1"
    );
    assert_eq!(lines[5].matches("daddr").count() + lines[5].matches("dport").count(), 2);
    assert!(lines[6].starts_with("ip dscp { 32, 34, 36, 38, 40, 44, 46 } goto flows-1"));
    assert_eq!(lines.len(), 8, "a rule of IPv4 has no lines of IPv6: {lines:?}");
    assert_eq!(classify::lines(&rules, &table().policies), "", "with one policy all is the rest");
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
        nowhere: mark(3),
        between_clients: false,
        chooses: true,
        policies: vec![Policy::default()],
        rules: Rules::default(),
        reset_connections: true,
    }
}

fn two_policies(failback: Failback) -> Table {
    let calls = Policy {
        class: Some(Class::RealTime),
        choose: Choose::ActiveStandby,
        failback,
        ..Policy::default()
    };
    Table { policies: vec![Policy::default(), calls], ..table() }
}

fn elements(uplink: UplinkMark) -> Elements {
    Elements {
        sources: BTreeSet::from([net("10.9.0.0/24")]),
        pins: BTreeMap::from([(mark(1), Pin::default()), (mark(2), Pin::default())]),
        choice: BTreeMap::from([((0, Family::V4), Lead::One(uplink))]),
        homes: BTreeMap::new(),
        exits: BTreeMap::from([
            ("wan1".to_owned(), Some(mark(1))),
            ("wan2".to_owned(), Some(mark(2))),
        ]),
    }
}

fn mark(number: u8) -> UplinkMark {
    UplinkMark::new(number)
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}
