//! The client's configuration, as `hawser-server client add` prints it.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
};

use engine::{EpochLimits, Trial};
use shared::{
    classes::Classes,
    config::{Document, Placed, Table, Wrong, parsed, text, word},
    control::{PrivateKey, PublicKey, Suite},
    exit::Error,
    host_port::HostPort,
    keys, metrics,
    mode::Mode,
    rekey,
    routes::Routes,
    stored, suites, trial,
};

pub(crate) use self::links::{LinkConfig, Links};

pub(crate) mod links;

/// Everything the file says, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Who we are.
    pub(crate) private_key: PrivateKey,
    /// Who the server is.
    pub(crate) server_key: PublicKey,
    /// Where the server is reached, in the order of the file: 1 to [`SERVERS_MAX`].
    pub(crate) servers: Vec<HostPort>,
    /// The mode to ask for; the server decides without it.
    pub(crate) mode: Option<Mode>,
    /// What goes into the tunnel.
    pub(crate) routes: Routes,
    /// The interfaces to use.
    pub(crate) links: Links,
    /// What is said about single links, with unique names.
    pub(crate) link_settings: Vec<LinkConfig>,
    /// The ciphers to offer, the one that is liked best first.
    pub(crate) ciphers: Vec<Suite>,
    /// When we change the keys that we seal with.
    pub(crate) rekey: EpochLimits,
    /// What goes up in which class, and how.
    pub(crate) classes: Classes,
    /// Where Prometheus reads, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) trial: Trial,
}

impl Config {
    /// Reads the file at `path`, and the key file that it may name.
    ///
    /// # Errors
    /// Lists all that is wrong; the exit code is that of a wrong configuration.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let document = Document::load(path)?;
        let (config, has_key) = document.read(|table| {
            let has_key = table.has(PRIVATE_KEY);
            Some((Self::read(table, path.parent().unwrap_or(Path::new("")))?, has_key))
        })?;
        if has_key {
            stored::require_private(path)?;
        }
        Ok(config)
    }

    /// What is said about the link on an interface.
    pub(crate) fn link(&self, interface: &str) -> LinkConfig {
        let found = self.link_settings.iter().find(|link| link.name == interface);
        found.cloned().unwrap_or_else(|| LinkConfig::named(interface))
    }

    fn read(table: &mut Table<'_>, folder: &Path) -> Option<Self> {
        let private_key = read_key(table, folder);
        let server = table.table("server", read_server);
        if !table.has("server") {
            table.missing("[server]");
        }
        let mode = table.optional("mode", parsed).map(Placed::into_inner);
        let routes = Routes::read(table);
        let (links, link_settings) = links::read(table);
        let ciphers = suites::read(table);
        let rekey = rekey::read(table);
        let classes = Classes::read(table);
        let metrics = metrics::read(table);
        let trial = trial::read(table);
        let (server_key, servers) = server?;
        Some(Self {
            private_key: private_key?,
            server_key,
            servers,
            mode,
            routes,
            links,
            link_settings,
            ciphers,
            rekey,
            classes,
            metrics,
            trial,
        })
    }
}

/// `hawser check FILE`: one line when all is well.
///
/// # Errors
/// Lists all that is wrong.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    let config = Config::load(path)?;
    let addresses = match config.servers.len() {
        1 => "1 server address".to_owned(),
        several => format!("{several} server addresses"),
    };
    let mode = config.mode.map_or("the server's", Mode::name);
    let Config { links, routes, classes, .. } = &config;
    let path = path.display();
    writeln!(
        io::stdout(),
        "{path}: ok: {addresses}, links {links}, mode {mode}, routes {routes}, {classes}"
    )
    .and_then(|()| {
        let lines = metrics::explain(config.metrics);
        lines.iter().try_for_each(|line| writeln!(io::stdout(), "  {line}"))
    })
    .map_err(|error| Error::from_io("write to standard output", &error))
}

/// Attempts to connect are spread over all of them.
const SERVERS_MAX: usize = 16;
const PRIVATE_KEY: &str = "private_key";
const PRIVATE_KEY_FILE: &str = "private_key_file";

fn read_key(table: &mut Table<'_>, folder: &Path) -> Option<PrivateKey> {
    let wanted = "a private key: 44 characters of base64, as `hawser keygen` prints it";
    let here = table.optional(PRIVATE_KEY, word(wanted));
    let file =
        table.optional(PRIVATE_KEY_FILE, |value| Ok(keys::load(&folder.join(text(value)?))?));
    match (table.has(PRIVATE_KEY), table.has(PRIVATE_KEY_FILE)) {
        (false, false) => table.missing(PRIVATE_KEY),
        (true, true) => {
            let wrong = Wrong::new("the private key is both in this file and in another");
            let place = here.as_ref().or(file.as_ref()).map_or(table.span(), Placed::span);
            table.note(
                place,
                wrong.right(format!("remove `{PRIVATE_KEY}` or `{PRIVATE_KEY_FILE}`")),
            );
        }
        _ => {}
    }
    here.or(file).map(Placed::into_inner)
}

fn read_server(table: &mut Table<'_>) -> Option<(PublicKey, Vec<HostPort>)> {
    let wanted = "a public key: 44 characters of base64, as `hawser-server init` prints it";
    let key = table.required("public_key", word(wanted));
    let addresses = table.list("addresses", parsed::<HostPort>);
    if !table.has("addresses") {
        table.missing("addresses");
    } else if table.is_empty_list("addresses") {
        table.note(table.span(), Wrong::new("there is no address of the server"));
    }
    table.limit("addresses", addresses.len(), SERVERS_MAX);
    Some((key?.into_inner(), addresses.into_iter().map(Placed::into_inner).collect()))
}

#[cfg(test)]
mod tests {
    use super::{links::LinkStatus, *};

    #[test]
    fn a_whole_configuration_is_read() {
        let text = format!(
            "{}mode = \"duplicate\"\nroutes = [\"10.0.0.0/8\"]\n\
             links = \"auto\"\nexclude = [\"docker0\"]\n{SERVER}\n\
             [[link]]\nname = \"wwan0\"\nstatus = \"backup\"\nmetered = true\n\
             [[class]]\nname = \"bulk\"\nports = 873\n",
            key()
        );

        let config = read(&text).unwrap();

        assert_eq!(config.mode.map(Mode::name), Some("duplicate"));
        assert_eq!(config.routes.to_string(), "10.0.0.0/8");
        assert_eq!(config.links, Links::Auto { exclude: vec!["docker0".to_owned()] });
        assert_eq!(config.classes.rules.len(), 1);
        assert_eq!(config.servers[1].to_string(), "[2001:db8::1]:4500");
        let wwan = config.link("wwan0");
        assert_eq!((wwan.status, wwan.metered), (LinkStatus::Backup, true));
        let eth = config.link("eth0");
        assert_eq!((eth.status, eth.metered), (LinkStatus::Available, false));
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = read(&format!("{}{SERVER}", key())).unwrap();

        assert_eq!((config.mode, config.routes), (None, Routes::Pool));
        assert_eq!(config.links, Links::Auto { exclude: Vec::new() });
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        let good = format!("{}{SERVER}", key());
        for (text, expected) in [
            (String::new(), "x.toml:1:1: the key `private_key` is missing"),
            (String::new(), "the key `[server]` is missing"),
            (SERVER.to_owned(), "the key `private_key` is missing"),
            ("private_key = \"AAAA\"\n".to_owned(), "x.toml:1:15: this is not a private key"),
            (format!("mode = \"fast\"\n{good}"), "x.toml:1:8: \"fast\" is not a mode"),
            (format!("rotues = \"pool\"\n{good}"), "did you mean `routes`?"),
            (format!("metrics = \"::1\"\n{good}"), "x.toml:1:11: the port is missing"),
            (format!("links = [\"a/b\"]\n{good}"), "x.toml:1:10: \"a/b\" is not an interface"),
            (format!("links = []\n{good}"), "x.toml:1:9: there is no link"),
            (format!("links = [\"a\"]\nexclude = [\"b\"]\n{good}"), "x.toml:2:12: `exclude` only"),
            (format!("links = [\"a\", \"a\"]\n{good}"), "x.toml:1:15: \"a\" is listed twice"),
            (
                format!("{good}[[link]]\nname = \"a\"\n[[link]]\nname = \"a\"\n"),
                "two [[link]] for \"a\"",
            ),
            (format!("{good}[[link]]\nstatus = \"up\"\n"), "this is no status"),
            (format!("{good}addresses = []\n"), "duplicate key"),
            (format!("private_key_file = \"no.key\"\n{SERVER}"), "cannot read the key file"),
            (format!("private_key_file = \"no.key\"\n{good}"), "both in this file and in another"),
            (good.replace("4500", "x"), "x.toml:4:14: the port is not a number"),
        ] {
            let error = read(&text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{text}\ngives\n{error}\nwithout\n{expected}");
        }
    }

    const SERVER: &str = "[server]\n\
        public_key = \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n\
        addresses = [\"vpn.example.net:4500\", \"[2001:db8::1]:4500\"]\n";

    fn key() -> String {
        format!("private_key = \"{}\"\n", PrivateKey::generate().to_text().as_str())
    }

    fn read(text: &str) -> Result<Config, Error> {
        Document::from_text("x.toml", text).read(|table| Config::read(table, Path::new("/nowhere")))
    }
}
