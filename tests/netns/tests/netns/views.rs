//! What a running program shows to others.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use lab::{Lab, LinkSpec, Node, Topology};
use netns::{Options, Tunnel, binary, run_on};
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
