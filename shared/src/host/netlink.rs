//! Interfaces, addresses, routes and rules, asked for and changed through rtnetlink.
//!
//! The only place that knows the crate `rtnetlink`, which changes its interface often.

mod default_link;
mod family;
mod interface;
mod neighbour;
mod route;
mod rule;
mod watch;

pub use default_link::{DefaultLink, Gateway};
pub use family::Family;
pub use interface::{Carrier, Interface};
pub use neighbour::Neighbour;
pub use route::{Route, RouteKind};
pub use rule::{Action, Mark, Rule};
pub use watch::{LinkEvent, LinkWatch};

use std::io;
use std::net::IpAddr;

use futures_util::StreamExt;
use ipnet::IpNet;
use rtnetlink::Handle;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use super::{HostError, ROUTE_PROTOCOL, Result};

/// A connection to the kernel's routing tables, of the network namespace it was opened in.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens a connection, served by a task on the current tokio runtime.
    ///
    /// # Errors
    /// When the socket can't be opened.
    pub fn open() -> Result<Self> {
        // Only a strict kernel takes the table of a dump for more than a hint.
        let (mut connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .map_err(|error| HostError::system("open a netlink socket", error))?;
        // What goes wrong in the middle of a list is said at its end.
        connection.set_forward_done(true);
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// All interfaces, in the order of their indices.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn interfaces(&self) -> Result<Vec<Interface>> {
        interface::list(self).await
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// [`HostError::NoInterface`] when there is none.
    pub async fn interface(&self, name: &str) -> Result<Interface> {
        self.interfaces()
            .await?
            .into_iter()
            .find(|interface| interface.name == name)
            .ok_or_else(|| HostError::NoInterface(name.to_owned()))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// When there is no such interface or the kernel refuses.
    pub async fn set_up(&self, name: &str) -> Result<()> {
        let mut message = self.link_message(name).await?;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        let request = RouteNetlinkMessage::SetLink(message);
        self.acknowledged(&format!("set {name} up"), request, 0).await
    }

    /// Sets the MTU of an interface, in bytes.
    ///
    /// # Errors
    /// When there is no such interface or the kernel refuses.
    pub async fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        let mut message = self.link_message(name).await?;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        let request = RouteNetlinkMessage::SetLink(message);
        self.acknowledged(&format!("set the MTU of {name} to {mtu}"), request, 0).await
    }

    /// Adds an address with its prefix length to an interface; one that is there stays.
    ///
    /// IPv6 addresses are usable at once (no duplicate address detection).
    ///
    /// # Errors
    /// When there is no such interface or the kernel refuses.
    pub async fn add_address(&self, name: &str, address: IpNet) -> Result<()> {
        let index = self.index_of(name).await?;
        let request = RouteNetlinkMessage::NewAddress(interface::address_message(index, address));
        let what = format!("add {address} to {name}");
        self.acknowledged(&what, request, NLM_F_CREATE | NLM_F_REPLACE).await
    }

    /// Removes an address; one that is gone, or whose interface is gone, is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_address(&self, name: &str, address: IpNet) -> Result<()> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        let request = RouteNetlinkMessage::DelAddress(interface::address_message(index, address));
        let what = format!("remove {address} from {name}");
        absent_is_fine(self.acknowledged(&what, request, 0).await)
    }

    /// Adds a route, or replaces one of ours to the same destination with the same metric and
    /// table.
    ///
    /// # Errors
    /// When its interface doesn't exist, the kernel refuses, or somebody else's route stands there.
    pub async fn add_route(&self, route: &Route) -> Result<()> {
        let index = match &route.interface {
            Some(name) => Some(self.index_of(name).await?),
            None => None,
        };
        let request = || RouteNetlinkMessage::NewRoute(route.to_message(index));
        let what = format!("add the route {route}");
        match self.acknowledged(&what, request(), NLM_F_CREATE | NLM_F_EXCL).await {
            Err(error) if error.errno() == Some(libc::EEXIST) => {}
            result => return result,
        }
        let in_place =
            |other: &Route| route.stands_where(other) && other.protocol != ROUTE_PROTOCOL;
        match self.routes(route.family(), Some(route.table), in_place).await?.pop() {
            Some(other) if other.leads_like(route) => Ok(()),
            Some(other) => Err(HostError::Occupied {
                destination: route.destination,
                other: other.to_string(),
            }),
            None => self.acknowledged(&what, request(), NLM_F_CREATE | NLM_F_REPLACE).await,
        }
    }

    /// Removes exactly this route; one that is gone, or whose interface is gone, is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_route(&self, route: &Route) -> Result<()> {
        let index = match &route.interface {
            Some(name) => match self.index(name).await? {
                Some(index) => Some(index),
                None => return Ok(()),
            },
            None => None,
        };
        let request = RouteNetlinkMessage::DelRoute(route.to_message(index));
        absent_is_fine(self.acknowledged(&format!("remove the route {route}"), request, 0).await)
    }

    /// The routes of one family and table, or of all tables, that `wanted` accepts.
    ///
    /// Only those are kept, so a full table of the Internet costs time, but no memory; where another
    /// table is asked for, not even time.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn routes(
        &self,
        family: Family,
        table: Option<u32>,
        wanted: impl Fn(&Route) -> bool,
    ) -> Result<Vec<Route>> {
        route::list(self, &self.interfaces().await?, family, table, wanted).await
    }

    /// Adds a rule; the same one twice is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_rule(&self, rule: &Rule) -> Result<()> {
        let request = RouteNetlinkMessage::NewRule(rule.to_message());
        let what = format!("add the rule {rule}");
        match self.acknowledged(&what, request, NLM_F_CREATE | NLM_F_EXCL).await {
            Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
            result => result,
        }
    }

    /// Removes exactly this rule; one that is gone is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_rule(&self, rule: &Rule) -> Result<()> {
        let request = RouteNetlinkMessage::DelRule(rule.to_message());
        absent_is_fine(self.acknowledged(&format!("remove the rule {rule}"), request, 0).await)
    }

    /// The rules of one family, in the order in which they are asked.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn rules(&self, family: Family) -> Result<Vec<Rule>> {
        rule::list(self, family).await
    }

    /// The name of the interface on whose wire the routing tables see `address`; none where they
    /// know no way there, or only one by a router.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn interface_beside(&self, address: IpAddr) -> Result<Option<String>> {
        route::interface_beside(self, address).await
    }

    /// Interfaces that have a default route in the main table, with gateway and source address by
    /// family, the preferred one first. This is what `links = auto` takes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn default_links(&self) -> Result<Vec<DefaultLink>> {
        self.default_links_of(Route::MAIN).await
    }

    /// The same of another table, by its number; nothing while the table has no default route.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn default_links_of(&self, table: u32) -> Result<Vec<DefaultLink>> {
        default_link::list(self, table).await
    }

    /// Whether the kernel has heard from a neighbour on the interface of this index; none when it
    /// knows no such neighbour.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn neighbour(&self, index: u32, address: IpAddr) -> Result<Option<Neighbour>> {
        neighbour::get(self, index, address).await
    }

    /// Has the kernel ask a neighbour on the interface of this index whether it is there, by ARP or
    /// neighbour discovery (RFC 4861 section 7.3). What comes of it shows in
    /// [`neighbour`](Self::neighbour).
    ///
    /// The kernel asks at the place that it knows, each second, and everywhere after three questions
    /// in vain. With `again` it begins anew with the first one, at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn solicit(&self, index: u32, address: IpAddr, again: bool) -> Result<()> {
        neighbour::solicit(self, index, address, again).await
    }

    /// Follows what happens to interfaces, addresses and default routes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn watch(&self) -> Result<LinkWatch> {
        LinkWatch::open(self.clone()).await
    }

    async fn index(&self, name: &str) -> Result<Option<u32>> {
        interface::index(self, name).await
    }

    async fn index_of(&self, name: &str) -> Result<u32> {
        self.index(name).await?.ok_or_else(|| HostError::NoInterface(name.to_owned()))
    }

    async fn link_message(&self, name: &str) -> Result<LinkMessage> {
        let mut message = LinkMessage::default();
        message.header.index = self.index_of(name).await?;
        Ok(message)
    }

    /// Sends a request and waits for the kernel's verdict.
    async fn acknowledged(
        &self,
        what: &str,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<()> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut replies = self.handle.clone().request(message).map_err(|_| closed(what))?;
        while let Some(reply) = replies.next().await {
            if let NetlinkPayload::Error(error) = reply.payload
                && error.code.is_some()
            {
                return Err(HostError::system(what, error.to_io()));
            }
        }
        Ok(())
    }

    /// Asks for one object and hands the first answer to `keep`.
    async fn ask<T>(
        &self,
        what: &str,
        request: RouteNetlinkMessage,
        keep: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut message = NetlinkMessage::from(request);
        // Acknowledged, so that there is an end even after an answer that nobody can read.
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut replies = self.handle.clone().request(message).map_err(|_| closed(what))?;
        while let Some(reply) = replies.next().await {
            match reply.payload {
                NetlinkPayload::InnerMessage(inner) => return Ok(keep(inner)),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(HostError::system(what, error.to_io()));
                }
                NetlinkPayload::Error(_) => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Asks for all objects of a kind and keeps what `keep` makes of them.
    async fn dump<T>(
        &self,
        what: &str,
        request: impl Fn() -> RouteNetlinkMessage,
        keep: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>> {
        for _ in 0..DUMP_ATTEMPTS_MAX {
            let mut message = NetlinkMessage::from(request());
            message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            let mut replies = self.handle.clone().request(message).map_err(|_| closed(what))?;
            let mut kept = Vec::new();
            let mut interrupted = false;
            while let Some(reply) = replies.next().await {
                interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
                match reply.payload {
                    NetlinkPayload::InnerMessage(inner) => kept.extend(keep(inner)),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(HostError::system(what, error.to_io()));
                    }
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        let error = io::Error::from_raw_os_error(-done.code);
                        return Err(HostError::system(what, error));
                    }
                    _ => {}
                }
            }
            if !interrupted {
                return Ok(kept);
            }
        }
        Err(HostError::system(what, io::Error::other("it changes faster than it can be read")))
    }
}

/// A table that changes while it is read is read again, but not for ever.
const DUMP_ATTEMPTS_MAX: usize = 16;

fn closed(what: &str) -> HostError {
    HostError::system(what, io::Error::other("the netlink connection is closed"))
}

/// What is to be removed may be gone already: that is what was wanted.
fn absent_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.errno().is_some_and(|errno| ABSENT.contains(&errno)) => Ok(()),
        result => result,
    }
}

const ABSENT: [i32; 5] =
    [libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT];
