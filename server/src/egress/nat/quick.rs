//! The change that must be quick: other uplinks for new flows, in maps that are there. One
//! transaction of nf_tables (linux/netfilter/nf_tables.h), with only what differs.

use std::collections::BTreeMap;
use std::io;

use shared::host::Family;

use super::super::nfnetlink::{Messages, Netfilter};
use super::elements::{Elements, Lead, Verdict, number};
use super::{Table, chains, of};
use crate::policy::Policy;

impl Table {
    /// Makes the change and gives true, if nothing but choices differs.
    ///
    /// # Errors
    /// When the kernel refuses; nothing has changed then.
    pub(in super::super) fn change_quickly(
        &self,
        netfilter: &mut Netfilter,
        from: &Elements,
        to: &Elements,
    ) -> io::Result<bool> {
        let rest = |elements: &Elements| Elements {
            choice: BTreeMap::new(),
            homes: BTreeMap::new(),
            ..elements.clone()
        };
        if rest(from) != rest(to) {
            return Ok(false);
        }
        let mut batch = Batch::begin(&self.name);
        for policy in self.policies.iter().map(Policy::number) {
            let name = of(policy);
            for family in Family::ALL {
                let at = (policy, family);
                let (before, after) = (from.choice.get(&at), to.choice.get(&at));
                if before == after {
                    continue;
                }
                let buckets = format!("buckets{}{name}", number(family));
                // First what the choice leads to, then the choice.
                batch.replace(&buckets, &owners(before), &owners(after));
                let key = vec![protocol(family)];
                let lead = |lead: Option<&Lead>| {
                    let verdict = lead?.verdict(policy, family);
                    Some((key.clone(), verdict))
                };
                let (before, after) = (lead(before), lead(after));
                batch.replace(
                    &format!("choice{name}"),
                    &before.into_iter().collect(),
                    &after.into_iter().collect(),
                );
            }
        }
        for (at, before) in &from.homes {
            let after = to.homes.get(at);
            for mark in before.iter().filter(|mark| after.is_none_or(|it| !it.contains(mark))) {
                batch.flush(&chains::home(at.0, at.1, *mark));
            }
        }
        batch.commit(netfilter)?;
        Ok(true)
    }
}

/// The elements of a map of buckets.
fn owners(lead: Option<&Lead>) -> BTreeMap<Vec<u8>, Verdict> {
    let Some(Lead::Buckets(owners)) = lead else { return BTreeMap::new() };
    let element = |(bucket, owner): (u32, &Option<_>)| {
        // A mark is in the order of the host.
        Some((bucket.to_ne_bytes().to_vec(), Verdict::goto(chains::pin((*owner)?))))
    };
    (0..).zip(owners.iter()).filter_map(element).collect()
}

/// A transaction that grows.
struct Batch<'a> {
    table: &'a str,
    messages: Messages,
    /// How many changes there are.
    changes: usize,
}

impl<'a> Batch<'a> {
    fn begin(table: &'a str) -> Self {
        let mut messages = Messages::default();
        messages.begin(BATCH_BEGIN, 0, libc::AF_UNSPEC as u8, 0, NFTABLES);
        messages.end();
        Self { table, messages, changes: 0 }
    }

    /// Brings a map from some elements to others.
    fn replace(
        &mut self,
        map: &str,
        from: &BTreeMap<Vec<u8>, Verdict>,
        to: &BTreeMap<Vec<u8>, Verdict>,
    ) {
        let gone = from.iter().filter(|(key, verdict)| to.get(*key) != Some(verdict));
        let come = to.iter().filter(|(key, verdict)| from.get(*key) != Some(verdict));
        let gone: Vec<_> = gone.map(|(key, _)| (key, None)).collect();
        let come: Vec<_> = come.map(|(key, verdict)| (key, Some(verdict))).collect();
        for (kind, elements) in [(DELETE_ELEMENTS, gone), (NEW_ELEMENTS, come)] {
            for some in elements.chunks(ELEMENTS_MAX) {
                self.elements(kind, map, some);
            }
        }
    }

    fn elements(&mut self, kind: u16, map: &str, elements: &[(&Vec<u8>, Option<&Verdict>)]) {
        self.begin_change(kind, map);
        let messages = &mut self.messages;
        let list = messages.nest(LIST_ELEMENTS);
        for (key, verdict) in elements {
            let element = messages.nest(LIST_ELEMENT);
            let nest = messages.nest(ELEMENT_KEY);
            messages.attribute(DATA_VALUE, key);
            messages.close(nest);
            if let Some(Verdict { code, chain }) = verdict {
                let data = messages.nest(ELEMENT_DATA);
                let nest = messages.nest(DATA_VERDICT);
                messages.attribute(VERDICT_CODE, &code.to_be_bytes());
                messages.attribute(VERDICT_CHAIN, &terminated(chain));
                messages.close(nest);
                messages.close(data);
            }
            messages.close(element);
        }
        messages.close(list);
        messages.end();
    }

    /// Empties a set.
    fn flush(&mut self, set: &str) {
        self.begin_change(DELETE_ELEMENTS, set);
        self.messages.end();
    }

    fn begin_change(&mut self, kind: u16, set: &str) {
        self.changes += 1;
        let kind = NFTABLES << 8 | kind;
        self.messages.begin(kind, libc::NLM_F_CREATE, NFPROTO_INET, 0, 0);
        self.messages.attribute(LIST_TABLE, &terminated(self.table));
        self.messages.attribute(LIST_SET, &terminated(set));
    }

    /// Makes all changes at once.
    fn commit(mut self, netfilter: &mut Netfilter) -> io::Result<()> {
        if self.changes == 0 {
            return Ok(());
        }
        self.messages.ask_for_answer();
        self.messages.begin(BATCH_END, 0, libc::AF_UNSPEC as u8, 0, NFTABLES);
        self.messages.end();
        netfilter.send(&self.messages)
    }
}

pub(super) fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn protocol(family: Family) -> u8 {
    match family {
        Family::V4 => libc::NFPROTO_IPV4 as u8,
        Family::V6 => libc::NFPROTO_IPV6 as u8,
    }
}

/// An attribute's length has sixteen bits.
const ELEMENTS_MAX: usize = 512;
/// NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWSETELEM and NFT_MSG_DELSETELEM.
pub(super) const NFTABLES: u16 = 10;
const NEW_ELEMENTS: u16 = 12;
const DELETE_ELEMENTS: u16 = 14;
pub(super) const NFPROTO_INET: u8 = libc::NFPROTO_INET as u8;
/// NFTA_SET_ELEM_LIST_TABLE, _SET and _ELEMENTS.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
/// NFTA_SET_ELEM_KEY and NFTA_SET_ELEM_DATA.
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
/// NFTA_DATA_VALUE and NFTA_DATA_VERDICT.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
/// NFTA_VERDICT_CODE and NFTA_VERDICT_CHAIN.
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
