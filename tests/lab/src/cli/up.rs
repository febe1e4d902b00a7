//! `lab up`: a lab in the foreground.

use anyhow::{Context as _, Result};
use clap::Args;
use lab::daemon::Daemon;
use lab::link::Switch;
use lab::namespace::Rights;
use lab::topology::text::{parse_link, parse_rate};
use lab::topology::{
    INET_ADDRESS, SERVER_ADDRESS, SharedBottleneck, Topology, lan_address, link_address,
};
use lab::{LinkConfig, Node};

use super::{Name, parse};

/// What to raise.
#[derive(Args)]
pub(super) struct Options {
    /// Links: NAME=RATE/RTT[,KEY=VALUE...], for example
    /// lte=50M/60ms,jitter=8ms,loss=0.5%,queue=500ms
    #[arg(required = true)]
    links: Vec<String>,
    /// How many uplinks lead from the server to the machine inet
    #[arg(long, default_value_t = 0)]
    uplinks: u8,
    /// Put a NAT between the client and this link
    #[arg(long)]
    nat: Vec<String>,
    /// Let all links pass one further bottleneck of this rate
    #[arg(long)]
    shared: Option<String>,
    /// Put a machine behind the client
    #[arg(long)]
    lan: bool,
    /// Start of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Spin for this many microseconds before a packet is due: more exact, and a busy processor
    #[arg(long, default_value_t = 0)]
    spin: u64,
    #[command(flatten)]
    name: Name,
}

impl Options {
    pub(super) fn run(&self) -> Result<()> {
        let topology = self.topology()?;
        let socket = self.name.socket()?;
        let daemon = Daemon::raise(topology.clone(), &socket)?;
        print!("{}", self.welcome(&topology, &daemon));
        // Ctrl-C ends the process, and the kernel clears up behind it.
        daemon.serve()
    }

    fn topology(&self) -> Result<Topology> {
        let links: Result<Vec<_>, String> =
            self.links.iter().map(|text| parse_link(text)).collect();
        let mut topology = Topology {
            links: parse(links)?,
            shared: Vec::new(),
            uplinks: self.uplinks,
            lan: if self.lan { Switch::On } else { Switch::Off },
            seed: self.seed,
            spin_us: self.spin,
        };
        for name in &self.nat {
            let link = parse(topology.position(name)).context("--nat")?;
            topology.links[link].nat = Switch::On;
        }
        if let Some(rate) = &self.shared {
            let config = LinkConfig::new(parse(parse_rate(rate))?, 0);
            let links = topology.links.iter().map(|spec| spec.name.clone()).collect();
            topology.shared = vec![SharedBottleneck { links, up: config.clone(), down: config }];
        }
        parse(topology.validate())?;
        Ok(topology)
    }

    fn welcome(&self, topology: &Topology, daemon: &Daemon) -> String {
        let mut text = String::from("The lab is up.\n\n");
        for (index, (spec, argument)) in topology.links.iter().zip(&self.links).enumerate() {
            let ([client, _], [server, _]) = (link_address(index, 1), link_address(index, 2));
            let node = lab::topology::client_node(spec.client);
            text += &format!("  {node} {client} ══ {argument} ══ {server} server\n");
        }
        let [server, server6] = SERVER_ADDRESS;
        text += &format!("\n  The server is {server} and {server6} by every link.\n");
        if topology.uplinks > 0 {
            let [inet, inet6] = INET_ADDRESS;
            let count = topology.uplinks;
            text += &format!("  Behind {count} uplinks is {inet} and {inet6} (machine inet).\n");
        }
        if topology.lan == Switch::On {
            let [host, host6] = lan_address(2);
            text += &format!("  Behind the client is {host} and {host6} (machine lan).\n");
        }
        let name = match self.name.name.as_str() {
            "lab" => String::new(),
            name => format!(" --name {name}"),
        };
        let link = &topology.links[0].name;
        let own = std::env::args().next().unwrap_or("lab".to_owned());
        text += &format!(
            "\nIn another shell, for example:\n\n  \
             {own} status --watch{name}\n  \
             {own} exec server{name} -- lab tcp-recv --listen {server}:5001\n  \
             {own} exec client{name} -- lab tcp-send --to {server}:5001 --interface {link}\n  \
             {own} set {link} loss=2%{name}\n  \
             {own} set {link} blackhole=up{name}        (then blackhole=off)\n\n"
        );
        let pid = daemon.machines().into_iter().find(|machine| machine.node == Node::Client);
        let pid = pid.map_or(0, |machine| machine.pid);
        text += &match daemon.rights() {
            Rights::Own => format!("The client's namespace: nsenter -t {pid} -n\n"),
            Rights::UserNamespace => {
                format!("Without root, in a user namespace; the client's: nsenter -t {pid} -U -n\n")
            }
        };
        if daemon.status().is_ok_and(|status| !status.realtime) {
            text += "Real-time priority was refused: on a busy machine delays will vary.\n";
        }
        text + "Ctrl-C ends the lab.\n"
    }
}
