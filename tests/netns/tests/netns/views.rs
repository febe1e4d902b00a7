//! What a running program shows to others.

#[path = "../../../../shared/src/metrics/strict.rs"]
mod strict;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use lab::{Lab, LinkSpec, Node, Topology};
use netns::{Options, Tunnel, binary, configure, run_on, start_client, start_server};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn who_follows_the_events_sees_each_at_once_and_hears_of_the_end() {
    let uplink = "\n[[uplink]]\nname = \"wan\"\ninterface = \"wan0\"\n".to_owned();
    let options = Options { server: uplink, ..Options::default() };
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20)]);
    let mut tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
    let ip = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        run_on(&tunnel.lab, Node::Server, "ip", &words).expect("done");
    };
    ip("link add wan0 type veth peer name wan1");
    ip("link set wan1 up");
    let followers = [&[][..], &["--json"]].map(|with| Follower::start(&tunnel.lab, with));
    let [people, program] = followers;

    ip("link set wan0 up");
    people.await_line("uplink wan: unhealthy -> healthy (the link is up)");
    std::thread::sleep(Duration::from_millis(200));
    // So that it does not come with an answer that was due anyway.
    for state in ["down", "up"] {
        ip(&format!("link set wan1 {state}"));
        let changed = Instant::now();
        let verdict = if state == "up" { "-> healthy" } else { "-> unhealthy" };
        people.await_line(verdict);
        let took = changed.elapsed();
        println!("FIGURE event_{state} {} ms", took.as_millis());
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    let event = program.await_line("no link");
    let event: serde_json::Value = serde_json::from_str(&event).expect("JSON");
    assert_eq!((&event["kind"], &event["uplink"]), (&"health".into(), &"wan".into()));
    assert_eq!((&event["to"], &event["cause"]), (&"unhealthy".into(), &"no link".into()));
    let now = shared::clock::since_epoch().as_secs_f64();
    let time = event["time"].as_f64().expect("a time");
    assert!((now - 10.0..now + 1.0).contains(&time), "{event} at {now}");

    let (code, said) = people.end(Some(Signal::INT));
    assert_eq!((code, said.as_str()), (Some(0), ""), "Ctrl-C is a good end");
    tunnel.client.terminate().expect("ended");
    tunnel.server.terminate().expect("ended");
    let (code, said) = program.end(None);
    assert_eq!((code, said.as_str()), (Some(0), "hawser-server: \"server\" has ended\n"));
}

#[test]
fn a_client_says_that_it_has_no_events() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20)]);
    let tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
    let server = binary("hawser-server").expect("built");

    let none = run_on(&tunnel.lab, Node::Server, &server, &["events"]).expect("none");
    assert_eq!(none, "", "a server without uplinks");
    let asked = run_on(&tunnel.lab, Node::Client, &server, &["events", "--name", "alice"]);
    let error = asked.expect_err("a client").to_string();
    let expected = "\"alice\": unknown request \"events\"; there is \"status\"";
    assert!(error.contains(expected), "{error}");
    tunnel.end().expect("a good end");
}

#[test]
fn prometheus_reads_from_both_ends_what_the_status_knows() {
    let lab = Lab::up(&Topology::of([LinkSpec::new("fibre", 100, 20)])).expect("a lab");
    let server = "\nmetrics = \"127.0.0.1:9464\"\n".to_owned();
    let options = Options { server, ..Options::default() };
    let folder = configure(&options).expect("configured");
    let alice = folder.path().join("alice.toml");
    let text = fs::read_to_string(&alice).expect("read");
    fs::write(&alice, format!("metrics = \"0.0.0.0:9464\"\n{text}")).expect("written");
    let server = start_server(&lab, folder.path()).expect("a server");
    let client = start_client(&lab, Node::Client, &alice, &options).expect("started");
    client.wait_ready().expect("ready");
    let tunnel = Tunnel { client, server, lab, folder };
    tunnel.wait_paths_up(1).expect("paths");
    let ping = ["-c", "3", "-i", "0.2", "-W", "1", netns::SERVER[0]];
    run_on(&tunnel.lab, Node::Client, "ping", &ping).expect("it answers");

    let up = scrape(&tunnel.lab, Node::Client, "hawser");
    let down = scrape(&tunnel.lab, Node::Server, "hawser-server");

    for (series, link, way) in [(&up, ",link=\"fibre\"", "up"), (&down, "", "down")] {
        assert_eq!(series["hawser_session_state{session=\"alice\",state=\"up\"}"], 1.0);
        let of = |figure: &str| {
            let labels = format!("session=\"alice\",path=\"0\"{link},direction=\"{way}\"");
            series.get(&format!("hawser_path_{figure}{{{labels}}}")).copied()
        };
        let srtt = of("srtt_seconds").expect("a round trip");
        assert!((0.019..0.1).contains(&srtt), "{srtt}");
        assert!(of("sent_datagrams_total") > Some(3.0), "{series:#?}");
        let packets = format!("{{session=\"alice\",direction=\"{way}\"}}");
        let packets = series[&format!("hawser_session_sent_packets_total{packets}")];
        assert!(packets >= 3.0, "{packets}");
    }
    assert!(tunnel.client.log().contains("anyone who reaches 0.0.0.0:9464 can read the metrics"));
    assert!(!tunnel.server.log().contains("anyone who reaches"), "{}", tunnel.server.log());

    let second = ["run", "--name", "second", "--config"];
    let config = tunnel.folder.path().join("server.toml");
    let second = [&second[..], &[config.to_str().expect("text")]].concat();
    let server = binary("hawser-server").expect("built");
    let error =
        run_on(&tunnel.lab, Node::Server, &server, &second).expect_err("in use").to_string();
    let expected = "help: another program uses port 9464: `ss -tlpn` names it";
    assert!(error.contains("cannot serve metrics on 127.0.0.1:9464: "), "{error}");
    assert!(error.contains(expected), "{error}");
    tunnel.end().expect("a good end");
}

/// What the page of a program has. It is the same that the command prints, but for what has gone on
/// in between.
fn scrape(lab: &Lab, node: Node, program: &str) -> strict::Series {
    let script = "import urllib.request as r; a = r.urlopen('http://127.0.0.1:9464/metrics'); \
        print(a.headers['content-type']); print(a.read().decode(), end='')";
    let page = run_on(lab, node, "python3", &["-c", script]).expect("a page");
    let (kind, page) = page.split_once('\n').expect("a type");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let page = strict::parse(page).unwrap_or_else(|wrong| panic!("{wrong}\n{page}"));
    let program = binary(program).expect("built");
    let printed = run_on(lab, node, program, &["status", "--metrics"]).expect("figures");
    let printed = strict::parse(&printed).unwrap_or_else(|wrong| panic!("{wrong}\n{printed}"));
    // A figure may have become known in between.
    let missing: Vec<_> = page.keys().filter(|name| !printed.contains_key(*name)).collect();
    assert!(missing.is_empty() && page.len() > 50, "{missing:?} of {}", page.len());
    page
}

/// `hawser-server events --follow`, at work.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(lab: &Lab, with: &[&str]) -> Self {
        let mut command = Command::new(binary("hawser-server").expect("built"));
        command.args(["events", "--name", "server", "--follow"]).args(with);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = lab.run_in(Node::Server, command).expect("started");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Whoever dropped the follower does not read on.
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// The next line that contains `text`.
    fn await_line(&self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no \"{text}\""));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end, which a signal may bring about: the code, and what it said.
    fn end(mut self, signal: Option<Signal>) -> (Option<i32>, String) {
        if let Some(signal) = signal {
            kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        }
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut said).expect("text");
        (self.child.wait().expect("ended").code(), said)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
