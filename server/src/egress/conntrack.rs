//! Forgets the tracked flows of one uplink, and no others.
//!
//! One message of ctnetlink (linux/netfilter/nfnetlink_conntrack.h): delete every entry whose mark,
//! under a mask, has a value. The kernel filters, so it takes one system call, needs no tool, and
//! never sees the flows of a healthy uplink.

use std::io::{self, Read as _, Write as _};

use shared::host::Family;
use socket2::{Domain, Protocol, Socket, Type};

use super::mark::{MARK_MASK, POLICY_MASK, UplinkMark, policy_bits};

/// Forgets the flows of one family that are pinned to an uplink by one policy: their next packets
/// begin anew.
///
/// # Errors
/// When the kernel refuses, or has no conntrack.
pub(super) fn forget_flows(family: Family, mark: UplinkMark, policy: usize) -> io::Result<()> {
    forget(family, mark.value() | policy_bits(policy), MARK_MASK | POLICY_MASK)
}

/// Forgets all flows of one family that are pinned to an uplink.
///
/// # Errors
/// As [`forget_flows`].
pub(super) fn forget_all_flows(family: Family, mark: UplinkMark) -> io::Result<()> {
    forget(family, mark.value(), MARK_MASK)
}

fn forget(family: Family, value: u32, mask: u32) -> io::Result<()> {
    let kind = Type::RAW.cloexec();
    let protocol = Protocol::from(libc::NETLINK_NETFILTER);
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), kind, Some(protocol))?;
    // The kernel answers while the request is being sent; the bound is for a kernel that doesn't.
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    // A netlink socket without an address talks to the kernel.
    socket.write_all(&request(family, value, mask))?;
    let mut answer = [0; 1024];
    let length = socket.read(&mut answer)?;
    verdict(&answer[..length])
}

/// Message: netlink header 16 · nfgenmsg 4 · CTA_MARK 8 · CTA_MARK_MASK 8.
fn request(family: Family, value: u32, mask: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(MESSAGE_LEN as usize);
    message.extend(MESSAGE_LEN.to_ne_bytes());
    message.extend((CTNETLINK << 8 | DELETE).to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend([0; 8]); // sequence number and port: one question, one answer
    message.push(match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    });
    message.push(HONOUR_FAMILY);
    message.extend([0; 2]); // resource id
    for (attribute, value) in [(CTA_MARK, value), (CTA_MARK_MASK, mask)] {
        message.extend(8_u16.to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(value.to_be_bytes());
    }
    debug_assert_eq!(message.len(), MESSAGE_LEN as usize);
    message
}

/// The number in an NLMSG_ERROR message: zero is consent.
fn verdict(answer: &[u8]) -> io::Result<()> {
    let unexpected =
        || io::Error::new(io::ErrorKind::InvalidData, "unexpected answer of conntrack");
    let word = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    if kind != Some(NLMSG_ERROR) {
        return Err(unexpected());
    }
    match word(16).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(unexpected()),
    }
}

const MESSAGE_LEN: u32 = 16 + 4 + 8 + 8;
const NLMSG_ERROR: u16 = 2;
/// NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_DELETE.
const CTNETLINK: u16 = 1;
const DELETE: u16 = 2;
const CTA_MARK: u16 = 8;
const CTA_MARK_MASK: u16 = 21;
/// In version 0 of nfgenmsg the kernel deletes entries of all families, for old programs' sake.
const HONOUR_FAMILY: u8 = 1;
const ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_consent_is_success() {
        let answer = |kind: u16, code: i32| {
            let mut bytes = vec![0; 4];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(code.to_ne_bytes());
            bytes
        };

        assert!(verdict(&answer(NLMSG_ERROR, 0)).is_ok());
        let refused = verdict(&answer(NLMSG_ERROR, -libc::EPERM)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(verdict(&answer(NLMSG_ERROR, i32::MIN)).is_err());
        assert!(verdict(&answer(NLMSG_ERROR, 7)).is_err());
        assert!(verdict(&answer(1, 0)).is_err());
        assert!(verdict(&[]).is_err());
        assert!(verdict(&answer(NLMSG_ERROR, 0)[..18]).is_err());
    }
}
