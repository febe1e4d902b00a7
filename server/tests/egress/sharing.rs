//! Several uplinks share the flows.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use hawser_server::egress::{EventKind, State};
use hawser_server::policy::Key;
use hawser_server::uplink_config::UplinkConfig;
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
    for name in ["a", "b", "c"] {
        egress.await_health(name, State::Up);
    }
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

/// Sends a datagram of every flow, and asks the kernel where they went.
fn send(senders: &[UdpSocket]) -> BTreeMap<Ports, Place> {
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
        let uplink = ["none", "a", "b", "c"][(mark >> 16 & 0xff) as usize].to_owned();
        let id = value("id=").unwrap().to_owned();
        places.insert((sport.parse().unwrap(), dport.parse().unwrap()), Place { uplink, id });
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
