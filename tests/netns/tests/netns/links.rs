//! Links of other sizes and families, NATs, and who copies on the way.

use std::time::{Duration, Instant};

use lab::{Change, Direction, LinkSpec, Node, Switch, Topology};
use netns::{Options, Tunnel, eventually, run_on};

use crate::traffic::{Stream, Way, figure, tcp_goodput};

#[test]
fn a_smaller_link_without_icmp_carries_its_share() {
    for mtu in [1492u32, 1358] {
        let topology = Topology::of([LinkSpec::new("fibre", 50, 20), LinkSpec::new("dsl", 50, 20)]);
        let lab_options = Options::default();
        let tunnel = {
            let mut topology = topology;
            topology.links[1].up.mtu = mtu;
            topology.links[1].down.mtu = mtu;
            Tunnel::up(&topology, &lab_options).expect("a tunnel")
        };
        tunnel.wait_paths_up(2).expect("both paths");
        let stream = ["--rate", "300", "--seconds", "2", "--size", "1200"];
        let report = Stream::start(&tunnel.lab, Way::Up, &stream).report();
        assert_eq!(report.lost, 0, "{mtu}");
        let goodput = tcp_goodput(&tunnel.lab, Way::Down, "cubic", 6);
        figure(&format!("mtu-{mtu}"), goodput, "Mbit/s of 100");
        assert!(goodput > 60.0, "{goodput} Mbit/s with an MTU of {mtu}");
        let status = tunnel.client_status().expect("a status");
        let mtus: Vec<_> = status.sessions[0].paths.iter().filter_map(|path| path.mtu).collect();
        assert!(mtus.contains(&1500) && mtus.iter().all(|&seen| seen <= 1500), "{mtus:?}");
        assert!(mtus.iter().any(|&seen| u32::from(seen) <= mtu), "{mtus:?}");
        tunnel.end().expect("a good end");
    }
}

#[test]
fn ipv6_inside_and_outside() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)]);
    let options = Options { advertise: vec!["[fd70::1]:4500"], ..Options::default() };
    let tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
    tunnel.wait_paths_up(2).expect("both paths");
    let to = format!("[{}]:6001", netns::SERVER[1]);
    let arguments = ["--rate", "500", "--seconds", "2", "--size", "1000"];
    let report = Stream::between(&tunnel.lab, Node::Client, Node::Server, &to, &arguments).report();
    assert_eq!((report.lost, report.duplicated), (0, 0));
    assert!(tcp_goodput(&tunnel.lab, Way::Up, "cubic", 6) > 110.0);
    tunnel.end().expect("a good end");
}

#[test]
fn links_of_different_families_are_used_together() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)]);
    let advertise = vec!["10.70.0.1:4500", "[fd70::1]:4500"];
    let tunnel =
        Tunnel::up(&topology, &Options { advertise, ..Options::default() }).expect("a tunnel");
    for (family, link) in [("-6", "fibre"), ("-4", "lte")] {
        let flush = [family, "address", "flush", "dev", link, "scope", "global"];
        run_on(&tunnel.lab, Node::Client, "ip", &flush).expect("flushed");
    }
    eventually(Duration::from_secs(5), || {
        let status = tunnel.client_status()?;
        let paths = status.sessions.iter().flat_map(|session| &session.paths);
        let mut up =
            paths.filter(|path| path.up.state.as_ref().is_some_and(|s| s.starts_with("up")));
        Ok(up.clone().count() == 2 && up.any(|path| path.remote.is_some_and(|to| to.is_ipv6())))
    })
    .expect("a path of each family");

    let stream = Stream::start(&tunnel.lab, Way::Up, &["--rate", "500", "--seconds", "3"]);
    std::thread::sleep(Duration::from_secs(1));
    tunnel.lab.set_text("fibre", "blackhole=both").expect("set");
    let report = stream.report();
    assert!(report.lost <= 5 && report.gap_max_us < 1e6, "{report:?}");
    tunnel.end().expect("a good end");
}

#[test]
fn a_nat_that_forgets_its_mappings_loses_nothing() {
    for links in [1, 2] {
        let mut fibre = LinkSpec::new("fibre", 100, 20);
        fibre.nat = Switch::On;
        let links = [fibre, LinkSpec::new("lte", 50, 60)].into_iter().take(links);
        let topology = Topology::of(links);
        let tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
        tunnel.wait_paths_up(topology.links.len()).expect("paths");
        for way in Way::BOTH {
            let stream = Stream::start(&tunnel.lab, way, &["--rate", "500", "--seconds", "4"]);
            std::thread::sleep(Duration::from_secs(1));
            tunnel.lab.rebind("fibre").expect("a rebinding");
            let report = stream.report();
            let name = format!("rebind-{way:?}-{}-links", topology.links.len());
            figure(&format!("{name}-lost"), report.lost as f64, "packets");
            figure(&format!("{name}-gap"), report.gap_max_us / 1e3, "ms");
            assert!(report.lost <= 5 && report.gap_max_us < 1e6, "{name}: {report:?}");
        }
        tunnel.end().expect("a good end");
    }
}

#[test]
fn a_copier_on_the_path_gets_challenges_and_nothing_else() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 40), LinkSpec::new("lte", 50, 60)]);
    let tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
    tunnel.wait_paths_up(2).expect("both paths");
    tunnel.lab.copier("fibre", 5_000).expect("a copier");
    let began = Instant::now();
    let up = Stream::start(&tunnel.lab, Way::Up, &["--rate", "500", "--seconds", "4"]);
    let down = Stream::start(&tunnel.lab, Way::Down, &["--rate", "500", "--seconds", "4"]);
    let (up, down) = (up.report(), down.report());

    let status = tunnel.lab.status().expect("a status");
    let caught = &status.links[0].copier;
    figure("copier-caught", caught.packets_caught as f64, "datagrams in 4 s");
    assert!(caught.packets_copied > 1000, "{caught:?}");
    // One per 10 ms at most; where they arrive, on a busy machine, two may lie closer.
    let since_copying = began.elapsed().as_millis() as u64;
    assert!(caught.packets_caught <= since_copying / 10, "in {since_copying} ms: {caught:?}");
    assert!(caught.interval_min_us.is_none_or(|least| least >= 5_000), "{caught:?}");
    assert_eq!((up.lost, down.lost), (0, 0));
    tunnel.end().expect("a good end");
}

#[test]
fn loss_on_one_link_is_repaired_by_the_other() {
    let topology = Topology::of([LinkSpec::new("fibre", 20, 20), LinkSpec::new("lte", 20, 60)]);
    let tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
    tunnel.wait_paths_up(2).expect("both paths");
    let loss = lab::link::Loss::Independent { probability: 0.02 };
    tunnel.lab.set("fibre", Some(Direction::Up), Change::Loss(loss)).expect("set");
    let report =
        Stream::start(&tunnel.lab, Way::Up, &["--rate", "1000", "--seconds", "4"]).report();
    figure("repair-2-percent-lost", report.lost as f64, "of 4000");
    assert!(report.lost <= 8, "{} of {} lost", report.lost, report.sent);
    tunnel.end().expect("a good end");
}
