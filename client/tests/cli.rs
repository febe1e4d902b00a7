//! The program as its users call it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use shared::status::{ControlSocket, Instance, PathDirection, Requests, Session, Snapshot};
use tempfile::TempDir;

#[test]
fn a_private_key_gives_its_public_key() {
    let private = good(program(&["keygen"]));
    assert_ne!(private, good(program(&["keygen"])));

    // RFC 8032, section 7.1, test 1.
    let known = pubkey("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n");

    assert_eq!(good(known), "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n");
    assert_eq!(good(pubkey(&private)).trim().len(), 44);
    for garbage in ["", "x\n", "nWGxne", &"A".repeat(100_000)] {
        let shown = bad(pubkey(garbage), 2);
        assert!(shown.starts_with("hawser: standard input holds no private key"), "{shown}");
    }
}

#[test]
fn a_good_configuration_is_summed_up_in_one_line() {
    let file = Configuration::new("links = [\"eth0\", \"wwan0\"]\nroutes = \"default\"\n");

    let shown = good(program(&["check", &file.path()]));

    let expected = "branch.toml: ok: 1 server address, links eth0 wwan0, mode the server's, routes default, 0 class rules\n";
    assert!(shown.ends_with(expected), "{shown}");
}

#[test]
fn all_mistakes_are_shown_with_their_places_and_the_key_is_not() {
    let file = Configuration::new("mdoe = \"split\"\nroutes = \"10.0.0.1/8\"\nlinks = \"all\"\n");
    let key = file.key();

    for command in [&["check"][..], &["up", "--config"]] {
        let shown = bad(program(&[command, &[&file.path()]].concat()), 2);

        assert!(shown.starts_with(&format!("hawser: {}: 3 problems\n", file.path())), "{shown}");
        for expected in [
            "branch.toml:1:1: unknown key `mdoe`\n   |\n 1 | mdoe = \"split\"\n   | ^^^^ did you mean `mode`?\n",
            "branch.toml:2:10: 10.0.0.1/8 is an address inside a network\n",
            "   |          ^^^^^^^^^^^^ write \"10.0.0.0/8\"\n",
            "branch.toml:3:9: these are no links\n",
        ] {
            assert!(shown.contains(expected), "{shown}\nwithout\n{expected}");
        }
        assert!(!shown.contains(&key[..10]), "{shown}");
    }
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_command_that_helps() {
    let file = Configuration::new("");
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();

    let shown = bad(program(&["up", "--config", &file.path()]), 2);

    let expected = format!(
        "hawser: {0} holds a private key, and others may open it (mode 0644)\n  help: chmod 600 {0}\n",
        file.path()
    );
    assert_eq!(shown, expected);
}

#[test]
fn wrong_words_on_the_command_line_end_with_the_code_of_a_configuration() {
    let file = Configuration::new("");
    for (arguments, expected) in [
        (&["up"][..], "--config <FILE>"),
        (&["up", "--config", "/nowhere.toml"], "cannot read /nowhere.toml: no such file"),
        (
            &["up", "--config", &file.path(), "--mode", "fast"],
            "which has split, duplicate, adaptive",
        ),
        (&["up", "--config", &file.path(), "--link", "a/b"], "\"a/b\" is not an interface name"),
        (&["up", "--config", &file.path(), "--name", "../x"], "\"../x\" is not a name"),
        (&["--log", "loud=loud", "keygen"], "the log filter \"loud=loud\" is not understood"),
        (&["status", "--metrics", "--json"], "cannot be used with '--json'"),
        (&["dance"], "unrecognized subcommand"),
    ] {
        let shown = bad(program(arguments), 2);
        assert!(shown.contains(expected), "{arguments:?}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_running_program_is_a_table_or_json() {
    let name = format!("cli-test-{}", std::process::id());
    let file = Configuration::new("");
    let config = file.dir.path().join(format!("{name}.toml"));
    fs::rename(file.path(), &config).unwrap();
    let instance = Instance::named(Some(&name), &config).unwrap();
    let socket = ControlSocket::bind(instance.clone()).unwrap();
    let serving = tokio::spawn(socket.serve({
        let name = name.clone();
        Requests::new(move || {
            let snapshot = snapshot(&name);
            async { snapshot }
        })
    }));

    let by_name = vec!["status".to_owned(), "--name".to_owned(), name.clone()];
    let by_config = vec!["status".to_owned(), "--config".to_owned(), config.display().to_string()];
    for arguments in [by_name, by_config] {
        let table = good(off_thread(arguments.clone()).await);
        assert!(table.starts_with(&format!("hawser {name}: process ")), "{table}");
        assert!(table.contains("20.5 ms") && !table.contains('\x1b'), "{table}");
        let metrics = vec!["--metrics".to_owned()];
        let metrics = good(off_thread([arguments.clone(), metrics].concat()).await);
        let expected = "\nhawser_path_srtt_seconds{session=\"\",path=\"0\",link=\"eth0\",\
            direction=\"up\"} 0.0205\n";
        assert!(metrics.contains(expected), "{metrics}");
        let json = good(off_thread([arguments, vec!["--json".to_owned()]].concat()).await);
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot(&name));
        assert!(json.starts_with("{\"version\":1,") || json.contains("\"version\":1"), "{json}");
    }

    serving.abort();
    let _ = serving.await;
    let gone = bad(off_thread(vec!["status".into(), "--name".into(), name.clone()]).await, 1);
    assert!(gone.starts_with(&format!("hawser: \"{name}\" is not running\n")), "{gone}");
    let _ = fs::remove_file(instance.socket().with_extension("lock"));
}

/// A configuration of which the test gives the first lines.
struct Configuration {
    dir: TempDir,
}

impl Configuration {
    fn new(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = good(program(&["keygen"]));
        let public = good(pubkey(&key));
        let text = format!(
            "{lines}private_key = \"{}\"\n[server]\npublic_key = \"{}\"\n\
             addresses = [\"vpn.example.net:4500\"]\n",
            key.trim(),
            public.trim(),
        );
        let file = Self { dir };
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    fn path(&self) -> String {
        let path: PathBuf = self.dir.path().join("branch.toml");
        path.display().to_string()
    }

    fn key(&self) -> String {
        let text = fs::read_to_string(self.path()).unwrap();
        text.lines().find_map(|line| line.strip_prefix("private_key = \"")).unwrap().to_owned()
    }
}

fn snapshot(name: &str) -> Snapshot {
    let up = PathDirection { srtt_ms: Some(20.5), ..PathDirection::default() };
    let path = shared::status::Path { link: "eth0".to_owned(), up, ..Default::default() };
    let session = Session { paths: vec![path], ..Session::default() };
    Snapshot { sessions: vec![session], ..Snapshot::new("hawser", name, 0) }
}

async fn off_thread(arguments: Vec<String>) -> Output {
    let run = move || program(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hawser"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

fn program(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn pubkey(input: &str) -> Output {
    let mut command = command(&["pubkey"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have read enough before all is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn good(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn bad(output: Output, code: i32) -> String {
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing on standard output");
    errors
}
