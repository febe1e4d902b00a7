//! How long an uplink may be away before flows move, and how often.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use hawser_server::egress::{Duty, EventKind, State};
use hawser_server::policy::Failback;
use hawser_server::probe_config::ProbeConfig;
use hawser_server::uplink_config::UplinkConfig;
use shared::clock::since_boot;

use crate::classes::{policies, swift};
use crate::lab::{Lab, Running, uplink};
use crate::namespace::{eventually, inside, run};
use crate::target::{Manner, TARGET, Target};

#[test]
fn an_outage_of_a_quarter_of_a_second_moves_nothing_and_a_longer_one_does() {
    if !inside("outages::an_outage_of_a_quarter_of_a_second_moves_nothing_and_a_longer_one_does") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    lab.isp1.run("nft add table inet cut; nft add chain inet cut in \"{ type filter hook input priority 0; }\"");

    // At a phase of the probes that is another one each time.
    for round in 0..10 {
        outage(&lab, Duration::from_millis(250));
        std::thread::sleep(Duration::from_millis(400 + 7 * round));
    }
    assert_eq!(failures(&egress), 0, "ten short outages");

    for round in 0..3 {
        outage(&lab, Duration::from_millis(350));
        let failed = || (failures(&egress) > round).then_some(());
        eventually("it has moved", Duration::from_secs(1), failed);
        // The hold-down grows with every failure.
        egress.await_active_within("a", Duration::from_secs(60));
    }
    egress.stop();
}

/// H11 of the test plan.
#[test]
fn a_line_that_flaps_is_left_alone() {
    if !inside("outages::a_line_that_flaps_is_left_alone") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    lab.isp1.run("nft add table inet cut; nft add chain inet cut in \"{ type filter hook input priority 0; }\"");
    let before = egress.events_of("a").len();
    let began = since_boot();
    while since_boot() - began < Duration::from_secs(FLAPPING) {
        outage(&lab, Duration::from_secs(1));
        std::thread::sleep(Duration::from_secs(1));
    }

    let transitions = egress.events_of("a").len() - before;
    println!("{transitions} transitions in {FLAPPING} s of a second up, a second down");
    assert!(transitions <= 3, "{:?}", egress.events_of("a"));
    egress.stop();
}

/// Complaint 5 of the test plan: failover must not work only once, nor leave anything.
#[test]
fn a_hundred_failovers_leave_what_one_leaves() {
    if !inside("outages::a_hundred_failovers_leave_what_one_leaves") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    let mut flow = lab.flow("203.0.113.9:4000");
    // By order, since a line that fails again and again is held down for minutes.
    let mut cycle = || {
        flow.ask_until("isp1");
        egress.set_duty("a", Duty::Off);
        flow.ask_until("isp2");
        egress.set_duty("a", Duty::Normal);
        egress.set_duty("b", Duty::Off);
        flow.ask_until("isp1");
        egress.set_duty("b", Duty::Normal);
    };
    cycle();
    let (after_one, memory) = (traces(), resident());
    for _ in 1..100 {
        cycle();
    }

    assert_eq!(traces(), after_one);
    let grown = resident().saturating_sub(memory);
    println!("a hundred failovers: {grown} KiB more than after one");
    assert!(grown < 4096, "{grown} KiB");
    egress.stop();
}

#[test]
fn a_connection_that_has_lost_its_uplink_is_reset() {
    if !inside("outages::a_connection_that_has_lost_its_uplink_is_reset") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    for isp in [&lab.isp1, &lab.isp2] {
        let listener = isp.make(|| TcpListener::bind("203.0.113.9:4002").unwrap());
        std::thread::spawn(move || {
            // Kept open, and silent.
            let _connections: Vec<_> = listener.incoming().collect();
        });
    }
    let mut connection = lab.client.make(|| TcpStream::connect("203.0.113.9:4002").unwrap());
    connection.set_read_timeout(Some(Duration::from_millis(10))).unwrap();

    lab.isp1.run("ip link set peer down");
    let began = since_boot();
    let error = eventually("a reset", Duration::from_secs(5), || {
        // Whoever asks first is told, and only he.
        let written = connection.write(b"still there?").err();
        let error = written.or_else(|| connection.read(&mut [0; 16]).err())?;
        (error.kind() == std::io::ErrorKind::ConnectionReset).then_some(error)
    });
    println!("{error} after {} ms", (since_boot() - began).as_millis());
    lab.client.make(|| TcpStream::connect("203.0.113.9:4002").unwrap());
    egress.stop();
}

/// Complaint 3 and L3 of the test plan: who reconnects at once must not come back to the dead uplink.
#[test]
fn after_a_failover_no_flow_is_left_at_the_failed_uplink() {
    if !inside("outages::after_a_failover_no_flow_is_left_at_the_failed_uplink") {
        return;
    }
    let lab = Lab::new();
    let egress = lab.pair();
    let mut held = lab.flow("203.0.113.9:4000");
    held.ask_until("isp1");

    // A new flow each millisecond, before, during and after.
    let sockets: Vec<UdpSocket> =
        (0..1500).map(|_| lab.client.make(|| UdpSocket::bind("10.9.0.2:0").unwrap())).collect();
    let storm = std::thread::spawn(move || {
        for socket in sockets {
            let _ = socket.send_to(b"hello", "203.0.113.9:4000");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let at_a = || run("conntrack -L -m 0x10000/0xff0000 2>/dev/null || true").lines().count();
    eventually("there are many flows", Duration::from_secs(2), || (at_a() > 200).then_some(()));
    lab.isp1.run("ip link set peer down");
    held.ask_until("isp2");
    let flushed =
        |kind: &EventKind| matches!(kind, EventKind::Flushed { uplink, .. } if uplink == "a");
    eventually("its flows are forgotten", Duration::from_secs(2), || {
        (egress.kinds(flushed) == 2).then_some(())
    });
    while !storm.is_finished() {
        assert_eq!(at_a(), 0);
    }
    storm.join().unwrap();
    let at_b = run("conntrack -L -m 0x20000/0xff0000 2>/dev/null").lines().count();
    assert!(at_b > 500, "{at_b}");
    let order: Vec<String> = egress
        .events()
        .iter()
        .map(|event| event.kind.to_string())
        .skip_while(|text| !text.contains("a: healthy"))
        .collect();
    let place = |text: &str| order.iter().position(|event| event.contains(text)).unwrap();
    assert!(place("IPv4 leaves by b") < place("IPv4 flows of a begin anew"), "{order:?}");
    egress.stop();
}

#[test]
fn a_family_that_an_uplink_has_lost_takes_another_one_and_the_other_stays() {
    if !inside("outages::a_family_that_an_uplink_has_lost_takes_another_one_and_the_other_stays") {
        return;
    }
    let lab = Lab::new();
    let both = |name, interface, tier| {
        let targets = ["203.0.113.9", "2001:db8:ffff::9"];
        let probes = targets.map(|it| ProbeConfig::Icmp { target: it.parse().unwrap() }).to_vec();
        UplinkConfig { probes, ..uplink(name, interface, tier) }
    };
    let egress = lab.start(vec![both("a", "wan1", 1), both("b", "wan2", 2)]);
    egress.await_all_healthy();
    let [mut v4, mut v6] = lab.flows();
    let before = v4.ask_until("isp1");
    v6.ask_until("isp1");

    lab.isp1.run("nft add table inet cut; nft add chain inet cut in \"{ type filter hook input priority 0; }\"; \
                  nft add rule inet cut in ip6 daddr 2001:db8:ffff::9 drop");
    v6.ask_until("isp2");
    assert_eq!(v4.ask_until_answered(), before, "the same flow");
    assert_eq!(lab.flow("203.0.113.9:4000").ask_until_answered().provider, "isp1");
    assert_eq!(failures(&egress), 0);

    lab.isp1.run("nft delete table inet cut");
    eventually("IPv6 leaves by a again", Duration::from_secs(20), || {
        (lab.flow("[2001:db8:ffff::9]:4000").ask()?.provider == "isp1").then_some(())
    });
    egress.stop();
}

/// Complaint 9 of the test plan: a line that is slower than its probes are frequent is not dead.
#[test]
fn a_line_that_is_slower_than_its_probes_is_alive() {
    if !inside("outages::a_line_that_is_slower_than_its_probes_is_alive") {
        return;
    }
    let lab = Lab::new();
    let target = Target::behind(&lab.isp1);
    target.behave(Manner { delay: Duration::from_millis(800), ..Manner::default() });
    let probes = vec![ProbeConfig::Icmp { target: TARGET.parse().unwrap() }];
    let a = UplinkConfig { probes, ..uplink("a", "wan1", 1) };
    let egress = lab.start(vec![a, uplink("b", "wan2", 2)]);
    egress.await_active("a");

    std::thread::sleep(Duration::from_secs(4));

    assert_eq!(failures(&egress), 0, "{:?}", egress.events_of("a"));
    egress.stop();
}

#[test]
fn an_uplink_whose_traffic_is_answered_does_not_fail_with_its_target() {
    if !inside("outages::an_uplink_whose_traffic_is_answered_does_not_fail_with_its_target") {
        return;
    }
    let lab = Lab::new();
    // Calls have limits that a silent target must not break.
    let uplinks = vec![swift("a", "wan1", 1), swift("b", "wan2", 2)];
    let egress = lab.by(policies(Failback::Drain), uplinks);
    egress.await_all_healthy();
    egress.await_active("a");
    let connect = || {
        lab.client.make(|| {
            let far = "203.0.113.9:4001".parse().unwrap();
            TcpStream::connect_timeout(&far, Duration::from_millis(200)).is_ok()
        })
    };
    assert!(connect());

    lab.isp1.run(
        "nft add table inet cut; nft add chain inet cut in \"{ type filter hook input priority 0; }\"; \
         nft add rule inet cut in icmp type echo-request drop",
    );
    let began = since_boot();
    while since_boot() - began < Duration::from_secs(3) {
        assert!(connect(), "by a");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(failures(&egress), 0, "{:?}", egress.events_of("a"));
    assert_eq!(egress.kinds(|kind| matches!(kind, EventKind::Quality { .. })), 0);

    // Nobody uses it any more: then its probes decide.
    egress.await_health("a", State::Down);
    assert!(connect(), "by b");
    egress.stop();
}

/// Nothing comes through for so long.
fn outage(lab: &Lab, time: Duration) {
    let began = since_boot();
    lab.isp1.run("nft add rule inet cut in drop");
    // The command takes time on both sides of the change: half of it each.
    let took = since_boot() - began;
    std::thread::sleep(time.saturating_sub(took));
    lab.isp1.run("nft flush chain inet cut in");
}

fn failures(egress: &Running) -> usize {
    let failed = |kind: &EventKind| matches!(kind, EventKind::Health { uplink, to: State::Down, .. } if uplink == "a");
    egress.kinds(failed)
}

/// What is left in the kernel of what we do there, without counters and times.
fn traces() -> String {
    let rules = run("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all");
    let table = run("nft -s list ruleset | sed \"s/counter.*//\"");
    rules + &table
}

/// The memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Seconds; the number of the test plan.
const FLAPPING: u64 = 60;
