//! Errors that a user meets, with their exit codes.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use lab::{Lab, LinkSpec, Node, Topology};
use netns::{Options, Program, Tunnel, binary, configure, start_client, start_server};

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
fn both_programs_end_well_when_asked() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20)]);
    Tunnel::up(&topology, &Options::default()).expect("a tunnel").end().expect("a good end");
}

fn lab() -> Lab {
    Lab::up(&Topology::of([LinkSpec::new("fibre", 100, 20)])).expect("a lab")
}
