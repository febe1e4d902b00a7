//! `hawser-server run`: serves until asked to end.

use shared::{control::PrivateKey, exit::Error, status::Instance};

use crate::{args::RunArguments, clients::ClientsFolder, config::Config};

/// What `run` serves with.
#[derive(Debug)]
pub(crate) struct Options {
    /// The configuration.
    pub(crate) config: Config,
    /// Who the server is.
    pub(crate) key: PrivateKey,
    /// The clients, to be followed while the server runs.
    pub(crate) clients: ClientsFolder,
    /// By which name `status` finds us.
    pub(crate) instance: Instance,
}

impl Options {
    /// Reads everything that the server runs with. A client whose file is wrong is left out, with
    /// a warning: the others must not wait for it.
    ///
    /// # Errors
    /// When the configuration, the key or the clients' folder can't be used.
    pub(crate) fn load(arguments: &RunArguments) -> Result<Self, Error> {
        let config = Config::load(&arguments.config)?;
        let key = config.key()?;
        let (clients, problems) = ClientsFolder::open(&config.clients_folder, config.pools)?;
        for problem in problems {
            tracing::warn!("a client is left out: {problem}");
        }
        let instance = Instance::named(arguments.name.as_deref(), &arguments.config)?;
        Ok(Self { config, key, clients, instance })
    }
}

/// Serves until asked to end.
///
/// # Errors
/// When the server can't be started, or fails.
pub(crate) fn run(options: Options) -> Result<(), Error> {
    let name = options.instance.name();
    Err(Error::failed(format_args!("\"{name}\" can't be started: this build serves no tunnels")))
}
