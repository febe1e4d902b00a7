//! A lab for tests and demos, raised by the program `lab` and gone when dropped.

mod tool;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, anyhow, bail};

pub use self::tool::Tool;

use crate::control::{LinkDrops, Machine, Request, Response, Status, UplinkState, ask, status};
use crate::link::{Change, LinkCounters, Switch};
use crate::namespace::run_beside;
use crate::topology::text::{Edit, parse_edits};
use crate::topology::{Direction, Node, Topology};

/// Namespaces joined by emulated links.
///
/// The lab is another process; when this is dropped, or this process dies, that one ends and the
/// kernel takes the namespaces. Programs started in it are the caller's to end.
#[derive(Debug)]
pub struct Lab {
    process: Child,
    socket: PathBuf,
    machines: Vec<Machine>,
}

impl Lab {
    /// Raises a lab.
    ///
    /// # Errors
    /// What the host forbids, with the remedy; or that the program `lab` is not built.
    pub fn up(topology: &Topology) -> Result<Self> {
        let name = format!("{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let mut process = Command::new(program()?)
            .args(["serve", "--name", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the program lab")?;
        let stdin = process.stdin.as_mut().context("the lab has a standard input")?;
        serde_json::to_writer(&mut *stdin, topology).context("hand the topology over")?;
        std::io::Write::write_all(stdin, b"\n").context("hand the topology over")?;
        let mut ready = String::new();
        let stdout = process.stdout.take().context("the lab has a standard output")?;
        BufReader::new(stdout).read_line(&mut ready).context("wait for the lab")?;
        if ready.is_empty() {
            let mut why = String::new();
            if let Some(mut stderr) = process.stderr.take() {
                stderr.read_to_string(&mut why).context("read why there is no lab")?;
            }
            process.wait().context("wait for the lab")?;
            bail!("{}", why.trim());
        }
        let socket = PathBuf::from(ready.trim_end());
        let mut lab = Self { process, socket, machines: Vec::new() };
        lab.machines = lab.status()?.machines;
        Ok(lab)
    }

    /// Starts a command on a machine.
    ///
    /// # Errors
    /// When the lab has no such machine, or the command can't be started.
    pub fn run_in(&self, node: Node, mut command: Command) -> Result<Child> {
        let machine = self.machines.iter().find(|machine| machine.node == node);
        let machine = machine.ok_or_else(|| anyhow!("this lab has no machine {node}"))?;
        run_beside(machine.pid, &mut command)?;
        let program = command.get_program().to_owned();
        command.spawn().with_context(|| format!("start {} on {node}", program.display()))
    }

    /// Starts one of the traffic tools on a machine; one that listens is listening on return.
    ///
    /// # Errors
    /// As [`run_in`](Self::run_in), or what the tool says.
    pub fn tool(&self, node: Node, arguments: &[&str]) -> Result<Tool> {
        let mut command = Command::new(program()?);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Tool::watch(self.run_in(node, command)?, arguments)
    }

    /// Changes a link in one direction, or in both.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn set(&self, link: &str, direction: Option<Direction>, change: Change) -> Result<()> {
        let edits = vec![Edit { direction, change }];
        self.order(&Request::Set { link: link.to_owned(), edits })
    }

    /// Changes a link as the command line does: `"loss=2% blackhole=up"`.
    ///
    /// # Errors
    /// When there is no such link, or which part is wrong.
    pub fn set_text(&self, link: &str, changes: &str) -> Result<()> {
        let parts: Vec<&str> = changes.split([' ', ',']).filter(|part| !part.is_empty()).collect();
        let edits = parse_edits(&parts).map_err(anyhow::Error::msg)?;
        self.order(&Request::Set { link: link.to_owned(), edits })
    }

    /// What has happened so far.
    ///
    /// # Errors
    /// When the lab is gone.
    pub fn status(&self) -> Result<Status> {
        status(&self.socket)
    }

    /// What has happened on one direction of a link.
    ///
    /// # Errors
    /// When there is no such link, or the lab is gone.
    pub fn counters(&self, link: &str, direction: Direction) -> Result<LinkCounters> {
        let found = self.status()?.links.into_iter().find(|status| status.name == link);
        let found = found.with_context(|| format!("this lab has no link '{link}'"))?;
        Ok(match direction {
            Direction::Down => found.down.counters,
            Direction::Up => found.up.counters,
        })
    }

    /// Sets every counter to zero.
    ///
    /// # Errors
    /// When the lab is gone.
    pub fn reset_counters(&self) -> Result<()> {
        self.order(&Request::Reset)
    }

    /// Notes from here on which packets are dropped, at most `max` a link and direction.
    ///
    /// # Errors
    /// When the lab is gone.
    pub fn log_drops(&self, max: usize) -> Result<()> {
        self.order(&Request::LogDrops { max })
    }

    /// Takes the drop logs and empties them.
    ///
    /// # Errors
    /// When the lab is gone.
    pub fn take_drops(&self) -> Result<Vec<LinkDrops>> {
        match ask(&self.socket, &Request::TakeDrops)? {
            Response::Drops(drops) => Ok(drops),
            other => bail!("the lab answered {other:?} to a question for its drops"),
        }
    }

    /// Lets a link's NAT forget its mappings, so that the client seems to have moved.
    ///
    /// # Errors
    /// When the link has no NAT.
    pub fn rebind(&self, link: &str) -> Result<()> {
        self.order(&Request::Rebind { link: link.to_owned() })
    }

    /// Lets somebody copy what the client sends on a link; his copies arrive `lead_us` before the
    /// originals. With 0 he goes away.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn copier(&self, link: &str, lead_us: u64) -> Result<()> {
        self.order(&Request::Copier { link: link.to_owned(), lead_us })
    }

    /// Pulls a link out of the client (its device vanishes), or plugs it in again.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn plug(&self, link: &str, switch: Switch) -> Result<()> {
        self.order(&Request::Plug { link: link.to_owned(), switch })
    }

    /// Changes an uplink, counted from 0.
    ///
    /// # Errors
    /// When there is no such uplink.
    pub fn uplink(&self, index: u8, state: UplinkState) -> Result<()> {
        self.order(&Request::Uplink { index, state })
    }

    /// Where the lab listens: for `lab --socket` in another shell.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn order(&self, request: &Request) -> Result<()> {
        match ask(&self.socket, request)? {
            Response::Done => Ok(()),
            other => bail!("the lab answered {other:?} to an order"),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The end of its input ends the lab.
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            eprintln!("lab: wait for its end: {error}");
        }
    }
}

/// The program `lab`: $LAB_PROGRAM, or beside the running one, or one folder above it.
fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("LAB_PROGRAM") {
        return Ok(program.into());
    }
    let own = std::env::current_exe().context("find the running program")?;
    let mut folders = own.ancestors().skip(1).take(2).map(|folder| folder.join("lab"));
    folders.find(|program| program.is_file()).with_context(|| {
        format!("no program lab beside {}; build it: cargo build -p lab", own.display())
    })
}

/// Labs raised by this process: each gets a name of its own.
static LABS: AtomicU32 = AtomicU32::new(0);
