//! Classes of traffic, each with its own limits and its own way.

use std::net::UdpSocket;
use std::time::Duration;

use engine::Class;
use hawser_server::egress::{Breach, EventKind, State};
use hawser_server::limits::Limits;
use hawser_server::policy::{Failback, OnBreach, Policy};
use hawser_server::probe_config::ProbeConfig;
use hawser_server::uplink_config::UplinkConfig;
use shared::clock::since_boot;

use crate::lab::{Flow, Lab, Running, uplink};
use crate::namespace::{eventually, inside};
use crate::target::{Manner, TARGET, Target};

/// D1 of the test plan.
#[test]
fn a_loss_moves_calls_only_and_they_come_back_when_it_is_over() {
    if !inside("classes::a_loss_moves_calls_only_and_they_come_back_when_it_is_over") {
        return;
    }
    let lab = Lab::new();
    let reserved = UplinkConfig { only: vec![Class::RealTime], ..swift("b", "wan2", 2) };
    let egress = lab.by(policies(Failback::Force), vec![swift("a", "wan1", 1), reserved]);
    egress.await_all_healthy();
    let mut call = marked(&lab, EF);
    let mut bulk = lab.flow("203.0.113.9:4000");
    assert_eq!(call.ask_until_answered().provider, "isp1");
    assert_eq!(bulk.ask_until_answered().provider, "isp1");
    let port = bulk.ask_until_answered();

    lab.isp1.run(LOSS);
    let began = since_boot();
    call.ask_until("isp2");
    println!("loss of 30 %: the call moved after {} ms", (since_boot() - began).as_millis());
    let heard = (0..200).filter(|_| call.ask().is_some()).count();
    println!("the call then loses {} of 200", 200 - heard);
    assert_eq!(heard, 200, "the backup is clean");
    assert_eq!(bulk.ask_until_answered(), port, "the same flow where it was");
    assert_eq!(lab.flow("203.0.113.9:4000").ask_until_answered().provider, "isp1");

    lab.isp1.run("nft delete table inet lossy");
    let mended = since_boot();
    call.ask_until("isp1");
    let after = since_boot() - mended;
    println!("the call is back after {:.1} s", after.as_secs_f64());
    assert!(after >= Duration::from_secs(9), "not before it is proven: {after:?}");
    let breaches = egress.kinds(|kind| matches!(kind, EventKind::Quality { breach: Some(_), .. }));
    assert_eq!(breaches, 1);
    egress.stop();
}

/// D2 of the test plan.
#[test]
fn a_spike_moves_nothing_and_a_delay_or_a_jitter_that_stays_moves_calls() {
    if !inside("classes::a_spike_moves_nothing_and_a_delay_or_a_jitter_that_stays_moves_calls") {
        return;
    }
    let lab = Lab::new();
    let target = Target::behind(&lab.isp1);
    let far = ProbeConfig::Icmp { target: TARGET.parse().unwrap() };
    let a = UplinkConfig { probes: vec![far], ..swift("a", "wan1", 1) };
    let mut policies = policies(Failback::Force);
    policies[1].limits.latency = Some(Duration::from_millis(80));
    policies[1].return_after = Duration::from_secs(2);
    let egress = lab.by(policies, vec![a, swift("b", "wan2", 2)]);
    egress.await_all_healthy();
    eventually("its latency is known", Duration::from_secs(10), || {
        let asked = egress.snapshot()[0].probes[0].received;
        (asked > KNOWN_AFTER).then_some(())
    });
    let slow = Manner { delay: Duration::from_millis(200), ..Manner::default() };

    for _ in 0..10 {
        target.behave(slow);
        std::thread::sleep(Duration::from_millis(250));
        target.behave(Manner::default());
        std::thread::sleep(Duration::from_millis(1100));
    }
    let moved = egress.kinds(|kind| matches!(kind, EventKind::Quality { .. }));
    assert_eq!(moved, 0, "ten spikes of a quarter of a second");

    let swinging = Manner { swing: Duration::from_millis(80), ..Manner::default() };
    let lossy = Manner { lost: 20, ..Manner::default() };
    for (name, manner) in [("delay", slow), ("jitter", swinging), ("loss of 20 %", lossy)] {
        let mut call = marked(&lab, EF);
        call.ask_until("isp1");
        target.behave(manner);
        let began = since_boot();
        call.ask_until("isp2");
        println!("{name}: the call moved after {} ms", (since_boot() - began).as_millis());
        let breach = last_breach(&egress).expect("a limit is broken");
        match name {
            "delay" => assert!(matches!(breach, Breach::Latency(_)), "{breach}"),
            "jitter" => assert!(matches!(breach, Breach::Jitter(_)), "{breach}"),
            _ => assert!(matches!(breach, Breach::Loss(_)), "{breach}"),
        }
        target.behave(Manner::default());
        eventually("calls come back", Duration::from_secs(20), || {
            last_breach(&egress).is_none().then_some(())
        });
        call.ask_until("isp1");
    }
    egress.stop();
}

#[test]
fn flows_of_a_class_stay_follow_or_stick_as_they_are_told() {
    if !inside("classes::flows_of_a_class_stay_follow_or_stick_as_they_are_told") {
        return;
    }
    let lab = Lab::new();
    for failback in [Failback::Drain, Failback::Sticky, Failback::Force] {
        let mut policies = policies(failback);
        policies[1].return_after = Duration::from_secs(2);
        let egress = lab.by(policies, vec![swift("a", "wan1", 1), swift("b", "wan2", 2)]);
        egress.await_all_healthy();
        let mut call = marked(&lab, EF);
        call.ask_until("isp1");

        lab.isp1.run(LOSS);
        call.ask_until("isp2");
        lab.isp1.run("nft delete table inet lossy");
        eventually("a is good again", Duration::from_secs(20), || {
            last_breach(&egress).is_none().then_some(())
        });
        eventually("it is in force", Duration::from_secs(5), || {
            egress.active_for("real-time").eq(&["a"]).then_some(())
        });

        let stays = if failback == Failback::Force { "isp1" } else { "isp2" };
        let new = if failback == Failback::Sticky { "isp2" } else { "isp1" };
        assert_eq!(call.ask_until_answered().provider, stays, "{failback:?}");
        let mut second = marked(&lab, EF);
        assert_eq!(second.ask_until_answered().provider, new, "{failback:?}: a second call");
        egress.stop();
    }
}

#[test]
fn a_reserved_uplink_refuses_what_it_is_not_for_and_more_than_it_carries() {
    if !inside("classes::a_reserved_uplink_refuses_what_it_is_not_for_and_more_than_it_carries") {
        return;
    }
    let lab = Lab::new();
    let reserved = UplinkConfig {
        only: vec![Class::RealTime],
        flows_max: Some(2),
        capacity: Some("2mbit".parse().unwrap()),
        ..swift("b", "wan2", 2)
    };
    let egress = lab.by(policies(Failback::Drain), vec![swift("a", "wan1", 1), reserved]);
    egress.await_health("b", State::Up);
    lab.isp1.run("ip link set peer down");
    egress.await_health("a", State::Down);

    let mut calls: Vec<Flow> = (0..2).map(|_| marked(&lab, EF)).collect();
    for call in &mut calls {
        call.ask_until("isp2");
    }
    let mut third = marked(&lab, EF);
    let mut bulk = lab.flow("203.0.113.9:4000");
    for _ in 0..10 {
        assert_eq!(third.ask(), None, "two calls are what it carries");
        assert_eq!(bulk.ask(), None, "the rest may not use it");
    }
    for call in &mut calls {
        assert_eq!(call.ask_until_answered().provider, "isp2", "those that are there go on");
    }

    // Twice as much as the line carries, for two seconds.
    let sink = lab.isp2.make(|| UdpSocket::bind("203.0.113.9:4009").unwrap());
    sink.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    drop(calls.pop());
    crate::namespace::run("conntrack -F 2>/dev/null");
    let flood = marked_to(&lab, EF, "203.0.113.9:4009");
    let counting = std::thread::spawn(move || {
        let mut packet = [0; 1500];
        let mut bytes = 0;
        while let Ok(length) = sink.recv(&mut packet) {
            bytes += length + 28;
        }
        bytes
    });
    let began = since_boot();
    while since_boot() - began < Duration::from_secs(2) {
        let _ = flood.socket().send(&[0; 1000]);
        std::thread::sleep(Duration::from_millis(2));
    }
    let rate = counting.join().unwrap() as f64 * 8.0 / 2e6;
    println!("{rate:.2} Mbit/s of about 4 come through");
    assert!(rate > 1.0 && rate < 2.5, "{rate}");
    egress.stop();
    let queues = crate::namespace::run("tc qdisc show dev wan2");
    assert!(!queues.contains("htb"), "{queues}");
}

/// Calls with their usual limits.
pub(crate) fn policies(failback: Failback) -> Vec<Policy> {
    let calls = Policy {
        class: Some(Class::RealTime),
        limits: Limits::usual(Class::RealTime),
        on_breach: OnBreach::Steer,
        failback,
        ..Policy::default()
    };
    vec![Policy::default(), calls]
}

/// An uplink that asks fifty times a second.
pub(crate) fn swift(name: &str, interface: &str, tier: u8) -> UplinkConfig {
    UplinkConfig { interval: Duration::from_millis(20), ..uplink(name, interface, tier) }
}

fn marked(lab: &Lab, dscp: u32) -> Flow {
    marked_to(lab, dscp, "203.0.113.9:4000")
}

fn marked_to(lab: &Lab, dscp: u32, to: &str) -> Flow {
    let flow = lab.flow(to);
    socket2::SockRef::from(flow.socket()).set_tos_v4(dscp << 2).unwrap();
    flow
}

/// The limit that uplink a breaks at this moment.
fn last_breach(egress: &Running) -> Option<Breach> {
    let quality = |kind| match kind {
        EventKind::Quality { uplink, breach, .. } if uplink == "a" => Some(breach),
        _ => None,
    };
    egress.events().into_iter().filter_map(|event| quality(event.kind)).next_back().flatten()
}

/// Answers after which quality is judged by more than a spike.
const KNOWN_AFTER: u64 = 40;
/// Expedited forwarding (RFC 3246).
const EF: u32 = 46;
/// Three of ten packets don't arrive.
const LOSS: &str = "nft add table inet lossy; nft add chain inet lossy in \
     \"{ type filter hook input priority 0; }\"; \
     nft add rule inet lossy in numgen random mod 100 \\< 30 drop";
