//! Several uplinks share the flows.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use hawser_server::egress::{Duty, Event, EventKind, State};
use hawser_server::policy::Key;
use hawser_server::uplink_config::UplinkConfig;
use shared::clock::since_boot;
use shared::host::Family;

use crate::lab::{Lab, SLOW_START, uplink};
use crate::namespace::{eventually, inside, run};

#[test]
fn ten_thousand_flows_are_shared_by_weight_and_a_failure_moves_only_its_own() {
    if !inside("sharing::ten_thousand_flows_are_shared_by_weight_and_a_failure_moves_only_its_own")
    {
        return;
    }
    let lab = Lab::new();
    lab.connect(3);
    let weighing = |name, interface, weight| UplinkConfig { weight, ..uplink(name, interface, 1) };
    let egress = lab.share(
        Key::Flow,
        vec![weighing("a", "wan1", 2), weighing("b", "wan2", 1), weighing("c", "wan3", 1)],
    );
    egress.await_all_healthy();
    let senders = senders(&lab);

    let first = send(&senders);
    for (name, fair) in [("a", 0.5), ("b", 0.25), ("c", 0.25)] {
        let share = shares(&first)[name];
        println!("{name}: {share:.4} of {fair}");
        assert!((share - fair).abs() < 0.02, "{name}: {share}");
    }

    lab.isp2.run("ip link set peer down");
    eventually("the flows of b are forgotten", Duration::from_secs(10), || {
        let of_b = |kind: &EventKind| matches!(kind, EventKind::Flushed { uplink, family: Family::V4, .. } if uplink == "b");
        (egress.kinds(of_b) > 0).then_some(())
    });
    let without = send(&senders);
    for (flow, before) in &first {
        let after = &without[flow];
        match before.uplink.as_str() {
            "b" => assert_ne!(after.uplink, "b"),
            _ => assert_eq!(after, before, "the same entry of conntrack"),
        }
    }
    println!("without b: {:?}", shares(&without));

    // Flows stay where they are, new ones are shared as at the beginning.
    lab.isp2.run("ip link set peer up");
    egress.await_health("b", State::Up);
    assert_eq!(send(&senders), without);
    run("conntrack -F");
    let at_first = shares(&send(&senders)).get("b").copied().unwrap_or_default();
    println!("b gets {at_first:.4} at first");
    assert!(at_first < 0.2, "a line that has just come back is not flooded");
    eventually("all is as at the beginning", SLOW_START * 3, || {
        run("conntrack -F");
        let again = send(&senders);
        first.iter().all(|(flow, it)| again[flow].uplink == it.uplink).then_some(())
    });
    egress.stop();
}

#[test]
fn a_handful_of_sources_does_not_overload_one_uplink_and_keeps_to_its_own() {
    if !inside("sharing::a_handful_of_sources_does_not_overload_one_uplink_and_keeps_to_its_own") {
        return;
    }
    let lab = Lab::new();
    lab.connect(3);
    let uplinks = [("a", "wan1"), ("b", "wan2"), ("c", "wan3")];
    let uplinks = uplinks.map(|(name, interface)| uplink(name, interface, 1)).to_vec();
    let egress = lab.share(Key::LeastLoaded, uplinks);
    egress.await_all_healthy();
    lab.client.run(
        "for i in 1 2 3 4 5 6 7 8; do ip address add 10.9.0.1$i/32 dev inner; \
         ip address add 2001:db8:9::1$i/128 dev inner nodad; done",
    );
    for far in ["203.0.113.9:4000", "[2001:db8:ffff::9]:4000"] {
        let ask = |source: usize| {
            let from = match far.starts_with('[') {
                true => format!("[2001:db8:9::1{source}]:0"),
                false => format!("10.9.0.1{source}:0"),
            };
            lab.flow_from(&from, far).ask_until_answered().provider
        };
        let all = || (1..=8).map(ask).collect::<Vec<String>>();
        let first = all();
        println!("{} of 8 sources at the fullest of 3 uplinks", fullest(&first));
        assert!(fullest(&first) <= 4, "1.5 times the fair share: {first:?}");
        assert_eq!(all(), first, "each where it was");
        assert_eq!(all(), first);

        egress.set_duty("b", Duty::Off);
        let without = all();
        for (before, after) in first.iter().zip(&without) {
            assert!(if before == "isp2" { after != "isp2" } else { after == before });
        }
        assert!(fullest(&without) <= 6, "{without:?}");
        egress.set_duty("b", Duty::Normal);
    }
    eventually("they are counted", Duration::from_secs(40), || {
        let sources: Vec<u64> = egress.snapshot().iter().filter_map(|it| it.sources).collect();
        (sources.iter().sum::<u64>() == 16).then_some(())
    });
    egress.stop();
}

/// How many are at the one that has most.
fn fullest(places: &[String]) -> usize {
    let count = |isp: &&str| places.iter().filter(|place| place == isp).count();
    ["isp1", "isp2", "isp3"].iter().map(count).max().unwrap()
}

/// L4 of the test plan: only the prefix of an address changes; and a fixed address of IPv4.
#[test]
fn sources_become_what_the_uplink_was_told() {
    if !inside("sharing::sources_become_what_the_uplink_was_told") {
        return;
    }
    let lab = Lab::new();
    let told = ["203.0.113.77", "2001:db8:77::/64"].map(|source| source.parse().unwrap());
    let b = UplinkConfig { translate_to: told.to_vec(), ..uplink("b", "wan2", 1) };
    lab.isp2.run(
        "ip route add 203.0.113.77/32 via 198.51.100.2
         ip -6 route add 2001:db8:77::/64 via 2001:db8:2::2",
    );
    let egress = lab.start(vec![b, uplink("a", "wan1", 2)]);
    egress.await_active("b");
    egress.await_health("a", State::Up);

    let sources = lab.flows().map(|mut flow| flow.ask_until("isp2").source.to_string());
    assert_eq!(sources, ["203.0.113.77", "2001:db8:77::2"]);
    egress.set_duty("b", Duty::Off);
    let [v4, v6] = lab.flows();
    for mut flow in [v4, v6] {
        let answer = flow.ask_until("isp1");
        assert_eq!(answer.source, flow.address_at("isp1"), "the other one knows nothing of it");
    }
    egress.stop();
}

#[test]
fn with_eight_uplinks_a_change_of_the_map_takes_a_moment() {
    if !inside("sharing::with_eight_uplinks_a_change_of_the_map_takes_a_moment") {
        return;
    }
    let lab = Lab::new();
    (3..=8).for_each(|number| lab.connect(number));
    let names: Vec<String> = (1..=8).map(|number| format!("u{number}")).collect();
    let uplinks = (1..=8).map(|number| uplink(&format!("u{number}"), &format!("wan{number}"), 1));
    let egress = lab.share(Key::Flow, uplinks.collect());
    names.iter().for_each(|name| egress.await_health(name, State::Up));
    let senders = senders(&lab);
    let before = send_anywhere(&senders);
    let listed = || run("nft list map inet hawser-x buckets4").matches(" : goto").count();
    assert_eq!(listed(), 1024);

    lab.isp2.run("ip link set peer down");
    egress.await_health("u2", State::Down);
    let flushed = |kind: &EventKind| matches!(kind, EventKind::Flushed { .. });
    eventually("its flows are forgotten", Duration::from_secs(2), || {
        (egress.kinds(flushed) == 2).then_some(())
    });
    let events = egress.events();
    let at = |text: &str| {
        let of = |event: &&Event| event.kind.to_string().contains(text);
        events.iter().find(of).unwrap().at.as_secs_f64() * 1e3
    };
    let lost = at("u2: healthy -> unhealthy");
    let (chosen, forgotten) = (at("instead of u1 and u2"), at("IPv4 flows of u2"));
    // What nft takes for one element, with the kernel's work and its own.
    run("nft add map inet hawser-x floor \"{ type mark : verdict; }\"");
    let began = since_boot();
    (0..10).for_each(|bucket| {
        run(&format!("nft add element inet hawser-x floor \"{{ {bucket} : drop }}\""));
    });
    let floor = (since_boot() - began).as_secs_f64() * 1e3 / 10.0;
    println!(
        "10000 flows, 8 uplinks: map changed after {:.1} ms, flows forgotten after {:.1} ms \
         (nft alone takes {floor:.1} ms for one element)",
        chosen - lost,
        forgotten - lost,
    );
    let after = send_anywhere(&senders);
    let moved = before.iter().filter(|(flow, mark)| after[*flow] != **mark);
    let of_lost = before.values().filter(|mark| **mark == 2).count();
    assert_eq!(moved.count(), of_lost, "exactly its share moves");
    assert!(of_lost.abs_diff(FLOWS / 8) < FLOWS / 50, "{of_lost}");
    egress.stop();
}

/// Where a flow goes, and which entry of conntrack it is.
#[derive(Debug, Eq, PartialEq)]
struct Place {
    uplink: String,
    id: String,
}

/// A flow by its ports.
type Ports = (u16, u16);

fn senders(lab: &Lab) -> Vec<UdpSocket> {
    let socket = |port| lab.client.make(|| UdpSocket::bind(("10.9.0.2", port)).unwrap());
    (SOURCE_PORTS.0..SOURCE_PORTS.1).map(socket).collect()
}

/// As [`send`], with the numbers of the uplinks.
fn send_anywhere(senders: &[UdpSocket]) -> BTreeMap<Ports, u32> {
    let place = |(ports, (mark, _)): (Ports, (u32, String))| (ports, mark);
    flows(senders).into_iter().map(place).collect()
}

fn send(senders: &[UdpSocket]) -> BTreeMap<Ports, Place> {
    let place = |(ports, (mark, id)): (Ports, (u32, String))| {
        (ports, Place { uplink: ["none", "a", "b", "c"][mark as usize].to_owned(), id })
    };
    flows(senders).into_iter().map(place).collect()
}

/// Sends a datagram of every flow, and asks the kernel for their marks and numbers.
fn flows(senders: &[UdpSocket]) -> BTreeMap<Ports, (u32, String)> {
    for socket in senders {
        for port in FAR_PORTS.0..FAR_PORTS.1 {
            // The far end has no such port, and says so sooner or later.
            let _ = socket.send_to(&[0], ("203.0.113.9", port));
        }
    }
    let mut places = BTreeMap::new();
    for line in run("conntrack -L -p udp -s 10.9.0.2 -o id 2>/dev/null").lines() {
        let value = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key));
        let Some(mark) = value("mark=").and_then(|mark| mark.parse::<u32>().ok()) else { continue };
        let (sport, dport) = (value("sport=").unwrap(), value("dport=").unwrap());
        let id = value("id=").unwrap().to_owned();
        places.insert((sport.parse().unwrap(), dport.parse().unwrap()), (mark >> 16 & 0xff, id));
    }
    assert_eq!(places.len(), FLOWS);
    places
}

fn shares(places: &BTreeMap<Ports, Place>) -> BTreeMap<&str, f64> {
    let mut shares = BTreeMap::new();
    for place in places.values() {
        *shares.entry(place.uplink.as_str()).or_default() += 1.0 / places.len() as f64;
    }
    shares
}

const SOURCE_PORTS: (u16, u16) = (20_000, 20_010);
const FAR_PORTS: (u16, u16) = (30_000, 31_000);
const FLOWS: usize = 10_000;
