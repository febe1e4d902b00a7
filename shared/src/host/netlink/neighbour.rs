//! Neighbours: hosts on the same wire, as ARP and neighbour discovery know them.

use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use super::{Family, Netlink};
use crate::host::Result;

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Neighbour {
    /// It has answered lately, or an administrator has said where it is.
    Present,
    /// It was asked for, or has not been asked for long.
    Unsure,
    /// It was asked for in vain.
    Absent,
}

pub(super) async fn get(
    netlink: &Netlink,
    index: u32,
    address: IpAddr,
) -> Result<Option<Neighbour>> {
    Ok(state(netlink, index, address).await?.map(|state| match state {
        NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp => {
            Neighbour::Present
        }
        NeighbourState::Failed => Neighbour::Absent,
        _ => Neighbour::Unsure,
    }))
}

pub(super) async fn solicit(
    netlink: &Netlink,
    index: u32,
    address: IpAddr,
    again: bool,
) -> Result<()> {
    match state(netlink, index, address).await? {
        Some(NeighbourState::Permanent | NeighbourState::Noarp) => Ok(()),
        Some(NeighbourState::Probe) if !again => Ok(()),
        Some(
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe,
        ) => {
            // One that is being asked already is asked again only after a second; one that begins to
            // be asked is asked at once.
            for state in [NeighbourState::Stale, NeighbourState::Probe] {
                change(netlink, index, address, state, NeighbourFlags::empty()).await?;
            }
            Ok(())
        }
        // As if a packet were to be sent there.
        _ => change(netlink, index, address, NeighbourState::None, NeighbourFlags::Use).await,
    }
}

async fn state(netlink: &Netlink, index: u32, address: IpAddr) -> Result<Option<NeighbourState>> {
    let request = RouteNetlinkMessage::GetNeighbour(message(index, address));
    let found = netlink
        .ask(&format!("look for the neighbour {address}"), request, |message| match message {
            RouteNetlinkMessage::NewNeighbour(neighbour) => Some(neighbour.header.state),
            _ => None,
        })
        .await;
    match found {
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
        found => found,
    }
}

async fn change(
    netlink: &Netlink,
    index: u32,
    address: IpAddr,
    state: NeighbourState,
    flags: NeighbourFlags,
) -> Result<()> {
    let mut message = message(index, address);
    message.header.state = state;
    message.header.flags = flags;
    let request = RouteNetlinkMessage::NewNeighbour(message);
    let what = format!("ask for the neighbour {address}");
    netlink.acknowledged(&what, request, NLM_F_CREATE | NLM_F_REPLACE).await
}

fn message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = Family::of(address).raw();
    message.header.ifindex = index;
    let address = match address {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}
