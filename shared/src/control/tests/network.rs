//! A network in memory: links with delay and seeded loss between clients and server addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::control::wire::lock;
use crate::control::{ControlSend, ControlServer, Dialer, Route};

/// The network. Clients' addresses are `10.0.CLIENT.LINK:1`, the server's `192.0.2.SOCKET:4500`.
pub(super) struct Network {
    links: Mutex<BTreeMap<u32, Link>>,
    dialers: Mutex<BTreeMap<u8, Dialer>>,
    server: Mutex<Option<ControlServer>>,
    rng: Mutex<StdRng>,
    /// The server address that each client address sent to last, if its NAT insists on it.
    nat: Mutex<BTreeMap<SocketAddr, SocketAddr>>,
}

/// How one link treats datagrams, in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    pub(super) delay: Duration,
    pub(super) loss: f64,
    pub(super) initial_loss: f64,
    /// Lets through from the server only what the client sent to last.
    pub(super) strict_nat: bool,
}

impl Network {
    pub(super) fn new(seed: u64, links: impl IntoIterator<Item = (u32, Link)>) -> Arc<Self> {
        Arc::new(Self {
            links: Mutex::new(links.into_iter().collect()),
            dialers: Mutex::default(),
            server: Mutex::default(),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            nat: Mutex::default(),
        })
    }

    pub(super) fn set_link(&self, number: u32, link: Link) {
        lock(&self.links).insert(number, link);
    }

    /// Puts a server on the network, in place of the one before.
    pub(super) fn set_server(&self, server: Option<ControlServer>) {
        *lock(&self.server) = server;
    }

    pub(super) fn add_client(&self, number: u8, dialer: Dialer) {
        lock(&self.dialers).insert(number, dialer);
    }

    pub(super) fn client_side(self: &Arc<Self>, number: u8) -> Arc<dyn ControlSend> {
        Arc::new(ClientSide { network: Arc::clone(self), number })
    }

    pub(super) fn server_side(self: &Arc<Self>) -> Arc<dyn ControlSend> {
        Arc::new(ServerSide(Arc::clone(self)))
    }

    /// The delay of a datagram over a link, `None` if it is lost.
    fn fate(&self, link: u32, datagram: &[u8]) -> Option<Duration> {
        let link = *lock(&self.links).get(&link)?;
        let is_initial = datagram[0] & 0xf0 == 0xc0;
        let loss = if is_initial { link.loss.max(link.initial_loss) } else { link.loss };
        (!lock(&self.rng).random_bool(loss)).then_some(link.delay)
    }
}

pub(super) fn client_address(client: u8, link: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, client, link as u8], 1))
}

pub(super) fn server_address(socket: u32) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, socket as u8], 4500))
}

struct ClientSide {
    network: Arc<Network>,
    number: u8,
}

impl ControlSend for ClientSide {
    fn send(&self, datagram: &[u8], route: &Route, ecn: u8) -> io::Result<()> {
        let network = Arc::clone(&self.network);
        let from = client_address(self.number, route.socket);
        lock(&network.nat).insert(from, route.remote);
        let Some(delay) = network.fate(route.socket, datagram) else { return Ok(()) };
        let SocketAddr::V4(to) = route.remote else { return Err(io::ErrorKind::NotFound.into()) };
        let datagram = datagram.to_vec();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let [.., socket] = to.ip().octets();
            let came =
                Route { socket: u32::from(socket), remote: from, local: Some((*to.ip()).into()) };
            let server = lock(&network.server).clone();
            if let Some(server) = server {
                server.push(&datagram, &came, ecn);
            }
        });
        Ok(())
    }
}

struct ServerSide(Arc<Network>);

impl ControlSend for ServerSide {
    fn send(&self, datagram: &[u8], route: &Route, ecn: u8) -> io::Result<()> {
        let network = Arc::clone(&self.0);
        let from = server_address(route.socket);
        assert_eq!(route.local, Some(from.ip()), "the answer leaves from where the question came");
        let SocketAddr::V4(to) = route.remote else { return Err(io::ErrorKind::NotFound.into()) };
        let [.., client, link] = to.ip().octets();
        let Some(delay) = network.fate(u32::from(link), datagram) else { return Ok(()) };
        let strict = lock(&network.links).get(&u32::from(link)).is_some_and(|l| l.strict_nat);
        let datagram = datagram.to_vec();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let open = lock(&network.nat).get(&route_key(to)) == Some(&from);
            let dialer = lock(&network.dialers).get(&client).cloned();
            if let Some(dialer) = dialer.filter(|_| open || !strict) {
                dialer.push(&datagram, ecn);
            }
        });
        Ok(())
    }
}

fn route_key(to: std::net::SocketAddrV4) -> SocketAddr {
    SocketAddr::V4(to)
}

/// The route that a datagram from `client` by `link` shows to the server.
pub(super) fn came_from(client: u8, link: u32) -> Route {
    let to = server_address(1);
    Route { socket: 1, remote: client_address(client, link), local: Some(to.ip()) }
}
