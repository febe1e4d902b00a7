//! What the configuration says about one uplink.

use std::{net::IpAddr, str::FromStr, time::Duration};

use engine::Class;
use ipnet::{IpNet, Ipv6Net};
use shared::classes::class;
use shared::config::{self, Placed, Table, Wrong};

use crate::egress::is_own_table;
use crate::probe_config::ProbeConfig;
use crate::rate::Rate;

/// One exit of the server, as configured.
///
/// At least one of `interface`, `gateways` and `table` is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UplinkConfig {
    /// Unique among the uplinks.
    pub name: String,
    /// The interface that packets leave by; found by the route to the gateway when absent.
    pub interface: Option<String>,
    /// Next hops, at most one of each family; empty where the interface needs none.
    pub gateways: Vec<IpAddr>,
    /// The routing table whose default routes are its way out, in place of those of the main table:
    /// what a DHCP client or another program has filled for this line.
    pub table: Option<u32>,
    /// Order of preference: the lowest tier with a healthy uplink carries the traffic.
    pub tier: u8,
    /// What its use costs, in any unit: of several uplinks of one tier where one carries the traffic,
    /// the cheapest does.
    pub cost: u32,
    /// Words for people and for figures.
    pub labels: Vec<String>,
    /// How much of the traffic it takes when several share it, relative to the others' weights.
    pub weight: u32,
    /// What shows that the uplink works; empty when only the state of its interface counts.
    pub probes: Vec<ProbeConfig>,
    /// Three of them without an answer are a silence. Time between two questions of a probe; an echo
    /// is asked for twice in it.
    pub interval: Duration,
    /// Silence that is shorter is no failure, however often the probes ask.
    pub silence: Duration,
    /// So many answers in a row to one probe make an uplink healthy.
    pub rise: u32,
    /// So many failures in a row of every probe make it unhealthy.
    pub fall: u32,
    /// So many probes must work at the same time.
    pub quorum: usize,
    /// The only classes that may use it; empty when all traffic may.
    pub only: Vec<Class>,
    /// What the line carries; none when nothing holds its clients to equal shares.
    pub capacity: Option<Rate>,
    /// How many flows it carries at most; more are refused.
    pub flows_max: Option<u32>,
    /// The sources that its packets get, at most one of each family; that of the interface for a
    /// family that isn't here.
    pub translate_to: Vec<Source>,
}

/// What inner sources become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// One address for all.
    Address(IpAddr),
    /// Of the same length as the inner pool: only the prefix changes (RFC 6296).
    Prefix(Ipv6Net),
}

impl UplinkConfig {
    /// An uplink of this name, with nothing said about it.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            interface: None,
            gateways: Vec::new(),
            table: None,
            tier: 1,
            cost: 0,
            labels: Vec::new(),
            weight: 1,
            probes: Vec::new(),
            interval: INTERVAL_DEFAULT,
            silence: SILENCE_DEFAULT,
            rise: TIMES_DEFAULT,
            fall: TIMES_DEFAULT,
            quorum: 1,
            only: Vec::new(),
            capacity: None,
            flows_max: None,
            translate_to: Vec::new(),
        }
    }

    /// Reads one `[[uplink]]`.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let name = table.required("name", config::name);
        let interface = table.optional("interface", config::interface);
        let gateways = table.one_or_list("gateway", config::ip);
        note_two_gateways(table, &gateways);
        let of_table = table.optional("table", config::number(1..=u32::MAX));
        note_own_table(table, of_table.as_ref());
        let tier = table.optional("tier", config::number(1..=u8::MAX));
        let weight = table.optional("weight", config::number(1..=WEIGHT_MAX));
        let cost = table.optional("cost", config::number(0..=COST_MAX));
        let labels = table.one_or_list("labels", config::name);
        table.limit("labels", labels.len(), LABELS_MAX);
        let probes = ProbeConfig::read(table);
        let interval = table.optional("interval", config::duration(INTERVAL_MIN..=INTERVAL_MAX));
        let silence = table.optional("silence", config::duration(SILENCE_MIN..=INTERVAL_MAX));
        let rise = table.optional("rise", config::number(1..=TIMES_MAX));
        let fall = table.optional("fall", config::number(1..=TIMES_MAX));
        let quorum = table.optional("quorum", config::number(1..=PROBES_MAX));
        let only = table.one_or_list("only", |value| class(&config::text(value)?));
        if table.is_empty_list("only") {
            let wrong = Wrong::new("`only` is empty, so nothing could use the uplink");
            table.note_at("only", wrong.right("remove `only`, or name a class"));
        }
        let capacity = table.optional("capacity", config::parsed::<Rate>);
        let flows_max = table.optional("flows_max", config::number(1..=FLOWS_MAX));
        let translate_to = table.one_or_list("translate_to", config::parsed::<Source>);
        note_two_sources(table, &translate_to);
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
        if !["interface", "gateway", "table"].iter().any(|key| table.has(key)) {
            let wrong = Wrong::new("the uplink has neither an interface nor a gateway nor a table");
            table.note(
                table.span(),
                wrong.right(
                    "add `interface = \"eth1\"`, `gateway = \"192.0.2.1\"` or `table = 201`",
                ),
            );
        }
        table.limit("probe", probes.len(), PROBES_MAX);
        let plain = Self::new(&name?.into_inner());
        Some(Self {
            interface: interface.map(Placed::into_inner),
            gateways: gateways.into_iter().map(Placed::into_inner).collect(),
            table: of_table.map(Placed::into_inner),
            tier: tier.map_or(plain.tier, Placed::into_inner),
            cost: cost.map_or(plain.cost, Placed::into_inner),
            labels: labels.into_iter().map(Placed::into_inner).collect(),
            weight: weight.map_or(plain.weight, Placed::into_inner),
            probes,
            interval: interval.map_or(plain.interval, Placed::into_inner),
            silence: silence.map_or(plain.silence, Placed::into_inner),
            rise: rise.map_or(plain.rise, Placed::into_inner),
            fall: fall.map_or(plain.fall, Placed::into_inner),
            quorum: quorum.map_or(plain.quorum, Placed::into_inner),
            only: only.into_iter().map(Placed::into_inner).collect(),
            capacity: capacity.map(Placed::into_inner),
            flows_max: flows_max.map(Placed::into_inner),
            translate_to: translate_to.into_iter().map(Placed::into_inner).collect(),
            ..plain
        })
    }

    /// Whether nothing says where it is.
    pub fn is_nowhere(&self) -> bool {
        self.interface.is_none() && self.gateways.is_empty() && self.table.is_none()
    }

    /// Whether traffic of this class, or of none with a policy of its own, may use it.
    pub fn admits(&self, class: Option<Class>) -> bool {
        self.only.is_empty() || class.is_some_and(|class| self.only.contains(&class))
    }

    /// Time from one question of a probe to the next. An echo costs nobody anything and is asked for
    /// twice in an interval, which tells twice as well when an outage or a loss began.
    pub fn pause(&self, probe: &ProbeConfig) -> Duration {
        match probe {
            ProbeConfig::Icmp { .. } => (self.interval / 2).max(ECHO_PAUSE_MIN),
            _ => self.interval,
        }
    }

    /// The longest time in which each of its best measuring probes is asked something.
    pub fn gap(&self) -> Duration {
        let echo = self.probes.iter().find(|probe| matches!(probe, ProbeConfig::Icmp { .. }));
        echo.map_or(self.interval, |probe| self.pause(probe))
    }

    /// The time from one question to the next while an answer is missing.
    pub fn hurried_gap(&self) -> Duration {
        let echoes = self.probes.iter().any(|probe| matches!(probe, ProbeConfig::Icmp { .. }));
        if echoes { (self.gap() / 2).max(ECHO_PAUSE_MIN) } else { self.interval }
    }

    /// Whether the other one is probed in the same way, on the same interface.
    pub fn is_probed_as(&self, other: &Self) -> bool {
        (&self.interface, &self.gateways, self.table)
            == (&other.interface, &other.gateways, other.table)
            && (&self.probes, self.interval, self.silence)
                == (&other.probes, other.interval, other.silence)
            && (self.rise, self.fall, self.quorum) == (other.rise, other.fall, other.quorum)
    }

    /// The places of the probes whose answers tell how good the uplink is. An echo is answered by
    /// the kernel of its target, a connection too, but with more to do; the others wait for programs.
    pub fn measuring_probes(&self) -> impl Iterator<Item = usize> {
        let of = |kind: fn(&ProbeConfig) -> bool| {
            let places = self.probes.iter().enumerate().filter(move |(_, probe)| kind(probe));
            places.map(|(place, _)| place).collect::<Vec<_>>()
        };
        let echoes = of(|probe| matches!(probe, ProbeConfig::Icmp { .. }));
        let connects = || of(|probe| matches!(probe, ProbeConfig::Tcp { .. }));
        if echoes.is_empty() { connects().into_iter() } else { echoes.into_iter() }
    }
}

fn note_two_gateways(table: &Table<'_>, gateways: &[Placed<IpAddr>]) {
    for (index, gateway) in gateways.iter().enumerate() {
        let same_family =
            |other: &Placed<IpAddr>| other.get_ref().is_ipv4() == gateway.get_ref().is_ipv4();
        if gateways[..index].iter().any(same_family) {
            let wrong = Wrong::new("the uplink has two gateways of one family");
            table.note(gateway.span(), wrong.right("make an uplink of each"));
        }
    }
}

fn note_own_table(table: &Table<'_>, named: Option<&Placed<u32>>) {
    if let Some(named) = named.filter(|it| is_own_table(*it.get_ref())) {
        let wrong = Wrong::new(format!("{} is a table of the server's own", named.get_ref()));
        table.note(named.span(), wrong.right("name the one that another program fills"));
    }
}

/// Packets of one family get one source.
fn note_two_sources(table: &Table<'_>, sources: &[Placed<Source>]) {
    let is_v4 =
        |source: &Placed<Source>| matches!(source.get_ref(), Source::Address(IpAddr::V4(_)));
    for (index, source) in sources.iter().enumerate() {
        if sources[..index].iter().any(|other| is_v4(other) == is_v4(source)) {
            let wrong = Wrong::new("packets of one family can't get two sources");
            table.note(source.span(), wrong.right("name one of each family"));
        }
    }
}

impl FromStr for Source {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if let Ok(address) = text.parse::<IpAddr>()
            && !address.is_unspecified()
            && !address.is_multicast()
        {
            return Ok(Self::Address(address));
        }
        match config::parse_cidr(text) {
            Ok(IpNet::V6(prefix)) => Ok(Self::Prefix(prefix)),
            _ => Err(Wrong::new("this is neither an address nor an IPv6 prefix")
                .right("write \"203.0.113.7\", \"2001:db8::7\" or \"2001:db8:7::/64\"")),
        }
    }
}

/// The heaviest [`weight`](UplinkConfig::weight).
pub const WEIGHT_MAX: u32 = 1000;
const COST_MAX: u32 = 1_000_000;
const LABELS_MAX: usize = 16;
/// Below that a saturated machine fails its own probes.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// What no connection tracking of a host holds.
const FLOWS_MAX: u32 = 10_000_000;
/// An echo is asked for no more often, not even while an answer is missing.
pub(crate) const ECHO_PAUSE_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// A dead uplink is left within three of them, and no target minds five echo requests a second.
const INTERVAL_DEFAULT: Duration = Duration::from_millis(200);
/// What a line may keep quiet for without anything being broken: a handover of a radio, a change of
/// its route.
const SILENCE_DEFAULT: Duration = Duration::from_millis(300);
const SILENCE_MIN: Duration = Duration::from_millis(30);
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
            ("", "neither an interface nor a gateway nor a table"),
            ("table = 18689", "18689 is a table of the server's own"),
            ("table = 0", "0 is not a number from 1 to"),
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
