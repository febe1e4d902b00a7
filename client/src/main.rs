//! `hawser`: the client. One tunnel over many links.

use std::process::ExitCode;

use clap::Parser as _;
use shared::{
    exit::{self, Error},
    keys, logging,
};

use self::{
    args::{Arguments, Command},
    config::Config,
    up::Options,
};

mod args;
mod config;
mod links;
mod tunnel;
mod up;

fn main() -> ExitCode {
    exit::conclude(PROGRAM, run(Arguments::parse()))
}

/// The name of this program in messages and in its status.
const PROGRAM: &str = "hawser";

fn run(arguments: Arguments) -> Result<(), Error> {
    logging::start(arguments.log.as_deref())?;
    match arguments.command {
        Command::Check { file } => config::check(&file),
        Command::Keygen => keys::generate(),
        Command::Pubkey => keys::print_public(),
        Command::Status(status) => status.run(PROGRAM),
        Command::Up(up) => up::run(Options::new(&up, Config::load(&up.config)?)?),
    }
}
