//! What the configuration says about classes of traffic.

use std::{
    fmt::{self, Display},
    ops::RangeInclusive,
    str::FromStr,
};

use engine::{Class, Dscp, Match, Prefix, Rule, Rules, Steering};
use ipnet::IpNet;

use crate::{
    config::{Placed, Table, Wrong, cidr, nearest, number, parsed, text},
    mode::Mode,
};

/// All `[[class]]` tables of a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Classes {
    /// What belongs to which class, in the order of the file.
    pub rules: Rules,
    /// The modes of classes that have one of their own.
    modes: [Option<Mode>; Class::ALL.len()],
}

impl Classes {
    /// Reads the tables `[[class]]`. No rule and no mode when there are none.
    pub fn read(table: &mut Table<'_>) -> Self {
        let entries = table.tables("class", Entry::read);
        let mut classes = Self::default();
        let mut rules = Vec::new();
        for entry in entries {
            let span = entry.span();
            let entry = entry.into_inner();
            if let Some(mode) = entry.mode
                && let Some(other) = classes.modes[entry.class.index()].replace(mode)
                && other != mode
            {
                let name = entry.class.name();
                let wrong = Wrong::new(format!("class \"{name}\" has the mode {other} already"));
                table.note(span, wrong.right("write the mode once"));
            }
            if entry.when != Match::default() {
                rules.push(Rule { class: entry.class, when: entry.when });
            }
        }
        table.limit("class", rules.len(), Rules::RULES_MAX);
        classes.rules = Rules::new(rules).unwrap_or_default();
        classes
    }

    /// How a session is steered whose other classes have this mode.
    pub fn steering(&self, mode: Mode) -> Steering {
        let modes = self.modes.map(|mode| mode.map(|mode| mode.0));
        Steering { mode: mode.0, rules: self.rules.clone(), modes }
    }

    /// The mode of a class, where it has one of its own.
    pub fn mode(&self, class: Class) -> Option<Mode> {
        self.modes[class.index()]
    }
}

/// How much is said.
impl Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rules.len() {
            1 => f.write_str("1 class rule"),
            several => write!(f, "{several} class rules"),
        }
    }
}

/// One `[[class]]`: what belongs to the class, or its mode, or both.
#[derive(Debug)]
struct Entry {
    class: Class,
    when: Match,
    mode: Option<Mode>,
}

impl Entry {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let class = table.required("name", |value| class(&text(value)?));
        let protocol = table.optional("protocol", |value| {
            let word = if value.is_str() { protocol(&text(value)?) } else { None };
            word.map_or_else(|| number(0..=u8::MAX)(value).map_err(|_| no_protocol()), Ok)
        });
        let ports = table.one_or_list("ports", |value| {
            if value.is_str() {
                return parsed(value);
            }
            let port = number(1..=u16::MAX)(value)?;
            Ok(Ports(port..=port))
        });
        let prefixes = table.one_or_list("prefixes", cidr);
        let dscp = table.one_or_list("dscp", |value| {
            let named = if value.is_str() { Dscp::from_name(&text(value)?) } else { None };
            named.map_or_else(
                || number(0..=63)(value).map_err(|_| no_mark()),
                |dscp| Ok(dscp.value()),
            )
        });
        let mode = table.optional("mode", parsed);
        for key in ["ports", "prefixes", "dscp"] {
            if table.is_empty_list(key) {
                let wrong = Wrong::new(format!("`{key}` is empty, so nothing would belong to it"));
                table.note_at(key, wrong.right(format!("remove `{key}`, or name some")));
            }
        }
        table.limit("ports", ports.len(), Rules::PARTS_MAX);
        table.limit("prefixes", prefixes.len(), Rules::PARTS_MAX);
        note_portless(table, protocol.as_ref(), !ports.is_empty());
        let when = Match {
            protocol: protocol.map(Placed::into_inner),
            ports: ports.into_iter().map(|ports| ports.into_inner().0).collect(),
            prefixes: prefixes.into_iter().filter_map(|it| prefix(it.into_inner())).collect(),
            dscp: (!dscp.is_empty())
                .then(|| dscp.iter().fold(0, |bits, mark| bits | 1 << mark.get_ref())),
        };
        let says_what = ["protocol", "ports", "prefixes", "dscp", "mode"];
        if !says_what.iter().any(|key| table.has(key)) {
            let wrong = Wrong::new("the class says neither what belongs to it nor how it goes");
            table.note(
                table.span(),
                wrong.right("add `ports = [\"5060-5090\"]`, `mode = \"duplicate\"`, …"),
            );
        }
        let class = class?.into_inner();
        Some(Self { class, when, mode: mode.map(Placed::into_inner) })
    }
}

/// A port, or a range of them.
struct Ports(RangeInclusive<u16>);

impl FromStr for Ports {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write a port such as \"53\", or a range such as \"5060-5090\"";
        let port = |text: &str| {
            let port = text.trim().parse::<u16>().ok().filter(|&port| port > 0);
            port.ok_or_else(|| Wrong::new("these are no ports from 1 to 65535").right(right))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(Wrong::new("the range ends before it begins")
                .right(format!("write \"{last}-{first}\"")));
        }
        Ok(Self(first..=last))
    }
}

/// The class of this name.
///
/// # Errors
/// When there is none: says which one was meant, or which there are.
pub fn class(name: &str) -> Result<Class, Wrong> {
    Class::from_name(name).ok_or_else(|| {
        let names = Class::ALL.map(Class::name);
        let shown: String = name.chars().take(40).collect();
        let right = match nearest(name, names) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("write one of {}", names.join(", ")),
        };
        Wrong::new(format!("\"{}\" is not a class", shown.escape_debug())).right(right)
    })
}

/// Protocols by their names, as IANA numbers them.
const PROTOCOLS: [(&str, u8); 8] = [
    ("ah", 51),
    ("esp", 50),
    ("gre", 47),
    ("icmp", 1),
    ("icmpv6", 58),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
];

fn protocol(name: &str) -> Option<u8> {
    PROTOCOLS.into_iter().find(|(known, _)| *known == name).map(|(_, number)| number)
}

fn no_protocol() -> Wrong {
    let names = PROTOCOLS.map(|(name, _)| format!("\"{name}\""));
    Wrong::new("this is no protocol").right(format!("write {} or its number", names.join(", ")))
}

fn no_mark() -> Wrong {
    Wrong::new("this is no code point")
        .right("write \"ef\", \"va\", \"le\", \"cs1\" to \"cs7\", \"af11\" to \"af43\", or 0 to 63")
}

/// Ports with a protocol that has none would never fit.
fn note_portless(table: &Table<'_>, protocol: Option<&Placed<u8>>, ports: bool) {
    let has_ports = |protocol: u8| matches!(protocol, 6 | 17 | 33 | 132 | 136);
    if let Some(protocol) = protocol
        && ports
        && !has_ports(*protocol.get_ref())
    {
        let wrong = Wrong::new("this protocol has no ports");
        table.note(protocol.span(), wrong.right("remove `ports`, or write \"udp\" or \"tcp\""));
    }
}

fn prefix(network: IpNet) -> Option<Prefix> {
    Prefix::new(network.addr(), network.prefix_len())
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Document, exit::Error};

    #[test]
    fn rules_are_read_in_their_order_and_modes_by_class() {
        let classes = read(
            "[[class]]\nname = \"real-time\"\nprotocol = \"udp\"\nports = [\"5060-5090\", 53]\n\
             prefixes = \"10.1.0.0/16\"\ndscp = [\"ef\", 34]\nmode = \"duplicate\"\n\
             [[class]]\nname = \"scavenger\"\nprefixes = [\"fd00::/8\", \"0.0.0.0/0\"]\n\
             [[class]]\nname = \"bulk\"\nmode = \"split\"\n",
        )
        .unwrap();

        let network = |text: &str| prefix(text.parse().unwrap()).unwrap();
        let phones = Match {
            protocol: Some(17),
            ports: vec![5060..=5090, 53..=53],
            prefixes: vec![network("10.1.0.0/16")],
            dscp: Some(1 << 46 | 1 << 34),
        };
        let rest =
            Match { prefixes: vec![network("fd00::/8"), network("0.0.0.0/0")], ..Match::default() };
        let rules = vec![
            Rule { class: Class::RealTime, when: phones },
            Rule { class: Class::Scavenger, when: rest },
        ];
        assert_eq!(classes.rules, Rules::new(rules).unwrap());
        assert_eq!(classes.mode(Class::RealTime), Some(Mode(engine::Mode::Duplicate)));
        assert_eq!(classes.mode(Class::Bulk), Some(Mode(engine::Mode::Split)));
        assert_eq!(classes.mode(Class::Interactive), None);
        assert_eq!(read("").unwrap(), Classes::default());
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        for (keys, expected) in [
            ("", "x.toml:1:1: the key `name` is missing"),
            ("name = \"real-tmie\"", "x.toml:2:8: \"real-tmie\" is not a class"),
            ("name = \"real-tmie\"", "did you mean \"real-time\"?"),
            ("name = \"bulk\"", "x.toml:1:1: the class says neither"),
            ("name = \"bulk\"\nprotcol = 6", "did you mean `protocol`?"),
            ("name = \"bulk\"\nprotocol = \"dup\"", "x.toml:3:12: this is no protocol"),
            ("name = \"bulk\"\nprotocol = 256", "x.toml:3:12: this is no protocol"),
            (
                "name = \"bulk\"\nprotocol = \"esp\"\nports = 53",
                "x.toml:3:12: this protocol has no",
            ),
            ("name = \"bulk\"\nports = [\"0\"]", "x.toml:3:10: these are no ports"),
            ("name = \"bulk\"\nports = [\"1-70000\"]", "these are no ports"),
            ("name = \"bulk\"\nports = [\"9-5\"]", "write \"5-9\""),
            ("name = \"bulk\"\nports = 0", "0 is not a number from 1 to 65535"),
            ("name = \"bulk\"\nports = []", "x.toml:3:9: `ports` is empty"),
            ("name = \"bulk\"\nprefixes = [\"10.0.0.1/8\"]", "write \"10.0.0.0/8\""),
            ("name = \"bulk\"\ndscp = \"af44\"", "x.toml:3:8: this is no code point"),
            ("name = \"bulk\"\ndscp = 64", "this is no code point"),
            ("name = \"bulk\"\nmode = \"adaptiv\"", "did you mean \"adaptive\"?"),
        ] {
            let error = read(&format!("[[class]]\n{keys}\n")).expect_err(keys).to_string();
            assert!(error.contains(expected), "{keys}\ngives\n{error}\nwithout\n{expected}");
        }
    }

    #[test]
    fn rules_their_parts_and_the_modes_of_a_class_are_bounded() {
        let rule = "[[class]]\nname = \"bulk\"\nports = 53\n";
        let mode = |mode: &str| format!("[[class]]\nname = \"bulk\"\nmode = \"{mode}\"\n");
        let ports = rule.replace("53", &format!("{:?}", vec![1; 17]));

        assert!(read(&rule.repeat(Rules::RULES_MAX)).is_ok());
        assert!(read(&rule.repeat(Rules::RULES_MAX + 1)).is_err());
        assert!(read(&ports).unwrap_err().to_string().contains("16 are possible"));
        assert!(read(&(mode("split") + &mode("split"))).is_ok());
        let twice = read(&(mode("split") + &mode("duplicate"))).unwrap_err().to_string();
        assert!(twice.contains("x.toml:4:1: class \"bulk\" has the mode split"), "{twice}");
    }

    fn read(text: &str) -> Result<Classes, Error> {
        Document::from_text("x.toml", text).read(|table| Some(Classes::read(table)))
    }
}
