//! A client and a server on one wire, with a system between them.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use lab::topology::{SERVER_ADDRESS, link_address};
use lab::{Lab, LinkSpec, Node, Topology};
use netns::{Options, Program, Tunnel};

use super::system::{Kind, System};
use crate::peer::{self, Scripted};
use crate::relay::Sealing;

/// A system that is up.
pub(super) enum Ground {
    Raw(Lab),
    Mptcp(Lab),
    Tunnel(Box<Tunnel>),
    /// What stands in the lab ends before it.
    Scripted(Box<Scripted>, Lab),
}

impl Ground {
    pub(super) fn raise(system: &System) -> Result<Self> {
        let topology = Topology::of([LinkSpec::wire("wire")]);
        let pair = Topology::of(PAIR.map(LinkSpec::wire));
        Ok(match system {
            System::Raw => Self::Raw(Lab::up(&topology)?),
            System::Mptcp => {
                let lab = Lab::up(&pair)?;
                peer::set_mptcp_up(&lab, &PAIR)?;
                Self::Mptcp(lab)
            }
            System::Hawser(kind) => {
                let topology = if kind.wires() == 1 { &topology } else { &pair };
                let tunnel = Tunnel::up(topology, &options(*kind))?;
                tunnel.wait_paths_up(kind.wires())?;
                Self::Tunnel(Box::new(tunnel))
            }
            System::Relay(sealing) => {
                let lab = Lab::up(&topology)?;
                let scripted = relay(&lab, *sealing)?;
                Self::Scripted(Box::new(scripted), lab)
            }
            System::Script(script) => {
                let lab = Lab::up(&topology)?;
                let scripted = Scripted::start(&lab, script, &["wire"])?;
                Self::Scripted(Box::new(scripted), lab)
            }
        })
    }

    pub(super) fn lab(&self) -> &Lab {
        match self {
            Self::Raw(lab) | Self::Mptcp(lab) | Self::Scripted(_, lab) => lab,
            Self::Tunnel(tunnel) => &tunnel.lab,
        }
    }

    /// Where a machine is reached through the system.
    pub(super) fn address(&self, node: Node) -> String {
        let place = usize::from(node != Node::Server);
        match self {
            Self::Raw(_) => link_address(0, [2, 1][place])[0].to_string(),
            Self::Mptcp(_) => SERVER_ADDRESS[0].to_string(),
            Self::Tunnel(_) => [netns::SERVER[0], netns::CLIENT[0]][place].to_owned(),
            Self::Scripted(..) => Scripted::INNER[place].to_owned(),
        }
    }

    /// What both ends of a flow are told beside.
    pub(super) fn words(&self) -> &'static [&'static str] {
        if matches!(self, Self::Mptcp(_)) { &["--mptcp"] } else { &[] }
    }

    /// The time that the system's processes have spent so far, in seconds: the client's and the
    /// server's.
    pub(super) fn cpu_seconds(&self) -> Result<[f64; 2]> {
        let [client, server] = match self {
            Self::Raw(_) | Self::Mptcp(_) => return Ok([0.0; 2]),
            Self::Tunnel(tunnel) => [&tunnel.client, &tunnel.server],
            Self::Scripted(scripted, _) => [&scripted.client, &scripted.server],
        };
        Ok([spent(client)?, spent(server)?])
    }
}

/// How our programs are configured.
fn options(kind: Kind) -> Options {
    let plain = Options::default();
    match kind {
        Kind::Plain | Kind::Two => plain,
        Kind::Chacha => {
            Options { server: "\nciphers = [\"chacha20-poly1305\"]\n".to_owned(), ..plain }
        }
        Kind::Duplicate => Options { mode: Some("duplicate"), ..plain },
    }
}

/// Starts a relay at both ends.
fn relay(lab: &Lab, sealing: Sealing) -> Result<Scripted> {
    let start = |node: Node, place: usize| {
        let [own, other] =
            [[2, 1], [1, 2]][place].map(|host| format!("{}:4700", link_address(0, host)[0]));
        let [inner, peer] = [Scripted::INNER[place], Scripted::INNER[1 - place]];
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["relay", "--local", &own, "--remote", &other, "--inner", inner, "--peer", peer]);
        command.args(["--sealing", sealing.name()]);
        let program = Program::start(lab, node, "the relay", command)?;
        program.wait_ready()?;
        anyhow::Ok(program)
    };
    let server = start(Node::Server, 0)?;
    Ok(Scripted::of(start(Node::Client, 1)?, server))
}

/// Of a process and those that it has started.
fn spent(program: &Program) -> Result<f64> {
    let mut family = vec![program.pid()];
    let mut ticks = 0;
    while let Some(pid) = family.pop() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read its time")?;
        // What follows the name, which may contain anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
        let field = |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok());
        ticks += field(12).unwrap_or(0) + field(13).unwrap_or(0);
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        family.extend(children.split_whitespace().filter_map(|it| it.parse::<u32>().ok()));
    }
    Ok(ticks as f64 / TICKS)
}

/// The names of two wires.
const PAIR: [&str; 2] = ["wire", "other"];

/// USER_HZ, the same on all machines that Debian runs on.
const TICKS: f64 = 100.0;
