//! The egress over real interfaces, in network namespaces that the tests make.
//!
//! ```text
//! client ── hawser0 (a stand-in for the TUN) ── server ─┬─ wan1 ── isp1 ─ 203.0.113.9
//!                                                       └─ wan2 ── isp2 ─ 203.0.113.9
//! ```
//! Each provider has the same far address, and answers every question with its own name and the
//! address that it was asked from.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "egress/changes.rs"]
mod changes;
#[path = "egress/classes.rs"]
mod classes;
#[path = "egress/lab.rs"]
mod lab;
#[path = "../../shared/tests/host/namespace.rs"]
mod namespace;
#[path = "egress/outages.rs"]
mod outages;
#[path = "egress/probes.rs"]
mod probes;
#[path = "egress/sharing.rs"]
mod sharing;
#[path = "egress/target.rs"]
mod target;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use hawser_server::egress::{Cause, Egress, EventKind, Reason, State};
use hawser_server::egress_config::EgressConfig;
use hawser_server::probe_config::ProbeConfig;
use hawser_server::uplink_config::UplinkConfig;
use lab::{Answer, Flow, Lab, uplink};
use namespace::{difference, eventually, everything, inside, run};
use shared::clock::since_boot;
use shared::host::{Family, HostState};

#[test]
fn silence_moves_flows_to_the_second_tier_and_back() {
    if !inside("silence_moves_flows_to_the_second_tier_and_back") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    let mut flows = lab.flows();
    for flow in &mut flows {
        assert_eq!(flow.ask_until_answered().provider, "isp1");
    }

    lab.isp1.run("nft add table inet cut; nft add chain inet cut in \"{ type filter hook input priority 0; policy drop; }\"");
    let cut_at = since_boot();
    for flow in &mut flows {
        let moved = flow.ask_until("isp2");
        assert!(moved.source == flow.address_at("isp2"), "translated: {moved:?}");
    }
    let took = since_boot() - cut_at;
    println!("silence: both families moved after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(egress.events_of("a").contains(&(State::Up, State::Down, Cause::Silent)));
    egress.await_active("b");

    lab.isp1.run("nft delete table inet cut");
    let mended_at = since_boot();
    egress.await_active("a");
    let mut fresh = lab.flows();
    for flow in &mut fresh {
        flow.ask_until("isp1");
    }
    println!("return: new flows take the first tier after {:?}", since_boot() - mended_at);
    for flow in &mut flows {
        assert_eq!(flow.ask_until_answered().provider, "isp2", "an established flow stays");
    }
    egress.stop();
}

#[test]
fn a_failure_does_not_touch_flows_of_the_healthy_uplink() {
    if !inside("a_failure_does_not_touch_flows_of_the_healthy_uplink") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    lab.isp1.run("ip link set peer down");
    let mut held = lab.flows();
    let before: Vec<Answer> = held.iter_mut().map(|flow| flow.ask_until("isp2")).collect();
    lab.isp1.run("ip link set peer up");
    egress.await_active("a");
    let mut moving = lab.flow("203.0.113.9:4000");
    moving.ask_until("isp1");

    // A question each 10 ms on the held flows, across the failure of the other uplink.
    lab.isp1.run("ip link set peer down");
    for _ in 0..50 {
        for (flow, before) in held.iter_mut().zip(&before) {
            let answer = flow.ask();
            assert_eq!(answer.as_ref(), Some(before), "same provider, address and port, none lost");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    moving.ask_until("isp2");

    let flushed =
        egress.kinds(|kind| matches!(kind, EventKind::Flushed { uplink, .. } if uplink == "b"));
    assert_eq!(flushed, 0);
    egress.stop();
}

#[test]
fn a_lost_link_is_believed_at_once() {
    if !inside("a_lost_link_is_believed_at_once") {
        return;
    }
    let lab = Lab::new();
    // Without probes only the link counts.
    let plain = |name, interface, tier| UplinkConfig {
        probes: Vec::new(),
        ..uplink(name, interface, tier)
    };
    let egress = lab.start(vec![plain("a", "wan1", 1), plain("b", "wan2", 2)]);
    let mut flow = lab.flow("203.0.113.9:4000");
    flow.ask_until("isp1");

    lab.isp1.run("ip link set peer down");
    let cut_at = since_boot();
    flow.ask_until("isp2");
    let took = since_boot() - cut_at;
    println!("lost link at {:.1}: moved after {} ms", cut_at.as_secs_f64() * 1e3, took.as_millis());
    lab.isp1.run("ip link set peer up");
    egress.await_active("a");
    lab.flow("203.0.113.9:4000").ask_until("isp1");

    assert!(took < Duration::from_secs(1), "{took:?}");
    let lost = (State::Up, State::Down, Cause::LinkDown);
    assert!(egress.events_of("a").contains(&lost));
    egress.stop();
}

#[test]
fn with_nothing_healthy_packets_go_on_and_flows_are_kept() {
    if !inside("with_nothing_healthy_packets_go_on_and_flows_are_kept") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    let mut flow = lab.flow("203.0.113.9:4000");
    let before = flow.ask_until("isp1");

    // The target that all probes share is what is broken, not the uplinks.
    run("nft 'add table inet cut; \
         add chain inet cut in { type filter hook prerouting priority 0; }; \
         add rule inet cut in icmp type echo-reply drop'");
    egress.await_health("a", State::Down);
    egress.await_health("b", State::Down);

    assert_eq!(flow.ask_until_answered(), before, "the same flow");
    assert_eq!(lab.flow("203.0.113.9:4000").ask_until_answered().provider, "isp1");
    let said =
        |kind: &EventKind| matches!(kind, EventKind::Active { reason: Reason::FailOpen, .. });
    assert!(egress.kinds(said) > 0);
    assert_eq!(egress.kinds(|kind| matches!(kind, EventKind::Flushed { .. })), 0);
    egress.stop();
}

#[test]
fn nothing_leaks_by_a_way_that_was_not_chosen() {
    if !inside("nothing_leaks_by_a_way_that_was_not_chosen") {
        return;
    }
    let lab = Lab::new();
    // wan2 has a default route of the host, but it is no uplink.
    let egress = lab.start(vec![uplink("a", "wan1", 1)]);
    egress.await_health("a", State::Up);
    let mut flow = lab.flow("203.0.113.9:4000");
    flow.ask_until("isp1");
    let mut foreign = lab.flow_from("10.99.0.2:0", "203.0.113.9:4000");
    let mut foreign6 = lab.flow_from("[2001:db8:99::2]:0", "[2001:db8:ffff::9]:4000");

    for _ in 0..5 {
        assert_eq!(foreign.ask(), None, "a source that is nobody's");
        assert_eq!(foreign6.ask(), None, "a source that is nobody's");
    }
    lab.isp1.run("ip link set peer down");
    egress.await_health("a", State::Down);
    for _ in 0..5 {
        assert_eq!(flow.ask(), None, "no uplink is left");
        assert_eq!(lab.flow("[2001:db8:ffff::9]:4000").ask(), None);
    }
    let dropped = run("nft list chain inet hawser-x from-tunnel");
    assert!(dropped.contains("counter packets 5 "), "{dropped}");
    lab.isp1.run("ip link set peer up");
    flow.ask_until("isp1");

    egress.set_sources(&["10.9.0.0/24", "10.99.0.0/24"]);
    assert_eq!(foreign.ask_until_answered().provider, "isp1", "registered since");
    egress.stop();
}

#[test]
fn after_sigkill_the_next_start_is_like_the_first_and_stop_leaves_nothing() {
    if !inside("after_sigkill_the_next_start_is_like_the_first_and_stop_leaves_nothing") {
        return;
    }
    let lab = Lab::new();
    run("echo 1 > /proc/sys/net/ipv4/conf/wan2/rp_filter");
    let before = everything();
    let uplinks = || vec![uplink("a", "wan1", 1), uplink("b", "wan2", 2)];

    let egress = lab.start(uplinks());
    egress.await_all_healthy();
    let first = everything();
    assert_ne!(difference(&before, &first), "");
    egress.stop();
    assert_eq!(difference(&before, &everything()), "", "stopped");

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "egress_of_another_process", "--ignored", "--nocapture"])
        .env(FOLDER, lab.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("healthy")), "it started");
    assert_eq!(difference(&first, &everything()), "", "made by the other process");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(difference(&first, &everything()), "", "left behind");
    run("ip rule del priority 9003; ip route flush table 18689");

    let egress = lab.start(uplinks());
    egress.await_all_healthy();
    assert_eq!(difference(&first, &everything()), "", "like the first start");
    let mut flow = lab.flow("203.0.113.9:4000");
    flow.ask_until("isp1");
    egress.stop();
    assert_eq!(difference(&before, &everything()), "", "stopped again");
}

/// Not a test of its own: the process that is killed above.
#[test]
#[ignore = "started by the test above, with a folder"]
fn egress_of_another_process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        panic!("this is a part of another test");
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let host = HostState::open_in(folder.as_ref(), "x").await.unwrap();
        let uplinks = vec![uplink("a", "wan1", 1), uplink("b", "wan2", 2)];
        let config = EgressConfig { uplinks, ..EgressConfig::default() };
        let egress = Egress::start(config, lab::origin(), &host).await.unwrap();
        while !egress.snapshot().iter().all(|uplink| uplink.state == "healthy") {
            tokio::task::yield_now().await;
        }
        println!("healthy");
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
}

#[test]
fn without_uplinks_the_hosts_default_routes_are_the_way_out() {
    if !inside("without_uplinks_the_hosts_default_routes_are_the_way_out") {
        return;
    }
    let lab = Lab::new();
    let before = everything();
    let egress = lab.start(Vec::new());
    for flow in &mut lab.flows() {
        let answer = flow.ask_until("isp1");
        assert_eq!(answer.source, flow.address_at("isp1"), "translated");
    }

    run("ip route del default dev wan1; ip -6 route del default dev wan1");
    for flow in &mut lab.flows() {
        let answer = flow.ask_until("isp2");
        assert_eq!(answer.source, flow.address_at("isp2"), "translated");
    }
    run("ip route add default via 192.0.2.1 dev wan1 metric 100; \
         ip -6 route add default via 2001:db8:1::1 dev wan1 metric 100");

    egress.stop();
    assert_eq!(difference(&before, &everything()), "");
}

#[test]
fn gateways_alone_and_visitors_from_outside() {
    if !inside("gateways_alone_and_visitors_from_outside") {
        return;
    }
    let lab = Lab::new();
    // No default route of the host is of any use here.
    run("ip route flush default; ip -6 route flush default");
    let through = |name, gateways: [&str; 2], tier| UplinkConfig {
        interface: None,
        gateways: gateways.map(|gateway| gateway.parse().unwrap()).to_vec(),
        ..uplink(name, "", tier)
    };
    let egress = lab.start(vec![
        through("a", ["192.0.2.1", "2001:db8:1::1"], 1),
        through("b", ["198.51.100.1", "2001:db8:2::1"], 2),
    ]);
    egress.await_all_healthy();
    for flow in &mut lab.flows() {
        flow.ask_until("isp1");
    }

    // The provider of b knows the way to the client: its question is answered by b.
    lab.isp2.run("ip route add 10.9.0.0/24 via 198.51.100.2");
    let mut visitor = lab.visit(&lab.isp2, "10.9.0.2:5000");
    assert_eq!(visitor.ask_until_answered().provider, "client");
    // So is a question to the server's own address there.
    let mut local = lab.visit(&lab.isp2, "198.51.100.2:5001");
    assert_eq!(local.ask_until_answered().provider, "server");

    // An uplink that has lost its address does not stand where the default route leads.
    run(
        "ip route add default via 192.0.2.1 dev wan1; ip -6 route add default via 2001:db8:1::1 dev wan1; \
         ip address flush dev wan2 scope global",
    );
    egress.await_health("b", State::Down);
    assert_eq!(egress.snapshot()[1].interface, None);
    run("ip route add blackhole 198.51.100.0/24; ip link set wan1 down");
    egress.await_health("a", State::Down);
    egress.stop();
}

#[test]
fn tcp_probes_tell_refusal_from_silence() {
    if !inside("tcp_probes_tell_refusal_from_silence") {
        return;
    }
    let lab = Lab::new();
    let tcp = |name, interface, tier, target: &str| UplinkConfig {
        probes: vec![ProbeConfig::Tcp { target: target.parse().unwrap() }],
        ..uplink(name, interface, tier)
    };
    let egress = lab.start(vec![
        tcp("a", "wan1", 1, "203.0.113.9:4001"),
        tcp("b", "wan2", 2, "[2001:db8:ffff::9]:4001"),
    ]);
    egress.await_all_healthy();

    lab.isp1.run("nft add table inet cut; nft add chain inet cut in \"{ type filter hook input priority 0; }\"; nft add rule inet cut in tcp dport 4001 reject with tcp reset");
    lab.isp2.run("nft add table inet cut; nft add chain inet cut in \"{ type filter hook input priority 0; }\"; nft add rule inet cut in tcp dport 4001 drop");
    egress.await_health("a", State::Down);
    egress.await_health("b", State::Down);

    assert!(egress.events_of("a").contains(&(State::Up, State::Down, Cause::Refused)));
    assert!(egress.events_of("b").contains(&(State::Up, State::Down, Cause::Silent)));
    let status = egress.snapshot();
    assert_eq!(status[0].probes[0].error.as_deref(), Some("refused by the target"));
    assert_eq!(status[0].probes[0].target, "tcp 203.0.113.9:4001");
    assert!(status[0].probes[0].sent >= status[0].probes[0].received);
    egress.stop();
}

#[test]
fn an_address_that_changes_takes_the_probes_along() {
    if !inside("an_address_that_changes_takes_the_probes_along") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.start(vec![uplink("a", "wan1", 1)]);
    egress.await_health("a", State::Up);
    let mut flow = lab.flow("203.0.113.9:4000");
    assert_eq!(flow.ask_until("isp1").source, "192.0.2.2".parse::<std::net::IpAddr>().unwrap());

    // As a dial-up line that was renumbered: other address, other gateway, the route learnt again.
    lab.isp1.run("ip address flush dev peer scope global; ip address add 192.0.2.129/25 dev peer");
    run("ip address flush dev wan1 scope global; ip address add 192.0.2.130/25 dev wan1; \
         ip route add default via 192.0.2.129 dev wan1 metric 100");
    egress.await_health("a", State::Up);
    let renumbered = "192.0.2.130".parse::<std::net::IpAddr>().unwrap();
    eventually("the flow has the other address", Duration::from_secs(20), || {
        flow.ask().filter(|answer| answer.source == renumbered)
    });
    egress.stop();
}

#[test]
fn a_firewall_of_others_is_named_with_a_command_that_helps() {
    if !inside("a_firewall_of_others_is_named_with_a_command_that_helps") {
        return;
    }
    let lab = Lab::new();
    run(
        "nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'",
    );
    let egress = lab.start(vec![uplink("a", "wan1", 1)]);
    egress.await_health("a", State::Up);
    let mut flow = lab.flow("203.0.113.9:4000");
    assert_eq!(flow.ask(), None);
    let refusals = egress.refusals();
    assert_eq!(refusals.len(), 1, "{refusals:?}");

    run(&refusals[0]);

    assert_eq!(flow.ask_until_answered().provider, "isp1");
    egress.stop();
    let egress = lab.start(vec![uplink("a", "wan1", 1)]);
    assert_eq!(egress.refusals(), Vec::<String>::new());
    egress.stop();
}

#[test]
fn impossible_uplinks_are_refused_by_name() {
    if !inside("impossible_uplinks_are_refused_by_name") {
        return;
    }
    let lab = Lab::new();
    let before = everything();
    let only = |uplinks| EgressConfig { uplinks, ..EgressConfig::default() };
    let homeless = UplinkConfig { interface: None, ..uplink("homeless", "", 1) };

    for (config, named) in [
        (uplink("a", "hawser0", 1), "hawser0"),
        (uplink("a", "bad\"name", 1), "bad\"name"),
        (homeless, "homeless"),
    ] {
        let error = lab.try_start(only(vec![config])).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let many = (0..33).map(|at| uplink(&format!("u{at}"), "wan1", 1)).collect();
    assert!(lab.try_start(only(many)).unwrap_err().to_string().contains("33"));
    assert_eq!(difference(&before, &everything()), "");
}

#[test]
fn an_interface_that_comes_back_is_used_again() {
    if !inside("an_interface_that_comes_back_is_used_again") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    let mut flow: Flow = lab.flow("203.0.113.9:4000");
    flow.ask_until("isp1");

    run("ip link del wan1");
    flow.ask_until("isp2");
    lab.connect(1);
    egress.await_active("a");

    lab.flow("203.0.113.9:4000").ask_until("isp1");
    let family = |kind: &EventKind| matches!(kind, EventKind::Active { family: Family::V4, .. });
    assert!(egress.kinds(family) >= 3, "a, b, a");
    egress.stop();
}

const FOLDER: &str = "HAWSER_TEST_FOLDER";
