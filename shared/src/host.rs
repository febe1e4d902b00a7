//! What we change on a host, and how it is undone.
//!
//! Addresses, routes, rules, nft tables, queues and sysctls are made through one [`HostState`]. It writes
//! down each change in a journal *before* it makes it, undoes all of them when asked, and undoes
//! what a killed process left behind when the next one with the same name starts. What is undone
//! is what the journal names, exactly: a route with our protocol number, a rule with our priority
//! and contents, a sysctl that still has our value. Nothing else is ever touched.
//!
//! # Sockets of links
//! A socket that is bound to a device (SO_BINDTODEVICE) finds the default route of that device
//! even when another interface has a better one: the lookup compares routes of this device only.
//! No rule is needed for it, except in these cases:
//! - The interface has no default route in the main table (some DHCP clients keep one only in a
//!   table of their own): the kernel then takes the destination for directly connected and asks
//!   for it by ARP, in vain. Such an interface isn't found by [`Netlink::default_links`] either.
//! - Its reverse path filter is strict (`rp_filter` = 1): answers are dropped, since the best
//!   route back is by another interface. [`HostState::loosen_reverse_path_filter`] is for that.
//! - Rules of others send our mark or our source address to a table without that route.

mod error;
mod forwarding;
mod journal;
mod netlink;
mod nft;
mod qdisc;
mod state;
mod sysctl;
mod tunnel;

pub use error::{HostError, Result};
pub use forwarding::{enable_forwarding, families};
pub use netlink::{
    Action, Carrier, DefaultLink, Family, Gateway, Interface, LinkEvent, LinkWatch, Mark,
    Neighbour, Netlink, Route, RouteKind, Rule,
};
pub use nft::{forward_refusals, nft_check, nft_counters, nft_ruleset_json, nft_set_len};
pub use qdisc::QUEUES_HANDLE;
pub use state::{HostState, runtime_directory};
pub use sysctl::{read_sysctl, sysctl_path};
pub use tunnel::{Destinations, OUTER_MARK, TunnelRoutes, install_routes};

/// The protocol number of all our routes and rules (`ip route show proto 72`).
///
/// Free in iproute2's `rt_protos`; FRR takes 186-198 for its own, BIRD ignores 12 (our routes that
/// are meant for a routing daemon have another number, so a daemon never learns these).
pub const ROUTE_PROTOCOL: u8 = 72;
