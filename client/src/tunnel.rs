//! The client's end of the tunnel: its session, its paths, its device and routes.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError},
    time::Duration,
};

use engine::{
    Event, Filter, FourTuple, Hint, PathId, PathState, Prefix, SessionConfig, Side,
    wire::SESSION_SLOTS,
};
use ipnet::IpNet;
use shared::{
    clock,
    control::{Control, ControlHandle, Settings},
    driver::{Command, Driver, DriverReport, NewSession, PathChange, status},
    entropy,
    exit::Error,
    host::{
        Destinations, Family, HostState, Interface, TunnelRoutes, enable_forwarding, install_routes,
    },
    mode::Mode,
    ready,
    routes::Routes,
    status::Session,
    suites,
};
use tracing::info;

use crate::{
    config::Config,
    links::{Link, LinkTable},
    up::Shown,
};

/// The tunnel.
pub(crate) struct Tunnel {
    host: HostState,
    tun: String,
    driver: Driver,
    shown: Arc<Shown>,
    /// Our slot of the current session.
    slot: Option<u32>,
    next_slot: u32,
    /// The server's address by family: where the control connection goes, and for links of the
    /// other family another one that is known.
    server: [Option<SocketAddr>; 2],
    /// The paths that were opened, by their slot, and where they go.
    paths: BTreeMap<u8, FourTuple>,
    /// Addresses and routes of the device.
    laid: HostState,
    inner: Vec<IpNet>,
    routes: Option<Destinations>,
    raised: bool,
}

/// What status shows of the session.
#[derive(Debug, Default)]
pub(crate) struct View {
    slot: Option<u32>,
    state: &'static str,
    peer: String,
    inner: Vec<IpAddr>,
    since: u64,
    /// The control connection of the session.
    control: Option<ControlHandle>,
    /// The mode in use.
    pub(crate) mode: String,
    links: BTreeMap<u8, String>,
}

impl Tunnel {
    pub(crate) fn new(host: HostState, tun: String, driver: Driver, shown: Arc<Shown>) -> Self {
        let mut random = [0; 4];
        entropy::fill(&mut random);
        let next_slot = u32::from_ne_bytes(random) % SESSION_SLOTS;
        let laid = host.scope("tunnel");
        Self {
            host,
            laid,
            tun,
            driver,
            shown,
            slot: None,
            next_slot,
            server: [None; 2],
            paths: BTreeMap::new(),
            inner: Vec::new(),
            routes: None,
            raised: false,
        }
    }

    /// The slot that the next session will have.
    pub(crate) fn next_slot(&self) -> u32 {
        self.next_slot
    }

    /// Our slot of the current session.
    pub(crate) fn slot(&self) -> Option<u32> {
        self.slot
    }

    /// Whether this is the slot of the current session.
    pub(crate) fn is_current(&self, slot: u32) -> bool {
        self.slot == Some(slot)
    }

    /// Takes up the session that the server granted, in the place of the one before. `known` are
    /// all addresses of the server.
    ///
    /// # Errors
    /// When the device can't be set up.
    pub(crate) async fn adopt(
        &mut self,
        control: &Control,
        known: &[SocketAddr],
        links: &LinkTable,
        config: &Config,
    ) -> Result<(), Error> {
        let grant = control.grant();
        let slot = self.next_slot;
        self.next_slot = (slot + 1) % SESSION_SLOTS;
        let before = self.slot.replace(slot);
        let remote = control.route().remote;
        self.server = [false, true].map(|six| {
            let of_family = |address: &&SocketAddr| address.is_ipv6() == six;
            [remote].iter().chain(known).find(of_family).copied()
        });
        let mode = grant.settings.mode_up.parse::<Mode>().unwrap_or_default();
        let session = SessionConfig {
            side: Side::Client,
            suite: suites::engine_suite(grant.suite),
            root: (*control.secret().as_bytes()).into(),
            activation: grant.activation.0,
            peer_slot: grant.slot,
            filter: Filter::Destinations(destinations(&grant.settings)),
            steering: config.classes.steering(mode),
            epoch_limits: config.rekey,
            trial: config.trial,
            seed: entropy::seed(),
        };
        let everything = [Family::V4, Family::V6].map(Family::default_net);
        let paths: Vec<_> = (links.present())
            .filter_map(|link| Some((PathId(link.slot), self.tuple(link)?, link.preference)))
            .collect();
        self.paths = paths.iter().map(|&(path, tuple, _)| (path.0, tuple)).collect();
        let new = NewSession {
            slot,
            config: session,
            prefixes: everything.to_vec(),
            replaces: before,
            paths,
        };
        self.driver.command(Command::AddSession(Box::new(new)));
        if let Some(before) = before {
            self.retire(before);
        }
        self.show(slot, control, config, mode, links);
        self.set_up(&grant.settings, links, config).await?;
        self.forward(&grant.settings.prefixes).await
    }

    /// Follows links that came, went, or changed: how the kernel told of it, and when.
    pub(crate) fn mend(&mut self, links: &LinkTable, hint: Hint, told: Duration) {
        let Some(slot) = self.slot else { return };
        let mut changes = Vec::new();
        for link in links.all() {
            let path = PathId(link.slot);
            match (self.paths.get(&link.slot).copied(), self.tuple(link)) {
                (Some(_), None) => changes.push((path, PathChange::Fail(hint, told))),
                (Some(before), Some(tuple)) => {
                    if before != tuple {
                        self.paths.insert(link.slot, tuple);
                        changes.push((path, PathChange::Move(tuple)));
                    }
                    changes.push((path, PathChange::Wake));
                }
                (None, Some(tuple)) => {
                    self.paths.insert(link.slot, tuple);
                    changes.push((path, PathChange::Open(tuple, link.preference)));
                }
                (None, None) => {}
            }
        }
        for (path, change) in changes {
            self.driver.command(Command::ChangePath(slot, path, change));
        }
        let mut view = self.shown.session.lock().unwrap_or_else(PoisonError::into_inner);
        view.links = links.all().map(|link| (link.slot, link.name.clone())).collect();
    }

    /// Something happened in the current session.
    ///
    /// # Errors
    /// When the device can't be set up.
    pub(crate) async fn on_event(&mut self, event: Event, links: &LinkTable) -> Result<(), Error> {
        match event {
            Event::Path { path, from, to } => {
                let link = links.all().find(|link| link.slot == path.0);
                let link = link.map_or("?", |link| link.name.as_str());
                info!(link, from = from.name(), to = to.name(), "path");
                if to == PathState::Up {
                    let mut view =
                        self.shown.session.lock().unwrap_or_else(PoisonError::into_inner);
                    view.state = "up";
                }
            }
            Event::Rebound(_) => {}
            Event::TunnelMtu(mtu) => {
                info!(mtu, "tunnel MTU");
                // Below IPv6's minimum the kernel would take IPv6 off the device (RFC 8200, 5).
                let least = if self.has_ipv6() { IPV6_MTU_MIN } else { 0 };
                self.host.netlink().set_mtu(&self.tun, u32::from(mtu).max(least)).await?;
                if !self.raised {
                    self.raise(links).await?;
                }
            }
        }
        Ok(())
    }

    fn has_ipv6(&self) -> bool {
        self.inner.iter().any(|net| net.addr().is_ipv6())
    }

    /// The server has changed its mind about modes.
    pub(crate) fn on_settings(&mut self, settings: &Settings) {
        let (Some(slot), Ok(mode)) = (self.slot, settings.mode_up.parse::<Mode>()) else { return };
        self.driver.command(Command::SetMode(slot, mode.0));
    }

    /// Whether no path of the session is up.
    pub(crate) async fn is_silent(&self) -> bool {
        let Some(report) = self.driver.report().await else { return true };
        let session = report.sessions.iter().find(|it| Some(it.slot) == self.slot);
        session.is_none_or(|session| session.silent)
    }

    /// Where a link's path goes, if it is there and the server has an address of its family.
    fn tuple(&self, link: &Link) -> Option<FourTuple> {
        let families = self.server.iter().zip(link.sockets).filter(|_| link.present);
        let mut routes = families.filter_map(|(remote, socket)| Some(((*remote)?, socket?)));
        routes.next().map(|(remote, socket)| FourTuple { socket, local: None, remote })
    }

    /// Lets an old session receive what is on its way, then ends it.
    fn retire(&self, slot: u32) {
        let driver = self.driver.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RETIRED_FOR).await;
            driver.command(Command::RemoveSession(slot));
        });
    }

    fn show(&self, slot: u32, control: &Control, config: &Config, mode: Mode, links: &LinkTable) {
        let grant = control.grant();
        let mut view = self.shown.session.lock().unwrap_or_else(PoisonError::into_inner);
        *view = View {
            slot: Some(slot),
            state: "connecting",
            control: Some(control.handle().clone()),
            peer: config.server_key.to_string(),
            inner: grant.settings.addresses.iter().map(IpNet::addr).collect(),
            since: clock::since_epoch().as_secs(),
            mode: mode.name().to_owned(),
            links: links.all().map(|link| (link.slot, link.name.clone())).collect(),
        };
    }

    /// Gives the device its addresses, and what leads into it; anew if the server grants others than
    /// before.
    async fn set_up(
        &mut self,
        settings: &Settings,
        links: &LinkTable,
        config: &Config,
    ) -> Result<(), Error> {
        let inner: Vec<IpNet> =
            settings.addresses.iter().map(|net| IpNet::from(net.addr())).collect();
        let pools = settings.pools.clone();
        let routes = match &config.routes {
            Routes::Default => Destinations::All,
            Routes::Networks(networks) => Destinations::Only([&pools[..], networks].concat()),
            Routes::None => Destinations::Only(Vec::new()),
            Routes::Pool => Destinations::Only(pools),
        };
        if self.inner == inner && self.routes.as_ref() == Some(&routes) {
            return Ok(());
        }
        self.laid.undo().await?;
        for &host in &inner {
            self.laid.add_address(&self.tun, host).await?;
        }
        (self.inner, self.routes) = (inner, Some(routes));
        if self.raised {
            self.lead(links).await?;
        }
        Ok(())
    }

    /// Makes this host a router between the tunnel and the networks behind it.
    async fn forward(&self, prefixes: &[IpNet]) -> Result<(), Error> {
        if prefixes.is_empty() {
            return Ok(());
        }
        let behind = |interface: &Interface| {
            let within = |net: &IpNet| prefixes.iter().any(|prefix| prefix.contains(&net.addr()));
            interface.addresses.iter().any(within)
        };
        enable_forwarding(&self.host, &self.tun).await?;
        for interface in self.host.netlink().interfaces().await?.iter().filter(|it| behind(it)) {
            enable_forwarding(&self.host, &interface.name).await?;
        }
        Ok(())
    }

    /// Sets the device up: the first path has shown what it carries.
    async fn raise(&mut self, links: &LinkTable) -> Result<(), Error> {
        self.raised = true;
        self.host.netlink().set_up(&self.tun).await?;
        self.lead(links).await?;
        let inner: Vec<IpAddr> = self.inner.iter().map(IpNet::addr).collect();
        ready::announce(&inner);
        Ok(())
    }

    /// Lays the routes into the tunnel.
    async fn lead(&self, links: &LinkTable) -> Result<(), Error> {
        let Some(destinations) = &self.routes else { return Ok(()) };
        let inner: Vec<Family> = self.inner.iter().map(|net| Family::of(net.addr())).collect();
        let links: Vec<String> = links.present().map(|link| link.name.clone()).collect();
        let routes = TunnelRoutes { tun: &self.tun, destinations, inner: &inner, links: &links };
        install_routes(&self.laid, &routes).await?;
        Ok(())
    }
}

impl View {
    /// The session as status shows it.
    pub(crate) fn describe(&self, name: &str, report: Option<&DriverReport>) -> Session {
        let found = report.and_then(|report| {
            report.sessions.iter().find(|session| Some(session.slot) == self.slot)
        });
        let link =
            |path: &engine::PathSnapshot| self.links.get(&path.id.0).cloned().unwrap_or_default();
        let control = self.control.as_ref().map(ControlHandle::bytes_sent);
        let described = found.map(|session| status::describe(session, Side::Client, control, link));
        let state = match found {
            Some(session) if session.silent => "reconnecting",
            Some(_) => self.state,
            None => "connecting",
        };
        Session {
            name: name.to_owned(),
            peer: self.peer.clone(),
            state: state.to_owned(),
            inner: self.inner.clone(),
            since: self.since,
            mode: self.mode.clone(),
            ..described.unwrap_or_default()
        }
    }
}

/// What may come out of the tunnel: packets to our own addresses, and to the networks behind us.
fn destinations(settings: &Settings) -> Vec<Prefix> {
    let hosts = settings.addresses.iter().map(|net| IpNet::from(net.addr()));
    let nets = hosts.chain(settings.prefixes.iter().copied());
    nets.filter_map(|net| Prefix::new(net.addr(), net.prefix_len())).collect()
}

const IPV6_MTU_MIN: u32 = 1280;

/// How long the session before goes on receiving.
const RETIRED_FOR: Duration = Duration::from_secs(3);
