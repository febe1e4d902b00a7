//! Draws the conclusions: chooses, changes the nft table, closes routes, forgets flows.
//!
//! After a failure the order is: where new flows go (one nft transaction), then routes, then the
//! flows of the failed uplink are forgotten. The other way round, those that begin anew at once
//! would come back to it. Rules that lead nowhere any longer are in nobody's way, and come last.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use engine::Class;
use ipnet::Ipv6Net;
use shared::clock;
use shared::host::{Family, Rule};
use tracing::{debug, info, warn};

use super::super::conntrack;
use super::super::deal::{Hand, deal};
use super::super::event::{EventKind, Reason};
use super::super::health::State;
use super::super::mark::VISITOR;
use super::super::nat::{Elements, Lead, Pin, Translation};
use super::super::pool::{Candidate, Choice};
use super::super::selection::Selection;
use super::super::status;
use super::super::uplink::Uplink;
use super::{PUBLISHED_EVERY, RETRY_AFTER, Watch};
use crate::policy::{Choose, Policy};
use crate::uplink_config::{Source, UplinkConfig};

impl Watch {
    /// Brings the kernel in step with what is known, if that has changed: most answers to probes
    /// change nothing.
    pub(super) async fn adapt(&mut self) -> Result<()> {
        let now = clock::since_boot();
        let candidates = self.candidates(now);
        if !self.changed && candidates == self.candidates {
            let publish_at = *self.publish_at.get_or_insert(now + PUBLISHED_EVERY);
            if now >= publish_at {
                self.publish();
            }
            return Ok(());
        }
        // Until all of what follows has worked.
        self.changed = true;
        // The verdicts as they are, with the choice that is still in force.
        self.publish();
        for (selection, candidates) in self.selections.iter_mut().zip(&candidates) {
            selection.choose(candidates);
        }
        self.candidates = candidates;
        let wanted = self.wanted();
        self.change_table(wanted).await?;
        self.reweighed = false;
        for at in 0..self.selections.len() {
            if let Some((before, after)) = self.selections[at].poll_change() {
                self.record_choice(&self.selections[at], &before, &after);
                self.census.make_due(now);
            }
        }
        // What is in force is told before the tidying up, which takes its time.
        self.publish();
        let mut tidied = Ok(());
        for uplink in &mut self.uplinks {
            tidied = tidied.and(uplink.routing.remove_stale_routes(&self.host).await);
        }
        // A route that can't be removed is no reason to leave flows where they are.
        let forgotten = self.forget_stale_flows();
        // Nothing of an uplink is sent by these.
        let rules: Vec<Rule> =
            self.uplinks.iter().flat_map(|uplink| uplink.routing.rules().to_vec()).collect();
        for uplink in &mut self.uplinks {
            tidied = tidied.and(uplink.routing.remove_stale_rules(&self.host, &rules).await);
        }
        tidied.and(self.bury(&rules).await)?;
        self.changed = false;
        if forgotten == Forgotten::InPart {
            // Looking again brings it back here.
            self.retry_at.get_or_insert(clock::since_boot() + RETRY_AFTER);
        }
        Ok(())
    }

    /// What each selection may choose from.
    pub(super) fn candidates(&self, now: Duration) -> Vec<Vec<Candidate>> {
        let of = |selection: &Selection| {
            let class = self.table.policies[selection.policy].class;
            let candidate = |uplink: &Uplink| {
                uplink.candidate(now, selection.family, selection.policy, class, self.slow_start)
            };
            self.uplinks.iter().map(candidate).collect()
        };
        self.selections.iter().map(of).collect()
    }

    async fn change_table(&mut self, wanted: Elements) -> Result<()> {
        if !self.redraw {
            match self.table.change_quickly(&mut self.netfilter, &self.elements, &wanted) {
                Ok(true) => {
                    self.elements = wanted;
                    return Ok(());
                }
                Ok(false) => {}
                // Somebody may have emptied the table: `nft` says in words what is wrong with it.
                Err(error) => debug!(%error, "a quick change of the nft table failed"),
            }
        }
        if !self.redraw {
            let script = self.table.change(&self.elements, &wanted);
            match self.host.nft(&self.table.name, &script).await {
                Ok(()) => {
                    self.elements = wanted;
                    return Ok(());
                }
                Err(error) => {
                    warn!("the nft table is not as it was left, and is made anew: {error}")
                }
            }
        }
        self.redraw = true;
        self.host.nft(&self.table.name, &self.table.create(&wanted)).await?;
        self.elements = wanted;
        self.redraw = false;
        Ok(())
    }

    /// What the table is to hold.
    fn wanted(&self) -> Elements {
        let mut wanted = Elements { sources: self.sources.clone(), ..Elements::default() };
        for exit in &self.plain_exits {
            wanted.exits.insert(exit.clone(), None);
        }
        for uplink in &self.uplinks {
            wanted.pins.insert(uplink.mark(), pin(&uplink.config, self.pool6));
            if let Some(standing) = &uplink.standing {
                wanted.exits.entry(standing.interface.clone()).or_insert(Some(uplink.mark()));
            }
        }
        for selection in &self.selections {
            let at = (self.table.policies[selection.policy].number(), selection.family);
            if let Some(lead) = self.lead(selection) {
                wanted.choice.insert(at, lead);
            }
            let homes: BTreeSet<_> =
                selection.homes().map(|uplink| self.uplinks[uplink].mark()).collect();
            wanted.homes.insert(at, homes);
        }
        wanted
    }

    /// Where new flows go by a selection.
    fn lead(&self, selection: &Selection) -> Option<Lead> {
        let policy = &self.table.policies[selection.policy];
        let at = (policy.number(), selection.family);
        let parts = &selection.choice.parts;
        let first = selection.choice.members().next()?;
        if policy.choose == Choose::ActiveStandby {
            return Some(Lead::One(self.uplinks[first].mark()));
        }
        let owners = if policy.deals_out() {
            let hand = |(at, uplink): (usize, &Uplink)| Hand {
                weight: u64::from(uplink.config.weight) * u64::from(parts[at]),
                sources: self.census.of(policy.number(), selection.family, uplink.mark()),
            };
            deal(&self.uplinks.iter().enumerate().map(hand).collect::<Vec<_>>())
        } else {
            if !self.reweighed
                && *parts == selection.in_force.parts
                && let Some(lead) = self.elements.choice.get(&at)
            {
                // The same choice has the same owners.
                return Some(lead.clone());
            }
            self.buckets.owners(parts)
        };
        let marks = owners.map(|owner| Some(self.uplinks.get(usize::from(owner?))?.mark()));
        Some(Lead::Buckets(Box::new(marks)))
    }

    fn forget_stale_flows(&mut self) -> Forgotten {
        let mut stale: BTreeMap<(usize, Family), Vec<usize>> = BTreeMap::new();
        for (at, selection) in self.selections.iter_mut().enumerate() {
            for uplink in selection.poll_flush() {
                stale.entry((uplink, selection.family)).or_default().push(at);
            }
        }
        let mut result = Forgotten::Wholly;
        for ((uplink, family), selections) in stale {
            let name = self.uplinks[uplink].config.name.clone();
            let forgotten = self.forget_flows(uplink, family, &selections);
            if let Err(error) = &forgotten {
                warn!(
                    uplink = name, %family, %error,
                    "the flows of a failed uplink are still there: conntrack refused"
                );
                result = Forgotten::InPart;
            }
            for at in selections {
                if forgotten.is_err() {
                    self.selections[at].put_back(uplink);
                } else {
                    let class = self.table.policies[self.selections[at].policy].name();
                    self.record(EventKind::Flushed { uplink: name.clone(), class, family });
                }
            }
        }
        result
    }

    /// Forgets the flows that some selections have had on an uplink.
    fn forget_flows(
        &mut self,
        uplink: usize,
        family: Family,
        selections: &[usize],
    ) -> io::Result<()> {
        let number = |policy: &Policy| policy.number();
        let own: BTreeSet<usize> = self.table.policies.iter().map(number).collect();
        let of_selection = |at: &usize| self.table.policies[self.selections[*at].policy].number();
        let mut policies: BTreeSet<usize> = selections.iter().map(of_selection).collect();
        if policies.contains(&0) {
            // What had a policy that is no more belongs to the rest; so do visitors, who stay as
            // long as their uplink works.
            policies.extend((1..=Class::ALL.len()).filter(|number| !own.contains(number)));
            policies.extend((!self.uplinks[uplink].works(family)).then_some(VISITOR));
        }
        let mark = self.uplinks[uplink].mark();
        // The kernel goes through all flows of the host each time. Zero and the classes, and visitors:
        let all = 1 + Class::ALL.len() + 1;
        if policies.len() == all {
            return conntrack::forget_all_flows(&mut self.netfilter, family, mark);
        }
        policies.into_iter().try_for_each(|policy| {
            conntrack::forget_flows(&mut self.netfilter, family, mark, policy)
        })
    }

    fn record_choice(&self, selection: &Selection, before: &Choice, after: &Choice) {
        // A family that nobody has is no news.
        let names = |choice: &Choice| -> Vec<String> {
            choice.members().map(|at| self.uplinks[at].config.name.clone()).collect()
        };
        let (from, to) = (names(before), names(after));
        if from.is_empty() && to.is_empty() {
            return;
        }
        let (family, reason) = (selection.family, after.reason);
        let class = self.table.policies[selection.policy].name();
        self.record(EventKind::Active { class, family, from, to, reason });
    }

    pub(super) fn record(&self, kind: EventKind) {
        let serious = match &kind {
            EventKind::Health { to, .. } => *to == State::Down,
            EventKind::Family { works, .. } => !works,
            EventKind::Quality { breach, .. } => breach.is_some(),
            EventKind::Active { reason, .. } => {
                matches!(reason, Reason::FailOpen | Reason::NoneLeft)
            }
            EventKind::Flushed { .. } | EventKind::Ordered { .. } => false,
        };
        if serious {
            warn!("{kind}");
        } else {
            info!("{kind}");
        }
        let mut published = self.published.lock().unwrap_or_else(|broken| broken.into_inner());
        published.log.record(clock::since_boot(), kind);
    }

    fn publish(&mut self) {
        self.publish_at = None;
        let uplinks = self.uplinks.iter().enumerate();
        let uplinks = uplinks
            .map(|(at, uplink)| {
                let carries = |it: &&Selection| it.in_force.has(at);
                let policies: BTreeSet<usize> =
                    self.selections.iter().filter(carries).map(|it| it.policy).collect();
                status::uplink(uplink, &self.table.policies, &policies, &self.census)
            })
            .collect();
        self.published.lock().unwrap_or_else(|broken| broken.into_inner()).uplinks = uplinks;
    }
}

/// Whether all flows that were to begin anew do so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Forgotten {
    Wholly,
    InPart,
}

/// What the table has of an uplink.
pub(super) fn pin(config: &UplinkConfig, pool6: Option<Ipv6Net>) -> Pin {
    let mut pin =
        Pin { flows_max: config.flows_max, queues: config.capacity.is_some(), ..Pin::default() };
    for source in &config.translate_to {
        match (source, pool6) {
            (Source::Address(IpAddr::V4(to)), _) => pin.source4 = Some(*to),
            (Source::Address(IpAddr::V6(to)), _) => {
                pin.source6 = Some(Translation::Address(*to));
            }
            (Source::Prefix(to), Some(from)) => {
                pin.source6 = Some(Translation::Prefix { from: from.trunc(), to: to.trunc() });
            }
            // Without inner IPv6 there is nothing to translate.
            (Source::Prefix(_), None) => {}
        }
    }
    pin
}
