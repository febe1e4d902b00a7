//! The commands `client add`, `client list` and `client remove`.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    path::Path,
};

use serde_json::json;
use shared::{
    config::nearest,
    control::PrivateKey,
    exit::Error,
    grid::{Cell, Colour, Grid},
    lock::Lock,
    stored,
};
use zeroize::Zeroizing;

use super::{Client, ClientsFolder, folder::file};
use crate::{
    args::{ClientAddArguments, ClientCommand},
    config::Config,
};

/// Does what a `client` command says.
///
/// # Errors
/// When the configuration is wrong, the client is there already or not at all, or a file can't be
/// written.
pub(crate) fn execute(command: &ClientCommand) -> Result<(), Error> {
    match command {
        ClientCommand::Add(arguments) => add(arguments),
        ClientCommand::List { config, json: false } => list(config),
        ClientCommand::List { config, json: true } => list_json(config),
        ClientCommand::Remove { name, config } => remove(name, config),
    }
}

fn add(arguments: &ClientAddArguments) -> Result<(), Error> {
    let config = Config::load(&arguments.config)?;
    let server_key = config.key()?.public();
    let (own_key, public_key) = match arguments.pubkey {
        Some(public_key) => (None, public_key),
        None => {
            let key = PrivateKey::generate();
            let public_key = key.public();
            (Some(key), public_key)
        }
    };
    let _lock = Lock::acquire(&config.clients_folder.join(LOCK))?;
    let folder = sound(&config)?;
    let path = file(&config.clients_folder, &arguments.name);
    if path.exists() {
        return Err(Error::failed(format_args!("there is a client \"{}\"", arguments.name))
            .with_remedy("take another name, or remove it first: `hawser-server client remove`"));
    }
    let claims = folder.claims();
    claims
        .judge_key(&public_key)
        .map_err(|wrong| Error::configuration(format_args!("--pubkey: {wrong}")))?;
    for prefix in &arguments.prefixes {
        let judged = claims.judge_prefix(*prefix, config.pools);
        judged.map_err(|wrong| Error::configuration(format_args!("--prefix: {wrong}")))?;
    }
    let lease = config.pools.next_free(&claims.leases()).ok_or_else(|| {
        Error::failed("the pool has no free address")
            .with_remedy("remove clients, or make the pool larger")
    })?;
    let client = Client {
        name: arguments.name.clone(),
        public_key,
        lease,
        prefixes: arguments.prefixes.clone(),
        modes: Vec::new(),
    };
    // The new file is judged as a running server will: its own prefixes may overlap.
    let text = client.to_toml();
    let document = shared::config::Document::from_text(&path, &text);
    Client::read(&document, &client.name, config.pools, &claims)?;
    stored::write(&path, text.as_bytes(), 0o644)?;
    let printed =
        print(&client_configuration(&config, &client, &server_key.to_string(), own_key.as_ref()));
    if printed.is_err() {
        // The key is lost with what could not be printed.
        stored::remove(&path)?;
    } else if own_key.is_some() && !io::stdout().is_terminal() {
        let _ = writeln!(
            io::stderr(),
            "{}: this has a private key: let only its owner read it (chmod 600)",
            client.name
        );
    }
    printed
}

fn list(config: &Path) -> Result<(), Error> {
    let config = Config::load(config)?;
    let (folder, problems) = ClientsFolder::open(&config.clients_folder, config.pools)?;
    let mut grid = Grid::new(&["NAME", "ADDRESSES", "PREFIXES", "PUBLIC KEY"]);
    for client in folder.clients() {
        let addresses: Vec<String> = client.lease.addresses().map(|it| it.to_string()).collect();
        let prefixes: Vec<String> = client.prefixes.iter().map(ToString::to_string).collect();
        let prefixes = if prefixes.is_empty() { "-".to_owned() } else { prefixes.join(" ") };
        grid.push(vec![
            Cell::text(&client.name),
            Cell::text(addresses.join(" ")),
            Cell::text(prefixes),
            Cell::text(client.public_key.to_string()),
        ]);
    }
    print(&grid.render("", Colour::of_stdout()))?;
    complain(&problems)
}

fn list_json(config: &Path) -> Result<(), Error> {
    let config = Config::load(config)?;
    let (folder, problems) = ClientsFolder::open(&config.clients_folder, config.pools)?;
    let clients: Vec<_> = folder
        .clients()
        .map(|client| {
            json!({
                "name": client.name,
                "public_key": client.public_key,
                "lease": client.lease.v4,
                "lease6": client.lease.v6,
                "prefixes": client.prefixes,
                "modes": client.modes.iter().map(|mode| mode.name()).collect::<Vec<_>>(),
            })
        })
        .collect();
    print(&format!("{}\n", json!({ "version": 1, "clients": clients })))?;
    complain(&problems)
}

fn remove(name: &str, config: &Path) -> Result<(), Error> {
    let config = Config::load(config)?;
    let _lock = Lock::acquire(&config.clients_folder.join(LOCK))?;
    let path = file(&config.clients_folder, name);
    if path.exists() {
        return stored::remove(&path);
    }
    let error = Error::failed(format_args!("there is no client \"{name}\""));
    let (folder, _) = ClientsFolder::open(&config.clients_folder, config.pools)?;
    let known = folder.clients().map(|client| client.name.as_str());
    Err(match nearest(name, known) {
        Some(meant) => error.with_remedy(format_args!("did you mean \"{meant}\"?")),
        None => error.with_remedy("`hawser-server client list` shows all"),
    })
}

/// Held while a client is added or removed, so that two of them can't get one address.
const LOCK: &str = ".lock";

/// The folder, if every file in it can be used: else nobody knows which addresses are free.
fn sound(config: &Config) -> Result<ClientsFolder, Error> {
    let (folder, problems) = ClientsFolder::open(&config.clients_folder, config.pools)?;
    match problems.into_iter().next() {
        None => Ok(folder),
        Some(problem) => Err(problem),
    }
}

/// Every client that could be read is listed; the others are an error all the same.
fn complain(problems: &[Error]) -> Result<(), Error> {
    if problems.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(Error::configuration(texts.join("\n")))
}

/// Everything that the client needs, ready to be used as its configuration.
fn client_configuration(
    config: &Config,
    client: &Client,
    server_key: &str,
    own_key: Option<&PrivateKey>,
) -> Zeroizing<String> {
    // Room for all of it at once, so that no copy of the key stays behind in a smaller buffer.
    let mut out = Zeroizing::new(String::with_capacity(CONFIGURATION_BYTES));
    let name = &client.name;
    let inner: Vec<String> = client.lease.addresses().map(|it| it.to_string()).collect();
    let servers: Vec<String> = config.advertise.iter().map(|it| format!("\"{it}\"")).collect();
    let (routes, servers) = (config.routes.to_toml(), servers.join(", "));
    let mode = match config.client_may_choose_mode {
        true => format!("mode = \"{}\"", config.mode),
        false => "# The server chooses the mode.".to_owned(),
    };
    let inner = inner.join(" ");
    let _ = write!(
        out,
        "# hawser: the client \"{name}\", inside the tunnel {inner}\n# Start it with: hawser up --config FILE\n\n"
    );
    match own_key {
        Some(key) => {
            let _ = writeln!(
                out,
                "# This key is the client: only its owner may read this file (chmod 600).\n\
                 private_key = \"{}\"",
                key.to_text().as_str()
            );
        }
        None => {
            let _ = writeln!(
                out,
                "# The file beside this one with the private key of\n# {}\n\
                 private_key_file = \"{name}.key\"",
                client.public_key
            );
        }
    }
    let _ = write!(
        out,
        "{}",
        TEMPLATE
            .replace("{mode}", &mode)
            .replace("{routes}", &routes)
            .replace("{key}", server_key)
            .replace("{servers}", &servers)
    );
    out
}

/// More than the lines below with a key and all addresses of a server.
const CONFIGURATION_BYTES: usize = 16 * 1024;

const TEMPLATE: &str = r#"
# How packets are shared out over the links: split, duplicate, adaptive, flow-hash, host-hash,
# lowest-latency or active-standby.
{mode}

# What goes through the tunnel: "pool" (the server and its clients), "default" (everything),
# "none", or the pool and networks: ["192.168.7.0/24"].
routes = {routes}

# "auto": every interface with a default route. Or name them: ["eth0", "wwan0"].
links = "auto"
#exclude = ["docker0"]

# The ciphers that may be used, the one that is liked best first; without it the processor decides.
#ciphers = ["aes-256-gcm", "chacha20-poly1305"]

# Where Prometheus reads the figures of `status --metrics`, at /metrics.
#metrics = "127.0.0.1:9464"

[server]
public_key = "{key}"
addresses = [{servers}]

# What should be known about a link.
#[[link]]
#name = "wwan0"
#status = "backup"
#metered = true

# When the keys of the data plane change: after so many datagrams or so long, whichever is sooner.
#[rekey]
#datagrams = 33554432
#age = "10m"
"#;

fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::from_io("write to standard output", &error))
}
