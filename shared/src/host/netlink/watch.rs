//! What happens to interfaces, addresses and default routes while we run.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use ipnet::IpNet;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;

use super::interface::{INTERFACES_MAX, Usable, from_link, global_address};
use super::route::foreign_default;
use super::{Carrier, Family, Netlink};
use crate::host::{HostError, Result};

/// One thing that happened. Changes of interfaces are reported once, however often the kernel
/// repeats them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkEvent {
    /// An interface exists that did not, or has another name than it had.
    Appeared {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
        /// Whether it carries packets already.
        carrier: Carrier,
    },
    /// An interface is gone, or has lost this name.
    Vanished {
        /// The index it had.
        index: u32,
        /// The name it had.
        name: String,
    },
    /// An interface began or ceased to carry packets.
    Carrier {
        /// Its name.
        name: String,
        /// What it is.
        carrier: Carrier,
    },
    /// An interface has an address, or the address has other properties than before.
    AddressAdded {
        /// The interface.
        name: String,
        /// The address, with the length of its prefix.
        address: IpNet,
    },
    /// An interface has lost an address, or packets may not come from it (yet, or any longer).
    AddressRemoved {
        /// The interface.
        name: String,
        /// The address, with the length of its prefix.
        address: IpNet,
    },
    /// A table has a default route that we did not make, or another than before.
    DefaultRouteAdded {
        /// Its family.
        family: Family,
        /// Its table.
        table: u32,
        /// Its interface; none for a route with several next hops.
        name: Option<String>,
    },
    /// A table has lost a default route that we did not make.
    DefaultRouteRemoved {
        /// Its family.
        family: Family,
        /// Its table.
        table: u32,
        /// Its interface; none for a route with several next hops.
        name: Option<String>,
    },
    /// The kernel had more to say than fitted: ask for everything again.
    Missed,
}

/// A stream of [`LinkEvent`]s.
pub struct LinkWatch {
    netlink: Netlink,
    messages: Pin<Box<Messages>>,
    /// What we know of each interface, by its index.
    known: BTreeMap<u32, (String, Carrier)>,
    /// Events of one message that were not asked for yet: two at most, since one message is about
    /// one interface.
    ready: VecDeque<LinkEvent>,
}

type Messages = dyn Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)> + Send;

impl LinkWatch {
    pub(super) async fn open(netlink: Netlink) -> Result<Self> {
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])
        .map_err(|error| HostError::system("follow interfaces by netlink", error))?;
        tokio::spawn(connection);
        let mut watch = Self {
            netlink,
            messages: Box::pin(messages),
            known: BTreeMap::new(),
            ready: VecDeque::new(),
        };
        watch.learn().await?;
        Ok(watch)
    }

    /// The next event; none when the connection is closed. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let (message, _) = self.messages.next().await?;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => self.on_message(&inner),
                NetlinkPayload::Overrun(_) => self.ready.push_back(LinkEvent::Missed),
                _ => {}
            }
            if self.ready.front() == Some(&LinkEvent::Missed) {
                // A failure here leaves old knowledge, which later messages put right.
                let _ = self.learn().await;
            }
        }
    }

    async fn learn(&mut self) -> Result<()> {
        let interfaces = self.netlink.interfaces().await?;
        self.known = interfaces
            .into_iter()
            .map(|interface| (interface.index, (interface.name, interface.carrier)))
            .collect();
        Ok(())
    }

    fn on_message(&mut self, message: &RouteNetlinkMessage) {
        match message {
            // A bridge announces its ports with a family of its own.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family != AddressFamily::Unspec => {}
            RouteNetlinkMessage::NewLink(link) => {
                if let Some(interface) = from_link(link) {
                    self.on_interface(interface.index, interface.name, interface.carrier);
                }
            }
            RouteNetlinkMessage::DelLink(link) => {
                let index = link.header.index;
                if let Some((name, _)) = self.known.remove(&index) {
                    self.ready.push_back(LinkEvent::Vanished { index, name });
                }
            }
            RouteNetlinkMessage::NewAddress(address) => {
                if let Some((index, address, usable)) = global_address(address)
                    && let Some(name) = self.name(index)
                {
                    self.ready.push_back(match usable {
                        Usable::Yes => LinkEvent::AddressAdded { name, address },
                        Usable::No => LinkEvent::AddressRemoved { name, address },
                    });
                }
            }
            RouteNetlinkMessage::DelAddress(address) => {
                if let Some((index, address, _)) = global_address(address)
                    && let Some(name) = self.name(index)
                {
                    self.ready.push_back(LinkEvent::AddressRemoved { name, address });
                }
            }
            RouteNetlinkMessage::NewRoute(route) => {
                if let Some((family, table, index)) = foreign_default(route) {
                    let name = index.and_then(|index| self.name(index));
                    self.ready.push_back(LinkEvent::DefaultRouteAdded { family, table, name });
                }
            }
            RouteNetlinkMessage::DelRoute(route) => {
                if let Some((family, table, index)) = foreign_default(route) {
                    let name = index.and_then(|index| self.name(index));
                    self.ready.push_back(LinkEvent::DefaultRouteRemoved { family, table, name });
                }
            }
            _ => {}
        }
    }

    fn on_interface(&mut self, index: u32, name: String, carrier: Carrier) {
        let full = self.known.len() >= INTERFACES_MAX;
        match self.known.get_mut(&index) {
            Some((known, before)) if *known == name => {
                if std::mem::replace(before, carrier) != carrier {
                    self.ready.push_back(LinkEvent::Carrier { name, carrier });
                }
            }
            Some((known, before)) => {
                let old = std::mem::replace(known, name.clone());
                *before = carrier;
                self.ready.push_back(LinkEvent::Vanished { index, name: old });
                self.ready.push_back(LinkEvent::Appeared { index, name, carrier });
            }
            None if full => {}
            None => {
                self.known.insert(index, (name.clone(), carrier));
                self.ready.push_back(LinkEvent::Appeared { index, name, carrier });
            }
        }
    }

    fn name(&self, index: u32) -> Option<String> {
        self.known.get(&index).map(|(name, _)| name.clone())
    }
}

impl LinkEvent {
    /// Whether it is about a default route that stands in none of these tables.
    pub fn is_elsewhere(&self, tables: impl IntoIterator<Item = u32>) -> bool {
        match self {
            Self::DefaultRouteAdded { table, .. } | Self::DefaultRouteRemoved { table, .. } => {
                !tables.into_iter().any(|it| it == *table)
            }
            _ => false,
        }
    }
}

impl fmt::Debug for LinkWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkWatch").field("known", &self.known).finish_non_exhaustive()
    }
}
