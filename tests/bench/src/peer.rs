//! Other systems over the same links: the kernel's MPTCP, and tunnels that a script brings up.
//!
//! `scripts/peers/raw-link.sh` says what such a script is told and must do. Events of a scenario
//! are not played to peers: what is compared is one bulk flow over links that stay as they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use lab::topology::{SERVER_ADDRESS, link_address};
use lab::{Direction, Lab, Node, Topology};
use netns::{Program, run_on};
use tempfile::TempDir;

use crate::case::Case;
use crate::namespaces::{Ends, Listener, Stop, bulk_goodput};
use crate::row::Comparison;
use crate::scenario::Family;

/// Runs the same flow through other systems.
///
/// # Errors
/// When one does not come up.
pub fn run(
    case: &Case,
    own_mbit: f64,
    scripts: &[PathBuf],
    has_mptcp: bool,
    stop: &Stop,
) -> Result<Vec<Comparison>> {
    let topology = Topology { seed: case.seed, ..Topology::of(case.scenario.links.clone()) };
    let seconds = case.scenario.seconds;
    let mut peers = Vec::new();
    if has_mptcp {
        let lab = Lab::up(&topology)?;
        let ends = mptcp(case, &lab).context("set MPTCP up")?;
        let goodput = bulk_goodput(&lab, &ends, case.sender, seconds, stop)?;
        peers.push(Comparison::new("mptcp", goodput, own_mbit));
    }
    for script in scripts {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let lab = Lab::up(&topology)?;
        let goodput = through(case, &lab, script, stop).with_context(|| name.clone())?;
        peers.push(Comparison::new(&name, goodput, own_mbit));
    }
    Ok(peers)
}

/// Where the flow goes that the kernel's MPTCP carries.
fn mptcp(case: &Case, lab: &Lab) -> Result<Ends> {
    let links: Vec<&str> = case.scenario.links.iter().map(|link| link.name.as_str()).collect();
    set_mptcp_up(lab, &links)?;
    let [server, _] = SERVER_ADDRESS;
    let (sender, receiver, listener) = match case.way {
        Direction::Down => (Node::Server, Node::Client, Listener::Sender),
        Direction::Up => (Node::Client, Node::Server, Listener::Receiver),
    };
    let address = server.to_string();
    Ok(Ends { sender, receiver, listener, address, words: vec!["--mptcp"] })
}

/// Tells both kernels to use all links. The client connects, as it must: only it has several
/// addresses.
///
/// # Errors
/// When a kernel refuses.
pub fn set_mptcp_up(lab: &Lab, links: &[&str]) -> Result<()> {
    let ip = |node, words: &str| run_on(lab, node, "ip", &words.split(' ').collect::<Vec<_>>());
    for node in [Node::Client, Node::Server] {
        ip(node, &format!("mptcp limits set subflow {0} add_addr_accepted {0}", links.len()))?;
    }
    for (index, link) in links.iter().enumerate() {
        let [address, _] = link_address(index, 1);
        ip(Node::Client, &format!("mptcp endpoint add {address} dev {link} subflow"))?;
    }
    Ok(())
}

/// Runs the flow through the tunnel that a script brings up.
fn through(case: &Case, lab: &Lab, script: &Path, stop: &Stop) -> Result<f64> {
    let links: Vec<&str> = case.scenario.links.iter().map(|link| link.name.as_str()).collect();
    let _scripted = Scripted::start(lab, script, &links)?;
    let plain = Ends::through_tunnel(case.way, Family::V4);
    let place = usize::from(case.way == Direction::Down);
    let ends = Ends { address: Scripted::INNER[place].to_owned(), ..plain };
    bulk_goodput(lab, &ends, case.sender, case.scenario.seconds, stop)
}

/// A tunnel that a script has brought up.
pub struct Scripted {
    /// The script at the client's end.
    pub client: Program,
    /// The script at the server's end.
    pub server: Program,
    /// A folder that both ends see.
    _shared: Option<TempDir>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // Asked to end, a script ends what it has started; nobody else knows of that.
        for program in [&mut self.client, &mut self.server] {
            if let Err(error) = program.terminate() {
                eprintln!("bench: {error:#}");
            }
        }
    }
}

impl Scripted {
    /// The inner addresses that a script gives: the server's and the client's.
    pub const INNER: [&str; 2] = ["10.250.0.1", "10.250.0.2"];

    /// Programs that run already and are ended with it.
    pub fn of(client: Program, server: Program) -> Self {
        Self { client, server, _shared: None }
    }

    /// Starts it at both ends and waits until both are ready.
    ///
    /// # Errors
    /// When the tunnel does not come up.
    pub fn start(lab: &Lab, script: &Path, links: &[&str]) -> Result<Self> {
        let script = script.canonicalize().context("find the script")?;
        let addresses = |host| {
            let all = (0..links.len()).map(|link| link_address(link, host)[0].to_string());
            all.collect::<Vec<_>>().join(" ")
        };
        let shared = tempfile::tempdir().context("make a folder")?;
        let start = |node: Node| {
            let mut command = Command::new(&script);
            command.env("SHARED", shared.path());
            command.arg(node.to_string()).env("LINKS", links.join(" "));
            command.env("CLIENT_ADDRESSES", addresses(1)).env("SERVER_ADDRESSES", addresses(2));
            command.env("SERVER", SERVER_ADDRESS[0].to_string());
            let mut program = Program::start(lab, node, "the script", command)?;
            match program.wait_ready() {
                Ok(_) => Ok(program),
                Err(error) => {
                    // Killed, it would leave behind what it has started.
                    program.terminate()?;
                    Err(error)
                }
            }
        };
        let mut server = start(Node::Server)?;
        match start(Node::Client) {
            Ok(client) => Ok(Self { client, server, _shared: Some(shared) }),
            Err(error) => {
                server.terminate()?;
                Err(error)
            }
        }
    }
}
