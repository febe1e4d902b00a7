//! `hawser up`: raises the tunnel and keeps it up.

use std::{
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use engine::Hint;
use shared::{
    clock,
    control::{
        Control, ControlEvent, DialError, DialLink, Dialer, Goodbye, GoodbyeCode, Hello,
        Instance as Run, ServerName,
    },
    driver::{self, Command, Driver, DriverEvent},
    exit::Error,
    host::{Carrier, HostState, LinkEvent, LinkWatch, Route},
    metrics::MetricsPage,
    ready,
    signals::Signals,
    status::{ControlSocket, Instance, Requests, Snapshot},
    tun::Tun,
    udp::SocketTable,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
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
    let result = runtime.block_on(raise(options));
    // A name may still be being looked up, which nothing but the resolver's own time ends.
    runtime.shutdown_background();
    result
}

async fn raise(options: Options) -> Result<(), Error> {
    let Options { config, instance } = options;
    let signals = Signals::listen()?;
    let host = HostState::open(instance.name()).await?;
    let status = ControlSocket::bind(instance.clone())?;
    let result = async {
        let page = MetricsPage::open(config.metrics).await?;
        let mut client = Client::start(&host, config, instance.name().to_owned(), signals).await?;
        let shown = Arc::clone(&client.shown);
        let snapshot = move || {
            let shown = Arc::clone(&shown);
            async move { shown.snapshot().await }
        };
        let mut answering = JoinSet::new();
        answering.spawn(status.serve(Requests::new(snapshot.clone())));
        if let Some(page) = page {
            answering.spawn(page.serve(snapshot));
        }
        let result = client.keep().await;
        ready::announce_end();
        answering.abort_all();
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
    line: Line,
    signals: Signals,
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
    async fn start(
        host: &HostState,
        config: Config,
        instance: String,
        signals: Signals,
    ) -> Result<Self, Error> {
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
        let links = LinkTable::new(host.clone(), driver.clone());
        let shown = Arc::new(Shown {
            instance,
            since: clock::since_epoch().as_secs(),
            driver: driver.clone(),
            session: Mutex::default(),
        });
        let tunnel = Tunnel::new(host.clone(), name, driver.clone(), Arc::clone(&shown));
        let (run, line) = (Run::generate(), Line::new());
        Ok(Self { config, dialer, run, driver, events, watch, links, tunnel, line, signals, shown })
    }

    /// Connects, keeps the tunnel up, connects anew when need be, until someone asks for the end.
    ///
    /// Dialling is one of the things that go on here, beside a session that may be well: packets,
    /// links and what the server says are followed all the while.
    async fn keep(&mut self) -> Result<(), Error> {
        self.look_at_links(Hint::Carrier, clock::since_boot()).await?;
        self.dial();
        loop {
            match self.next().await? {
                Happening::Control(event) => self.on_control(event)?,
                Happening::Dialled(result) => self.on_dialled(result).await?,
                Happening::Driver(event) => self.on_driver(event).await?,
                Happening::Due => self.on_due().await,
                Happening::End => {
                    if let Some(control) = self.line.control.take() {
                        control.close(Goodbye::new(GoodbyeCode::Ended, "")).await;
                    }
                    return Ok(());
                }
                Happening::Link(event) => self.on_link(event).await?,
            }
        }
    }

    async fn next(&mut self) -> Result<Happening, Error> {
        let (due, dialling) = (self.line.due(), self.line.dial.is_some());
        let Line { control, dial, .. } = &mut self.line;
        let ended = |what| move || Error::failed(what);
        tokio::select! {
            () = self.signals.asked_to_end() => Ok(Happening::End),
            event = next_event(control) => Ok(Happening::Control(event)),
            result = finished(dial) => Ok(Happening::Dialled(result)),
            event = self.events.recv() => {
                event.map(Happening::Driver).ok_or_else(ended("the data plane ended"))
            }
            event = self.watch.next() => {
                event.map(Happening::Link).ok_or_else(ended("the kernel tells no more of links"))
            }
            () = sleep_until(due), if !dialling => Ok(Happening::Due),
        }
    }

    /// Begins to dial, unless that is under way.
    fn dial(&mut self) {
        if self.line.dial.is_some() {
            return;
        }
        let hello = Hello {
            suites: self.config.ciphers.clone(),
            slot: self.tunnel.next_slot(),
            instance: self.run,
            mode: self.config.mode.map(|mode| mode.name().to_owned()),
            software: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (dialer, links) = (self.dialer.clone(), self.links.dial_list());
        let by = links.clone();
        let outcome = Box::pin(async move { dialer.dial(&by, &hello, DIAL_MAX).await });
        self.line.dial = Some(Dial { links, began: Instant::now(), outcome });
    }

    async fn on_dialled(&mut self, result: Result<Control, DialError>) -> Result<(), Error> {
        let began = self.line.dial.take().map_or_else(Instant::now, |dial| dial.began);
        match result {
            Ok(control) => {
                info!(link = control.link(), "joined");
                if let Some(address) = control.grant().replaced {
                    warn!(%address, "replaced another machine that used the same key");
                }
                let known = self.dialer.addresses();
                self.tunnel.adopt(&control, &known, &self.links, &self.config).await?;
                // The server has ended the connection before, if there was one.
                self.line.control = Some(control);
                self.line.failures = 0;
                self.line.explain_by = None;
                self.line.dial_at = Instant::now() + RENEW_AFTER;
                Ok(())
            }
            Err(error) => {
                let joined = self.tunnel.slot().is_some();
                if let Some(end) = final_error(&error, joined) {
                    return Err(end);
                }
                warn!("{error}");
                self.line.failures += 1;
                // A dial that took its time needs no pause after it.
                let pause = PAUSE * self.line.failures.min(PAUSES_MAX);
                self.line.dial_at = began + pause;
                Ok(())
            }
        }
    }

    fn on_control(&mut self, event: Option<ControlEvent>) -> Result<(), Error> {
        match event {
            Some(ControlEvent::Update(settings)) => {
                self.tunnel.on_settings(&settings);
                return Ok(());
            }
            Some(ControlEvent::Drain) => {}
            Some(ControlEvent::Closed(cause)) if cause.is_refusal() => {
                return Err(Error::refused(format_args!("the server ended the session: {cause}")));
            }
            Some(ControlEvent::Closed(cause)) => {
                self.line.control = None;
                if self.line.dial.is_none() {
                    info!(%cause, "the control connection is over; connecting anew");
                }
            }
            None => self.line.control = None,
        }
        self.dial();
        Ok(())
    }

    async fn on_driver(&mut self, event: DriverEvent) -> Result<(), Error> {
        match event {
            DriverEvent::Failed(error) => return Err(Error::from_io("carry packets", &error)),
            DriverEvent::Silent(slot) if self.tunnel.is_current(slot) => {
                // A server that was restarted answers this by saying so.
                if let Some(control) = &self.line.control {
                    control.handle().ping();
                    self.line.explain_by.get_or_insert_with(|| Instant::now() + SILENT_MAX);
                }
            }
            DriverEvent::Session(slot, event) if self.tunnel.is_current(slot) => {
                self.tunnel.on_event(event, &self.links).await?;
            }
            DriverEvent::SocketFailed(number, error) => {
                self.links.on_socket_failed(number, &error);
                self.tunnel.mend(&self.links, Hint::Carrier, clock::since_boot());
            }
            DriverEvent::Session(..) | DriverEvent::Silent(_) => {}
        }
        Ok(())
    }

    /// The pause after a failure is over, or the server has not told why it is silent, or it is
    /// time for fresh keys.
    async fn on_due(&mut self) {
        let unexplained = self.line.explain_by.take().is_some() && self.tunnel.is_silent().await;
        if unexplained || self.line.dial_at <= Instant::now() {
            self.dial();
        }
    }

    async fn on_link(&mut self, event: LinkEvent) -> Result<(), Error> {
        if event.is_elsewhere([Route::MAIN]) {
            return Ok(());
        }
        let told = clock::since_boot();
        let lost_carrier = |event: &LinkEvent| {
            let down = matches!(event, LinkEvent::Carrier { carrier: Carrier::Down, .. });
            down || matches!(event, LinkEvent::Vanished { .. })
        };
        if lost_carrier(&event) {
            // Nothing that may follow makes it carry; an address that goes may make room for another.
            self.look_at_links(Hint::Carrier, told).await?;
        }
        // Several things happen at once when a link comes or goes: they are looked at together.
        let mut events = vec![event];
        while let Ok(Some(more)) = timeout(SETTLE, self.watch.next()).await {
            events.push(more);
            if events.len() >= EVENTS_AT_ONCE {
                break;
            }
        }
        let carrier = events.iter().any(lost_carrier);
        let hint = if carrier { Hint::Carrier } else { Hint::Address };
        self.look_at_links(hint, told).await?;
        let (waiting, dialling) = (self.line.failures > 0, self.line.dial.as_ref());
        let stale = dialling.is_some_and(|dial| dial.links != self.links.dial_list());
        if stale {
            self.line.dial = None;
        }
        // What has changed may be what kept us from the server.
        if stale || (waiting && self.line.control.is_none()) {
            self.dial();
        }
        Ok(())
    }

    async fn look_at_links(&mut self, hint: Hint, told: Duration) -> Result<(), Error> {
        self.links.refresh(&self.config).await?;
        self.tunnel.mend(&self.links, hint, told);
        if let Some(control) = &self.line.control
            && let Some(route) = self.links.route_like(control.route())
        {
            control.handle().set_route(route);
        }
        Ok(())
    }
}

/// What the main loop waits for.
#[expect(clippy::large_enum_variant, reason = "one at a time, and rarely")]
enum Happening {
    Control(Option<ControlEvent>),
    Dialled(Result<Control, DialError>),
    Driver(DriverEvent),
    Due,
    End,
    Link(LinkEvent),
}

/// The connection to the server, and the dial for the next one.
struct Line {
    control: Option<Control>,
    dial: Option<Dial>,
    /// Dials that failed, one after the other.
    failures: u32,
    /// When to dial next, if nothing happens before.
    dial_at: Instant,
    /// By when the server should have told why the session hears nothing.
    explain_by: Option<Instant>,
}

impl Line {
    fn new() -> Self {
        Self { control: None, dial: None, failures: 0, dial_at: Instant::now(), explain_by: None }
    }

    fn due(&self) -> Instant {
        self.explain_by.map_or(self.dial_at, |at| at.min(self.dial_at))
    }
}

/// A dial under way.
struct Dial {
    /// The links that it goes by.
    links: Vec<DialLink>,
    began: Instant,
    outcome: Pin<Box<dyn Future<Output = Result<Control, DialError>> + Send>>,
}

async fn next_event(control: &mut Option<Control>) -> Option<ControlEvent> {
    match control {
        Some(control) => control.next_event().await,
        None => pending().await,
    }
}

async fn finished(dial: &mut Option<Dial>) -> Result<Control, DialError> {
    match dial {
        Some(dial) => dial.outcome.as_mut().await,
        None => pending().await,
    }
}

/// What a failed dial ends the program with, if trying again is of no use. For a client that has
/// been let in before, only the server's decision about its key is: everything else may pass, or be
/// somebody's doing who sits on the way.
fn final_error(error: &DialError, joined: bool) -> Option<Error> {
    use shared::control::RefusalCode as Code;
    match error {
        DialError::Impossible(_) => Some(Error::failed(error)),
        DialError::Refused(refusal) => {
            let decided = matches!(refusal.code, Code::Removed | Code::UnknownKey);
            let passing = refusal.code == Code::Draining || (joined && !decided);
            (!passing).then(|| Error::refused(format_args!("the server refuses: {refusal}")))
        }
        DialError::WrongServerKey { .. } if !joined => Some(Error::refused(error)),
        _ => None,
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

/// One round of attempts; then links and names are looked at again.
const DIAL_MAX: Duration = Duration::from_secs(5);

/// Between the beginnings of two rounds, times the failures so far, and how often that grows.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSES_MAX: u32 = 10;

/// How long a session that hears nothing waits for the control plane to tell why.
const SILENT_MAX: Duration = Duration::from_secs(2);

/// A fresh root secret each hour.
const RENEW_AFTER: Duration = Duration::from_secs(3600);

/// How long after one change of a link others are waited for.
const SETTLE: Duration = Duration::from_millis(5);
const EVENTS_AT_ONCE: usize = 64;
