//! The server's configuration, `server.toml`, as `hawser-server init` writes it.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use engine::{EpochLimits, Trial};
use hawser_server::egress_config::EgressConfig;
use hawser_server::uplink_config::Source;
use ipnet::Ipv6Net;
use shared::{
    classes::Classes,
    config::{Document, Placed, Table, Wrong, boolean, cidr, listen_address, parsed, text},
    control::{PrivateKey, Suite},
    exit::Error,
    host_port::HostPort,
    keys, metrics,
    mode::Mode,
    rekey,
    routes::Routes,
    suites, trial,
};

use crate::{
    clients::ClientsFolder,
    leases::{Pools, pool4, pool6},
};

/// Everything the file says, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where to listen: 1 to [`ADDRESSES_MAX`].
    pub(crate) listen: Vec<SocketAddr>,
    /// Where clients find the server: 1 to [`ADDRESSES_MAX`].
    pub(crate) advertise: Vec<HostPort>,
    /// Where inner addresses come from.
    pub(crate) pools: Pools,
    /// What `client add` writes into a client's configuration.
    pub(crate) routes: Routes,
    /// The server's private key.
    pub(crate) key_file: PathBuf,
    /// A file for each client.
    pub(crate) clients_folder: PathBuf,
    /// The mode of clients that choose none, or may not.
    pub(crate) mode: Mode,
    /// Whether a client's choice of a mode counts, for both directions.
    pub(crate) client_may_choose_mode: bool,
    /// Whether clients reach each other through the server.
    pub(crate) client_to_client: bool,
    /// The exits of the server, and how they are chosen.
    pub(crate) egress: EgressConfig,
    /// The ciphers to accept, the one that is liked best first.
    pub(crate) ciphers: Vec<Suite>,
    /// When the server changes the keys that it seals with.
    pub(crate) rekey: EpochLimits,
    /// What goes down in which class, and how.
    pub(crate) classes: Classes,
    /// Where Prometheus reads, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) trial: Trial,
}

impl Config {
    /// Reads the file at `path`; paths in it count from its folder.
    ///
    /// # Errors
    /// Lists all that is wrong; the exit code is that of a wrong configuration.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let folder = path.parent().unwrap_or(Path::new(""));
        Document::load(path)?.read(|table| Self::read(table, folder))
    }

    /// Whether this could be the text of the file at `path`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn judge(path: &Path, text: &str) -> Result<(), Error> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let document = Document::from_text(path.display().to_string(), text);
        document.read(|table| Self::read(table, folder)).map(drop)
    }

    /// The keys beside those of the egress in which it differs from another one.
    pub(crate) fn differs_in(&self, other: &Self) -> Vec<&'static str> {
        let differing = [
            ("listen", self.listen != other.listen),
            ("advertise", self.advertise != other.advertise),
            ("pool", self.pools.v4 != other.pools.v4),
            ("pool6", self.pools.v6 != other.pools.v6),
            ("routes", self.routes != other.routes),
            ("key_file", self.key_file != other.key_file),
            ("clients", self.clients_folder != other.clients_folder),
            ("mode", self.mode != other.mode),
            ("client_may_choose_mode", self.client_may_choose_mode != other.client_may_choose_mode),
            ("client_to_client", self.client_to_client != other.client_to_client),
            ("ciphers", self.ciphers != other.ciphers),
            ("rekey", self.rekey != other.rekey),
            ("class", self.classes != other.classes),
            ("metrics", self.metrics != other.metrics),
            ("trial", self.trial != other.trial),
        ];
        differing.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// Reads the server's private key.
    ///
    /// # Errors
    /// When there is none, or others may read it.
    pub(crate) fn key(&self) -> Result<PrivateKey, Error> {
        keys::load(&self.key_file)
    }

    fn read(table: &mut Table<'_>, folder: &Path) -> Option<Self> {
        let listen = read_listen(table);
        let advertise = table.list("advertise", parsed::<HostPort>);
        let v4 = table.required("pool", |value| pool4(cidr(value)?));
        let v6 = table.optional("pool6", |value| pool6(cidr(value)?));
        let routes = Routes::read(table);
        let key_file = table.required("key_file", text);
        let clients_folder = table.required("clients", text);
        let mode = table.optional("mode", parsed);
        let may_choose = table.optional("client_may_choose_mode", boolean);
        let client_to_client = table.optional("client_to_client", boolean);
        let ciphers = suites::read(table);
        let rekey = rekey::read(table);
        let classes = Classes::read(table);
        let egress = EgressConfig::read(table, classes.rules.clone());
        let metrics = metrics::read(table);
        let trial = trial::read(table);
        if let Some(v6) = &v6 {
            note_prefixes(table, &egress, v6);
        }
        for (key, members, most) in
            [("listen", listen.len(), ADDRESSES_MAX), ("advertise", advertise.len(), ADDRESSES_MAX)]
        {
            table.limit(key, members, most);
        }
        for key in ["listen", "advertise"] {
            if !table.has(key) {
                table.missing(key);
            } else if table.is_empty_list(key) {
                table.note_at(key, Wrong::new(format!("`{key}` names no address")));
            }
        }
        Some(Self {
            listen,
            advertise: plain(advertise),
            pools: Pools { v4: v4?.into_inner(), v6: v6.map(Placed::into_inner) },
            routes,
            key_file: folder.join(key_file?.into_inner()),
            clients_folder: folder.join(clients_folder?.into_inner()),
            mode: mode.map(Placed::into_inner).unwrap_or_default(),
            client_may_choose_mode: may_choose.is_none_or(Placed::into_inner),
            client_to_client: client_to_client.is_some_and(Placed::into_inner),
            egress,
            ciphers,
            rekey,
            classes,
            metrics,
            trial,
        })
    }
}

/// `hawser-server check FILE`: the configuration, the key and every client; one line when all is
/// well.
///
/// # Errors
/// Lists all that is wrong.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    let config = Config::load(path)?;
    let mut errors: Vec<Error> = config.key().err().into_iter().collect();
    let clients = match ClientsFolder::open(&config.clients_folder, config.pools) {
        Ok((folder, problems)) => {
            errors.extend(problems);
            folder.clients().count()
        }
        Err(error) => {
            errors.push(error);
            0
        }
    };
    if !errors.is_empty() {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(Error::configuration(texts.join("\n")));
    }
    let Config { listen, pools, mode, routes, egress, classes, .. } = &config;
    let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let pools: Vec<String> = pools.networks().map(|pool| pool.to_string()).collect();
    writeln!(
        io::stdout(),
        "{}: ok: listens on {}, pool {}, mode {mode}, routes {routes}, {classes}, {}, {}",
        path.display(),
        listen.join(" "),
        pools.join(" "),
        counted(egress.uplinks.len(), "uplink"),
        counted(clients, "client"),
    )
    .and_then(|()| {
        let mut lines = egress.explain_limits();
        lines.extend(metrics::explain(config.metrics));
        lines.iter().try_for_each(|line| writeln!(io::stdout(), "  {line}"))
    })
    .map_err(|error| Error::from_io("write to standard output", &error))
}

/// One for each address of a host with many networks.
const ADDRESSES_MAX: usize = 16;

fn read_listen(table: &mut Table<'_>) -> Vec<SocketAddr> {
    let listen = table.list("listen", listen_address);
    let mut seen = BTreeSet::new();
    for address in &listen {
        if !seen.insert(*address.get_ref()) {
            let wrong = Wrong::new(format!("{} is listed twice", address.get_ref()));
            table.note(address.span(), wrong.right("remove one"));
        }
    }
    plain(listen)
}

/// A prefix that only replaces that of the pool is as long as it.
fn note_prefixes(table: &Table<'_>, egress: &EgressConfig, pool: &Placed<Ipv6Net>) {
    for uplink in &egress.uplinks {
        for source in &uplink.translate_to {
            if let Source::Prefix(prefix) = source
                && prefix.prefix_len() != pool.get_ref().prefix_len()
            {
                let wrong = Wrong::new(format!(
                    "uplink \"{}\" replaces the pool's prefix by {prefix}, which is not as long",
                    uplink.name
                ));
                let length = prefix.prefix_len();
                table.note(pool.span(), wrong.right(format!("make both /{length}")));
            }
        }
    }
}

fn plain<T>(placed: Vec<Placed<T>>) -> Vec<T> {
    placed.into_iter().map(Placed::into_inner).collect()
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_configuration_has_defaults() {
        let config = read(LEAST).unwrap();

        assert_eq!((config.mode.name(), config.client_may_choose_mode), ("split", true));
        assert!(!config.client_to_client);
        assert_eq!(config.key_file, Path::new("/etc/hawser/server.key"));
        assert_eq!(config.clients_folder, Path::new("/etc/hawser/clients.d"));
        assert_eq!((config.pools.v6, config.egress.uplinks.len()), (None, 0));
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        for (text, expected) in [
            (LEAST.replace("listen", "lisen"), "did you mean `listen`?"),
            (LEAST.replace("\"0.0.0.0:4500\"", ""), "x.toml:1:10: `listen` names no address"),
            (LEAST.replace(":4500\"]", "\"]"), "x.toml:1:11: the port is missing"),
            (LEAST.replace("0.0.0.0:4500\"", "0.0.0.0:4500\", \"0.0.0.0:4500\""), "listed twice"),
            (
                LEAST.replace("10.77.0.0/16", "10.77.0.1/16"),
                "x.toml:3:8: 10.77.0.1/16 is an address",
            ),
            (LEAST.replace("10.77.0.0/16", "fd77::/64"), "fd77::/64 is IPv6"),
            (format!("{LEAST}pool6 = \"10.0.0.0/8\"\n"), "x.toml:6:9: 10.0.0.0/8 is IPv4"),
            (format!("{LEAST}mode = \"turbo\"\n"), "\"turbo\" is not a mode"),
            (format!("{LEAST}metrics = \"9464\"\n"), "x.toml:6:11: this is no address and port"),
            (
                format!(
                    "{LEAST}pool6 = \"fd00::/64\"\n[[uplink]]\nname = \"a\"\ninterface = \"e\"\n\
                     translate_to = \"2001:db8::/56\"\n"
                ),
                "by 2001:db8::/56, which is not as long",
            ),
        ] {
            let error = read(&text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{text}\ngives\n{error}\nwithout\n{expected}");
        }
    }

    const LEAST: &str = "listen = [\"0.0.0.0:4500\"]\nadvertise = [\"vpn.example.net:4500\"]\n\
        pool = \"10.77.0.0/16\"\nkey_file = \"server.key\"\nclients = \"clients.d\"\n";

    fn read(text: &str) -> Result<Config, Error> {
        Document::from_text("x.toml", text)
            .read(|table| Config::read(table, Path::new("/etc/hawser")))
    }
}
