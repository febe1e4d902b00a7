//! Errors that a user meets, with their exit codes.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use lab::{Lab, LinkSpec, Node, Topology};
use netns::{Options, Program, Tunnel, binary, configure, run, run_on, start_client, start_server};

#[test]
fn a_wrong_server_key_is_named_and_ends_the_client() {
    let lab = lab();
    let folder = configure(&Options::default()).expect("configured");
    let _server = start_server(&lab, folder.path()).expect("a server");
    let file = folder.path().join("alice.toml");
    let other = configure(&Options::default()).expect("configured");
    let key = |folder: &std::path::Path| {
        let text = fs::read_to_string(folder.join("alice.toml")).expect("a file");
        let line = text.lines().find(|line| line.starts_with("public_key")).expect("a key");
        line.to_owned()
    };
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, text.replace(&key(folder.path()), &key(other.path()))).expect("written");

    let mut client = start_client(&lab, Node::Client, &file, &Options::default()).expect("started");
    let status = client.wait(Duration::from_secs(10)).expect("ended");

    assert_eq!(status.code(), Some(4), "{}", client.log());
    assert!(client.log().contains("the server's key is"), "{}", client.log());
}

#[test]
fn an_unknown_client_is_told_how_to_be_added() {
    let lab = lab();
    let folder = configure(&Options::default()).expect("configured");
    let _server = start_server(&lab, folder.path()).expect("a server");
    fs::remove_file(folder.path().join("clients.d/alice.toml")).expect("removed");
    std::thread::sleep(Duration::from_secs(1));

    let file = folder.path().join("alice.toml");
    let mut client = start_client(&lab, Node::Client, &file, &Options::default()).expect("started");
    let status = client.wait(Duration::from_secs(10)).expect("ended");

    assert_eq!(status.code(), Some(4), "{}", client.log());
    assert!(client.log().contains("hawser-server client add"), "{}", client.log());
}

#[test]
fn a_taken_port_is_named() {
    let lab = lab();
    let folder = configure(&Options::default()).expect("configured");
    let _first = start_server(&lab, folder.path()).expect("a server");
    let mut command = Command::new(binary("hawser-server").expect("built"));
    command.args(["run", "--name", "second", "--config"]).arg(folder.path().join("server.toml"));

    let mut second = Program::start(&lab, Node::Server, "hawser-server", command).expect("started");
    let status = second.wait(Duration::from_secs(5)).expect("ended");

    assert_eq!(status.code(), Some(1), "{}", second.log());
    assert!(second.log().contains("port 4500"), "{}", second.log());
}

#[test]
fn a_wrong_configuration_is_exit_code_2() {
    let lab = lab();
    let folder = configure(&Options::default()).expect("configured");
    let file = folder.path().join("alice.toml");
    let text =
        fs::read_to_string(&file).expect("a file").replace("mode = \"split\"", "mode = \"fast\"");
    fs::write(&file, text).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");

    let mut client = start_client(&lab, Node::Client, &file, &Options::default()).expect("started");
    let status = client.wait(Duration::from_secs(5)).expect("ended");

    assert_eq!(status.code(), Some(2), "{}", client.log());
    assert!(client.log().contains("\"fast\" is not a mode"), "{}", client.log());
}

#[test]
fn without_rights_the_client_says_which() {
    let lab = lab();
    let folder = configure(&Options::default()).expect("configured");
    // Somebody without capabilities, who may read the configuration all the same.
    let file = folder.path().join("alice.toml");
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
    command.arg(binary("hawser").expect("built")).args(["up", "--config"]).arg(&file);

    let mut client = Program::start(&lab, Node::Client, "hawser", command).expect("started");
    let status = client.wait(Duration::from_secs(5)).expect("ended");

    assert_eq!(status.code(), Some(3), "{}", client.log());
}

#[test]
fn without_tun_both_programs_say_so() {
    let lab = lab();
    let folder = configure(&Options::default()).expect("configured");
    let _server = start_server(&lab, folder.path()).expect("a server");
    let client = folder.path().join("alice.toml");
    let server = folder.path().join("server.toml");
    for (name, node, with) in [
        ("hawser", Node::Client, ["up", "--config", client.to_str().expect("text")].to_vec()),
        (
            "hawser-server",
            Node::Inet,
            ["run", "--name", "second", "--config", server.to_str().expect("text")].to_vec(),
        ),
    ] {
        // A file system of its own, in which there is no such device, and none can be made.
        let hide = "mount -t tmpfs -o ro none /dev/net && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", hide, "sh"]).arg(binary(name).expect("built"));
        let mut program = Program::start(&lab, node, name, {
            command.args(with);
            command
        })
        .expect("started");
        let status = program.wait(Duration::from_secs(10)).expect("ended");

        assert_eq!(status.code(), Some(3), "{}", program.log());
        assert!(program.log().contains("/dev/net/tun"), "{}", program.log());
    }
}

#[test]
fn a_clock_that_is_years_off_does_not_matter() {
    let lab = lab();
    let folder = configure(&Options::default()).expect("configured");
    let _server = start_server(&lab, folder.path()).expect("a server");
    let alice = folder.path().join("alice.toml");
    for shift in ["-30y", "+30y"] {
        // The program faketime would stand between us and the client; its library is enough.
        let library = run(Command::new("faketime").args(["-f", shift, "printenv", "LD_PRELOAD"]));
        let mut command = Command::new(binary("hawser").expect("built"));
        command.args(["up", "--config"]).arg(&alice).env("FAKETIME", shift);
        command.env("LD_PRELOAD", library.expect("faketime").trim());
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let mut client = Program::start(&lab, Node::Client, "hawser", command).expect("started");
        client.wait_ready().expect("ready");
        run_on(&lab, Node::Client, "ping", &["-c", "1", "-W", "1", netns::SERVER[0]])
            .expect("an answer");
        let status = client.terminate().expect("ended");
        assert_eq!(status.code(), Some(0), "{}", client.log());
    }
}

#[test]
fn both_programs_end_well_when_asked() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20)]);
    Tunnel::up(&topology, &Options::default()).expect("a tunnel").end().expect("a good end");
}

fn lab() -> Lab {
    let topology = Topology { uplinks: 1, ..Topology::of([LinkSpec::new("fibre", 100, 20)]) };
    Lab::up(&topology).expect("a lab")
}
