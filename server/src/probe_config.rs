//! What the configuration says about the probes of an uplink.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use hyper::{Method, Uri};
use shared::config::{self, Placed, Table, Wrong};
use shared::host::Family;

/// One question asked through an uplink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProbeConfig {
    /// An echo request (ICMP or ICMPv6, by the family of the target).
    Icmp {
        /// Who is asked.
        target: IpAddr,
    },
    /// A TCP connection that is opened and closed.
    Tcp {
        /// Who is asked.
        target: SocketAddr,
    },
    /// Whether the next hop is on the wire (ARP, or neighbour discovery): the IPv4 one, or that of
    /// IPv6 where there is no other.
    Gateway,
    /// A question to a name server.
    Dns(DnsProbe),
    /// A request to a web server, over TLS or not.
    Http(Box<HttpProbe>),
}

/// A question for the IPv4 address of a name, which the server must answer without an error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsProbe {
    /// Who is asked.
    pub server: SocketAddr,
    /// The name, which should exist.
    pub name: String,
}

/// A request to a web server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpProbe {
    /// What is asked for, with scheme and host.
    pub url: Uri,
    /// Who is asked, where that is not what the host of the URL resolves to.
    pub address: Option<IpAddr>,
    /// How.
    pub method: Method,
    /// The answers that are good.
    pub status: Vec<RangeInclusive<u16>>,
    /// What must stand in the first 64 KiB of the answer.
    pub body: Option<String>,
    /// The authorities that are trusted instead of the host's own, as a PEM file.
    pub ca: Option<PathBuf>,
}

impl ProbeConfig {
    /// Reads `probe` and every `[[uplink.http]]` of an uplink.
    pub fn read(table: &mut Table<'_>) -> Vec<Self> {
        let short = table.one_or_list("probe", config::parsed);
        let long = table.tables("http", HttpProbe::read);
        let long = long.into_iter().map(|it| Self::Http(Box::new(it.into_inner())));
        short.into_iter().map(Placed::into_inner).chain(long).collect()
    }
}

impl ProbeConfig {
    /// The family of addresses that it asks by, where the configuration tells.
    pub fn family(&self) -> Option<Family> {
        let address = match self {
            Self::Icmp { target } => Some(*target),
            Self::Tcp { target } => Some(target.ip()),
            Self::Dns(probe) => Some(probe.server.ip()),
            Self::Http(probe) => probe.literal(),
            Self::Gateway => None,
        };
        address.map(Family::of)
    }
}

impl HttpProbe {
    /// The host of the URL, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.url.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Who is asked, where no name has to be looked up for that.
    pub fn literal(&self) -> Option<IpAddr> {
        self.address.or_else(|| self.host().parse().ok())
    }

    /// `GET` of this address, which succeeds with a status of 200 to 299.
    fn get(url: Uri) -> Self {
        Self {
            url,
            address: None,
            method: Method::GET,
            status: vec![200..=299],
            body: None,
            ca: None,
        }
    }

    fn read(table: &mut Table<'_>) -> Option<Self> {
        let url = table.required("url", |value| url(&config::text(value)?));
        let address = table.optional("address", config::ip);
        let method = table.optional("method", config::one_of("a method of a probe", &METHODS));
        let status = table.one_or_list("status", |value| {
            if value.is_str() {
                return config::parsed(value);
            }
            config::number(100..=599)(value).map(|status| Statuses(status..=status))
        });
        let body = table.optional("body", config::text);
        let ca = table.optional("ca", config::text);
        table.limit("status", status.len(), STATUSES_MAX);
        if let (Some(url), Some(ca)) = (&url, &ca)
            && url.get_ref().scheme_str() == Some("http")
        {
            let wrong = Wrong::new("`ca` is of no use without TLS");
            table.note(ca.span(), wrong.right("remove it, or write https:// in `url`"));
        }
        if let (Some(method), Some(body)) = (&method, &body)
            && *method.get_ref() == Method::HEAD
        {
            let wrong = Wrong::new("an answer to HEAD has no body");
            table.note(body.span(), wrong.right("remove `body`, or `method`"));
        }
        let mut probe = Self::get(url?.into_inner());
        probe.address = address.map(Placed::into_inner);
        probe.body = body.map(Placed::into_inner);
        probe.ca = ca.map(|it| PathBuf::from(it.into_inner()));
        if let Some(method) = method {
            probe.method = method.into_inner();
        }
        if !status.is_empty() {
            probe.status = status.into_iter().map(|it| it.into_inner().0).collect();
        }
        Some(probe)
    }
}

impl FromStr for ProbeConfig {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = |what: &str| Wrong::new(what).right(SHORT_FORMS);
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Http(Box::new(HttpProbe::get(url(text)?))));
        }
        if let Some(rest) = text.strip_prefix("gateway") {
            let known = "`gateway` takes no address: it is the uplink's own next hop";
            return if rest.is_empty() { Ok(Self::Gateway) } else { Err(wrong(known)) };
        }
        let (kind, target) = text.split_once(' ').ok_or_else(|| wrong("this is no probe"))?;
        let target = target.trim();
        match kind {
            "icmp" => {
                let target = target.parse().ok().filter(|ip| usable(*ip));
                let target =
                    target.ok_or_else(|| wrong("the target is no IP address of a host"))?;
                Ok(Self::Icmp { target })
            }
            "tcp" => {
                let target: Option<SocketAddr> = target.parse().ok();
                let target = target.filter(|it| it.port() != 0 && usable(it.ip()));
                let target = target.ok_or_else(|| wrong("the target is no IP address and port"))?;
                Ok(Self::Tcp { target })
            }
            "dns" => {
                let (server, name) =
                    target.split_once(' ').ok_or_else(|| wrong("the name is missing"))?;
                let whole: Option<SocketAddr> = server.parse().ok();
                let address = server.parse().ok().map(|ip| SocketAddr::new(ip, DNS_PORT));
                let server = whole.or(address).filter(|it| it.port() != 0 && usable(it.ip()));
                let server = server.ok_or_else(|| wrong("the server is no IP address"))?;
                let name = name.trim().to_owned();
                let labels = name.trim_end_matches('.').split('.').all(|label| !label.is_empty());
                if simple_dns::Name::new(&name).is_err() || !labels {
                    return Err(wrong("this is no name that can be asked for"));
                }
                Ok(Self::Dns(DnsProbe { server, name }))
            }
            _ => Err(wrong(
                "this kind of probe is not known: there are icmp, tcp, dns, gateway and a URL",
            )),
        }
    }
}

/// As in the configuration.
impl Display for ProbeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp { target } => write!(f, "icmp {target}"),
            Self::Tcp { target } => write!(f, "tcp {target}"),
            Self::Gateway => f.write_str("gateway"),
            Self::Dns(DnsProbe { server, name }) if server.port() == DNS_PORT => {
                write!(f, "dns {} {name}", server.ip())
            }
            Self::Dns(DnsProbe { server, name }) => write!(f, "dns {server} {name}"),
            Self::Http(probe) => write!(f, "{}", probe.url),
        }
    }
}

/// One status, or a range of them: 200, "200-299".
struct Statuses(RangeInclusive<u16>);

impl FromStr for Statuses {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::new("this is no range of statuses").right("write \"200-299\"");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse().ok().filter(|it| (100..=599).contains(it));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first..=last)),
            _ => Err(wrong()),
        }
    }
}

fn url(text: &str) -> Result<Uri, Wrong> {
    let wrong = |what: &str| Wrong::new(what).right("write \"https://example.net/health\"");
    let url: Uri = text.parse().map_err(|_| wrong("this is no URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(wrong("the URL is not of HTTP"));
    }
    let host = url.host().unwrap_or_default();
    if host.is_empty() || url.port_u16() == Some(0) {
        return Err(wrong("the URL has no host"));
    }
    if url.authority().is_some_and(|it| it.as_str().contains('@')) {
        return Err(wrong("a probe logs in nowhere: the URL holds a user"));
    }
    Ok(url)
}

fn usable(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast()
}

const SHORT_FORMS: &str = "write \"icmp 192.0.2.1\", \"tcp 192.0.2.1:443\", \
                           \"dns 192.0.2.53 example.net\", \"gateway\" or \"https://example.net/\"";
static METHODS: [(&str, Method); 2] = [("GET", Method::GET), ("HEAD", Method::HEAD)];
const STATUSES_MAX: usize = 16;
/// RFC 1035, section 4.2.
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;
    use shared::config::Document;

    #[test]
    fn every_short_form_is_shown_as_it_was_written() {
        for text in [
            "icmp 192.0.2.1",
            "icmp 2001:db8::1",
            "tcp [2001:db8::9]:443",
            "dns 192.0.2.53 example.net",
            "dns [2001:db8::53]:5353 example.net",
            "http://192.0.2.1/",
            "https://example.net:8443/health?deep=1",
        ] {
            let probe: ProbeConfig = text.parse().unwrap();
            assert_eq!(probe.to_string(), text);
        }
    }

    #[test]
    fn a_request_is_read_with_its_defaults() {
        let text = "[[http]]\nurl = \"https://example.net/\"\n\
            [[http]]\nurl = \"https://[2001:db8::1]:8443/x\"\naddress = \"192.0.2.1\"\n\
            method = \"GET\"\nstatus = [204, \"301-302\"]\nbody = \"ok\"\nca = \"ca.pem\"\n";

        let probes = read(text).unwrap();

        let plain = HttpProbe::get("https://example.net/".parse().unwrap());
        assert_eq!(probes[0], ProbeConfig::Http(Box::new(plain)));
        let ProbeConfig::Http(probe) = &probes[1] else { panic!("{probes:?}") };
        assert_eq!(probe.status, [204..=204, 301..=302]);
        assert_eq!(probe.address, "192.0.2.1".parse().ok());
        assert_eq!((probe.body.as_deref(), probe.url.port_u16()), (Some("ok"), Some(8443)));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("probe = \"gateway 192.0.2.1\"", "`gateway` takes no address"),
            ("probe = \"ping 192.0.2.1\"", "there are icmp, tcp, dns, gateway and a URL"),
            ("probe = \"icmp example.net\"", "no IP address of a host"),
            ("probe = \"tcp 192.0.2.1\"", "no IP address and port"),
            ("probe = \"dns 192.0.2.1\"", "the name is missing"),
            ("probe = \"dns example.net example.net\"", "the server is no IP address"),
            ("probe = \"dns 192.0.2.1 a..b\"", "no name that can be asked for"),
            ("probe = \"http://\"", "this is no URL"),
            ("probe = \"https://user@example.net/\"", "the URL holds a user"),
            ("[[http]]\nmethod = \"GET\"", "`url` is missing"),
            ("[[http]]\nurl = \"ftp://example.net/\"", "the URL is not of HTTP"),
            ("[[http]]\nurl = \"http://a/\"\nca = \"x\"", "no use without TLS"),
            ("[[http]]\nurl = \"http://a/\"\nstatus = 99", "99 is not a number from 100 to 599"),
            ("[[http]]\nurl = \"http://a/\"\nstatus = \"3-4\"", "no range of statuses"),
            ("[[http]]\nurl = \"http://a/\"\nmethod = \"POST\"", "not a method of a probe"),
            ("[[http]]\nurl = \"http://a/\"\nmethod = \"HEAD\"\nbody = \"x\"", "has no body"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    fn read(text: &str) -> Result<Vec<ProbeConfig>, shared::exit::Error> {
        Document::from_text("x", text).read(|table| Some(ProbeConfig::read(table)))
    }
}
