//! The marks of uplinks, and the routing tables that belong to them.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use shared::host::{Family, Mark, Netlink};

/// The bits of a packet's mark, and of a conntrack entry's, that name its uplink.
pub(super) const MARK_MASK: u32 = 0x00ff_0000;

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
