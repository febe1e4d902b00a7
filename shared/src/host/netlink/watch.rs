//! What happens to interfaces, addresses and default routes while we run.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use ipnet::IpNet;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{AsyncSocket as _, SocketAddr};
use socket2::{SockFilter, SockRef};

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
    /// Whether something was missed, and `known` is to be asked for again.
    unlearnt: bool,
}

type Messages = dyn Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)> + Send;

impl LinkWatch {
    pub(super) async fn open(netlink: Netlink) -> Result<Self> {
        let failed = |error| HostError::system("follow interfaces by netlink", error);
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])
        .map_err(failed)?;
        let socket = SockRef::from(&*connection.socket_mut().socket_mut());
        socket.attach_filter(&all_but_routes_elsewhere()).map_err(failed)?;
        tokio::spawn(connection);
        let mut watch = Self {
            netlink,
            messages: Box::pin(messages),
            known: BTreeMap::new(),
            ready: VecDeque::new(),
            unlearnt: false,
        };
        watch.learn().await?;
        Ok(watch)
    }

    /// The next event; none when the connection is closed. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            if self.unlearnt {
                // A failure here leaves old knowledge, which later messages put right.
                let _ = self.learn().await;
                self.unlearnt = false;
            }
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let (message, _) = self.messages.next().await?;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => self.on_message(&inner),
                NetlinkPayload::Overrun(_) => {
                    self.ready.push_back(LinkEvent::Missed);
                    self.unlearnt = true;
                }
                _ => {}
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

/// Has the kernel drop what it says of routes that are no default routes, before anybody is woken: a
/// routing daemon changes hundreds of thousands of them at once, and what matters would get lost in
/// the crowd (classic BPF, see Documentation/networking/filter.rst of the kernel).
fn all_but_routes_elsewhere() -> [SockFilter; 7] {
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const IS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // nlmsg_type, which the machine takes for a number in network byte order.
    const TYPE: u32 = 4;
    let is_type =
        |kind: u16, then, otherwise| SockFilter::new(IS, then, otherwise, u32::from(kind.to_be()));
    // rtm_dst_len, behind the header of sixteen bytes and rtm_family.
    const PREFIX_LENGTH: u32 = 17;
    [
        SockFilter::new(LOAD_HALF, 0, 0, TYPE),
        is_type(libc::RTM_NEWROUTE, 1, 0),
        is_type(libc::RTM_DELROUTE, 0, 3),
        SockFilter::new(LOAD_BYTE, 0, 0, PREFIX_LENGTH),
        SockFilter::new(IS, 1, 0, 0),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
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
