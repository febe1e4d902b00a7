//! What the configuration says about one uplink.

use std::{net::IpAddr, time::Duration};

use shared::config::{self, Placed, Table, Wrong};

use crate::probe_config::ProbeConfig;

/// One exit of the server, as configured.
///
/// At least one of `interface` and `gateways` is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UplinkConfig {
    /// Unique among the uplinks.
    pub name: String,
    /// The interface that packets leave by; found by the route to the gateway when absent.
    pub interface: Option<String>,
    /// Next hops, at most one of each family; empty where the interface needs none.
    pub gateways: Vec<IpAddr>,
    /// Order of preference: the lowest tier with a healthy uplink carries the traffic.
    pub tier: u8,
    /// How much of the traffic it takes when several share it, relative to the others' weights.
    pub weight: u32,
    /// What shows that the uplink works; empty when only the state of its interface counts.
    pub probes: Vec<ProbeConfig>,
    /// Time between two questions of one probe.
    pub interval: Duration,
    /// So many answers in a row to one probe make an uplink healthy.
    pub rise: u32,
    /// So many failures in a row of every probe make it unhealthy.
    pub fall: u32,
    /// So many probes must work at the same time.
    pub quorum: usize,
}

impl UplinkConfig {
    /// Reads one `[[uplink]]`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let name = table.required("name", config::name);
        let interface = table.optional("interface", config::interface);
        let gateways = table.one_or_list("gateway", config::ip);
        let tier = table.optional("tier", config::number(1..=u8::MAX));
        let weight = table.optional("weight", config::number(1..=WEIGHT_MAX));
        let probes = ProbeConfig::read(table);
        let interval = table.optional("interval", config::duration(INTERVAL_MIN..=INTERVAL_MAX));
        let rise = table.optional("rise", config::number(1..=TIMES_MAX));
        let fall = table.optional("fall", config::number(1..=TIMES_MAX));
        let quorum = table.optional("quorum", config::number(1..=PROBES_MAX));
        if let Some(quorum) = &quorum
            && *quorum.get_ref() > probes.len()
        {
            let wrong = Wrong::new(format!(
                "the quorum is {} of {} probes",
                quorum.get_ref(),
                probes.len()
            ));
            table.note(quorum.span(), wrong.right("add probes, or lower `quorum`"));
        }
        if !table.has("interface") && !table.has("gateway") {
            let wrong = Wrong::new("the uplink has neither an interface nor a gateway");
            table.note(
                table.span(),
                wrong.right("add `interface = \"eth1\"` or `gateway = \"192.0.2.1\"`"),
            );
        }
        for (index, gateway) in gateways.iter().enumerate() {
            let same_family =
                |other: &Placed<IpAddr>| other.get_ref().is_ipv4() == gateway.get_ref().is_ipv4();
            if gateways[..index].iter().any(same_family) {
                let wrong = Wrong::new("the uplink has two gateways of one family");
                table.note(gateway.span(), wrong.right("make an uplink of each"));
            }
        }
        table.limit("probe", probes.len(), PROBES_MAX);
        Some(Self {
            name: name?.into_inner(),
            interface: interface.map(Placed::into_inner),
            gateways: gateways.into_iter().map(Placed::into_inner).collect(),
            tier: tier.map_or(1, Placed::into_inner),
            weight: weight.map_or(1, Placed::into_inner),
            probes,
            interval: interval.map_or(INTERVAL_DEFAULT, Placed::into_inner),
            rise: rise.map_or(TIMES_DEFAULT, Placed::into_inner),
            fall: fall.map_or(TIMES_DEFAULT, Placed::into_inner),
            quorum: quorum.map_or(1, Placed::into_inner),
        })
    }
}

/// The heaviest [`weight`](UplinkConfig::weight).
pub const WEIGHT_MAX: u32 = 1000;
/// Below that a saturated machine fails its own probes.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// A dead uplink is left within three of them, and no target minds five echo requests a second.
const INTERVAL_DEFAULT: Duration = Duration::from_millis(200);
/// Two probes lost in a row are not rare on a busy line, three are.
const TIMES_DEFAULT: u32 = 3;
const TIMES_MAX: u32 = 1000;
/// More targets than that only load the uplink.
const PROBES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use shared::config::Document;

    #[test]
    fn an_uplink_is_read_with_its_defaults() {
        let text = "[[uplink]]\nname = \"a\"\ninterface = \"eth1\"\n\
            [[uplink]]\nname = \"b\"\ngateway = [\"192.0.2.1\", \"2001:db8::1\"]\ntier = 2\nweight = 7\n\
            probe = [\"icmp 192.0.2.9\", \"tcp [2001:db8::9]:443\"]\ninterval = \"1s\"\nrise = 2\n";

        let uplinks = read(text).unwrap();

        assert_eq!((uplinks[0].tier, uplinks[0].rise, uplinks[0].fall), (1, 3, 3));
        assert_eq!(uplinks[0].interface.as_deref(), Some("eth1"));
        assert_eq!((uplinks[1].gateways.len(), uplinks[1].tier), (2, 2));
        assert_eq!((uplinks[0].weight, uplinks[1].weight), (1, 7));
        assert_eq!(uplinks[1].interval, Duration::from_secs(1));
        let shown: Vec<String> = uplinks[1].probes.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["icmp 192.0.2.9", "tcp [2001:db8::9]:443"]);
    }

    #[test]
    fn mistakes_in_an_uplink_are_named() {
        for (line, expected) in [
            ("", "neither an interface nor a gateway"),
            ("gateway = [\"192.0.2.1\", \"192.0.2.2\"]", "two gateways of one family"),
            ("interface = \"a b\"", "not an interface name"),
            ("interface = \"a\"\ninterval = \"1ms\"", "out of range"),
            ("interface = \"a\"\nfall = 0", "0 is not a number from 1 to 1000"),
            ("interface = \"a\"\nquorum = 1", "the quorum is 1 of 0 probes"),
            ("interface = \"a\"\ntier = 0", "0 is not a number from 1 to 255"),
        ] {
            let error = read(&format!("[[uplink]]\nname = \"a\"\n{line}\n")).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    fn read(text: &str) -> Result<Vec<UplinkConfig>, shared::exit::Error> {
        Document::from_text("x", text).read(|table| {
            let uplinks = table.tables("uplink", UplinkConfig::read);
            Some(uplinks.into_iter().map(Placed::into_inner).collect())
        })
    }
}
