//! The client's links: which interfaces there are, and a socket on each.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use engine::wire::{PATHS_MAX, message::BACKUP};
use shared::{
    control::{DialLink, Route},
    driver::{Command, Driver},
    exit::Error,
    host::{Family, LinkEvent, LinkWatch, Netlink, OUTER_MARK},
    udp::PathSocket,
};
use tracing::{debug, info, warn};

use crate::config::{
    Config, Links,
    links::{LinkConfig, LinkStatus},
};

/// The links in use, and those that were.
pub(crate) struct LinkTable {
    netlink: Netlink,
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
    /// Its rank.
    pub(crate) rank: u8,
    /// How often its sockets were replaced.
    pub(crate) generation: u32,
}

/// An interface that may be a link.
struct Found {
    name: String,
    index: u32,
    sources: [Option<IpAddr>; 2],
}

impl LinkTable {
    pub(crate) fn new(netlink: Netlink, driver: Driver) -> Self {
        Self { netlink, driver, links: BTreeMap::new(), next_socket: 0 }
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
            self.take_in(interface, config)?;
        }
        Ok(())
    }

    /// The links as they are dialled, the most preferred first.
    pub(crate) fn dial_list(&self) -> Vec<DialLink> {
        let mut present: Vec<&Link> = self.present().collect();
        present.sort_by_key(|link| link.rank);
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

    /// Returns when something about links has changed.
    pub(crate) async fn changed(&self, watch: &mut LinkWatch) {
        loop {
            match watch.next().await {
                Some(LinkEvent::Carrier { .. } | LinkEvent::AddressRemoved { .. }) => {}
                _ => return,
            }
        }
    }

    async fn find(&self, links: &Links) -> Result<Vec<Found>, Error> {
        let interfaces = self.netlink.interfaces().await?;
        let defaults = self.netlink.default_links().await?;
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

    fn take_in(&mut self, found: Found, config: &Config) -> Result<(), Error> {
        let known = self.links.get(&found.name);
        let same = known.is_some_and(|link| {
            link.present && link.index == found.index && link.sources == found.sources
        });
        if same {
            return Ok(());
        }
        let slot = match known {
            Some(link) => link.slot,
            None if self.links.len() < PATHS_MAX => self.links.len() as u8,
            None => {
                warn!(link = found.name, "more than {PATHS_MAX} links: this one is left out");
                return Ok(());
            }
        };
        let generation = known.map_or(0, |link| link.generation + 1);
        self.close(&found.name);
        let sockets = self.open(&found)?;
        let rank = rank(&config.link(&found.name), slot);
        info!(link = found.name, "using the link");
        let Found { name, index, sources } = found;
        let link = Link {
            name: name.clone(),
            index,
            sockets,
            sources,
            present: true,
            slot,
            rank,
            generation,
        };
        self.links.insert(name, link);
        Ok(())
    }

    fn open(&mut self, found: &Found) -> Result<[Option<u16>; 2], Error> {
        let mut numbers = [None; 2];
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        for (index, family) in any.into_iter().enumerate() {
            if found.sources[index].is_none() {
                continue;
            }
            let socket = match PathSocket::on_link(&found.name, family, OUTER_MARK.value) {
                Ok(socket) => socket,
                // It vanished a moment ago: the kernel tells of that too.
                Err(error) if error.raw_os_error() == Some(libc_enodev()) => continue,
                Err(error) => {
                    let doing = format_args!("open a socket on {}", found.name);
                    return Err(Error::from_io(doing, &error));
                }
            };
            let number = self.next_socket;
            self.next_socket = self.next_socket.wrapping_add(1);
            self.driver.command(Command::AddSocket(number, Arc::new(socket)));
            numbers[index] = Some(number);
        }
        Ok(numbers)
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
fn rank(config: &LinkConfig, slot: u8) -> u8 {
    match config.status {
        LinkStatus::Available => slot,
        LinkStatus::Backup => BACKUP + slot,
    }
}

/// No such device.
fn libc_enodev() -> i32 {
    19
}
