//! Links that die, and come back.

use std::{thread, time::Duration};

use lab::{LinkSpec, Switch, Topology, traffic::tcp};
use netns::{Options, Tunnel};

use crate::traffic::{Stream, Way, figure};

#[test]
fn a_link_that_falls_silent_loses_no_packet_of_a_stream() {
    let tunnel = up(None);
    for way in Way::BOTH {
        for hole in ["both", "up", "down"] {
            let stream = Stream::start(&tunnel.lab, way, &["--rate", "1000", "--seconds", "7"]);
            thread::sleep(Duration::from_secs(2));
            tunnel.lab.set_text("fibre", &format!("blackhole={hole}")).expect("set");
            thread::sleep(Duration::from_secs(2));
            tunnel.lab.set_text("fibre", "blackhole=off").expect("set");
            let report = stream.report();
            let name = format!("silent-death-{way:?}-{hole}");
            figure(&format!("{name}-gap"), report.gap_max_us / 1e3, "ms");
            figure(&format!("{name}-lost"), report.lost as f64, "packets");
            assert!(report.gap_max_us <= 1e6, "{} us", report.gap_max_us);
            assert!(report.lost <= 5, "{} lost", report.lost);
            tunnel.wait_paths_up(2).expect("both paths");
        }
    }
    tunnel.end().expect("a good end");
}

#[test]
fn a_link_that_returns_is_used_again_within_three_seconds() {
    let tunnel = up(None);
    let stream = Stream::start(&tunnel.lab, Way::Up, &["--rate", "1000", "--seconds", "9"]);
    thread::sleep(Duration::from_secs(1));
    tunnel.lab.set_text("fibre", "blackhole=both").expect("set");
    thread::sleep(Duration::from_secs(2));
    tunnel.lab.set_text("fibre", "blackhole=off").expect("set");
    thread::sleep(Duration::from_secs(3));
    let before = tunnel.lab.counters("fibre", lab::Direction::Up).expect("counters").delivered;
    thread::sleep(Duration::from_secs(1));
    let after = tunnel.lab.counters("fibre", lab::Direction::Up).expect("counters").delivered;
    let report = stream.report();
    figure("returned-link", (after - before) as f64, "packets/s of 1000");
    assert!(after - before > 800, "{} of 1000 packets/s", after - before);
    assert_eq!(report.lost, 0);
    tunnel.end().expect("a good end");
}

#[test]
fn tcp_survives_the_death_of_either_link() {
    let tunnel = up(None);
    for link in ["fibre", "lte"] {
        let listen = format!("{}:5001", netns::SERVER[0]);
        let receiving = tunnel
            .lab
            .tool(lab::Node::Server, &["tcp-recv", "--listen", &listen])
            .expect("receiver");
        let sending = ["tcp-send", "--to", &listen, "--seconds", "7"];
        let sending = tunnel.lab.tool(lab::Node::Client, &sending).expect("sender");
        thread::sleep(Duration::from_secs(4));
        tunnel.lab.set_text(link, "blackhole=both").expect("set");
        let _: tcp::SendReport = sending.report().expect("it could send");
        let report: tcp::ReceiveReport = receiving.report().expect("it received");
        tunnel.lab.set_text(link, "blackhole=off").expect("set");
        figure(&format!("tcp-death-{link}-silence"), report.silence_max_us / 1e3, "ms");
        assert!(report.silence_max_us <= 1e6, "{} us", report.silence_max_us);
        tunnel.wait_paths_up(2).expect("both paths");
    }
    tunnel.end().expect("a good end");
}

#[test]
fn active_standby_moves_to_the_second_link_and_returns() {
    let tunnel = up(Some("active-standby"));
    let on = |link| tunnel.lab.counters(link, lab::Direction::Up).expect("counters").delivered;
    let stream = Stream::start(&tunnel.lab, Way::Up, &["--rate", "500", "--seconds", "9"]);
    thread::sleep(Duration::from_secs(2));
    let quiet = on("lte");
    assert!(quiet < 100, "{quiet} packets on the standby");
    tunnel.lab.set_text("fibre", "blackhole=both").expect("set");
    thread::sleep(Duration::from_secs(2));
    let moved = on("lte");
    assert!(moved > quiet + 500, "{moved} packets on the standby");
    tunnel.lab.set_text("fibre", "blackhole=off").expect("set");
    thread::sleep(Duration::from_secs(3));
    let before = on("fibre");
    thread::sleep(Duration::from_secs(1));
    assert!(on("fibre") > before + 400);
    assert!(stream.report().lost <= 5);
    tunnel.end().expect("a good end");
}

#[test]
fn a_link_that_vanishes_and_comes_back_is_used_again() {
    let tunnel = up(None);
    let stream = Stream::start(&tunnel.lab, Way::Up, &["--rate", "1000", "--seconds", "9"]);
    thread::sleep(Duration::from_secs(2));
    tunnel.lab.plug("fibre", Switch::Off).expect("unplug");
    thread::sleep(Duration::from_secs(2));
    tunnel.lab.plug("fibre", Switch::On).expect("plug");
    thread::sleep(Duration::from_secs(3));
    let before = tunnel.lab.counters("fibre", lab::Direction::Up).expect("counters").delivered;
    thread::sleep(Duration::from_secs(1));
    let after = tunnel.lab.counters("fibre", lab::Direction::Up).expect("counters").delivered;
    let report = stream.report();
    figure("unplugged-gap", report.gap_max_us / 1e3, "ms");
    figure("unplugged-lost", report.lost as f64, "packets");
    assert!(after - before > 800, "{} of 1000 packets/s", after - before);
    assert!(report.gap_max_us <= 1e6 && report.lost <= 5, "{report:?}");
    tunnel.end().expect("a good end");
}

fn up(mode: Option<&'static str>) -> Tunnel {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)]);
    let tunnel = Tunnel::up(&topology, &Options { mode, ..Options::default() }).expect("a tunnel");
    tunnel.wait_paths_up(2).expect("both paths");
    tunnel
}
