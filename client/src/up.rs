//! `hawser up`: raises the tunnel and keeps it up.

use shared::{exit::Error, status::Instance};

use crate::{
    args::UpArguments,
    config::{Config, Links},
};

/// What `up` runs with: the configuration, with the command line's word over it.
#[derive(Debug)]
pub(crate) struct Options {
    /// The configuration.
    pub(crate) config: Config,
    /// By which name `status` finds us.
    pub(crate) instance: Instance,
}

impl Options {
    /// Puts the command line over the configuration.
    ///
    /// # Errors
    /// When the instance's name can't be one, or there is no folder for its socket.
    pub(crate) fn new(arguments: &UpArguments, mut config: Config) -> Result<Self, Error> {
        if !arguments.links.is_empty() {
            config.links = Links::Named(arguments.links.clone());
        }
        config.mode = arguments.mode.or(config.mode);
        let instance = Instance::named(arguments.name.as_deref(), &arguments.config)?;
        Ok(Self { config, instance })
    }
}

/// Runs until asked to end.
///
/// # Errors
/// When the tunnel can't be raised or kept.
pub(crate) fn run(options: Options) -> Result<(), Error> {
    let name = options.instance.name();
    Err(Error::failed(format_args!("\"{name}\" can't be raised: this build has no tunnel")))
}
