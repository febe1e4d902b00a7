//! A host by name or address, and a port.

use std::{
    fmt::{self, Display},
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use crate::config::Wrong;

/// Where a server is reached: `vpn.example.net:4500`, `192.0.2.7:4500`, `[2001:db8::7]:4500`.
///
/// A name is resolved at every attempt to connect, never here.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The name or the address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The UDP port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, unless the host is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for HostPort {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right =
            "write a host and port, such as \"vpn.example.net:4500\" or \"[2001:db8::7]:4500\"";
        let wrong = |what: &str| Wrong::new(what).right(right);
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(wrong("an IPv6 address with a port needs brackets"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
        let port: u16 = port.parse().map_err(|_| wrong("the port is not a number up to 65535"))?;
        if port == 0 {
            return Err(wrong("port 0 can't be reached"));
        }
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let legal = match bracketed {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) || is_host_name(host),
        };
        if !legal {
            return Err(wrong("this is neither a host name nor an address"));
        }
        Ok(Self { host: bracketed.unwrap_or(host).to_owned(), port })
    }
}

/// RFC 1123, section 2.1, with the underscore that resolvers allow; a name of digits and dots
/// only is a mistyped address.
fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label_legal = |label: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253
        && host.split('.').all(label_legal)
        && host.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_addresses_are_kept_as_written() {
        for text in
            ["vpn.example.net:4500", "192.0.2.7:1", "[2001:db8::7]:65535", "a:4500", "x_1.:9"]
        {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        let long = format!("{}:1", "a.".repeat(200));
        for text in [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:-1",
            "::1",
            "::1:4500x",
            "[::1]",
            "[a]:1",
            "192.0.2.300:1",
            "1.2.3:1",
            "-a:1",
            "a b:1",
            "a..b:1",
            "2001:db8::7:4500",
            &long,
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text:?}");
        }
    }
}
