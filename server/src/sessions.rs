//! The sessions of all clients: who has which slot, and when one is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use engine::{EpochLimits, Event, Filter, Prefix, SessionConfig, Side, Trial, wire::SESSION_SLOTS};
use ipnet::IpNet;
use shared::{
    classes::Classes,
    clock,
    control::{
        Activation, Cause, ClientConnection, ConnectionNumber, GoodbyeCode, Grant, Joining,
        Refusal, RefusalCode, Settings, Suite,
    },
    driver::{DriverReport, NewSession, status},
    entropy,
    mode::Mode,
    status::Session,
    suites,
};
use tracing::debug;

use crate::{clients::Client, config::Config};

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    sessions: BTreeMap<u32, Entry>,
    next_slot: u32,
    terms: Terms,
}

/// What every client is offered.
#[derive(Debug)]
struct Terms {
    pools: Vec<IpNet>,
    own: Vec<IpAddr>,
    advertised: Vec<String>,
    mode: Mode,
    /// What is said about classes of traffic, for what goes down.
    classes: Classes,
    may_choose: bool,
    client_to_client: bool,
    ciphers: Vec<Suite>,
    rekey: EpochLimits,
    trial: Trial,
}

#[derive(Debug)]
struct Entry {
    client: String,
    key: String,
    inner: Vec<IpAddr>,
    mode: Mode,
    connection: ConnectionNumber,
    since: u64,
    /// Without a control connection: why, and until when it lives, on the clock since boot.
    over: Option<(Orphaned, Duration)>,
}

/// Why a session has no control connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Orphaned {
    /// Its client has a newer session.
    Renewed,
    /// It was lost.
    Lost,
}

impl Sessions {
    pub(crate) fn new(config: &Config) -> Self {
        let mut random = [0; 4];
        entropy::fill(&mut random);
        Self {
            sessions: BTreeMap::new(),
            // A restarted server begins elsewhere, so that stray datagrams find no session.
            next_slot: u32::from_ne_bytes(random) % SESSION_SLOTS,
            terms: Terms {
                pools: config.pools.networks().collect(),
                own: config.pools.server().addresses().collect(),
                advertised: config.advertise.iter().map(|it| it.to_string()).collect(),
                mode: config.mode,
                classes: config.classes.clone(),
                may_choose: config.client_may_choose_mode,
                client_to_client: config.client_to_client,
                ciphers: config.ciphers.clone(),
                rekey: config.rekey,
                trial: config.trial,
            },
        }
    }

    /// Makes a session for a client that asks to be let in.
    ///
    /// # Errors
    /// Why it is not let in.
    pub(crate) fn admit(
        &mut self,
        joining: &Joining,
        client: Option<&Client>,
    ) -> Result<(NewSession, Grant), Refusal> {
        let client = client.ok_or_else(|| {
            Refusal::new(RefusalCode::UnknownKey, "the server knows no client with this key")
        })?;
        let hello = &joining.hello;
        let ours = &self.terms.ciphers;
        let suite = Suite::choose(ours, &hello.suites).ok_or_else(|| {
            let list =
                |suites: &[Suite]| suites.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
            let (offered, accepted) = (list(&hello.suites), list(ours));
            let why = format!(
                "the server accepts the ciphers {accepted}, and the client offers {offered}: \
                 `ciphers` at one end has to name one of the other's"
            );
            Refusal::new(RefusalCode::Unsuitable, why)
        })?;
        let mode = self.terms.choose_mode(client, hello.mode.as_deref());
        let slot = self.free_slot().ok_or_else(|| {
            Refusal::new(RefusalCode::Full, "the server has no session left to give")
        })?;
        let activation = Activation::generate();
        let inner: Vec<IpAddr> = client.lease.addresses().collect();
        let config = SessionConfig {
            side: Side::Server,
            suite: suites::engine_suite(suite),
            root: (*joining.secret.as_bytes()).into(),
            activation: activation.0,
            peer_slot: hello.slot,
            filter: self.terms.filter(client),
            steering: self.terms.classes.steering(mode),
            epoch_limits: self.terms.rekey,
            trial: self.terms.trial,
            seed: entropy::seed(),
        };
        let hosts = inner.iter().map(|&address| IpNet::from(address));
        let prefixes = hosts.chain(client.prefixes.iter().copied()).collect();
        let replaces = self.of_client_newest(&client.name);
        let grant = Grant {
            slot,
            suite,
            activation,
            replaced: None,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            settings: self.terms.settings(client, mode),
        };
        let entry = Entry {
            client: client.name.clone(),
            key: client.public_key.to_string(),
            inner,
            mode,
            connection: joining.connection.number(),
            since: clock::since_epoch().as_secs(),
            over: None,
        };
        self.sessions.insert(slot, entry);
        Ok((NewSession { slot, config, prefixes, replaces, paths: Vec::new() }, grant))
    }

    /// A control connection is over. Returns the sessions that are over with it.
    pub(crate) fn on_left(&mut self, connection: ConnectionNumber, cause: &Cause) -> Vec<u32> {
        let now = clock::since_boot();
        let found = self.sessions.iter_mut().find(|(_, entry)| entry.connection == connection);
        let Some((&slot, entry)) = found else { return Vec::new() };
        let code = match cause {
            Cause::Goodbye(goodbye) | Cause::Left(goodbye) => Some(goodbye.code),
            _ => None,
        };
        match code {
            // What the old session has on its way still arrives by it.
            Some(GoodbyeCode::Renewed) => {
                entry.over = Some((Orphaned::Renewed, now + RENEWED_FOR));
            }
            Some(_) => {
                self.sessions.remove(&slot);
                return vec![slot];
            }
            // The data plane may be well; the client connects anew if it is alive.
            None => entry.over = Some((Orphaned::Lost, now + ORPHANED_FOR)),
        }
        Vec::new()
    }

    /// Whether the time of a session may be over.
    pub(crate) fn is_one_due(&self) -> bool {
        let now = clock::since_boot();
        self.sessions.values().any(|entry| entry.over.is_some_and(|(_, at)| at <= now))
    }

    /// Takes out the sessions whose time is over. One that lost its control connection and still
    /// carries traffic lives on: something on the way may stop the one and not the other.
    pub(crate) fn expired(&mut self, report: &DriverReport) -> Vec<u32> {
        let now = clock::since_boot();
        let alive: BTreeSet<u32> =
            report.sessions.iter().filter(|it| !it.silent).map(|it| it.slot).collect();
        let over = |slot: &u32, entry: &mut Entry| match &mut entry.over {
            Some((why, at)) if *at <= now => {
                let stays = *why == Orphaned::Lost && alive.contains(slot);
                *at = now + ORPHANED_FOR;
                !stays
            }
            _ => false,
        };
        self.sessions.extract_if(.., over).map(|(slot, _)| slot).collect()
    }

    /// Takes out the sessions of a client.
    pub(crate) fn of_client(&mut self, name: &str) -> Vec<u32> {
        let its = |entry: &Entry| entry.client == name;
        self.sessions.extract_if(.., |_, entry| its(entry)).map(|(slot, _)| slot).collect()
    }

    pub(crate) fn on_event(&mut self, slot: u32, event: Event) {
        let client = self.sessions.get(&slot).map(|entry| entry.client.as_str());
        match event {
            Event::Path { path, from, to } => {
                tracing::info!(client, path = path.0, from = from.name(), to = to.name(), "path");
            }
            Event::Rebound(path) => debug!(client, path = path.0, "path has another address"),
            Event::TunnelMtu(mtu) => debug!(client, mtu, "tunnel MTU"),
        }
    }

    /// The sessions as status shows them.
    pub(crate) fn describe(
        &self,
        report: &DriverReport,
        connections: &[ClientConnection],
    ) -> Vec<Session> {
        let control: BTreeMap<ConnectionNumber, u64> =
            connections.iter().map(|it| (it.number(), it.bytes_sent())).collect();
        let shown = report.sessions.iter().filter_map(|session| {
            let entry = self.sessions.get(&session.slot)?;
            let state = if entry.over.is_some() { "reconnecting" } else { "up" };
            Some(Session {
                name: entry.client.clone(),
                peer: entry.key.clone(),
                state: state.to_owned(),
                inner: entry.inner.clone(),
                since: entry.since,
                mode: entry.mode.name().to_owned(),
                ..status::describe(
                    session,
                    Side::Server,
                    control.get(&entry.connection).copied(),
                    |_| String::new(),
                )
            })
        });
        shown.collect()
    }

    fn of_client_newest(&self, name: &str) -> Option<u32> {
        let its = self.sessions.iter().filter(|(_, entry)| entry.client == name);
        its.max_by_key(|(_, entry)| entry.connection).map(|(&slot, _)| slot)
    }

    fn free_slot(&mut self) -> Option<u32> {
        if self.sessions.len() >= SESSIONS_MAX {
            return None;
        }
        while self.sessions.contains_key(&self.next_slot) {
            self.next_slot = (self.next_slot + 1) % SESSION_SLOTS;
        }
        let slot = self.next_slot;
        self.next_slot = (slot + 1) % SESSION_SLOTS;
        Some(slot)
    }
}

impl Terms {
    fn choose_mode(&self, client: &Client, wanted: Option<&str>) -> Mode {
        let wanted = wanted.and_then(|name| name.parse::<Mode>().ok());
        match wanted {
            Some(mode) if self.may_choose && client.may_choose(mode) => mode,
            _ => self.mode,
        }
    }

    fn filter(&self, client: &Client) -> Filter {
        let hosts = client.lease.addresses().map(IpNet::from);
        let allowed = hosts.chain(client.prefixes.iter().copied()).filter_map(prefix);
        let forbidden = self.pools.iter().copied().filter(|_| !self.client_to_client);
        Filter::Sources {
            allowed: allowed.collect(),
            forbidden: forbidden.filter_map(prefix).collect(),
            exempt: self.own.iter().map(|&own| IpNet::from(own)).filter_map(prefix).collect(),
        }
    }

    fn settings(&self, client: &Client, mode: Mode) -> Settings {
        let with_pool = client.lease.addresses().filter_map(|address| {
            let pool = self.pools.iter().find(|pool| pool.contains(&address))?;
            IpNet::new(address, pool.prefix_len()).ok()
        });
        Settings {
            addresses: with_pool.collect(),
            server_addresses: self.own.clone(),
            pools: self.pools.clone(),
            prefixes: client.prefixes.clone(),
            routes: Vec::new(),
            dns: Vec::new(),
            mode_up: mode.name().to_owned(),
            mode_down: mode.name().to_owned(),
            advertised: self.advertised.clone(),
            keepalive_ms: None,
            mtu: None,
        }
    }
}

fn prefix(net: IpNet) -> Option<Prefix> {
    Prefix::new(net.network(), net.prefix_len())
}

/// Sessions of one server: what two cores can keep probing.
const SESSIONS_MAX: usize = 20_000;

/// How long a session receives after its client has a newer one.
const RENEWED_FOR: Duration = Duration::from_secs(3);

/// How long a session lives without a control connection.
const ORPHANED_FOR: Duration = Duration::from_secs(60);
