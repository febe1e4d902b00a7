//! `hawser-server uplink` and `hawser-server reload`: orders to a running server.

use std::{
    io::{self, Write as _},
    net::IpAddr,
};

use clap::{Args, Subcommand};
use shared::{
    exit::Error,
    status::{Addressee, NoArguments},
};
use toml::Value;

use crate::{
    PROGRAM,
    operation::{Action, Done, Order},
};

/// An order about an uplink, from the command line.
#[derive(Debug, Subcommand)]
pub(crate) enum UplinkCommand {
    /// Add an uplink, until the next reload or start
    Add(AddArguments),
    /// Let an uplink take no new flows; those that it has stay until they end
    Drain(Which),
    /// Let nothing leave by an uplink; its flows begin anew by others
    Off(Which),
    /// Remove an uplink, until the next reload or start
    Remove(Which),
    /// Use an uplink as it is configured, after `drain` or `off`
    Use(Which),
    /// Give an uplink another weight, until the next reload or start
    Weigh {
        /// The weight, from 1 to 1000
        weight: u32,
        #[command(flatten)]
        which: Which,
    },
}

/// An uplink of a running server.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// The uplink
    uplink: String,
    #[command(flatten)]
    server: Addressee,
}

/// What `uplink add` takes from the command line: the keys of an `[[uplink]]`.
#[derive(Args, Debug)]
pub(crate) struct AddArguments {
    #[command(flatten)]
    which: Which,
    /// The interface that packets leave by
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// The next hop; one of each family
    #[arg(long = "gateway", value_name = "ADDRESS")]
    gateways: Vec<IpAddr>,
    /// The routing table whose default routes lead out
    #[arg(long)]
    table: Option<u32>,
    /// The order of preference [default: 1]
    #[arg(long)]
    tier: Option<u8>,
    /// How much it takes where several share [default: 1]
    #[arg(long)]
    weight: Option<u32>,
    /// Such as "icmp 192.0.2.1"; may be repeated
    #[arg(long = "probe", value_name = "PROBE")]
    probes: Vec<String>,
    /// Such as 100ms [default: 200ms]
    #[arg(long, value_name = "TIME")]
    interval: Option<String>,
}

/// Gives the order, and prints what was done.
///
/// # Errors
/// When no server is running, or it refuses.
pub(crate) fn execute(command: UplinkCommand) -> Result<(), Error> {
    let (which, action) = match command {
        UplinkCommand::Add(arguments) => {
            let text = arguments.text();
            (arguments.which, Action::Add { text })
        }
        UplinkCommand::Drain(which) => (which, Action::Drain),
        UplinkCommand::Off(which) => (which, Action::Off),
        UplinkCommand::Remove(which) => (which, Action::Remove),
        UplinkCommand::Use(which) => (which, Action::Use),
        UplinkCommand::Weigh { weight, which } => (which, Action::Weigh { weight }),
    };
    let server = which.server.only(PROGRAM)?;
    tell(server.ask(UPLINK, &Order { uplink: which.uplink, action })?)
}

/// Lets a running server read its configuration again.
///
/// # Errors
/// When no server is running, or the file is wrong.
pub(crate) fn reload(server: &Addressee) -> Result<(), Error> {
    tell(server.only(PROGRAM)?.ask(RELOAD, &NoArguments {})?)
}

/// The names of the requests.
pub(crate) const UPLINK: &str = "uplink";
pub(crate) const RELOAD: &str = "reload";

impl AddArguments {
    /// The `[[uplink]]` that these make.
    fn text(&self) -> String {
        let strings = |items: Vec<String>| Value::from(items).to_string();
        let mut lines = vec![format!("name = {}", Value::from(self.which.uplink.as_str()))];
        let mut line = |key: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("{key} = {value}")));
        };
        line("interface", self.interface.as_deref().map(|it| Value::from(it).to_string()));
        let gateways: Vec<String> = self.gateways.iter().map(ToString::to_string).collect();
        line("gateway", (!gateways.is_empty()).then(|| strings(gateways)));
        line("table", self.table.map(|it| it.to_string()));
        line("tier", self.tier.map(|it| it.to_string()));
        line("weight", self.weight.map(|it| it.to_string()));
        line("probe", (!self.probes.is_empty()).then(|| strings(self.probes.clone())));
        line("interval", self.interval.as_deref().map(|it| Value::from(it).to_string()));
        format!("[[uplink]]\n{}\n", lines.join("\n"))
    }
}

fn tell(done: Done) -> Result<(), Error> {
    writeln!(io::stdout(), "{}", done.done)
        .map_err(|error| Error::from_io("write to standard output", &error))
}
