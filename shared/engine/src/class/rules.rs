//! What the operator said about classes.

use std::ops::RangeInclusive;

use super::Class;
use crate::{filter::Prefix, packet::Headers};

/// The rules in their order: the first that fits decides.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules(Vec<Rule>);

/// One rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// The class of what fits.
    pub class: Class,
    /// What fits.
    pub when: Match,
}

/// What a packet must have, all of it. What is not said fits everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Match {
    /// The protocol's number.
    pub protocol: Option<u8>,
    /// Ports, one of which is the source's or the destination's: at most [`Rules::PARTS_MAX`]
    /// ranges. A packet without ports, such as a fragment, fits no port.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Networks, one of which holds the source or the destination: at most [`Rules::PARTS_MAX`].
    pub prefixes: Vec<Prefix>,
    /// Code points, bit by bit: bit 46 for EF.
    pub dscp: Option<u64>,
}

impl Rules {
    /// So many rules a packet of a new flow is held against, one after the other.
    pub const RULES_MAX: usize = 64;
    /// Ranges of ports, and networks, that one rule may name.
    pub const PARTS_MAX: usize = 16;

    /// `None` if there are more rules than [`RULES_MAX`](Self::RULES_MAX), or one names more than
    /// [`PARTS_MAX`](Self::PARTS_MAX).
    pub fn new(rules: Vec<Rule>) -> Option<Self> {
        let small = |rule: &Rule| {
            rule.when.ports.len() <= Self::PARTS_MAX && rule.when.prefixes.len() <= Self::PARTS_MAX
        };
        (rules.len() <= Self::RULES_MAX && rules.iter().all(small)).then_some(Self(rules))
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    /// The class of the first rule that a packet fits.
    pub(crate) fn class(&self, headers: &Headers) -> Option<Class> {
        self.0.iter().find(|rule| rule.when.fits(headers)).map(|rule| rule.class)
    }
}

impl Match {
    fn fits(&self, headers: &Headers) -> bool {
        let ports = [(headers.ports >> 16) as u16, headers.ports as u16];
        let has_port = |range: &RangeInclusive<u16>| ports.iter().any(|port| range.contains(port));
        let holds = |prefix: &Prefix| {
            prefix.contains(headers.source) || prefix.contains(headers.destination)
        };
        self.protocol.is_none_or(|protocol| protocol == headers.protocol)
            && (self.ports.is_empty() || headers.ports != 0 && self.ports.iter().any(has_port))
            && (self.prefixes.is_empty() || self.prefixes.iter().any(holds))
            && self.dscp.is_none_or(|dscp| dscp & 1 << headers.dscp != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{TCP, UDP};

    #[test]
    fn the_first_rule_that_fits_decides() {
        let phones = Match { prefixes: vec![prefix("10.1.0.0", 16)], ..Match::default() };
        let rules = rules([(Class::RealTime, phones), (Class::Scavenger, Match::default())]);

        assert_eq!(rules.class(&headers("10.1.2.3", "192.0.2.1", UDP)), Some(Class::RealTime));
        assert_eq!(rules.class(&headers("192.0.2.1", "10.1.2.3", UDP)), Some(Class::RealTime));
        assert_eq!(rules.class(&headers("10.2.2.3", "192.0.2.1", UDP)), Some(Class::Scavenger));
        assert_eq!(
            rules.class(&headers("2001:db8::1", "2001:db8::2", UDP)),
            Some(Class::Scavenger)
        );
        assert_eq!(Rules::default().class(&headers("10.1.2.3", "192.0.2.1", UDP)), None);
    }

    #[test]
    fn all_that_a_rule_names_must_fit() {
        let sip = Match {
            protocol: Some(UDP),
            ports: vec![5060..=5090, 7000..=7000],
            prefixes: vec![prefix("2001:db8::", 32)],
            dscp: Some(1 << 46 | 1 << 34),
        };
        let rules = rules([(Class::RealTime, sip)]);
        let fitting = Headers { dscp: 34, ports: 5090, ..headers("2001:db8::1", "::1", UDP) };

        assert!(rules.class(&fitting).is_some());
        assert!(rules.class(&Headers { ports: 7000 << 16 | 99, ..fitting }).is_some());
        for other in [
            Headers { protocol: TCP, ..fitting },
            Headers { ports: 5091 << 16 | 5059, ..fitting },
            Headers { source: fitting.destination, ..fitting },
            Headers { dscp: 0, ..fitting },
        ] {
            assert_eq!(rules.class(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_packet_without_ports_fits_no_range_of_them() {
        let low = Match { ports: vec![0..=1023], ..Match::default() };
        let rules = rules([(Class::Bulk, low)]);

        assert_eq!(rules.class(&headers("10.0.0.1", "10.0.0.2", UDP)), None);
    }

    #[test]
    fn more_rules_than_the_maximum_are_refused() {
        let rule = Rule { class: Class::Bulk, when: Match::default() };
        let long = Match { ports: vec![1..=2; Rules::PARTS_MAX + 1], ..Match::default() };

        assert!(Rules::new(vec![rule.clone(); Rules::RULES_MAX]).is_some());
        assert!(Rules::new(vec![rule.clone(); Rules::RULES_MAX + 1]).is_none());
        assert!(Rules::new(vec![Rule { when: long, ..rule }]).is_none());
    }

    fn rules<const N: usize>(rules: [(Class, Match); N]) -> Rules {
        let rules = rules.into_iter().map(|(class, when)| Rule { class, when });
        Rules::new(rules.collect()).expect("few rules")
    }

    fn headers(source: &str, destination: &str, protocol: u8) -> Headers {
        Headers {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            protocol,
            dscp: 0,
            transport: 20,
            len: 28,
            ports: 0,
            fragment: false,
            unbreakable: true,
            accepts: false,
        }
    }

    fn prefix(address: &str, len: u8) -> Prefix {
        Prefix::new(address.parse().expect("an address"), len).expect("a prefix")
    }
}
