//! Several programs on one host, and who watches over them.

use std::{os::unix::net::UnixDatagram, process::Command, time::Duration};

use lab::{Lab, LinkSpec, Node, Topology};
use netns::{Options, Program, Tunnel, add_client, binary, configure, run_on, start_client};

#[test]
fn status_lists_all_instances_of_a_host_and_asks_for_one() {
    let other = LinkSpec { client: 1, ..LinkSpec::new("other", 100, 20) };
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), other]);
    let tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
    let bob = add_client(tunnel.folder.path(), "bob", &[]).expect("added");
    let second = {
        let mut command = Command::new(binary("hawser").expect("built"));
        command.args(["up", "--name", "bobs", "--config"]).arg(&bob);
        // Until the server knows him.
        std::thread::sleep(Duration::from_secs(1));
        Program::start(&tunnel.lab, Node::Guest(1), "hawser", command).expect("started")
    };
    second.wait_ready().expect("ready");

    let hawser = binary("hawser").expect("built");
    let ask = |with: &[&str]| run_on(&tunnel.lab, Node::Client, &hawser, with);
    let list = ask(&["status"]).expect("a list");
    assert!(list.contains("alice") && list.contains("bobs"), "{list}");
    let one = ask(&["status", "--name", "bobs"]).expect("a status");
    assert!(one.contains("10.200.0.3") && !one.contains("10.200.0.2"), "{one}");
    let by_config = tunnel.folder.path().join("alice.toml");
    let by_config = by_config.to_str().expect("text");
    let one = ask(&["status", "--config", by_config]).expect("a status");
    assert!(one.contains("10.200.0.2"), "{one}");
    let error = ask(&["status", "--name", "nobody"]).expect_err("nobody").to_string();
    assert!(error.contains("nobody"), "{error}");
    tunnel.end().expect("a good end");
}

#[test]
fn a_second_instance_of_one_name_is_refused_and_harms_nothing() {
    let mut tunnel =
        Tunnel::up(&Topology::of([LinkSpec::new("fibre", 100, 20)]), &Options::default())
            .expect("a tunnel");
    let config = tunnel.folder.path().join("alice.toml");

    let mut second =
        start_client(&tunnel.lab, Node::Client, &config, &Options::default()).expect("started");
    let status = second.wait(Duration::from_secs(5)).expect("ended");

    assert_eq!(status.code(), Some(2), "{}", second.log());
    assert!(second.log().contains("alice"), "{}", second.log());
    run_on(&tunnel.lab, Node::Client, "ping", &["-c", "1", "-W", "1", netns::SERVER[0]])
        .expect("the first one works");
    tunnel.client.terminate().expect("ended");
}

#[test]
fn both_programs_tell_systemd_that_they_are_ready_and_that_they_end() {
    let lab = Lab::up(&Topology::of([LinkSpec::new("fibre", 100, 20)])).expect("a lab");
    let folder = configure(&Options::default()).expect("configured");
    let socket = folder.path().join("notify");
    let told = UnixDatagram::bind(&socket).expect("a socket");
    told.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let next = || {
        let mut text = [0; 1024];
        let len = told.recv(&mut text).expect("told");
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let start = |node, name, with: [&str; 2], config| {
        let mut command = Command::new(binary(name).expect("built"));
        command.args(with).arg(folder.path().join(config)).env("NOTIFY_SOCKET", &socket);
        Program::start(&lab, node, name, command).expect("started")
    };

    let mut server = start(Node::Server, "hawser-server", ["run", "--config"], "server.toml");
    assert!(next().contains("READY=1"), "{}", server.log());
    let mut client = start(Node::Client, "hawser", ["up", "--config"], "alice.toml");
    assert!(next().contains("READY=1"), "{}", client.log());

    for program in [&mut client, &mut server] {
        program.terminate().expect("ended");
        assert!(next().contains("STOPPING=1"), "{}", program.log());
    }
}
