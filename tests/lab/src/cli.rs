//! The commands of the program `lab`.

mod table;
mod up;

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use lab::control::{Request, Response, UplinkState, ask, socket_path, status};
use lab::daemon::Daemon;
use lab::link::{Rate, Switch, Trace};
use lab::namespace::{hold, run_beside};
use lab::topology::text::{parse_duration_us, parse_edits, parse_rate};
use lab::topology::{Node, Topology};
use lab::traffic::{fetch, ping, quic, tcp, udp};
use serde::Serialize;

/// Runs the command that the arguments name.
///
/// # Errors
/// What went wrong, with the remedy.
pub(crate) fn run() -> Result<ExitCode> {
    match Lab::parse().command {
        Task::Copier { link, lead, name } => {
            let lead_us = if lead == "off" { 0 } else { parse(parse_duration_us(&lead))? };
            order(&name, &Request::Copier { link, lead_us })?;
        }
        Task::Echo(options) => ping::echo(&options)?,
        Task::Exec { machine, command, name } => exec(machine, &command, &name)?,
        Task::Hold => hold()?,
        Task::PageFetch(options) => print(&fetch::fetch(&options)?)?,
        Task::PageServe(options) => fetch::serve(&options)?,
        Task::Ping(options) => print(&ping::ping(&options)?)?,
        Task::Plug { link, name } => order(&name, &Request::Plug { link, switch: Switch::On })?,
        Task::QuicRecv(options) => print(&quic::receive(&options)?)?,
        Task::QuicSend(options) => print(&quic::send(&options)?)?,
        Task::Rebind { link, name } => order(&name, &Request::Rebind { link })?,
        Task::Serve { name } => serve(&name)?,
        Task::Set { link, changes, name } => {
            let parts: Vec<&str> = changes.iter().flat_map(|part| part.split(',')).collect();
            order(&name, &Request::Set { link, edits: parse(parse_edits(&parts))? })?;
        }
        Task::Status { json: true, name, .. } => print(&status(&name.socket()?)?)?,
        Task::Status { watch, name, .. } => table::show(&name.socket()?, watch)?,
        Task::TcpRecv(options) => print(&tcp::receive(&options)?)?,
        Task::TcpSend(options) => print(&tcp::send(&options)?)?,
        Task::Trace { task: TraceTask::Generate(options) } => options.generate()?,
        Task::UdpRecv(options) => print(&udp::receive(&options)?)?,
        Task::UdpSend(options) => print(&udp::send(&options)?)?,
        Task::Unplug { link, name } => order(&name, &Request::Plug { link, switch: Switch::Off })?,
        Task::Up(options) => options.run()?,
        Task::Uplink { index, state, name } => {
            let state = match state {
                UplinkWord::Cut => UplinkState::Cut,
                UplinkWord::Silent => UplinkState::Silent,
                UplinkWord::Lossy => UplinkState::Lossy,
                UplinkWord::Up => UplinkState::Up,
            };
            order(&name, &Request::Uplink { index, state })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Machines joined by emulated access links, on this machine
#[derive(Parser)]
#[command(version)]
struct Lab {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Let somebody copy what the client sends on a link; his copies win by a time such as 5ms
    Copier {
        link: String,
        /// A time, or off
        lead: String,
        #[command(flatten)]
        name: Name,
    },
    /// Answer UDP packets with themselves, for ping
    #[command(name = "udp-echo")]
    Echo(ping::EchoOptions),
    /// Run a command on a machine: client, server, inet, lan, guest1 ...
    Exec {
        machine: Node,
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
        #[command(flatten)]
        name: Name,
    },
    /// Hold a namespace (used by the lab itself)
    #[command(hide = true)]
    Hold,
    /// Fetch short pages from a page-serve, one after the other
    PageFetch(fetch::FetchOptions),
    /// Serve short pages over TCP, for page-fetch
    PageServe(fetch::ServeOptions),
    /// Measure the latency of UDP packets to a udp-echo
    Ping(ping::PingOptions),
    /// Plug a link in again
    Plug {
        link: String,
        #[command(flatten)]
        name: Name,
    },
    /// Receive one QUIC flow
    QuicRecv(quic::ReceiveOptions),
    /// Send one QUIC flow
    QuicSend(quic::SendOptions),
    /// Let a link's NAT forget its mappings
    Rebind {
        link: String,
        #[command(flatten)]
        name: Name,
    },
    /// Raise the topology that standard input gives as JSON (used by tests)
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        name: Name,
    },
    /// Change a link while it runs: loss=2% blackhole=up rate=20M trace=FILE ...
    Set {
        link: String,
        #[arg(required = true)]
        changes: Vec<String>,
        #[command(flatten)]
        name: Name,
    },
    /// Show rates, queues and drops
    Status {
        /// Show it anew each second
        #[arg(long)]
        watch: bool,
        /// Print everything as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        name: Name,
    },
    /// Receive one TCP flow
    TcpRecv(tcp::ReceiveOptions),
    /// Send one TCP flow
    TcpSend(tcp::SendOptions),
    /// Make rate traces
    Trace {
        #[command(subcommand)]
        task: TraceTask,
    },
    /// Receive numbered UDP packets
    UdpRecv(udp::ReceiveOptions),
    /// Send numbered UDP packets
    UdpSend(udp::SendOptions),
    /// Pull a link out of the client
    Unplug {
        link: String,
        #[command(flatten)]
        name: Name,
    },
    /// Raise a lab and keep it until Ctrl-C
    Up(up::Options),
    /// Cut an uplink, silence it, or repair it
    Uplink {
        /// Counted from 0
        index: u8,
        state: UplinkWord,
        #[command(flatten)]
        name: Name,
    },
}

#[derive(Subcommand)]
enum TraceTask {
    /// Make a trace like that of a moving LTE modem, in the format of Mahimahi
    Generate(Generate),
}

#[derive(Args)]
struct Generate {
    /// Where to write it; - is standard output
    #[arg(long, default_value = "-")]
    out: PathBuf,
    /// Mean rate
    #[arg(long, default_value = "30M")]
    rate: String,
    /// Length
    #[arg(long, default_value = "60s")]
    length: String,
    /// The same seed gives the same trace
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Generate {
    fn generate(&self) -> Result<()> {
        let Rate::Constant { bits_per_second } = parse(parse_rate(&self.rate))? else {
            bail!("a trace needs a rate, for example --rate 30M");
        };
        let length_ms = parse(parse_duration_us(&self.length))? / 1000;
        let text = Trace::generate(self.seed, bits_per_second, length_ms).emit();
        if self.out.as_os_str() == "-" {
            return std::io::stdout().write_all(text.as_bytes()).context("print the trace");
        }
        std::fs::write(&self.out, text).with_context(|| format!("write {}", self.out.display()))
    }
}

/// Which lab is meant.
#[derive(Args)]
struct Name {
    /// Name of the lab, when there are several
    #[arg(long, default_value = "lab")]
    name: String,
}

impl Name {
    fn socket(&self) -> Result<PathBuf> {
        socket_path(&self.name)
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum UplinkWord {
    /// No carrier
    Cut,
    /// Carrier, and every packet vanishes
    Silent,
    /// Carrier, and of ten packets to the server three vanish
    Lossy,
    /// It works
    Up,
}

fn order(name: &Name, request: &Request) -> Result<()> {
    match ask(&name.socket()?, request)? {
        Response::Done => Ok(()),
        other => bail!("the lab answered {other:?} to an order"),
    }
}

fn exec(machine: Node, command: &[std::ffi::OsString], name: &Name) -> Result<()> {
    let machines = status(&name.socket()?)?.machines;
    let found = machines.iter().find(|each| each.node == machine);
    let found = found.with_context(|| format!("this lab has no machine {machine}"))?;
    let (program, arguments) = command.split_first().context("no command was given")?;
    // The lab's own tools are meant, wherever they were built.
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(if program == "lab" { own.as_os_str() } else { program });
    command.args(arguments);
    run_beside(found.pid, &mut command)?;
    let program = command.get_program().to_owned();
    Err(command.exec()).with_context(|| format!("start {}", program.display()))
}

fn serve(name: &Name) -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("read the topology")?;
    let topology: Topology = serde_json::from_str(&line).context("read the topology")?;
    let socket = name.socket()?;
    let daemon = Daemon::raise(topology, &socket)?;
    println!("{}", socket.display());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(error) = daemon.serve() {
                eprintln!("lab: {error:#}");
            }
        });
        // The end of standard input is the end of whoever raised the lab.
        let ended = hold();
        drop(std::fs::remove_file(&socket));
        std::process::exit(i32::from(ended.is_err()));
    })
}

fn print(report: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}

fn parse<T>(parsed: Result<T, String>) -> Result<T> {
    parsed.map_err(anyhow::Error::msg)
}
