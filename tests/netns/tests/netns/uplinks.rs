//! An operator changes the uplinks of a running server.

use std::{fs, time::Duration};

use lab::{LinkSpec, Node, Topology};
use netns::{Options, Tunnel, binary, eventually, run_on, uplink};

#[test]
fn uplinks_of_a_running_server_change_by_command_and_by_the_file() {
    let topology = Topology { uplinks: 3, ..Topology::of([LinkSpec::new("fibre", 100, 20)]) };
    let server = uplink(0, "100ms") + &uplink(1, "100ms");
    let options = Options { routes: Some("default"), server, ..Options::default() };
    let tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
    await_active(&tunnel, &["up0"]);

    assert_eq!(order(&tunnel, &["drain", "up0"]), Ok("uplink up0 takes no new flows\n".to_owned()));
    await_active(&tunnel, &["up1"]);
    let add = ["add", "up2", "--interface", "up2", "--probe", "icmp 10.98.2.2", "--tier", "2"];
    assert_eq!(order(&tunnel, &add), Ok("uplink up2 is added\n".to_owned()));
    order(&tunnel, &["off", "up1"]).expect("it is off");
    await_active(&tunnel, &["up2"]);
    assert!(tunnel.reaches_inet(), "by up2");
    for (wrong, expected) in [
        (&["drain", "up7"][..], "there are up0, up1, up2"),
        (&["add", "up2", "--interface", "x"], "there is an uplink \"up2\" already"),
        (&["add", "up3"], "neither an interface nor a gateway nor a table"),
        (&["add", "up3", "--interface", "up3", "--probe", "ping"], "this is no probe"),
        (&["weigh", "0", "up0"], "not a weight from 1 to 1000"),
    ] {
        let complaint = order(&tunnel, wrong).expect_err("refused");
        assert!(complaint.contains(expected), "{wrong:?}: {complaint}");
    }
    assert!(tunnel.reaches_inet(), "still");

    // The file counts again, and what was ordered of uplinks that it names counts on.
    let file = tunnel.folder.path().join("server.toml");
    let good = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, good.replace("tier = 1", "tier = 0")).expect("written");
    let complaint = server_says(&tunnel, &["reload"]).expect_err("a wrong file");
    assert!(complaint.contains("server.toml:") && complaint.contains("tier = 0"), "{complaint}");
    assert!(names(&tunnel).contains(&"up2".to_owned()), "nothing has changed");
    fs::write(&file, good.replace("mode = \"split\"", "mode = \"duplicate\"")).expect("written");
    let done = server_says(&tunnel, &["reload"]).expect("reloaded");
    assert_eq!(done, "2 uplinks are in force; `mode` will count from the next start on\n");
    assert_eq!(names(&tunnel), ["up0", "up1"]);
    await_active(&tunnel, &["up0"]);
    order(&tunnel, &["use", "up0"]).expect("used");
    order(&tunnel, &["use", "up1"]).expect("used");
    assert!(tunnel.reaches_inet(), "by up0");
    tunnel.end().expect("a good end");
}

fn order(tunnel: &Tunnel, arguments: &[&str]) -> Result<String, String> {
    server_says(tunnel, &[&["uplink"], arguments].concat())
}

fn server_says(tunnel: &Tunnel, arguments: &[&str]) -> Result<String, String> {
    let program = binary("hawser-server").expect("it is built");
    let arguments = [arguments, &["--name", "server"]].concat();
    run_on(&tunnel.lab, Node::Server, program, &arguments).map_err(|error| format!("{error:#}"))
}

fn await_active(tunnel: &Tunnel, names: &[&str]) {
    eventually(Duration::from_secs(5), || {
        let uplinks = tunnel.server_status()?.uplinks;
        Ok(uplinks.iter().filter(|it| it.active).map(|it| it.name.as_str()).eq(names.to_vec()))
    })
    .expect("they are active");
}

fn names(tunnel: &Tunnel) -> Vec<String> {
    let uplinks = tunnel.server_status().expect("a status").uplinks;
    uplinks.into_iter().map(|uplink| uplink.name).collect()
}
