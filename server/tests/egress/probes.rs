//! Probes of every kind against real services.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use hawser_server::egress::{Cause, State};
use hawser_server::probe_config::ProbeConfig;
use hawser_server::uplink_config::UplinkConfig;
use shared::clock::since_boot;

use crate::lab::{Lab, uplink};
use crate::namespace::{Namespace, eventually, inside, run};

/// A provider whose box is on the wire, but answers no echo, or nothing at all.
#[test]
fn a_gateway_is_asked_on_its_wire_in_either_family() {
    if !inside("probes::a_gateway_is_asked_on_its_wire_in_either_family") {
        return;
    }
    let lab = Lab::new();
    let asking = |name, interface, gateway: &str| UplinkConfig {
        probes: vec![ProbeConfig::Gateway],
        gateways: vec![gateway.parse().unwrap()],
        ..uplink(name, interface, 1)
    };
    lab.isp1.run("nft add table inet mute; nft add chain inet mute in \"{ type filter hook input priority 0; }\"; \
         nft add rule inet mute in icmp type echo-request drop");
    // Where there is an IPv4 gateway too, that one is asked.
    run("ip route del default dev wan2");
    let a = asking("a", "wan1", "192.0.2.1");
    let egress =
        lab.start(vec![a, asking("b", "wan2", "2001:db8:2::1"), asking("c", "wan1", "192.0.2.77")]);
    egress.await_health("a", State::Up);
    egress.await_health("b", State::Up);
    egress.await_health("c", State::Down);

    lab.isp1.run("ip link set peer arp off");
    lab.isp2.run("nft add table inet deaf; nft add chain inet deaf in \"{ type filter hook input priority 0; }\"; \
         nft add rule inet deaf in icmpv6 type nd-neighbor-solicit drop");
    for name in ["a", "b"] {
        egress.await_health(name, State::Down);
        let (_, _, cause) = egress.events_of(name).pop().unwrap();
        assert!(matches!(cause, Cause::Silent | Cause::Unreachable), "{cause}");
    }
    lab.isp1.run("ip link set peer arp on");
    lab.isp2.run("nft delete table inet deaf");
    egress.await_health("a", State::Up);
    egress.await_health("b", State::Up);
    // Another box with the same address: it is looked for once the old one has been missed.
    lab.isp1.run("ip link set peer address 02:00:00:00:00:99");
    egress.await_health("a", State::Down);
    egress.await_health("a", State::Up);
    assert_eq!(egress.snapshot()[0].probes[0].target, "gateway");
    egress.stop();
}

#[test]
fn a_web_server_that_fails_is_a_failure_with_its_cause() {
    if !inside("probes::a_web_server_that_fails_is_a_failure_with_its_cause") {
        return;
    }
    let lab = Lab::new();
    let web = Web::start(&lab.isp1);
    web.behave("200");
    let body = "[[http]]\nurl = \"http://203.0.113.9:8080/health\"\nbody = \"is well\"\n";
    let egress = lab.start(vec![probing("a", body), standby()]);
    egress.await_active("a");

    // A slow answer has as long as it takes: 32 intervals, and a second at least.
    for (behaviour, cause, within) in [
        ("500", Cause::Status(500), Duration::ZERO),
        ("body", Cause::Body, Duration::ZERO),
        ("slow", Cause::Slow, Duration::from_millis(3200)),
    ] {
        let began = since_boot();
        web.behave(behaviour);
        egress.await_health("a", State::Down);
        let took = since_boot() - began;
        println!("{behaviour}: unhealthy after {} ms", took.as_millis());
        assert_eq!(egress.events_of("a").last(), Some(&(State::Up, State::Down, cause)));
        // Three intervals, one that had begun, and a loaded machine.
        assert!(took < within + Duration::from_millis(400 + 600), "{behaviour}: {took:?}");
        web.behave("200");
        // The hold-down grows with every failure.
        eventually("it is healthy again", Duration::from_secs(60), || {
            (egress.events_of("a").last()?.1 == State::Up).then_some(())
        });
    }
    egress.stop();
}

#[test]
fn a_certificate_is_checked() {
    if !inside("probes::a_certificate_is_checked") {
        return;
    }
    let lab = Lab::new();
    let web = Web::start(&lab.isp1);
    web.behave("200");
    let ca = web.folder.path().join("ca.pem");
    let probe = |name: &str, port: u16, ca: Option<&Path>| {
        let ca = ca.map_or(String::new(), |ca| format!("ca = \"{}\"\n", ca.display()));
        probing(
            name,
            &format!(
                "[[http]]\nurl = \"https://web.example:{port}/\"\n\
                                address = \"203.0.113.9\"\n{ca}"
            ),
        )
    };
    let egress = lab.start(vec![
        probe("good", 8443, Some(&ca)),
        probe("expired", 8444, Some(&ca)),
        probe("other", 8445, Some(&ca)),
        probe("early", 8446, Some(&ca)),
        probe("untrusted", 8443, None),
    ]);
    egress.await_health("good", State::Up);
    for (name, causes) in [
        ("expired", [Cause::CertificateExpired].as_slice()),
        ("other", &[Cause::CertificateOfAnother]),
        ("early", &[Cause::CertificateNotYetValid]),
        // A host without ca-certificates trusts nobody at all.
        ("untrusted", &[Cause::CertificateUntrusted, Cause::NoAuthorities]),
    ] {
        egress.await_health(name, State::Down);
        let (_, to, cause) = *egress.events_of(name).last().unwrap();
        assert!(to == State::Down && causes.contains(&cause), "{name}: {cause:?}");
    }
    let status = egress.snapshot();
    let days = status[0].probes[0].certificate_days.unwrap();
    assert!((9..=10).contains(&days), "{days}");
    egress.stop();
}

#[test]
fn a_name_server_must_answer_without_an_error() {
    if !inside("probes::a_name_server_must_answer_without_an_error") {
        return;
    }
    let lab = Lab::new();
    // It knows one name, and refuses to look for others.
    let mut dns = lab.isp1.spawn(
        "exec dnsmasq --keep-in-foreground --no-resolv --no-hosts --port=53 --user=root \
         --listen-address=203.0.113.9 --bind-interfaces --address=/web.example/192.0.2.7",
    );
    let egress = lab.start(vec![
        probing("known", "probe = \"dns 203.0.113.9 web.example\"\n"),
        probing("unknown", "probe = \"dns 203.0.113.9 other.example\"\n"),
    ]);
    egress.await_health("known", State::Up);
    egress.await_health("unknown", State::Down);
    let refused = (State::Unknown, State::Down, Cause::NameServer(5));
    assert_eq!(egress.events_of("unknown"), [refused]);

    dns.kill().unwrap();
    dns.wait().unwrap();
    egress.await_health("known", State::Down);
    let gone = egress.events_of("known").pop().unwrap();
    assert!(matches!(gone.2, Cause::Refused | Cause::Unreachable), "{gone:?}");
    egress.stop();
}

#[test]
fn a_quorum_is_not_met_by_one_probe_of_two() {
    if !inside("probes::a_quorum_is_not_met_by_one_probe_of_two") {
        return;
    }
    let lab = Lab::new();
    let probes = "probe = [\"icmp 203.0.113.9\", \"tcp 203.0.113.9:4001\"]\n";
    let both = probing("both", &format!("{probes}quorum = 2\n"));
    let egress = lab.start(vec![both, probing("either", probes)]);
    egress.await_health("both", State::Up);
    egress.await_health("either", State::Up);

    lab.isp1.run("nft add table inet cut; nft add chain inet cut in \"{ type filter hook input priority 0; }\"; nft add rule inet cut in tcp dport 4001 reject with tcp reset");
    egress.await_health("both", State::Down);

    assert_eq!(egress.events_of("both").pop().unwrap().2, Cause::Refused);
    egress.await_health("either", State::Up);
    egress.stop();
}

/// An uplink by the first provider with these probes.
fn probing(name: &str, probes: &str) -> UplinkConfig {
    let read = shared::config::Document::from_text("x", probes).read(|table| {
        let quorum = table.optional("quorum", shared::config::number(1..=9));
        let quorum = quorum.map_or(1, shared::config::Placed::into_inner);
        Some((ProbeConfig::read(table), quorum))
    });
    let (probes, quorum) = read.unwrap();
    UplinkConfig { probes, quorum, ..uplink(name, "wan1", 1) }
}

fn standby() -> UplinkConfig {
    uplink("b", "wan2", 2)
}

/// A web server at a provider, with certificates of an authority of its own: 8443 is good for ten
/// days, 8444 is past its end, 8445 is of another name, 8446 begins tomorrow.
struct Web {
    folder: tempfile::TempDir,
    server: Child,
}

impl Web {
    fn start(isp: &Namespace) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("behaviour"), "200").unwrap();
        let ca = "-CA ca.pem -CAkey ca.key -CAcreateserial";
        let mut script = format!(
            "cd {}\nopenssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=authority \
             -keyout ca.key -out ca.pem 2>/dev/null\n",
            folder.path().display()
        );
        for (port, name, clock, days) in [
            (8443, "web.example", "-1 minute", 10),
            (8444, "web.example", "-30 days", 10),
            (8445, "other.example", "-1 minute", 10),
            (8446, "web.example", "+1 day", 10),
        ] {
            script += &format!(
                "openssl req -newkey rsa:2048 -nodes -subj /CN={name} -keyout key -out request \
                 2>/dev/null\n\
                 printf 'subjectAltName=DNS:{name}\\n' > extensions\n\
                 faketime '{clock}' openssl x509 -req -in request {ca} -days {days} \
                 -extfile extensions -out certificate 2>/dev/null\n\
                 cat certificate key > {port}.pem\n"
            );
        }
        run(&script);
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/egress/web.py");
        let mut server =
            isp.spawn(&format!("exec python3 {program} {} 203.0.113.9", folder.path().display()));
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Self { folder, server }
    }

    fn behave(&self, how: &str) {
        // Never seen half written.
        let folder = self.folder.path();
        std::fs::write(folder.join("next"), how).unwrap();
        std::fs::rename(folder.join("next"), folder.join("behaviour")).unwrap();
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
