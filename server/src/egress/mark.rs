//! The marks of uplinks, and the routing tables that belong to them.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use shared::host::{Family, Mark, Netlink};

/// The bits of a packet's mark, and of a conntrack entry's, that name its uplink.
pub(super) const MARK_MASK: u32 = 0x00ff_0000;

/// The bits of a conntrack entry's mark that say by which policy its flow was sent out.
pub(super) const POLICY_MASK: u32 = 0x0700_0000;
/// In place of a policy: a flow that came in from outside, and goes back where it came from.
pub(super) const VISITOR: usize = 7;

/// The bits of the policy of this number, in their place.
pub(super) fn policy_bits(number: usize) -> u32 {
    debug_assert!(number <= VISITOR);
    ((number as u32) << POLICY_MASK.trailing_zeros()) & POLICY_MASK
}

/// Names one uplink of this host within [`MARK_MASK`]; never zero, which means "no uplink yet".
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct UplinkMark(u8);

impl UplinkMark {
    pub(super) fn new(number: u8) -> Self {
        debug_assert_ne!(number, 0);
        Self(number)
    }

    /// The bits in their place.
    pub(super) fn value(self) -> u32 {
        u32::from(self.0) << MARK_MASK.trailing_zeros()
    }

    pub(super) fn mark(self) -> Mark {
        Mark { value: self.value(), mask: MARK_MASK }
    }

    /// The number of the uplink on this host.
    pub(super) fn number(self) -> u8 {
        self.0
    }

    /// The routing table of the uplink.
    pub(super) fn table(self) -> u32 {
        TABLES + u32::from(self.0)
    }
}

/// Marks that no other server on this host uses, in ascending order.
///
/// # Errors
/// When fewer are left.
pub(super) async fn free_marks(netlink: &Netlink, count: usize) -> Result<Vec<UplinkMark>> {
    let mut taken = BTreeSet::new();
    for family in Family::ALL {
        for rule in netlink.rules(family).await? {
            taken.extend(rule.mark.filter(|mark| mark.mask == MARK_MASK).map(|mark| mark.value));
        }
    }
    let all = (1..=u8::MAX).map(UplinkMark::new);
    let free: Vec<_> = all.filter(|mark| !taken.contains(&mark.value())).take(count).collect();
    if free.len() < count {
        bail!("no fwmark in {MARK_MASK:#010x} is free: other rules of `ip rule` use them all");
    }
    Ok(free)
}

/// Whether a routing table of this number is one that a server makes.
pub(crate) fn is_own_table(table: u32) -> bool {
    (TABLES..=TABLES + u32::from(u8::MAX)).contains(&table)
}

/// "HE" in ASCII: above the numbers that people give, beside those of the client's tables.
const TABLES: u32 = 18_688;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stays_within_its_bits() {
        for number in [1, 2, u8::MAX] {
            let mark = UplinkMark::new(number);
            assert_eq!(mark.value() & !MARK_MASK, 0);
            assert_ne!(mark.value(), 0);
        }
    }
}
