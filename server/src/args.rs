//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use hawser_server::egress::Supposition;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shared::{
    config::{Wrong, parse_cidr, parse_listen_address, validate_name},
    control::{KeyError, PublicKey},
    host_port::HostPort,
    routes::Routes,
    status::{Addressee, EventsArguments, StatusArguments},
};

use crate::uplink_command::UplinkCommand;

/// Takes the tunnels of hawser clients and sends their packets out through health-checked uplinks.
#[derive(Debug, Parser)]
#[command(
    name = "hawser-server",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    /// What to log: error, warn, info, debug, trace, or a list of TARGET=LEVEL
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration and its clients, and say all that is wrong with them
    Check {
        /// The server's configuration
        file: PathBuf,
    },
    /// Add, list and remove clients; a running server follows at once
    Client {
        #[command(subcommand)]
        command: ClientCommand,
    },
    /// Print where traffic would go if uplinks were in some state; nothing is asked or changed
    DryRun {
        /// The server's configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// An uplink's state: healthy, unhealthy, no-link, draining, off or bad-for-CLASS;
        /// the others are healthy
        #[arg(value_name = "UPLINK=STATE")]
        supposed: Vec<Supposition>,
    },
    /// Show what happened to the uplinks, and go on with what happens
    Events(EventsArguments),
    /// Write a configuration, a key and a folder for clients
    Init(InitArguments),
    /// Print a fresh private key
    Keygen,
    /// Read a private key from standard input and print its public key
    Pubkey,
    /// Let a running server read its configuration again: uplinks and their policies change at once
    Reload(Addressee),
    /// Serve until asked to end
    Run(RunArguments),
    /// Show how a running server is: sessions, uplinks, traffic
    Status(StatusArguments),
    /// Change the uplinks of a running server
    Uplink {
        #[command(subcommand)]
        command: UplinkCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Add a client and print its complete configuration
    Add(ClientAddArguments),
    /// List the clients
    List {
        /// The server's configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a client; a running server ends its session
    Remove {
        /// The client
        #[arg(value_parser = name)]
        name: String,
        /// The server's configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// What `client add` takes from the command line.
#[derive(Args, Debug)]
pub(crate) struct ClientAddArguments {
    /// What to call the client: a-z 0-9 . _ -
    #[arg(value_parser = name)]
    pub(crate) name: String,
    /// The server's configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The client's own public key [default: a fresh key, in the printed configuration]
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    pub(crate) pubkey: Option<PublicKey>,
    /// A network behind the client, to be routed to it; may be repeated
    #[arg(long = "prefix", value_name = "CIDR", value_parser = parse_cidr)]
    pub(crate) prefixes: Vec<IpNet>,
}

/// What `init` takes from the command line.
#[derive(Args, Debug)]
pub(crate) struct InitArguments {
    /// Where to listen, such as 0.0.0.0:4500 or [::]:4500; may be repeated
    #[arg(long, value_name = "ADDR:PORT", required = true, value_parser = parse_listen_address)]
    pub(crate) listen: Vec<SocketAddr>,
    /// Where clients find the server; may be repeated
    #[arg(long, value_name = "HOST:PORT", required = true)]
    pub(crate) advertise: Vec<HostPort>,
    /// Where inner IPv4 addresses come from; the server takes the first
    #[arg(long, value_name = "CIDR", value_parser = pool)]
    pub(crate) pool: Ipv4Net,
    /// Where inner IPv6 addresses come from
    #[arg(long, value_name = "CIDR", value_parser = pool6)]
    pub(crate) pool6: Option<Ipv6Net>,
    /// What clients send through the tunnel: default (everything), none, or networks
    /// [default: the pools only]
    #[arg(long, value_name = "default|none|CIDR,...", default_value_t, hide_default_value = true)]
    pub(crate) routes: Routes,
    /// The folder to write to
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

/// What `run` takes from the command line.
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// The server's configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// What `status` calls this server [default: the configuration's file name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

fn name(text: &str) -> Result<String, Wrong> {
    validate_name(text)?;
    Ok(text.to_owned())
}

fn public_key(text: &str) -> Result<PublicKey, KeyError> {
    text.trim().parse()
}

fn pool(text: &str) -> Result<Ipv4Net, Wrong> {
    crate::leases::pool4(parse_cidr(text)?)
}

fn pool6(text: &str) -> Result<Ipv6Net, Wrong> {
    crate::leases::pool6(parse_cidr(text)?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
