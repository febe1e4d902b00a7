//! Where the configuration wants the figures to be served.

use std::net::SocketAddr;

use toml::de::DeValue;

use crate::config::{Placed, Table, Wrong, address_and_port, text};

/// Reads the key `metrics`: an address and port, nothing when it is absent.
pub fn read(table: &mut Table<'_>) -> Option<SocketAddr> {
    table.optional("metrics", address).map(Placed::into_inner)
}

/// What `check` says of an address, a line each.
pub fn explain(address: Option<SocketAddr>) -> Vec<String> {
    let Some(address) = address else { return Vec::new() };
    let where_to_find = format!("metrics at http://{address}/metrics");
    let warning = warning(address).map(|warning| format!("warning: {warning}"));
    [Some(where_to_find), warning].into_iter().flatten().collect()
}

/// What is to be said of an address that others than this host reach.
pub(super) fn warning(address: SocketAddr) -> Option<String> {
    if address.ip().to_canonical().is_loopback() {
        return None;
    }
    Some(format!(
        "anyone who reaches {address} can read the metrics, with the names of clients and links: \
         let a firewall admit your Prometheus alone, or write `metrics = \"127.0.0.1:{}\"`",
        address.port()
    ))
}

fn address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    address_and_port(&text(value)?, ["127.0.0.1:9464", "[::1]:9464"], "nobody finds port 0")
}

#[cfg(test)]
mod tests {
    use super::{read as metrics, *};
    use crate::{config::Document, exit::Error};

    #[test]
    fn an_address_needs_a_port_and_a_mistake_has_its_place() {
        assert_eq!(read("").unwrap(), None);
        let address = read("metrics = \"[::1]:9464\"\n").unwrap();
        assert_eq!(address, Some("[::1]:9464".parse().unwrap()));

        for (value, expected) in [
            ("\"127.0.0.1\"", "x.toml:1:11: the port is missing"),
            ("\"localhost:9464\"", "x.toml:1:11: this is no address and port"),
            ("\"127.0.0.1:0\"", "x.toml:1:11: nobody finds port 0"),
            ("9464", "x.toml:1:11: this is a number, not a string"),
            ("true", "x.toml:1:11: this is a truth value, not a string"),
        ] {
            let error = read(&format!("metrics = {value}\n")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_address_that_others_reach_is_warned_of() {
        let warned = |text: &str| warning(text.parse().unwrap());
        for own in ["127.0.0.1:9464", "127.7.7.7:1", "[::1]:9464", "[::ffff:127.0.0.1]:9464"] {
            assert_eq!(warned(own), None);
        }
        for open in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"] {
            let warning = warned(open).unwrap();
            assert!(warning.starts_with(&format!("anyone who reaches {open} can read")));
            assert!(warning.ends_with("or write `metrics = \"127.0.0.1:9464\"`"), "{warning}");
        }
        let open = explain(Some("[::]:9464".parse().unwrap()));
        assert_eq!(open[0], "metrics at http://[::]:9464/metrics");
        assert!(open[1].starts_with("warning: anyone who reaches [::]:9464 can read"), "{open:?}");
        assert_eq!(explain(None), [""; 0]);
    }

    fn read(text: &str) -> Result<Option<SocketAddr>, Error> {
        Document::from_text("x.toml", text).read(|table| Some(metrics(table)))
    }
}
