//! The program as its users call it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

#[test]
fn a_server_is_set_up_with_clients_and_cleared_again() {
    let server = Server::new();

    let branch = server.add(&["branch", "--prefix", "192.168.7.0/24", "--prefix", "fd01::/48"]);
    let laptop = server.add(&["laptop"]);

    assert!(branch.contains("\naddresses = [\"vpn.example.net:4500\", \"[2001:db8::1]:4500\"]\n"));
    assert!(branch.contains("\nroutes = \"pool\"\n"), "{branch}");
    assert!(branch.contains("inside the tunnel 10.77.0.2 fd77::2\n"), "{branch}");
    assert!(laptop.contains("inside the tunnel 10.77.0.3 fd77::3\n"), "{laptop}");
    assert_eq!(value(&branch, "public_key"), value(&laptop, "public_key"), "the server's");
    assert_ne!(value(&branch, "private_key"), value(&laptop, "private_key"));
    let checked = good(server.run(&["check", &server.config()]));
    assert!(checked.contains("server.toml: ok: "), "{checked}");
    assert!(checked.ends_with("2 clients\n"), "{checked}");

    let listed: serde_json::Value =
        serde_json::from_str(&good(server.client(&["list", "--json"]))).unwrap();
    assert_eq!(listed["version"], 1);
    let first = &listed["clients"][0];
    assert_eq!((&first["name"], &first["lease"]), (&"branch".into(), &"10.77.0.2".into()));
    assert_eq!(first["prefixes"], serde_json::json!(["192.168.7.0/24", "fd01::/48"]));
    assert_eq!(first["public_key"], public_of(&value(&branch, "private_key")));
    let table = good(server.client(&["list"]));
    assert!(table.starts_with("NAME") && table.contains("\nlaptop  10.77.0.3 fd77::3"), "{table}");

    good(server.client(&["remove", "branch"]));
    let again = server.add(&["third"]);
    assert!(
        again.contains("inside the tunnel 10.77.0.2 fd77::2\n"),
        "the address is free: {again}"
    );
    let gone = bad(server.client(&["remove", "laptpo"]), 1);
    assert!(gone.contains("help: did you mean \"laptop\"?"), "{gone}");
}

#[test]
fn init_writes_a_key_that_only_its_owner_reads_and_never_twice() {
    let server = Server::new();

    let mode =
        |name: &str| fs::metadata(server.folder().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("server.key"), 0o600);
    assert!(server.folder().join("clients.d").is_dir());
    let again = bad(server.init(), 1);
    assert!(again.contains("server.toml is there already\n  help: "), "{again}");
}

#[test]
fn a_client_may_bring_its_own_key() {
    let server = Server::new();
    let private = good(program(&["keygen"]));
    let public = public_of(private.trim());

    let printed = server.add(&["branch", "--pubkey", &public]);

    assert!(printed.contains(&format!("# {public}\nprivate_key_file = \"branch.key\"\n")));
    assert!(!printed.contains("\nprivate_key = "));
    let twice = bad(server.client(&["add", "other", "--pubkey", &public]), 2);
    assert!(twice.contains("--pubkey: the client \"branch\" has this public key"), "{twice}");
}

#[test]
fn clients_that_are_added_at_once_get_addresses_of_their_own() {
    let server = Server::new();

    let running: Vec<_> = (0..8)
        .map(|index| {
            let mut command = command(&["client", "add", &format!("c{index}"), "--config"]);
            command.arg(server.config());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in running {
        good(child.wait_with_output().unwrap());
    }

    let listed: serde_json::Value =
        serde_json::from_str(&good(server.client(&["list", "--json"]))).unwrap();
    let leases: BTreeSet<String> = listed["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|client| format!("{} {}", client["lease"], client["lease6"]))
        .collect();
    assert_eq!(leases.len(), 8, "{listed}");
    assert!(leases.contains("\"10.77.0.9\" \"fd77::9\""), "the lowest ones: {leases:?}");
}

#[test]
fn all_mistakes_are_shown_with_their_places() {
    let server = Server::new();
    server.add(&["branch"]);
    let path = server.folder().join("server.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("client_to_client", "client_to_clients").replace("split\"", "splitt\""),
    )
    .unwrap();

    let shown = bad(server.run(&["check", &server.config()]), 2);

    assert!(shown.starts_with(&format!("hawser-server: {}: 2 problems\n", path.display())));
    let line = 1 + text.lines().position(|line| line.starts_with("mode")).unwrap();
    assert!(shown.contains(&format!("server.toml:{line}:8: \"splitt\" is not a mode")), "{shown}");
    assert!(
        shown.contains("\n    | ^^^^^^^^^^^^^^^^^ did you mean `client_to_client`?"),
        "{shown}"
    );
    assert_eq!(bad(server.run(&["run", "--config", &server.config()]), 2), shown);
    fs::write(&path, text).unwrap();
    let client = server.folder().join("clients.d/branch.toml");
    let text = fs::read_to_string(&client).unwrap();
    fs::write(&client, text.replace("10.77.0.2", "10.99.0.2")).unwrap();
    let shown = bad(server.run(&["check", &server.config()]), 2);
    assert!(shown.contains("branch.toml:4:9: 10.99.0.2 is outside the pool"), "{shown}");
    assert!(bad(server.client(&["add", "other"]), 2).contains("branch.toml:4:9"));
}

#[test]
fn wrong_words_on_the_command_line_are_refused_with_the_right_ones() {
    let server = Server::new();
    server.add(&["branch", "--prefix", "192.168.7.0/24"]);

    for (arguments, expected) in [
        (&["add", "Branch"][..], "is not a name"),
        (&["add", "../x"], "is not a name"),
        (&["add", "x", "--pubkey", "AAAA"], "44 characters of base64"),
        (&["add", "x", "--prefix", "192.168.7.1/24"], "write \"192.168.7.0/24\""),
        (&["add", "x", "--prefix", "192.168.0.0/16"], "overlaps with 192.168.7.0/24 of the client"),
        (&["add", "x", "--prefix", "10.77.9.0/24"], "overlaps with the pool 10.77.0.0/16"),
        (&["add", "x", "--prefix", "fe80::/64"], "no network of hosts"),
        (
            &["add", "x", "--prefix", "10.1.0.0/16", "--prefix", "10.1.2.0/24"],
            "overlaps with one before",
        ),
    ] {
        let shown = bad(server.client(arguments), 2);
        assert!(shown.contains(expected), "{arguments:?}: {shown}");
    }
    assert!(bad(server.client(&["add", "branch"]), 1).contains("there is a client \"branch\""));
    assert_eq!(server.files(), ["branch.toml"], "nothing was written");
}

#[test]
fn init_refuses_what_its_own_check_would() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("x");
    let init = |extra: &[&str], pool: &str| {
        let basic = ["init", "--listen", "0.0.0.0:1", "--advertise", "a:1", "--pool", pool];
        bad(program(&[&basic[..], extra, &[folder.to_str().unwrap()]].concat()), 2)
    };

    let small = init(&[], "10.0.0.0/31");
    assert!(small.contains("10.0.0.0/31 has no room for clients"), "{small}");
    for pool in ["127.0.0.0/8", "0.0.0.0/0", "224.0.0.0/4"] {
        let special = init(&[], pool);
        assert!(special.contains("no network of hosts"), "{special}");
    }
    let twice = init(&["--listen", "0.0.0.0:1"], "10.0.0.0/24");
    assert!(twice.contains("listen"), "{twice}");
    assert!(!folder.exists(), "nothing was written");
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_command_that_helps() {
    let server = Server::new();
    let key = server.folder().join("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();

    let shown = bad(server.run(&["run", "--config", &server.config()]), 2);

    assert!(shown.contains(&format!("chmod 600 {}", key.display())), "{shown}");
}

#[test]
fn a_configuration_that_can_not_be_printed_leaves_no_client() {
    let server = Server::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();

    let mut command = command(&["client", "add", "branch", "--config", &server.config()]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();

    let shown = bad(output, 1);
    assert!(shown.contains("cannot write to standard output: no space left"), "{shown}");
    assert_eq!(server.files(), [""; 0]);
}

#[test]
fn full_and_read_only_disks_are_clear_errors_that_leave_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k none {dir} || exit 99\n\
         H={program}; cd {dir}\n\
         $H init --listen 0.0.0.0:4500 --advertise a:4500 --pool 10.77.0.0/16 . >/dev/null || exit 98\n\
         cat /dev/zero > fill 2>/dev/null\n\
         $H client add one --config server.toml; echo \"exit $?\" >&2\n\
         rm fill; mount -o remount,ro none {dir} || exit 97\n\
         $H client add two --config server.toml; echo \"exit $?\" >&2\n\
         ls -A clients.d",
        dir = dir.path().display(),
        program = env!("CARGO_BIN_EXE_hawser-server"),
    );

    let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).output().unwrap();

    let shown = String::from_utf8(output.stderr).unwrap();
    if matches!(output.status.code(), Some(1 | 99)) && !shown.contains("exit") {
        eprintln!("skipped: this host allows no mount namespaces: {shown}");
        return;
    }
    let full = shown.find("clients.d/one.toml: no space left on the disk\nexit 1\n");
    let read_only = shown.find("the file system is read-only\nexit 1\n");
    assert!(full.is_some() && read_only > full, "{shown}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), ".lock\n");
}

#[test]
fn the_status_of_a_server_that_is_not_there_is_a_sentence() {
    let shown = bad(program(&["status", "--name", "no-such-server"]), 1);

    assert!(shown.starts_with("hawser-server: \"no-such-server\" is not running\n"), "{shown}");
}

#[test]
fn check_says_where_the_metrics_are_and_warns_of_an_open_address() {
    let server = Server::new();
    let path = server.folder().join("server.toml");
    let text = fs::read_to_string(&path).unwrap();
    let check = |address: &str| {
        let key = format!("metrics = \"{address}\"");
        fs::write(&path, text.replace("#metrics = \"127.0.0.1:9464\"", &key)).unwrap();
        server.run(&["check", &server.config()])
    };

    let own = good(check("127.0.0.1:9464"));
    assert!(own.ends_with(" clients\n  metrics at http://127.0.0.1:9464/metrics\n"), "{own}");
    let open = good(check("0.0.0.0:9464"));
    assert!(open.contains("\n  warning: anyone who reaches 0.0.0.0:9464 can read"), "{open}");
    let line = 1 + text.lines().position(|line| line.starts_with("#metrics")).unwrap();
    let wrong = bad(check("localhost"), 2);
    let expected = format!("server.toml:{line}:11: this is no address and port");
    assert!(wrong.contains(&expected), "{wrong}");
}

#[test]
fn the_worked_configurations_of_the_page_are_right() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/egress.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```toml\n").skip(1).filter_map(|block| block.split("```").next());
    assert_eq!(blocks.clone().count(), 3);
    for lines in blocks {
        let server = Server::new();
        let file = server.config();
        let text = fs::read_to_string(&file).unwrap() + lines;
        fs::write(&file, &text).unwrap();
        let said = good(program(&["check", &file]));
        assert!(said.contains(" uplinks"), "{said}");
        if lines.contains("[[egress.class]]") {
            assert!(said.contains("class real-time on uplink fibre"), "{said}");
        }
    }
}

#[test]
fn a_missing_configuration_is_named() {
    for arguments in [&["run", "--config"][..], &["check"], &["client", "list", "--config"]] {
        let arguments = [arguments, &["/nowhere/server.toml"]].concat();
        let shown = bad(program(&arguments), 2);
        assert!(shown.contains("cannot read /nowhere/server.toml: no such file"), "{shown}");
    }
}

/// A server's folder, freshly made by `init`.
struct Server(TempDir);

impl Server {
    fn new() -> Self {
        let server = Self(tempfile::tempdir().unwrap());
        good(server.init());
        server
    }

    fn init(&self) -> Output {
        let folder = self.folder().display().to_string();
        let addresses =
            ["--advertise", "vpn.example.net:4500", "--advertise", "[2001:db8::1]:4500"];
        let listen = ["init", "--listen", "0.0.0.0:4500", "--listen", "[::]:4500"];
        let pools = ["--pool", "10.77.0.0/16", "--pool6", "fd77::/64", &folder];
        program(&[&listen[..], &addresses, &pools].concat())
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("hawser")
    }

    fn config(&self) -> String {
        self.folder().join("server.toml").display().to_string()
    }

    /// The clients' files but for the lock.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder().join("clients.d")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".lock").collect()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        program(arguments)
    }

    fn client(&self, arguments: &[&str]) -> Output {
        program(&[&["client"], arguments, &["--config", &self.config()]].concat())
    }

    fn add(&self, arguments: &[&str]) -> String {
        good(self.client(&[&["add"], arguments].concat()))
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_hawser-server")));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

fn program(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn public_of(private: &str) -> String {
    use std::io::Write as _;
    let mut child =
        command(&["pubkey"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(private.as_bytes()).unwrap();
    good(child.wait_with_output().unwrap()).trim().to_owned()
}

/// The quoted value of a line `key = "value"`.
fn value(text: &str, key: &str) -> String {
    let start = format!("{key} = \"");
    let line = text.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
    line.trim_end_matches('"').to_owned()
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
