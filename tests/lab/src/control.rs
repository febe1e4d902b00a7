//! How other processes talk to a lab: one line of JSON each way on a Unix socket.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::emulator::Catch;
use crate::link::{DropLog, LinkCounters, Switch};
use crate::topology::text::Edit;
use crate::topology::{Direction, Node};

/// What one can ask of a lab.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Let a copier in who is ahead of the originals by so many microseconds; 0 sends him away.
    Copier {
        /// The link's name.
        link: String,
        /// Microseconds.
        lead_us: u64,
    },
    /// Note from here on which packets are dropped, at most so many a link and direction.
    LogDrops {
        /// Packets; 0 stops it.
        max: usize,
    },
    /// Pull a link out of the client, or plug it in again.
    Plug {
        /// The link's name.
        link: String,
        /// Off pulls it out.
        switch: Switch,
    },
    /// Let the NAT of a link forget its mappings.
    Rebind {
        /// The link's name.
        link: String,
    },
    /// Set all counters to zero.
    Reset,
    /// Change a link.
    Set {
        /// The link's name.
        link: String,
        /// What changes.
        edits: Vec<Edit>,
    },
    /// Say how everything is.
    Status,
    /// Give the drop logs and empty them.
    TakeDrops,
    /// Change an uplink.
    Uplink {
        /// Counted from 0.
        index: u8,
        /// What it shall be.
        state: UplinkState,
    },
}

/// What a lab answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It is done.
    Done,
    /// Answers [`Request::TakeDrops`].
    Drops(Vec<LinkDrops>),
    /// It can't be done: why, and what would be right.
    Refused(String),
    /// Answers [`Request::Status`].
    Status(Box<Status>),
}

/// How one uplink is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UplinkState {
    /// The cable is cut: the server's device has no carrier.
    Cut,
    /// The cable is good, and every packet vanishes behind it.
    Silent,
    /// Of ten packets to the server three vanish.
    Lossy,
    /// It carries.
    Up,
}

/// How a lab is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The machines and the processes that hold their namespaces.
    pub machines: Vec<Machine>,
    /// The access links.
    pub links: Vec<LinkStatus>,
    /// The shared bottlenecks: up and down.
    pub shared: Vec<[LinkCounters; 2]>,
    /// The uplinks.
    pub uplinks: Vec<UplinkState>,
    /// Time since the emulator began, in microseconds: the clock of the drop logs.
    pub now_us: u64,
    /// Processor time the emulator has used, in microseconds.
    pub emulator_cpu_us: u64,
    /// Whether the emulator has real-time priority. Without it a busy machine shifts times.
    pub realtime: bool,
    /// Packets that a device did not take.
    pub packets_unwritten: u64,
}

/// One machine of a lab.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Machine {
    /// Which.
    pub node: Node,
    /// The process that holds its namespace: `nsenter -t PID -n`, with `-U` where there is no root.
    pub pid: u32,
}

/// How one access link is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LinkStatus {
    /// Its name.
    pub name: String,
    /// From the client to the server.
    pub up: WayStatus,
    /// From the server to the client.
    pub down: WayStatus,
    /// Packets to the client that fitted no mapping of its NAT.
    pub nat_packets_refused: u64,
    /// What the copier on it has got.
    pub copier: Catch,
}

/// How one direction of a link is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct WayStatus {
    /// What it is set to, in words.
    pub setting: String,
    /// What happened on it.
    pub counters: LinkCounters,
    /// Packets that the kernel dropped before the emulator saw them; not 0 means that it was too
    /// slow and the measurement is void.
    pub kernel_dropped: u64,
}

/// The drop log of one direction of a link.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LinkDrops {
    /// The link's name.
    pub link: String,
    /// Which direction.
    pub direction: Direction,
    /// Which packets.
    pub log: DropLog,
}

/// Asks the lab that listens on `socket`.
///
/// # Errors
/// When there is no lab, or what it refused.
pub fn ask(socket: &Path, request: &Request) -> Result<Response> {
    let remedy = || format!("no lab listens on {}; raise one by 'lab up'", socket.display());
    let mut stream = UnixStream::connect(socket).with_context(remedy)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).context("write to the lab")?;
    let answer = read_line(&stream)?;
    match serde_json::from_str(&answer).context("read the lab's answer")? {
        Response::Refused(why) => bail!("{why}"),
        response => Ok(response),
    }
}

/// Asks how the lab is.
///
/// # Errors
/// As [`ask`].
pub fn status(socket: &Path) -> Result<Status> {
    match ask(socket, &Request::Status)? {
        Response::Status(status) => Ok(*status),
        other => bail!("the lab answered {other:?} to a question for its status"),
    }
}

/// Reads one line of at most `LINE_MAX` bytes.
///
/// # Errors
/// When the other side sends none.
pub fn read_line(stream: &UnixStream) -> Result<String> {
    let mut line = String::new();
    BufReader::new(stream).take(LINE_MAX).read_line(&mut line).context("read a line of JSON")?;
    Ok(line)
}

/// Where the lab called `name` listens: below /run for root, below $XDG_RUNTIME_DIR for others.
///
/// # Errors
/// When the directory can't be made.
pub fn socket_path(name: &str) -> Result<PathBuf> {
    let good = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !good {
        bail!("'{name}' can't name a lab; 1 to 64 letters, digits, - or _");
    }
    let user = rustix::process::geteuid();
    let directory = match std::env::var_os("XDG_RUNTIME_DIR") {
        _ if user.is_root() => PathBuf::from("/run/hawser-lab"),
        Some(runtime) => PathBuf::from(runtime).join("hawser-lab"),
        None => std::env::temp_dir().join(format!("hawser-lab-{}", user.as_raw())),
    };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.with_context(|| format!("make {}", directory.display()))?;
    Ok(directory.join(format!("{name}.sock")))
}

/// A line at most: a trace of 2 million lines fits.
const LINE_MAX: u64 = 32 << 20;
/// The lab answers in milliseconds; an uplink's change starts a program.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);
