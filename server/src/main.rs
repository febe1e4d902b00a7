//! `hawser-server`: takes the tunnels of many clients and sends their packets out through a
//! health-checked set of uplinks.

use std::process::ExitCode;

use clap::Parser as _;
use shared::{
    exit::{self, Error},
    keys, logging,
};

use self::{
    args::{Arguments, Command},
    run::Options,
};

mod admission;
mod args;
mod clients;
mod config;
mod dry_run;
mod init;
mod leases;
mod operation;
mod requests;
mod run;
mod sessions;
mod uplink_command;

fn main() -> ExitCode {
    exit::conclude(PROGRAM, execute(Arguments::parse()))
}

/// The name of this program in messages and in its status.
const PROGRAM: &str = "hawser-server";

fn execute(arguments: Arguments) -> Result<(), Error> {
    logging::start(arguments.log.as_deref())?;
    match arguments.command {
        Command::Check { file } => config::check(&file),
        Command::Client { command } => clients::command::execute(&command),
        Command::DryRun { config, supposed } => dry_run::dry_run(&config, &supposed),
        Command::Events(events) => events.run(PROGRAM),
        Command::Init(init) => init::init(&init),
        Command::Keygen => keys::generate(),
        Command::Pubkey => keys::print_public(),
        Command::Reload(server) => uplink_command::reload(&server),
        Command::Run(run) => run::run(Options::load(&run)?),
        Command::Status(status) => status.run(PROGRAM),
        Command::Uplink { command } => uplink_command::execute(command),
    }
}
