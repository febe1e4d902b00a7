//! A tunnel whose server has three uplinks.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{LinkSpec, Node, Topology, UplinkState};
use netns::{Options, Tunnel, binary, eventually, run_on, uplink};
use serde_json::Value;

/// The programs at work.
pub(super) struct Ground {
    pub(super) tunnel: Tunnel,
}

/// A stream of a thousand packets a second from the client to a host behind the uplinks.
pub(super) struct Stream {
    sender: Child,
    receiver: Child,
}

/// What became of it.
pub(super) struct Heard {
    pub(super) lost: f64,
    /// The longest time without a packet, in ms, but for the time from one to the next.
    pub(super) gap: f64,
}

impl Ground {
    /// With `lines` in the server's configuration, which has three uplinks with probes each
    /// `interval`; the first is in use, the others are healthy.
    pub(super) fn prepare(lines: &str, interval: &str) -> Result<Self> {
        let topology = Topology { uplinks: 3, ..Topology::of([LinkSpec::new("fibre", 100, 20)]) };
        let uplinks = (0..3).map(|index| uplink(index, interval));
        let server = uplinks.collect::<String>() + lines;
        let options = Options { routes: Some("default"), server, ..Options::default() };
        let ground = Self { tunnel: Tunnel::up(&topology, &options)? };
        eventually(Duration::from_secs(10), || {
            let uplinks = ground.tunnel.server_status()?.uplinks;
            let healthy = uplinks.iter().all(|uplink| uplink.state == "healthy");
            Ok(healthy && uplinks[0].active && !uplinks[1].active)
        })?;
        Ok(ground)
    }

    /// Waits until the uplink in use has answered so often.
    pub(super) fn await_answers(&self, count: u64) -> Result<()> {
        eventually(Duration::from_secs(10), || {
            Ok(self.tunnel.server_status()?.uplinks[0].probes[0].received > count)
        })
    }

    pub(super) fn set(&self, uplink: u8, state: UplinkState) -> Result<()> {
        self.tunnel.lab.uplink(uplink, state)
    }

    /// Gives the server so many routes by its third uplink, from 32.0.0.0 on.
    pub(super) fn add_routes(&self, count: u32) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped());
        let mut ip = self.tunnel.lab.run_in(Node::Server, command).context("start ip")?;
        let lines = (0..count).map(|number| {
            let net = Ipv4Addr::from_bits((32 << 24) + number * 256);
            format!("route add {net}/24 via 10.98.2.2 proto bgp\n")
        });
        let lines = lines.collect::<String>();
        ip.stdin.take().context("write to ip")?.write_all(lines.as_bytes())?;
        ensure!(ip.wait()?.success(), "the routes can't be added");
        Ok(())
    }

    /// An order to the running server.
    pub(super) fn order(&self, arguments: &[&str]) -> Result<()> {
        let arguments = [arguments, &["--name", "server"]].concat();
        run_on(&self.tunnel.lab, Node::Server, binary("hawser-server")?, &arguments).map(drop)
    }

    /// What happened to the uplinks so far.
    pub(super) fn events(&self) -> Result<Vec<Value>> {
        let arguments = ["events", "--json", "--name", "server"];
        let program = binary("hawser-server")?;
        let text = run_on(&self.tunnel.lab, Node::Server, program, &arguments)?;
        text.lines().map(|line| serde_json::from_str(line).context("read an event")).collect()
    }

    /// How often the first uplink has failed.
    pub(super) fn failures(&self) -> Result<usize> {
        let failed = |event: &&Value| event["uplink"] == "up0" && event["to"] == "unhealthy";
        Ok(self.events()?.iter().filter(failed).count())
    }

    /// Begins a stream that lasts for so many seconds.
    pub(super) fn stream(&self, seconds: f64) -> Result<Stream> {
        let start = |node, arguments: &[&str]| {
            let mut command = Command::new(binary("lab")?);
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
            self.tunnel.lab.run_in(node, command).context("start a tool")
        };
        let receiver = start(Node::Inet, &["udp-recv", "--listen", HOST])?;
        let port = format!("sport = :{}", HOST.rsplit(':').next().unwrap_or_default());
        eventually(Duration::from_secs(5), || {
            Ok(!run_on(&self.tunnel.lab, Node::Inet, "ss", &["-Hnul", &port])?.is_empty())
        })?;
        let seconds = seconds.to_string();
        let sender = start(Node::Client, &["udp-send", "--to", HOST, "--seconds", &seconds])?;
        Ok(Stream { sender, receiver })
    }
}

impl Stream {
    /// Waits for its end.
    pub(super) fn end(mut self) -> Result<Heard> {
        self.sender.wait()?;
        let output = self.receiver.wait_with_output()?;
        ensure!(output.status.success(), "the receiver failed");
        let report: Value = serde_json::from_slice(&output.stdout).context("read its report")?;
        let figure = |name: &str| report[name].as_f64().with_context(|| format!("no {name}"));
        Ok(Heard { lost: figure("lost")?, gap: figure("gap_max_us")? / 1000.0 - 1.0 })
    }
}

const HOST: &str = "10.99.0.1:6001";
