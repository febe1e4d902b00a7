//! Rules: which packets ask which table.

use std::fmt;

use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use serde::{Deserialize, Serialize};

use super::{Family, Netlink};
use crate::host::{ROUTE_PROTOCOL, Result};

/// One policy rule of the kernel (`ip rule`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rule {
    /// For packets of this family.
    pub family: Family,
    /// Rules are asked in ascending order.
    pub priority: u32,
    /// What the rule does with a packet that it matches.
    pub action: Action,
    /// Matches the packet's mark.
    pub mark: Option<Mark>,
    /// Matches the packet's source.
    pub from: Option<IpNet>,
    /// Matches the interface that the packet came in by.
    pub input: Option<String>,
    /// Matches the interface that the packet's socket is bound to.
    pub output: Option<String>,
    /// Matches the packets that the rest does not match.
    pub invert: bool,
    /// Ignores routes found in the table whose prefix is no longer than this.
    pub suppress_prefix_length: Option<u32>,
    /// Who made it: [`ROUTE_PROTOCOL`] for ours.
    pub protocol: u8,
}

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Looks for a route in this table; the next rule is asked if there is none.
    Lookup(u32),
    /// Refuses the packet, and tells its sender.
    Unreachable,
    /// An action that we never use.
    Other,
}

/// Bits of a packet's mark.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mark {
    /// The bits that must be set, within `mask`.
    pub value: u32,
    /// The bits that are compared.
    pub mask: u32,
}

impl Rule {
    /// A rule of ours that matches every packet of the family.
    pub fn lookup(family: Family, priority: u32, table: u32) -> Self {
        Self {
            family,
            priority,
            action: Action::Lookup(table),
            mark: None,
            from: None,
            input: None,
            output: None,
            invert: false,
            suppress_prefix_length: None,
            protocol: ROUTE_PROTOCOL,
        }
    }

    /// The same for packets with this mark.
    #[must_use]
    pub fn with_mark(self, mark: Mark) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// The same for packets from this source.
    #[must_use]
    pub fn with_source(self, from: IpNet) -> Self {
        Self { from: Some(from), ..self }
    }

    /// The same, default routes of the table ignored.
    #[must_use]
    pub fn without_default(self) -> Self {
        Self { suppress_prefix_length: Some(0), ..self }
    }

    pub(super) fn to_message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = self.family.raw();
        let mut attributes = vec![
            RuleAttribute::Priority(self.priority),
            RuleAttribute::Protocol(RouteProtocol::from(self.protocol)),
        ];
        message.header.action = match self.action {
            Action::Lookup(table) => {
                attributes.push(RuleAttribute::Table(table));
                RuleAction::ToTable
            }
            Action::Unreachable => RuleAction::Unreachable,
            Action::Other => RuleAction::Nop,
        };
        if let Some(mark) = self.mark {
            attributes.push(RuleAttribute::FwMark(mark.value));
            attributes.push(RuleAttribute::FwMask(mark.mask));
        }
        if let Some(from) = self.from {
            message.header.src_len = from.prefix_len();
            attributes.push(RuleAttribute::Source(from.network()));
        }
        if let Some(input) = &self.input {
            attributes.push(RuleAttribute::Iifname(input.clone()));
        }
        if let Some(output) = &self.output {
            attributes.push(RuleAttribute::Oifname(output.clone()));
        }
        if self.invert {
            message.header.flags.insert(RuleFlags::Invert);
        }
        if let Some(length) = self.suppress_prefix_length {
            attributes.push(RuleAttribute::SuppressPrefixLen(length));
        }
        message.attributes = attributes;
        message
    }
}

impl fmt::Display for Rule {
    /// As `ip rule` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:", self.family, self.priority)?;
        if self.invert {
            f.write_str(" not")?;
        }
        match self.from {
            Some(from) => write!(f, " from {from}")?,
            None => f.write_str(" from all")?,
        }
        if let Some(mark) = self.mark {
            write!(f, " fwmark {:#x}/{:#x}", mark.value, mark.mask)?;
        }
        if let Some(input) = &self.input {
            write!(f, " iif {input}")?;
        }
        if let Some(output) = &self.output {
            write!(f, " oif {output}")?;
        }
        match self.action {
            Action::Lookup(table) => write!(f, " lookup {table}")?,
            Action::Unreachable => f.write_str(" unreachable")?,
            Action::Other => f.write_str(" (other)")?,
        }
        if let Some(length) = self.suppress_prefix_length {
            write!(f, " suppress_prefixlength {length}")?;
        }
        Ok(())
    }
}

pub(super) async fn list(netlink: &Netlink, family: Family) -> Result<Vec<Rule>> {
    let mut rules = netlink
        .dump(
            "list rules",
            || {
                let mut message = RuleMessage::default();
                message.header.family = family.raw();
                RouteNetlinkMessage::GetRule(message)
            },
            |message| match message {
                RouteNetlinkMessage::NewRule(rule) => from_message(&rule),
                _ => None,
            },
        )
        .await?;
    rules.sort_by_key(|rule| rule.priority);
    Ok(rules)
}

fn from_message(message: &RuleMessage) -> Option<Rule> {
    let family = Family::from_raw(message.header.family)?;
    let mut rule = Rule::lookup(family, 0, message.header.table.into());
    rule.protocol = 0;
    rule.invert = message.header.flags.contains(RuleFlags::Invert);
    let mut mark = None;
    let mut mask = u32::MAX;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.action = Action::Lookup(*table),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(bits) => mask = *bits,
            RuleAttribute::Source(ip) => {
                rule.from = IpNet::new(*ip, message.header.src_len).ok();
            }
            RuleAttribute::Iifname(name) => rule.input = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.output = Some(name.clone()),
            // The kernel writes -1 for "not given".
            RuleAttribute::SuppressPrefixLen(length) if *length != u32::MAX => {
                rule.suppress_prefix_length = Some(*length);
            }
            RuleAttribute::Protocol(protocol) => rule.protocol = (*protocol).into(),
            _ => {}
        }
    }
    rule.mark = mark.map(|value| Mark { value, mask });
    match message.header.action {
        RuleAction::ToTable => {}
        RuleAction::Unreachable => rule.action = Action::Unreachable,
        _ => rule.action = Action::Other,
    }
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_survives_the_way_through_a_message() {
        let mark = Mark { value: 0x0001_0000, mask: 0x00ff_0000 };
        let rules = [
            Rule::lookup(Family::V4, 9000, 18_600).with_mark(mark),
            Rule::lookup(Family::V6, 9001, 254).without_default(),
            Rule::lookup(Family::V4, 9002, 300).with_source("192.0.2.7/32".parse().unwrap()),
            Rule { invert: true, ..Rule::lookup(Family::V6, 9003, 300).with_mark(mark) },
            Rule { action: Action::Unreachable, ..Rule::lookup(Family::V4, 9004, 0) },
        ];

        for rule in rules {
            assert_eq!(from_message(&rule.to_message()), Some(rule));
        }
    }
}
