//! `hawser-server run`: serves until asked to end.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use hawser_server::egress::{Egress, Feed, Origin};
use ipnet::IpNet;
use shared::{
    clock,
    control::{ControlServer, Goodbye, GoodbyeCode, PrivateKey, ServerEvent},
    driver::{self, Command, Driver, DriverEvent},
    exit::Error,
    host::{HostState, Route},
    metrics::MetricsPage,
    ready,
    signals::Signals,
    status::{ControlSocket, Instance, Snapshot},
    tun::Tun,
    udp::{PathSocket, SocketTable},
};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{info, warn};

use crate::{
    admission::GuestBook,
    args::RunArguments,
    clients::{Changes, Client, ClientsFolder},
    config::Config,
    operation::Operation,
    requests::requests,
    sessions::Sessions,
};

/// What `run` serves with.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where the configuration was read from.
    pub(crate) path: PathBuf,
    /// The configuration.
    pub(crate) config: Config,
    /// Who the server is.
    pub(crate) key: PrivateKey,
    /// The clients, to be followed while the server runs.
    pub(crate) clients: ClientsFolder,
    /// By which name `status` finds us.
    pub(crate) instance: Instance,
}

impl Options {
    /// Reads everything that the server runs with. A client whose file is wrong is left out, with
    /// a warning: the others must not wait for it.
    ///
    /// # Errors
    /// When the configuration, the key or the clients' folder can't be used.
    pub(crate) fn load(arguments: &RunArguments) -> Result<Self, Error> {
        let config = Config::load(&arguments.config)?;
        let key = config.key()?;
        let (clients, problems) = ClientsFolder::open(&config.clients_folder, config.pools)?;
        for problem in problems {
            warn!("a client is left out: {problem}");
        }
        let instance = Instance::named(arguments.name.as_deref(), &arguments.config)?;
        Ok(Self { path: arguments.config.clone(), config, key, clients, instance })
    }
}

/// Serves until asked to end.
///
/// # Errors
/// When the server can't be started, or fails.
pub(crate) fn run(options: Options) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| Error::from_io("start the runtime", &error))?;
    let result = runtime.block_on(serve(options));
    // Nothing that still runs on a thread of its own is worth waiting for.
    runtime.shutdown_background();
    result
}

async fn serve(options: Options) -> Result<(), Error> {
    let Options { path, config, key, mut clients, instance } = options;
    let mut signals = Signals::listen()?;
    let host = HostState::open(instance.name()).await?;
    let status = ControlSocket::bind(instance.clone())?;
    let result = async {
        let page = MetricsPage::open(config.metrics).await?;
        let mut server = Server::start(&host, path, config, &key, &clients).await?;
        let shown = Arc::clone(&server.shown);
        let snapshot = move || {
            let shown = Arc::clone(&shown);
            async move { shown.snapshot().await }
        };
        let mut answering = JoinSet::new();
        answering.spawn(status.serve(requests(snapshot.clone(), &server.shown)));
        if let Some(page) = page {
            answering.spawn(page.serve(snapshot));
        }
        let inner: Vec<IpAddr> = server.config.pools.server().addresses().collect();
        ready::announce(&inner);
        let result = server.follow(&mut clients, &mut signals).await;
        ready::announce_end();
        answering.abort_all();
        server.stop().await;
        result
    }
    .await;
    let undone = host.undo().await;
    result.and(undone.map_err(Error::from))
}

/// A running server.
struct Server {
    config: Config,
    host: HostState,
    tun: String,
    guests: Arc<GuestBook>,
    control: ControlServer,
    joining: mpsc::Receiver<ServerEvent>,
    driver: Driver,
    events: mpsc::Receiver<DriverEvent>,
    shown: Arc<Shown>,
}

/// What others are shown of a server, and may change.
pub(crate) struct Shown {
    instance: String,
    since: u64,
    mode: &'static str,
    driver: Driver,
    control: ControlServer,
    sessions: Mutex<Sessions>,
    pub(crate) egress: tokio::sync::Mutex<Option<Egress>>,
    pub(crate) operation: tokio::sync::Mutex<Operation>,
}

impl Server {
    async fn start(
        host: &HostState,
        path: PathBuf,
        config: Config,
        key: &PrivateKey,
        clients: &ClientsFolder,
    ) -> Result<Self, Error> {
        let sockets = SocketTable::default();
        let listening = config.listen.iter().map(|&address| listen(address));
        let listening = listening.collect::<Result<Vec<_>, Error>>()?;
        let tun = Tun::create()?;
        let name = tun.name().to_owned();
        prepare_tun(host, &name, &config).await?;
        let guests = Arc::new(GuestBook::new(clients.clients()));
        let out = Arc::new(sockets.clone());
        let (control, joining) = ControlServer::start(key, Arc::clone(&guests) as _, out)
            .map_err(|error| Error::from_io("start the control plane", &error))?;
        let sink = control.clone();
        let sink = Box::new(move |datagram: &[u8], route: &_, ecn| sink.push(datagram, route, ecn));
        let (driver, events) = Driver::start(tun, sockets, sink)
            .map_err(|error| Error::from_io("start the data plane", &error))?;
        let sources = sources(&config, &guests);
        let origin = Origin {
            tun: name.clone(),
            sources,
            between_clients: config.client_to_client,
            pool6: config.pools.v6,
        };
        let egress = Egress::start(config.egress.clone(), origin, host).await?;
        for (number, socket) in (0..).zip(listening) {
            info!(address = %socket.local(), "listening");
            driver.command(Command::AddSocket(number, Arc::new(socket)));
        }
        let shown = Arc::new(Shown {
            instance: host.name().to_owned(),
            since: clock::since_epoch().as_secs(),
            mode: config.mode.name(),
            driver: driver.clone(),
            control: control.clone(),
            sessions: Mutex::new(Sessions::new(&config)),
            egress: tokio::sync::Mutex::new(Some(egress)),
            operation: tokio::sync::Mutex::new(Operation::new(path, config.clone())),
        });
        let host = host.clone();
        let server =
            Self { config, host, tun: name, guests, control, joining, driver, events, shown };
        for client in clients.clients() {
            server.route_prefixes(client).await;
        }
        Ok(server)
    }

    /// Follows what happens until someone asks for the end.
    async fn follow(
        &mut self,
        clients: &mut ClientsFolder,
        signals: &mut Signals,
    ) -> Result<(), Error> {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                () = signals.asked_to_end() => return Ok(()),
                event = self.joining.recv() => match event {
                    Some(event) => self.on_control(event),
                    None => return Err(Error::failed("the control plane ended")),
                },
                event = self.events.recv() => match event {
                    Some(event) => self.on_driver(event)?,
                    None => return Err(Error::failed("the data plane ended")),
                },
                changes = clients.changes() => self.on_clients(changes).await,
                _ = sweep.tick() => self.sweep().await,
            }
        }
    }

    fn on_control(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Joining(joining) => {
                let client = self.guests.client(joining.connection.name());
                let admitted = self.sessions().admit(&joining, client.as_ref());
                match admitted {
                    Ok((session, grant)) => {
                        info!(client = %joining.connection.name(), "joined");
                        self.driver.command(Command::AddSession(Box::new(session)));
                        joining.grant(grant);
                    }
                    Err(refusal) => {
                        info!(client = %joining.connection.name(), %refusal, "refused");
                        joining.refuse(refusal);
                    }
                }
            }
            ServerEvent::Left { connection, name, cause } => {
                info!(client = %name, %cause, "left");
                let over = self.sessions().on_left(connection, &cause);
                self.remove(over);
            }
            ServerEvent::Message { .. } => {}
        }
    }

    fn on_driver(&mut self, event: DriverEvent) -> Result<(), Error> {
        match event {
            DriverEvent::Failed(error) => {
                return Err(Error::from_io("carry packets", &error));
            }
            DriverEvent::Session(slot, event) => {
                self.sessions().on_event(slot, event);
            }
            // The client looks after that: it reconnects.
            DriverEvent::Silent(_) => {}
            DriverEvent::SocketFailed(number, error) => warn!(number, %error, "a socket failed"),
        }
        Ok(())
    }

    async fn on_clients(&mut self, changes: Changes) {
        for problem in &changes.problems {
            warn!("a client is left out: {problem}");
        }
        for client in changes.removed.iter().chain(&changes.changed) {
            if let Some(before) = self.guests.remove(&client.name) {
                self.unroute_prefixes(&before).await;
            }
        }
        for client in changes.added.iter().chain(&changes.changed) {
            self.guests.insert(client.clone());
            self.route_prefixes(client).await;
        }
        for client in &changes.removed {
            self.end(client, GoodbyeCode::Removed, "removed from the server");
        }
        for client in &changes.changed {
            // It connects again at once, and gets what is written there.
            self.end(client, GoodbyeCode::Ended, "its configuration has changed");
        }
        if let Some(egress) = &*self.shown.egress.lock().await
            && let Err(error) = egress.set_sources(sources(&self.config, &self.guests)).await
        {
            warn!("the egress keeps the sources that it knew: {error:#}");
        }
    }

    /// Ends a client's sessions.
    fn end(&self, client: &Client, code: GoodbyeCode, reason: &str) {
        let connections = self.control.connections();
        for connection in connections.iter().filter(|it| **it.name() == *client.name) {
            connection.end(Goodbye::new(code, reason));
        }
        let over = self.sessions().of_client(&client.name);
        self.remove(over);
    }

    fn remove(&self, slots: Vec<u32>) {
        for slot in slots {
            self.driver.command(Command::RemoveSession(slot));
        }
    }

    /// Ends the sessions whose time is over.
    async fn sweep(&self) {
        if !self.sessions().is_one_due() {
            return;
        }
        if let Some(report) = self.driver.report().await {
            let over = self.sessions().expired(&report);
            self.remove(over);
        }
    }

    /// Leads the networks behind a client into the tunnel. What the host does not let us do is
    /// this client's loss, not the others'.
    async fn route_prefixes(&self, client: &Client) {
        for prefix in &client.prefixes {
            if let Err(error) = self.host.add_route(Route::to_interface(*prefix, &self.tun)).await {
                warn!(client = client.name, %prefix, %error, "no packets reach this network");
            }
        }
    }

    async fn unroute_prefixes(&self, client: &Client) {
        for prefix in &client.prefixes {
            let route = Route::to_interface(*prefix, &self.tun);
            if let Err(error) = self.host.remove_route(route).await {
                warn!(client = client.name, %prefix, %error, "a route could not be removed");
            }
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.shown.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stop(self) {
        self.control.stop(Goodbye::new(GoodbyeCode::Ended, "the server ends")).await;
        if let Some(egress) = self.shown.egress.lock().await.take() {
            egress.stop().await;
        }
    }
}

impl Shown {
    /// How the server is.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new(crate::PROGRAM, &self.instance, self.since);
        snapshot.mode = self.mode.to_owned();
        if let Some(egress) = &*self.egress.lock().await {
            snapshot.uplinks = egress.snapshot();
        }
        let Some(report) = self.driver.report().await else { return snapshot };
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.sessions = sessions.describe(&report, &self.control.connections());
        snapshot.refused = driver::status::refused(&report);
        let control = self.control.stats();
        snapshot.refused.insert("unknown key".to_owned(), control.unknown_keys);
        snapshot
    }

    /// What the events are read by; `None` once the server ends.
    pub(crate) async fn feed(&self) -> Option<Feed> {
        self.egress.lock().await.as_ref().map(Egress::feed)
    }
}

/// Where packets that come out of the tunnel may come from.
fn sources(config: &Config, guests: &GuestBook) -> Vec<IpNet> {
    config.pools.networks().chain(guests.prefixes()).collect()
}

fn listen(address: SocketAddr) -> Result<PathSocket, Error> {
    PathSocket::listen(address).map_err(|error| {
        let failed = Error::from_io(format_args!("listen on {address}"), &error);
        match error.kind() {
            std::io::ErrorKind::AddrInUse => failed.with_remedy(format_args!(
                "another program uses port {}: `ss -ulpn` names it; stop it, or change `listen`",
                address.port()
            )),
            std::io::ErrorKind::AddrNotAvailable => failed.with_remedy(format_args!(
                "this host has no address {}: `ip address` lists those that it has",
                address.ip()
            )),
            _ => failed,
        }
    })
}

/// Gives the TUN device its addresses and sets it up.
async fn prepare_tun(host: &HostState, tun: &str, config: &Config) -> Result<(), Error> {
    let server = config.pools.server();
    for (address, pool) in server.addresses().zip(config.pools.networks()) {
        let address = IpNet::new(address, pool.prefix_len())
            .map_err(|error| Error::failed(format_args!("{address}: {error}")))?;
        host.add_address(tun, address).await?;
    }
    host.netlink().set_mtu(tun, TUN_MTU).await?;
    host.netlink().set_up(tun).await?;
    Ok(())
}

/// What a session carries over IPv4 paths of 1500 bytes. A session that carries less says so by
/// ICMP and in the MSS of passing connections.
const TUN_MTU: u32 = 1438;

/// Control is rare; a second worker keeps one slow task from delaying the others.
const WORKERS: usize = 2;

/// How often sessions without a client are looked for.
const SWEEP_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);
