//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use shared::{
    config::{Wrong, validate_interface},
    mode::Mode,
    status::StatusArguments,
};

/// One tunnel over all your links: hawser splits traffic over them for speed, or duplicates it for
/// reliability.
#[derive(Debug, Parser)]
#[command(name = "hawser", version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// What to log: error, warn, info, debug, trace, or a list of TARGET=LEVEL
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration and say all that is wrong with it
    Check {
        /// The configuration
        file: PathBuf,
    },
    /// Print a fresh private key
    Keygen,
    /// Read a private key from standard input and print its public key
    Pubkey,
    /// Show how a running tunnel is: links, paths, traffic
    Status(StatusArguments),
    /// Raise the tunnel and keep it up until asked to end
    Up(UpArguments),
}

/// What `up` takes from the command line.
#[derive(Args, Debug)]
pub(crate) struct UpArguments {
    /// The configuration, as `hawser-server client add` prints it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// What `status` calls this tunnel [default: the configuration's file name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Use this interface only; may be repeated [default: as configured]
    #[arg(long = "link", value_name = "IFNAME", value_parser = interface)]
    pub(crate) links: Vec<String>,
    /// How packets are shared out: split, duplicate, adaptive, flow-hash, host-hash, lowest-latency or active-standby [default: as configured]
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
}

fn interface(text: &str) -> Result<String, Wrong> {
    validate_interface(text)?;
    Ok(text.to_owned())
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
