//! The client's links: which interfaces there are, and a socket on each.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use engine::wire::{
    PATHS_MAX,
    message::{BACKUP, Preference},
};
use shared::{
    control::{DialLink, Route},
    driver::{Command, Driver},
    exit::Error,
    host::{Family, HostState, OUTER_MARK},
    udp::PathSocket,
};
use tracing::{debug, info, warn};

use crate::config::{
    Config, Links,
    links::{LinkConfig, LinkStatus},
};

/// The links in use, and those that were.
pub(crate) struct LinkTable {
    host: HostState,
    driver: Driver,
    links: BTreeMap<String, Link>,
    next_socket: u16,
}

/// One link.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Its interface.
    pub(crate) name: String,
    /// The interface's index: another one of the same name is another interface.
    index: u32,
    /// Our number of its socket, by family: v4, v6.
    pub(crate) sockets: [Option<u16>; 2],
    /// Our addresses on it, by which a change is noticed.
    sources: [Option<IpAddr>; 2],
    /// Whether it is there.
    pub(crate) present: bool,
    /// The path slot that belongs to it for the session's life.
    pub(crate) slot: u8,
    /// How it is to be used.
    pub(crate) preference: Preference,
}

/// An interface that may be a link.
struct Found {
    name: String,
    index: u32,
    sources: [Option<IpAddr>; 2],
}

impl LinkTable {
    pub(crate) fn new(host: HostState, driver: Driver) -> Self {
        Self { host, driver, links: BTreeMap::new(), next_socket: 0 }
    }

    /// Looks which links there are, and opens and closes sockets accordingly.
    ///
    /// # Errors
    /// When the kernel can't be asked, or no sockets may be opened.
    pub(crate) async fn refresh(&mut self, config: &Config) -> Result<(), Error> {
        let found = self.find(&config.links).await?;
        let gone = |link: &Link| !found.iter().any(|it| it.name == link.name);
        let lost: Vec<String> = (self.links.values())
            .filter(|link| link.present && gone(link))
            .map(|link| link.name.clone())
            .collect();
        for name in lost {
            info!(link = name, "the link is gone");
            self.close(&name);
        }
        for interface in found {
            if self.take_in(&interface, config)? {
                // The route back to the server may lead into the tunnel.
                self.host.loosen_reverse_path_filter(&interface.name).await?;
            }
        }
        Ok(())
    }

    /// The links as they are dialled, the most preferred first.
    pub(crate) fn dial_list(&self) -> Vec<DialLink> {
        let mut present: Vec<&Link> = self.present().collect();
        present.sort_by_key(|link| link.preference.rank);
        let dial = |link: &&Link| DialLink {
            socket_v4: link.sockets[0].map(u32::from),
            socket_v6: link.sockets[1].map(u32::from),
            name: link.name.clone(),
        };
        present.iter().map(dial).collect()
    }

    /// The links that are there.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Link> {
        self.links.values().filter(|link| link.present)
    }

    /// All links that were ever seen.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// Another link's route, if the link of this one is gone.
    pub(crate) fn route_like(&self, route: Route) -> Option<Route> {
        let uses =
            |link: &Link| link.sockets.iter().flatten().any(|&s| u32::from(s) == route.socket);
        if self.present().any(uses) {
            return None;
        }
        let family = usize::from(route.remote.is_ipv6());
        let socket = self.present().find_map(|link| link.sockets[family])?;
        Some(Route { socket: u32::from(socket), local: None, ..route })
    }

    /// A socket's device is gone or its address is.
    pub(crate) fn on_socket_failed(&mut self, number: u16, error: &io::Error) {
        let of = |link: &&mut Link| link.sockets.contains(&Some(number));
        if let Some(link) = self.links.values_mut().find(of) {
            debug!(link = link.name, %error, "a socket failed");
        }
    }

    async fn find(&self, links: &Links) -> Result<Vec<Found>, Error> {
        let netlink = self.host.netlink();
        let interfaces = netlink.interfaces().await?;
        let defaults = netlink.default_links().await?;
        let auto = matches!(links, Links::Auto { .. });
        let mut found = Vec::new();
        for interface in interfaces {
            let default = defaults.iter().find(|link| link.interface == interface.name);
            let ours = interface.name.starts_with("hawser");
            if ours || interface.loopback || !links.allow(&interface.name) {
                continue;
            }
            if auto && default.is_none() {
                continue;
            }
            let source = |family: Family| {
                let gateway = default.and_then(|link| link.of(family)).and_then(|it| it.address);
                match (auto, default.and_then(|link| link.of(family))) {
                    (true, None) => None,
                    _ => interface.source_toward(family, gateway),
                }
            };
            let sources = [source(Family::V4), source(Family::V6)];
            if interface.carrier == shared::host::Carrier::Up && sources.iter().any(Option::is_some)
            {
                found.push(Found { name: interface.name, index: interface.index, sources });
            }
        }
        Ok(found)
    }

    /// Takes in what is known of an interface. Returns whether it is one that was not there.
    fn take_in(&mut self, found: &Found, config: &Config) -> Result<bool, Error> {
        let known = self.links.get(&found.name);
        let there = known.filter(|link| link.present && link.index == found.index);
        // Sockets are bound to the interface alone: they outlive addresses, but a family that came,
        // went or changed its address is dialled and validated anew.
        let keep =
            |family: usize| there.is_some_and(|it| it.sources[family] == found.sources[family]);
        let kept = [keep(0), keep(1)];
        if kept == [true, true] {
            return Ok(false);
        }
        let Some(slot) = known.map(|link| link.slot).or_else(|| self.free_slot()) else {
            warn!(link = found.name, "more than {PATHS_MAX} links: this one is left out");
            return Ok(false);
        };
        let arrived = there.is_none();
        let mut link = Link {
            name: found.name.clone(),
            index: found.index,
            sockets: known.map_or([None; 2], |link| link.sockets),
            sources: found.sources,
            present: true,
            slot,
            preference: preference(&config.link(&found.name), slot),
        };
        for family in (0..2).filter(|&family| !kept[family]) {
            if let Some(number) = link.sockets[family].take() {
                self.driver.command(Command::RemoveSocket(number));
            }
            link.sockets[family] = self.open(found, family)?;
        }
        if arrived {
            info!(link = found.name, "using the link");
        }
        // A link that is gone gives its slot to this one.
        self.links.retain(|_, other| other.slot != slot);
        self.links.insert(found.name.clone(), link);
        Ok(arrived)
    }

    /// A path slot that no link has, else that of a link that is gone.
    fn free_slot(&self) -> Option<u8> {
        let taken = |slot: u8, all: bool| {
            self.links.values().any(|link| link.slot == slot && (all || link.present))
        };
        let slots = || 0..PATHS_MAX as u8;
        slots()
            .find(|&slot| !taken(slot, true))
            .or_else(|| slots().find(|&slot| !taken(slot, false)))
    }

    /// Opens a link's socket of a family, unless the link has no address of it.
    fn open(&mut self, found: &Found, family: usize) -> Result<Option<u16>, Error> {
        if found.sources[family].is_none() {
            return Ok(None);
        }
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let socket = match PathSocket::on_link(&found.name, any[family], OUTER_MARK.value) {
            Ok(socket) => socket,
            // It vanished a moment ago: the kernel tells of that too.
            Err(error) if error.raw_os_error() == Some(ENODEV) => return Ok(None),
            Err(error) => {
                let doing = format_args!("open a socket on {}", found.name);
                return Err(Error::from_io(doing, &error));
            }
        };
        let number = self.next_socket;
        self.next_socket = self.next_socket.wrapping_add(1);
        self.driver.command(Command::AddSocket(number, Arc::new(socket)));
        Ok(Some(number))
    }

    fn close(&mut self, name: &str) {
        let Some(link) = self.links.get_mut(name) else { return };
        for number in std::mem::take(&mut link.sockets).into_iter().flatten() {
            self.driver.command(Command::RemoveSocket(number));
        }
        link.present = false;
    }
}

/// The configured order, backups after all others.
fn preference(config: &LinkConfig, slot: u8) -> Preference {
    let rank = match config.status {
        LinkStatus::Available => slot,
        LinkStatus::Backup => BACKUP + slot,
    };
    Preference { rank, metered: config.metered }
}

/// No such device (errno.h).
const ENODEV: i32 = 19;
