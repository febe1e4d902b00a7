//! What holds for the flows of one uplink.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

/// An uplink, as the table knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in super::super) struct Pin {
    /// The IPv4 source that its packets get; none for that of the interface.
    pub(in super::super) source4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub(in super::super) source6: Option<Translation>,
    /// How many flows it carries at most.
    pub(in super::super) flows_max: Option<u32>,
    /// Whether its clients have queues of their own.
    pub(in super::super) queues: bool,
}

/// What becomes of an IPv6 source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Translation {
    /// One address for all.
    Address(Ipv6Addr),
    /// The prefix changes, the rest of the address stays (RFC 6296).
    Prefix {
        /// The inner one.
        from: Ipv6Net,
        /// The one outside, as long.
        to: Ipv6Net,
    },
}

impl Pin {
    pub(super) fn translates(&self) -> bool {
        self.source4.is_some() || self.source6.is_some()
    }
}
