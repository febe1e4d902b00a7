//! Uplinks that are added, removed, drained and weighed anew while flows go on.

use std::collections::BTreeMap;

use engine::Class;
use hawser_server::egress::{Duty, Event, EventKind, State};
use hawser_server::egress_config::EgressConfig;
use hawser_server::policy::{Choose, Key, Policy};
use hawser_server::uplink_config::UplinkConfig;

use crate::lab::{Answer, Flow, Lab, uplink};
use crate::namespace::{difference, everything, inside, run};

#[test]
fn the_way_of_a_table_is_followed_and_the_main_one_is_not() {
    if !inside("changes::the_way_of_a_table_is_followed_and_the_main_one_is_not") {
        return;
    }
    let lab = Lab::new();
    let of_table = |name, table, tier| UplinkConfig {
        interface: None,
        table: Some(table),
        ..uplink(name, "", tier)
    };
    run("ip route flush default; ip -6 route flush default");
    run(
        "ip route add default via 192.0.2.1 table 201; ip -6 route add default via 2001:db8:1::1 table 201",
    );
    let egress = lab.start(vec![of_table("a", 201, 1), of_table("b", 20_002, 2)]);
    egress.await_active("a");
    for flow in &mut lab.flows() {
        flow.ask_until("isp1");
    }
    egress.await_health("b", State::Down);

    // A line that gets its address later, and one that loses it.
    run(
        "ip route add default via 198.51.100.1 table 20002; ip -6 route add default via 2001:db8:2::1 table 20002",
    );
    egress.await_health("b", State::Up);
    run("ip route flush table 201; ip -6 route flush table 201");
    for flow in &mut lab.flows() {
        flow.ask_until("isp2");
    }
    assert!(run("ip route show table 20002").starts_with("default via 198.51.100.1"), "not ours");
    egress.stop();
    assert!(run("ip route show table 20002").starts_with("default via 198.51.100.1"), "not ours");
}

#[test]
fn uplinks_come_and_go_and_only_the_flows_of_those_that_go_notice() {
    if !inside("changes::uplinks_come_and_go_and_only_the_flows_of_those_that_go_notice") {
        return;
    }
    let lab = Lab::new();
    lab.connect(3);
    let two = || vec![weighing("a", "wan1", 1), weighing("b", "wan2", 1)];
    let egress = lab.share(Key::Flow, two());
    egress.await_all_healthy();
    let mut flows: Vec<Flow> = (0..20).map(|_| lab.flow("203.0.113.9:4000")).collect();
    let places = ask(&mut flows);
    assert!(count(&places, "isp1") > 3 && count(&places, "isp2") > 3, "{places:?}");
    let before = everything();

    let three = [two(), vec![weighing("c", "wan3", 2)]].concat();
    egress.configure(sharing(three));
    egress.await_health("c", State::Up);
    assert_eq!(ask(&mut flows), places, "everyone stays");
    let mut new: Vec<Flow> = (0..40).map(|_| lab.flow("203.0.113.9:4000")).collect();
    let of_new = ask(&mut new);
    let third = count(&of_new, "isp3");
    assert!((10..=30).contains(&third), "half of the new ones: {third} of 40");

    egress.configure(sharing(two()));
    assert_eq!(ask(&mut flows), places, "everyone stays");
    let after = ask(&mut new);
    for (before, after) in of_new.iter().zip(&after) {
        match before.provider.as_str() {
            "isp3" => assert_ne!(after.provider, "isp3"),
            _ => assert_eq!(after, before),
        }
    }
    let left = difference(&before, &everything());
    let left: Vec<&str> = left.lines().filter(|line| !line.contains("forwarding")).collect();
    assert!(left.is_empty(), "{left:#?}");

    egress.configure(sharing(vec![weighing("b", "wan2", 1), weighing("a", "wan1", 7)]));
    assert_eq!(ask(&mut flows), places, "other weights and another order are for new flows");
    let mut new: Vec<Flow> = (0..80).map(|_| lab.flow("203.0.113.9:4000")).collect();
    let first = count(&ask(&mut new), "isp1");
    assert!((58..=79).contains(&first), "seven of eight: {first} of 80");
    let order = |event: Event| match event.kind {
        EventKind::Ordered { .. } => Some(event.kind.to_string()),
        _ => None,
    };
    let orders: Vec<String> = egress.events().into_iter().filter_map(order).collect();
    let expected = ["uplink c: added", "uplink c: removed", "uplink a: configured anew"];
    assert_eq!(orders, expected);
    egress.stop();
}

#[test]
fn a_drained_uplink_keeps_its_flows_and_takes_new_ones_only_when_there_is_no_other() {
    if !inside(
        "changes::a_drained_uplink_keeps_its_flows_and_takes_new_ones_only_when_there_is_no_other",
    ) {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    let mut held = lab.flow("203.0.113.9:4000");
    let place = held.ask_until_answered();

    egress.set_duty("a", Duty::Drain);
    egress.await_active("b");
    assert_eq!(held.ask_until_answered(), place);
    assert_eq!(lab.flow("203.0.113.9:4000").ask_until_answered().provider, "isp2");

    lab.isp2.run("ip link set peer down");
    egress.await_active("a");
    assert_eq!(lab.flow("203.0.113.9:4000").ask_until_answered().provider, "isp1");
    lab.isp2.run("ip link set peer up");
    egress.await_active("b");

    egress.set_duty("a", Duty::Off);
    assert_eq!(held.ask_until("isp2").provider, "isp2");
    egress.set_duty("a", Duty::Normal);
    egress.await_active("a");
    assert_eq!(held.ask_until_answered().provider, "isp2", "the way back is for new flows");
    egress.stop();
}

#[test]
fn a_class_of_its_own_can_come_and_go() {
    if !inside("changes::a_class_of_its_own_can_come_and_go") {
        return;
    }
    let lab = Lab::new();
    let uplinks = || vec![uplink("a", "wan1", 1), uplink("b", "wan2", 1)];
    let egress = lab.start(uplinks());
    egress.await_all_healthy();
    let mut held = lab.flow("203.0.113.9:4000");
    let place = held.ask_until_answered();
    let calls = Policy { class: Some(Class::RealTime), ..Policy::default() };
    let reserved = UplinkConfig { only: vec![Class::RealTime], ..uplink("b", "wan2", 1) };
    let mut first = uplink("a", "wan1", 1);
    first.only = vec![Class::Bulk, Class::Interactive];

    egress.configure(EgressConfig {
        uplinks: vec![first, reserved],
        policies: vec![Policy::default(), calls],
        ..EgressConfig::default()
    });
    let mut call = lab.flow("203.0.113.9:4000");
    socket2::SockRef::from(call.socket()).set_tos_v4(46 << 2).unwrap();
    assert_eq!(call.ask_until("isp2").provider, "isp2", "calls may use b only");
    assert_eq!(held.ask_until_answered(), place, "what is there stays there");

    egress.configure(EgressConfig { uplinks: uplinks(), ..EgressConfig::default() });
    assert_eq!(call.ask_until_answered().provider, "isp2");
    assert_eq!(lab.flow("203.0.113.9:4000").ask_until_answered().provider, "isp1");
    let maps = run("nft -s list table inet hawser-x");
    assert!(!maps.contains("choice-1"), "{maps}");
    egress.stop();
}

#[test]
fn a_server_without_uplinks_gets_some_and_another_name_for_one_costs_nothing() {
    if !inside("changes::a_server_without_uplinks_gets_some_and_another_name_for_one_costs_nothing")
    {
        return;
    }
    let lab = Lab::new();
    let egress = lab.start(Vec::new());
    assert_eq!(lab.flow("203.0.113.9:4000").ask_until_answered().provider, "isp1");

    let capacity = "50mbit".parse().ok();
    let called = |name: &str| UplinkConfig { capacity, ..uplink(name, "wan2", 1) };
    let only = |uplinks| EgressConfig { uplinks, ..EgressConfig::default() };
    egress.configure(only(vec![called("b")]));
    egress.await_active("b");
    assert_eq!(lab.flow("203.0.113.9:4000").ask_until_answered().provider, "isp2");
    let place = || run("ip rule | grep -c 900[23]; tc qdisc show dev wan2 | grep -c htb");
    let before = place();

    egress.configure(only(vec![called("c")]));
    egress.await_active("c");
    assert_eq!(place(), before, "rules and queues that both names have");
    assert_eq!(lab.flow("203.0.113.9:4000").ask_until_answered().provider, "isp2");
    egress.stop();
}

#[test]
fn a_table_that_somebody_has_emptied_is_made_anew() {
    if !inside("changes::a_table_that_somebody_has_emptied_is_made_anew") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();

    for _ in 0..2 {
        run("nft flush ruleset");
        egress.set_duty("a", Duty::Off);
        let moved = lab.flow("203.0.113.9:4000").ask_until("isp2");
        assert_eq!(moved.source.to_string(), "198.51.100.2", "translated");
        egress.set_duty("a", Duty::Normal);
        egress.await_active("a");
    }
    // Nothing of ours changes, and it is noticed all the same. What has begun meanwhile has not left
    // by the host's own routes, where it would stay untranslated.
    for emptying in ["nft flush ruleset", "nft flush table inet hawser-x"] {
        let mut held = lab.flow("203.0.113.9:4000");
        let before = held.ask_until("isp1");
        run(emptying);
        let mut begun = lab.flows();
        for flow in &mut begun {
            assert_eq!(flow.ask(), None);
        }
        assert_eq!(held.ask_until("isp1"), before, "the same flow");
        for flow in &mut begun {
            assert_eq!(flow.ask_until("isp1").source, flow.address_at("isp1"), "translated");
        }
    }
    egress.stop();
}

fn weighing(name: &str, interface: &str, weight: u32) -> UplinkConfig {
    UplinkConfig { weight, ..uplink(name, interface, 1) }
}

fn sharing(uplinks: Vec<UplinkConfig>) -> EgressConfig {
    let rest = Policy { choose: Choose::Share, key: Key::Flow, ..Policy::default() };
    EgressConfig { uplinks, policies: vec![rest], ..EgressConfig::default() }
}

fn ask(flows: &mut [Flow]) -> Vec<Answer> {
    flows.iter_mut().map(Flow::ask_until_answered).collect()
}

fn count(answers: &[Answer], provider: &str) -> usize {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.provider.as_str()).or_insert(0) += 1;
    }
    counts.get(provider).copied().unwrap_or(0)
}
