//! `hawser-server init`: writes a configuration, a key and a folder for clients.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use shared::{control::PrivateKey, exit::Error, keys, mode::Mode, stored};

use crate::{args::InitArguments, config::Config, leases::Pools};

/// Makes the folder and what belongs into it. The configuration comes last: without it, nothing
/// was done.
///
/// # Errors
/// When there is a configuration or a key already, or a file can't be written; what was written
/// until then is removed.
pub(crate) fn init(arguments: &InitArguments) -> Result<(), Error> {
    let folder = &arguments.folder;
    let [configuration, key, clients] = [CONFIGURATION, KEY, CLIENTS].map(|name| folder.join(name));
    for path in [&configuration, &key] {
        if path.symlink_metadata().is_ok() {
            return Err(Error::failed(format_args!("{} is there already", path.display()))
                .with_remedy("name another folder, or move it away"));
        }
    }
    let text = server_toml(arguments);
    Config::judge(&configuration, &text)?;
    make_folder(folder)?;
    make_folder(&clients)?;
    let private_key = PrivateKey::generate();
    keys::save(&private_key, &key)?;
    if let Err(error) = stored::write(&configuration, text.as_bytes(), 0o644) {
        // An error on the way back would hide the first one.
        let _ = stored::remove(&key);
        let _ = fs::remove_dir(&clients);
        return Err(error);
    }
    let server = Pools { v4: arguments.pool, v6: arguments.pool6 }.server();
    let inner: Vec<String> = server.addresses().map(|it| it.to_string()).collect();
    let shown = configuration.display();
    writeln!(
        io::stdout(),
        "wrote {shown}\n\
         public key      {}\n\
         inner addresses {}\n\
         add a client    hawser-server client add NAME --config {shown}\n\
         start           hawser-server run --config {shown}",
        private_key.public(),
        inner.join(" "),
    )
    .map_err(|error| Error::from_io("write to standard output", &error))
}

const CONFIGURATION: &str = "server.toml";
const KEY: &str = "server.key";
const CLIENTS: &str = "clients.d";

fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path)
        .map_err(|error| Error::from_io(format_args!("make the folder {}", path.display()), &error))
}

fn server_toml(arguments: &InitArguments) -> String {
    let pool6 = match arguments.pool6 {
        Some(pool) => format!("pool6 = \"{pool}\""),
        None => "#pool6 = \"fd77:7777::/64\"".to_owned(),
    };
    TEMPLATE
        .trim_start()
        .replace("{listen}", &list(&arguments.listen))
        .replace("{advertise}", &list(&arguments.advertise))
        .replace("{pool}", &arguments.pool.to_string())
        .replace("{pool6}", &pool6)
        .replace("{routes}", &arguments.routes.to_toml())
        .replace("{mode}", Mode::default().name())
        .replace("{key}", KEY)
        .replace("{clients}", CLIENTS)
}

fn list<T: ToString>(members: &[T]) -> String {
    let quoted: Vec<String> = members.iter().map(|it| format!("\"{}\"", it.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

const TEMPLATE: &str = r#"
# hawser-server: the configuration. `hawser-server check FILE` says what is wrong with it.
# Clients are not in here: each has a file in the folder below, and a running server follows
# `hawser-server client add` and `remove` at once.

# Where to listen (UDP).
listen = {listen}

# Where clients find the server: written into their configurations, in this order.
advertise = {advertise}

# Where inner addresses come from. The server takes the first of each pool.
pool = "{pool}"
{pool6}

# What new clients send through the tunnel: "pool" (the server and its clients), "default"
# (everything), "none", or the pool and networks: ["192.168.7.0/24"].
routes = {routes}

# The server's private key, and the folder of the clients' files; relative to this file.
key_file = "{key}"
clients = "{clients}"

# How packets are shared out over a client's links: split, duplicate, adaptive, flow-hash, host-hash,
# lowest-latency or active-standby. A client may ask for another mode, for both directions, unless that is
# forbidden here.
mode = "{mode}"
client_may_choose_mode = true

# Whether clients reach each other through the server.
client_to_client = false

# Where Prometheus reads the figures of `status --metrics`, at /metrics. Whoever reaches the address
# can read them.
#metrics = "127.0.0.1:9464"

# The ciphers that may be used, the one that is liked best first; without it the processor decides.
#ciphers = ["aes-256-gcm", "chacha20-poly1305"]

# When the keys of the data plane change: after so many datagrams or so long, whichever is sooner.
#[rekey]
#datagrams = 33554432
#age = "10m"

# The exits of the server. Without any, the host's own routes decide. Traffic leaves by the healthy
# uplink with the lowest tier; with `choose = "share"` by all of that tier, by their weights, where
# `key` says what keeps to one of them: "source" (a host behind the tunnel), "source-destination" or
# "flow".
#[egress]
#choose = "share"                # otherwise "active-standby"
#key = "source"

# An uplink fails when so many of its probes have failed that fewer than `quorum` work: a probe fails
# when it was refused `fall` times in a row, or went without an answer for three intervals and longer
# than answers take. It is healthy again when they were answered `rise` times in a row. Without
# probes, only the state of the interface counts.
#[[uplink]]
#name = "fibre"
#interface = "eth1"
#gateway = "192.0.2.1"            # or one of each family: ["192.0.2.1", "2001:db8::1"]
#table = 201                      # whose default routes lead out, instead of those of the main table
#tier = 1
#weight = 1
#probe = ["gateway", "icmp 192.0.2.1", "tcp 198.51.100.1:443", "dns 192.0.2.53 example.net"]
#quorum = 1
#interval = "200ms"
#rise = 3
#fall = 3
#
#[[uplink.http]]                  # the short form is a URL in `probe`
#url = "https://example.net/health"
#address = "198.51.100.1"         # where the name should not be looked up
#method = "GET"
#status = [204, "200-299"]
#body = "ok"
#ca = "/etc/hawser/ca.pem"        # whom to trust, instead of this host's authorities

#[[uplink]]
#name = "lte"
#interface = "wwan0"
#tier = 2
#probe = "icmp 203.0.113.1"
"#;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_written_is_understood_with_and_without_its_comments() {
        let dir = tempfile::tempdir().unwrap();
        init(&arguments(dir.path().join("new"))).unwrap();

        let path = dir.path().join("new/server.toml");
        let config = Config::load(&path).unwrap();

        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.pools.v6, Some("fd77::/64".parse().unwrap()));
        assert_eq!(config.egress.uplinks, []);
        assert!(config.key().is_ok());
        let text = fs::read_to_string(&path).unwrap();
        let examples: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(example) if !example.starts_with(' ') => format!("{example}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        fs::write(&path, examples).unwrap();
        assert_eq!(Config::load(&path).unwrap().egress.uplinks.len(), 2);
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(KEY), "precious").unwrap();

        let error = init(&arguments(dir.path().to_owned())).unwrap_err();

        assert!(error.to_string().contains("server.key is there already"), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join(KEY)).unwrap(), "precious");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    fn arguments(folder: PathBuf) -> InitArguments {
        InitArguments {
            listen: vec!["0.0.0.0:4500".parse().unwrap(), "[::]:4500".parse().unwrap()],
            advertise: vec!["vpn.example.net:4500".parse().unwrap()],
            pool: "10.77.0.0/16".parse().unwrap(),
            pool6: Some("fd77::/64".parse().unwrap()),
            routes: "default".parse().unwrap(),
            folder,
        }
    }
}
