//! `hawser up`: raises the tunnel and keeps it up.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use shared::{
    clock,
    control::{
        Cause, Control, ControlEvent, DialError, Dialer, Goodbye, GoodbyeCode, Hello,
        Instance as Run, ServerName,
    },
    driver::{self, Command, Driver, DriverEvent},
    exit::Error,
    host::{HostState, LinkEvent, LinkWatch},
    ready,
    status::{ControlSocket, Instance, Snapshot},
    suites,
    tun::Tun,
    udp::SocketTable,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    args::UpArguments,
    config::{Config, Links},
    links::LinkTable,
    tunnel::Tunnel,
};

/// What `up` runs with: the configuration, with the command line's word over it.
#[derive(Debug)]
pub(crate) struct Options {
    /// The configuration.
    pub(crate) config: Config,
    /// By which name `status` finds us.
    pub(crate) instance: Instance,
}

impl Options {
    /// Puts the command line over the configuration.
    ///
    /// # Errors
    /// When the instance's name can't be one, or there is no folder for its socket.
    pub(crate) fn new(arguments: &UpArguments, mut config: Config) -> Result<Self, Error> {
        if !arguments.links.is_empty() {
            config.links = Links::Named(arguments.links.clone());
        }
        config.mode = arguments.mode.or(config.mode);
        let instance = Instance::named(arguments.name.as_deref(), &arguments.config)?;
        Ok(Self { config, instance })
    }
}

/// Runs until asked to end.
///
/// # Errors
/// When the tunnel can't be raised or kept.
pub(crate) fn run(options: Options) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Error::from_io("start the runtime", &error))?;
    runtime.block_on(raise(options))
}

async fn raise(options: Options) -> Result<(), Error> {
    let Options { config, instance } = options;
    let host = HostState::open(instance.name()).await?;
    let status = ControlSocket::bind(instance.clone())?;
    let result = async {
        let mut client = Client::start(&host, config, instance.name().to_owned()).await?;
        let shown = Arc::clone(&client.shown);
        let answering = tokio::spawn(status.serve(move || {
            let shown = Arc::clone(&shown);
            async move { shown.snapshot().await }
        }));
        let result = client.keep().await;
        ready::announce_end();
        answering.abort();
        result
    }
    .await;
    let undone = host.undo().await;
    result.and(undone.map_err(Error::from))
}

/// A client that runs.
struct Client {
    config: Config,
    dialer: Dialer,
    run: Run,
    driver: Driver,
    events: mpsc::Receiver<DriverEvent>,
    watch: LinkWatch,
    links: LinkTable,
    tunnel: Tunnel,
    signals: [Signal; 2],
    shown: Arc<Shown>,
}

/// What status shows of a client.
pub(crate) struct Shown {
    instance: String,
    since: u64,
    driver: Driver,
    /// The session as far as the control plane knows it.
    pub(crate) session: Mutex<crate::tunnel::View>,
}

impl Client {
    async fn start(host: &HostState, config: Config, instance: String) -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::from_io("handle signals", &error));
        let signals = [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?];
        let sockets = SocketTable::default();
        let server = ServerName {
            key: config.server_key,
            addresses: config.servers.iter().map(|server| server.to_string()).collect(),
        };
        let dialer = Dialer::new(config.private_key.clone(), server, Arc::new(sockets.clone()));
        let tun = Tun::create()?;
        let name = tun.name().to_owned();
        let sink = dialer.clone();
        let sink = Box::new(move |datagram: &[u8], _: &_, ecn| sink.push(datagram, ecn));
        let (driver, events) = Driver::start(tun, sockets, sink)
            .map_err(|error| Error::from_io("start the data plane", &error))?;
        let watch = host.netlink().watch().await?;
        let links = LinkTable::new(host.netlink().clone(), driver.clone());
        let shown = Arc::new(Shown {
            instance,
            since: clock::since_epoch().as_secs(),
            driver: driver.clone(),
            session: Mutex::default(),
        });
        let tunnel = Tunnel::new(host.clone(), name, driver.clone(), Arc::clone(&shown));
        let run = Run::generate();
        Ok(Self { config, dialer, run, driver, events, watch, links, tunnel, signals, shown })
    }

    /// Connects, keeps the tunnel up, connects anew when need be, until someone asks for the end.
    async fn keep(&mut self) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            let Some(control) = self.connect(&mut failures).await? else { return Ok(()) };
            self.tunnel.adopt(&control, &self.links, &self.config).await?;
            match self.follow(control).await? {
                After::End => return Ok(()),
                After::Reconnect => {}
            }
        }
    }

    /// Dials until the server lets us in. `None` if someone asked for the end.
    async fn connect(&mut self, failures: &mut u32) -> Result<Option<Control>, Error> {
        loop {
            self.links.refresh(&self.config).await?;
            let hello = Hello {
                suites: suites::preferred(),
                slot: self.tunnel.next_slot(),
                instance: self.run,
                mode: self.config.mode.map(|mode| mode.name().to_owned()),
                software: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let dialing = self.links.dial_list();
            let result = tokio::select! {
                result = self.dialer.dial(&dialing, &hello, DIAL_MAX) => result,
                () = asked_to_end(&mut self.signals) => return Ok(None),
                () = self.links.changed(&mut self.watch) => continue,
            };
            let error = match result {
                Ok(control) => {
                    *failures = 0;
                    info!(link = control.link(), "joined");
                    if let Some(address) = control.grant().replaced {
                        warn!(%address, "replaced another machine that used the same key");
                    }
                    return Ok(Some(control));
                }
                Err(DialError::Refused(refusal)) => {
                    return Err(Error::refused(format_args!("the server refuses: {refusal}")));
                }
                Err(error @ DialError::WrongServerKey { .. }) => return Err(Error::refused(error)),
                Err(error @ DialError::Impossible(_)) => return Err(Error::failed(error)),
                Err(error) => error,
            };
            *failures += 1;
            warn!("{error}");
            let pause = PAUSE * (*failures).min(PAUSES_MAX);
            tokio::select! {
                () = sleep(pause) => {}
                () = asked_to_end(&mut self.signals) => return Ok(None),
                () = self.links.changed(&mut self.watch) => {}
            }
        }
    }

    /// Keeps the tunnel up while the control connection lasts.
    async fn follow(&mut self, mut control: Control) -> Result<After, Error> {
        let renew_at = Instant::now() + RENEW_AFTER;
        let mut suspicious: Option<Instant> = None;
        loop {
            let give_up = suspicious.map_or(renew_at, |at| at + SILENT_MAX);
            tokio::select! {
                () = asked_to_end(&mut self.signals) => {
                    control.close(Goodbye::new(GoodbyeCode::Ended, "")).await;
                    return Ok(After::End);
                }
                event = control.next_event() => match event {
                    Some(ControlEvent::Update(settings)) => self.tunnel.on_settings(&settings),
                    Some(ControlEvent::Drain) => return Ok(After::Reconnect),
                    Some(ControlEvent::Closed(cause)) => return self.on_closed(&cause),
                    None => return Ok(After::Reconnect),
                },
                event = self.events.recv() => match event {
                    Some(DriverEvent::Failed(error)) => {
                        return Err(Error::from_io("carry packets", &error));
                    }
                    Some(DriverEvent::Silent(slot)) if self.tunnel.is_current(slot) => {
                        // A server that was restarted answers this by saying so.
                        control.handle().ping();
                        suspicious.get_or_insert(Instant::now());
                    }
                    Some(DriverEvent::Session(slot, event)) if self.tunnel.is_current(slot) => {
                        self.tunnel.on_event(event, &self.links).await?;
                    }
                    Some(DriverEvent::SocketFailed(number, error)) => {
                        self.links.on_socket_failed(number, &error);
                        self.tunnel.mend(&self.links);
                    }
                    Some(DriverEvent::Session(..) | DriverEvent::Silent(_)) => {}
                    None => return Err(Error::failed("the data plane ended")),
                },
                event = self.watch.next() => match event {
                    Some(event) => self.on_link(event, &control).await?,
                    None => return Err(Error::failed("the kernel tells no more of links")),
                },
                () = tokio::time::sleep_until(give_up) => {
                    if suspicious.take().is_none() || self.tunnel.is_silent().await {
                        return Ok(After::Reconnect);
                    }
                }
            }
        }
    }

    /// The control connection is over.
    fn on_closed(&self, cause: &Cause) -> Result<After, Error> {
        if cause.is_refusal() {
            return Err(Error::refused(format_args!("the server ended the session: {cause}")));
        }
        info!(%cause, "the control connection is over; connecting anew");
        Ok(After::Reconnect)
    }

    async fn on_link(&mut self, event: LinkEvent, control: &Control) -> Result<(), Error> {
        // Several things happen at once when a link comes or goes: they are looked at together.
        let mut events = vec![event];
        while let Ok(Some(more)) = timeout(SETTLE, self.watch.next()).await {
            events.push(more);
            if events.len() >= EVENTS_AT_ONCE {
                break;
            }
        }
        self.links.refresh(&self.config).await?;
        self.tunnel.mend(&self.links);
        if let Some(route) = self.links.route_like(control.route()) {
            control.handle().set_route(route);
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(slot) = self.tunnel.slot() {
            self.driver.command(Command::RemoveSession(slot));
        }
    }
}

impl Shown {
    async fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new(crate::PROGRAM, &self.instance, self.since);
        let report = self.driver.report().await;
        let view = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.mode = view.mode.clone();
        snapshot.sessions.push(view.describe(&self.instance, report.as_ref()));
        if let Some(report) = report {
            snapshot.refused = driver::status::refused(&report);
        }
        snapshot
    }
}

/// What follows the end of a control connection.
enum After {
    End,
    Reconnect,
}

async fn asked_to_end(signals: &mut [Signal; 2]) {
    let [interrupt, terminate] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// One round of attempts; then links and names are looked at again.
const DIAL_MAX: Duration = Duration::from_secs(5);

/// The pause after a failed round, and how often it grows.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSES_MAX: u32 = 10;

/// How long a session that hears nothing waits for the control plane to tell why.
const SILENT_MAX: Duration = Duration::from_secs(2);

/// A fresh root secret each hour.
const RENEW_AFTER: Duration = Duration::from_secs(3600);

/// How long after one change of a link others are waited for.
const SETTLE: Duration = Duration::from_millis(5);
const EVENTS_AT_ONCE: usize = 64;
