//! Forgets the tracked flows of one uplink, and no others.
//!
//! One message of ctnetlink (linux/netfilter/nfnetlink_conntrack.h): delete every entry whose mark,
//! under a mask, has a value. The kernel filters, so it takes one system call, needs no tool, and
//! never sees the flows of a healthy uplink.

use std::io;

use shared::host::Family;

use super::mark::{MARK_MASK, POLICY_MASK, UplinkMark, policy_bits};
use super::nfnetlink::{Messages, Netfilter};

/// Forgets the flows of one family that are pinned to an uplink by one policy: their next packets
/// begin anew.
///
/// # Errors
/// When the kernel refuses, or has no conntrack.
pub(super) fn forget_flows(
    netfilter: &mut Netfilter,
    family: Family,
    mark: UplinkMark,
    policy: usize,
) -> io::Result<()> {
    forget(netfilter, family, mark.value() | policy_bits(policy), MARK_MASK | POLICY_MASK)
}

/// Forgets all flows of one family that are pinned to an uplink.
///
/// # Errors
/// As [`forget_flows`].
pub(super) fn forget_all_flows(
    netfilter: &mut Netfilter,
    family: Family,
    mark: UplinkMark,
) -> io::Result<()> {
    forget(netfilter, family, mark.value(), MARK_MASK)
}

fn forget(netfilter: &mut Netfilter, family: Family, value: u32, mask: u32) -> io::Result<()> {
    let family = match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    };
    let mut messages = Messages::default();
    messages.begin(CTNETLINK << 8 | DELETE, libc::NLM_F_ACK, family, HONOUR_FAMILY, 0);
    messages.attribute(CTA_MARK, &value.to_be_bytes());
    messages.attribute(CTA_MARK_MASK, &mask.to_be_bytes());
    messages.end();
    netfilter.send(&messages)
}

/// NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_DELETE.
const CTNETLINK: u16 = 1;
const DELETE: u16 = 2;
const CTA_MARK: u16 = 8;
const CTA_MARK_MASK: u16 = 21;
/// In version 0 of nfgenmsg the kernel deletes entries of all families, for old programs' sake.
const HONOUR_FAMILY: u8 = 1;
