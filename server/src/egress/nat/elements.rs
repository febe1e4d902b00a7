//! What changes in the table while we run, and the scripts that change it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shared::host::Family;

use super::super::buckets::BUCKETS;
use super::super::mark::UplinkMark;
use super::{Pin, Table, chains, of};
use crate::policy::Policy;

/// What changes, and only in what differs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in super::super) struct Elements {
    /// Who may be the source of an inner packet.
    pub(in super::super) sources: BTreeSet<IpNet>,
    /// The uplinks that flows may be pinned to.
    pub(in super::super) pins: BTreeMap<UplinkMark, Pin>,
    /// Where new flows of a policy and family go; nowhere if it is not here.
    pub(in super::super) choice: BTreeMap<(usize, Family), Lead>,
    /// For policies that remember: the uplinks whose sources come back to them.
    pub(in super::super) homes: BTreeMap<(usize, Family), BTreeSet<UplinkMark>>,
    /// Interfaces on whose way out addresses are translated, and their uplinks if there are any.
    pub(in super::super) exits: BTreeMap<String, Option<UplinkMark>>,
}

/// Where new flows go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) enum Lead {
    /// To one uplink.
    One(UplinkMark),
    /// To the owner of the bucket that the flow's key falls into.
    Buckets(Box<Owners>),
}

/// Where a packet goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Verdict {
    /// NFT_JUMP or NFT_GOTO.
    pub(super) code: i32,
    pub(super) chain: String,
}

impl Verdict {
    /// To a chain, and back.
    fn jump(chain: String) -> Self {
        Self { code: -3, chain }
    }

    /// To a chain, for good.
    pub(super) fn goto(chain: String) -> Self {
        Self { code: -4, chain }
    }
}

impl Lead {
    pub(super) fn verdict(&self, policy: usize, family: Family) -> Verdict {
        Verdict::jump(match self {
            Self::One(mark) => chains::pin(*mark),
            Self::Buckets(_) => format!("share{}{}", number(family), of(policy)),
        })
    }
}

/// The owner of each bucket.
pub(in super::super) type Owners = [Option<UplinkMark>; BUCKETS];

impl Table {
    /// A script that changes what differs; empty when nothing does.
    pub(in super::super) fn change(&self, from: &Elements, to: &Elements) -> String {
        let mut script = Script { table: &self.name, text: String::new() };
        script.set("sources4", from.sources(Family::V4), to.sources(Family::V4));
        script.set("sources6", from.sources(Family::V6), to.sources(Family::V6));
        let come = |mark: &&UplinkMark| from.pins.get(mark) != to.pins.get(mark);
        for mark in to.pins.keys().filter(come) {
            script.text += &chains::lay(self, *mark, &to.pins[mark], from.pins.contains_key(mark));
        }
        if from.pins != to.pins {
            script.text += &chains::list(self, &to.pins);
        }
        for policy in self.policies.iter().map(Policy::number) {
            let name = of(policy);
            let same =
                |family| from.choice.get(&(policy, family)) == to.choice.get(&(policy, family));
            // First what the choice leads to, then the choice.
            for family in Family::ALL.into_iter().filter(|family| !same(*family)) {
                let buckets = format!("buckets{}{name}", number(family));
                script.set(&buckets, from.buckets(policy, family), to.buckets(policy, family));
            }
            script.set(&format!("choice{name}"), from.choice(policy), to.choice(policy));
        }
        for (at, before) in &from.homes {
            let after = to.homes.get(at);
            for mark in before.iter().filter(|mark| after.is_none_or(|it| !it.contains(mark))) {
                let home = chains::home(at.0, at.1, *mark);
                let _ = writeln!(script.text, "flush set inet {} {home}", self.name);
            }
        }
        script.set("exits", from.exits(), to.exits());
        script.set("arrivals", from.arrivals(), to.arrivals());
        script.set("translations", from.translations(), to.translations());
        for mark in from.pins.keys().filter(|mark| !to.pins.contains_key(mark)) {
            script.text += &chains::remove(self, *mark);
        }
        script.text
    }
}

struct Script<'a> {
    table: &'a str,
    text: String,
}

impl Script<'_> {
    /// Brings a set or map from some elements to others.
    fn set(&mut self, name: &str, from: BTreeSet<String>, to: BTreeSet<String>) {
        let list = |items: Vec<&String>| {
            items.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        let gone = list(from.difference(&to).collect());
        let come = list(to.difference(&from).collect());
        for (verb, items) in [("delete", gone), ("add", come)] {
            if !items.is_empty() {
                let table = self.table;
                let _ = writeln!(self.text, "{verb} element inet {table} {name} {{ {items} }}");
            }
        }
    }
}

impl Elements {
    /// Merged, since the elements of a set with intervals must not overlap.
    fn sources(&self, family: Family) -> BTreeSet<String> {
        match family {
            Family::V4 => {
                let nets = self.sources.iter().filter_map(|net| match net {
                    IpNet::V4(net) => Some(net.trunc()),
                    IpNet::V6(_) => None,
                });
                let nets = Ipv4Net::aggregate(&nets.collect::<Vec<_>>());
                nets.iter().map(ToString::to_string).collect()
            }
            Family::V6 => {
                let nets = self.sources.iter().filter_map(|net| match net {
                    IpNet::V4(_) => None,
                    IpNet::V6(net) => Some(net.trunc()),
                });
                let nets = Ipv6Net::aggregate(&nets.collect::<Vec<_>>());
                nets.iter().map(ToString::to_string).collect()
            }
        }
    }

    fn choice(&self, policy: usize) -> BTreeSet<String> {
        let element = |family: Family| {
            let number = number(family);
            let lead = self.choice.get(&(policy, family))?;
            Some(format!("ipv{number} : jump {}", lead.verdict(policy, family).chain))
        };
        Family::ALL.into_iter().filter_map(element).collect()
    }

    fn buckets(&self, policy: usize, family: Family) -> BTreeSet<String> {
        let Some(Lead::Buckets(owners)) = self.choice.get(&(policy, family)) else {
            return BTreeSet::new();
        };
        let element = |(bucket, owner): (usize, &Option<UplinkMark>)| {
            Some(format!("{bucket} : goto {}", chains::pin((*owner)?)))
        };
        owners.iter().enumerate().filter_map(element).collect()
    }

    fn exits(&self) -> BTreeSet<String> {
        self.exits.keys().map(|interface| format!("\"{interface}\"")).collect()
    }

    fn arrivals(&self) -> BTreeSet<String> {
        let known =
            self.exits.iter().filter_map(|(interface, uplink)| Some((interface, (*uplink)?)));
        known.map(|(name, mark)| format!("\"{name}\" : jump {}", chains::arrive(mark))).collect()
    }

    fn translations(&self) -> BTreeSet<String> {
        let own = self.pins.iter().filter(|(_, pin)| pin.translates());
        own.map(|(mark, _)| format!("{:#010x} : jump {}", mark.value(), chains::translate(*mark)))
            .collect()
    }
}

pub(super) fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}
