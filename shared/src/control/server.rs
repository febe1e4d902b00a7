//! The server's end: accepts clients whose keys it knows, and stays calm under a flood.
//!
//! What happens is told in one ordered queue of [`ServerEvent`]s, which the server's main loop
//! reads, from async code or from a plain thread (`blocking_recv`). A client is let in by answering
//! its [`Joining`]; from then on exactly one [`ServerEvent::Left`] follows for it.

mod accept;
mod client_connection;
mod joining;
mod members;
mod serve;
mod stats;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::hkdf;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, NoneTokenLog, TokioRuntime, ValidationTokenConfig};
use tokio::sync::mpsc;

use super::boot_clock::BootClock;
use super::connection_id::ConnectionIds;
use super::ending::{Cause, Goodbye};
use super::identity::{PrivateKey, PublicKey};
use super::message::Message;
use super::tls::{self, GuestList};
use super::transport;
use super::wire::{ControlSend, Route, ServerWire};
use members::Members;
use stats::Counters;

pub use client_connection::ClientConnection;
pub use joining::{Joining, Machine, Predecessor};
pub use stats::ControlStats;

/// A client's name in the server's configuration.
pub type ClientName = Arc<str>;

/// Who may join: asked during every handshake, so it follows the configuration at once.
pub trait Admission: Send + Sync {
    /// The name of the client with this key, `None` if it is not known.
    fn identify(&self, key: &PublicKey) -> Option<ClientName>;
}

/// Tells the control connections of one server's life apart; never given twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionNumber(pub u64);

/// What happens at the server's end.
#[derive(Debug)]
pub enum ServerEvent {
    /// A client has proven its key and asks to be let in: answer it.
    Joining(Joining),
    /// A client that was let in is gone.
    Left {
        /// Which connection.
        connection: ConnectionNumber,
        /// Whose.
        name: ClientName,
        /// Why.
        cause: Cause,
    },
    /// A client that was let in says something.
    Message {
        /// Which connection.
        connection: ConnectionNumber,
        /// What: never a [`Message::Ping`], nor a kind that this version does not know.
        message: Message,
    },
}

/// The control plane of a server.
///
/// Dropping it leaves everything running; [`stop`](Self::stop) ends it.
#[derive(Clone)]
pub struct ControlServer {
    core: Arc<Core>,
}

/// What all tasks of the server share.
struct Core {
    endpoint: Endpoint,
    wire: Arc<ServerWire>,
    admission: Arc<dyn Admission>,
    members: Members,
    counters: Arc<Counters>,
    events: mpsc::Sender<ServerEvent>,
}

impl ControlServer {
    /// Starts to accept clients. Must be called inside a tokio runtime, on which it runs.
    ///
    /// # Errors
    /// When TLS cannot be set up with this key.
    pub fn start(
        key: &PrivateKey,
        admission: Arc<dyn Admission>,
        out: Arc<dyn ControlSend>,
    ) -> std::io::Result<(Self, mpsc::Receiver<ServerEvent>)> {
        let counters = Arc::new(Counters::default());
        let ids = ConnectionIds::new(&key.derive(b"connection ids"), SERVER_MARK);
        let wire = Arc::new(ServerWire::new(out, ids.clone()));
        let endpoint = Endpoint::new_with_abstract_socket(
            transport::endpoint(&key.derive(b"stateless reset"), ids),
            Some(quic_config(key, &admission, &counters)?),
            Arc::clone(&wire) as Arc<dyn quinn::AsyncUdpSocket>,
            Arc::new(TokioRuntime),
        )?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let members = Members::default();
        let core = Arc::new(Core { endpoint, wire, admission, members, counters, events });
        tokio::spawn(accept::run(Arc::clone(&core)));
        Ok((Self { core }, receiver))
    }

    /// Takes a datagram for which [`is_control`](super::is_control) holds. `route` says by which
    /// socket it came from where, and to which local address; `ecn` is the field's two bits. Any
    /// thread may call this; it never waits.
    pub fn push(&self, datagram: &[u8], route: &Route, ecn: u8) {
        self.core.wire.push(datagram, route, ecn);
    }

    /// The connection of the client with this key, if it is let in.
    pub fn connection(&self, key: &PublicKey) -> Option<ClientConnection> {
        self.core.members.find(key)
    }

    /// All connections of clients that are let in.
    pub fn connections(&self) -> Vec<ClientConnection> {
        self.core.members.all()
    }

    /// Everything counted so far.
    pub fn stats(&self) -> ControlStats {
        let stats = self.core.counters.snapshot(self.core.wire.counts());
        ControlStats { members: self.core.members.len() as u64, ..stats }
    }

    /// Says goodbye to all, accepts nobody from here on, and waits until the goodbyes are out, for
    /// half a second at most.
    pub async fn stop(&self, goodbye: Goodbye) {
        self.core.counters.stopping.store(true, Ordering::Relaxed);
        for connection in self.core.members.all() {
            connection.end(goodbye.clone());
        }
        self.core.endpoint.close(quinn::VarInt::from_u32(0), b"");
        // quinn keeps a closed connection for three probe timeouts, to repeat the goodbye.
        let _ = tokio::time::timeout(STOP_MAX, self.core.endpoint.wait_idle()).await;
    }
}

impl std::fmt::Debug for ControlServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlServer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Whether a client's address was seen in another form: IPv4 inside IPv6 is IPv4.
fn plain_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn quic_config(
    key: &PrivateKey,
    admission: &Arc<dyn Admission>,
    counters: &Arc<Counters>,
) -> std::io::Result<quinn::ServerConfig> {
    let (admission, counters) = (Arc::clone(admission), Arc::clone(counters));
    let guest_list = GuestList::new(move |key| {
        let known = admission.identify(key).is_some();
        if !known {
            counters.unknown_keys.fetch_add(1, Ordering::Relaxed);
        }
        known
    });
    let tls = tls::server(key, Arc::new(guest_list), Arc::new(BootClock))
        .map_err(std::io::Error::other)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(std::io::Error::other)?;
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"hawser retry")
        .extract(key.derive(b"retry tokens").as_slice());
    let mut validation = ValidationTokenConfig::default();
    validation.sent(0).log(Arc::new(NoneTokenLog));

    let mut config = quinn::ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
    config
        .transport_config(Arc::new(transport::connection(STREAMS_FROM_CLIENT)))
        .validation_token_config(validation)
        .retry_token_lifetime(RETRY_TOKEN_AGE_MAX)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX)
        .time_source(Arc::new(BootClock));
    Ok(config)
}

/// Ids of the server carry this mark; it has one endpoint, so it does not matter which.
const SERVER_MARK: u8 = 0;
/// The client opens one stream and keeps it.
const STREAMS_FROM_CLIENT: u32 = 1;
/// Events that wait for the server's main loop; beyond it the senders wait.
const EVENTS_MAX: usize = 1024;
/// Clients whose first datagram waits to be looked at; beyond it quinn ignores first datagrams.
const INCOMING_MAX: usize = 512;
/// A client's first flight is two datagrams; twice that, if it repeats itself.
const INCOMING_BYTES_MAX: u64 = 4 * 1200;
/// All of them together.
const INCOMING_BYTES_TOTAL_MAX: u64 = 1 << 20;
/// A client answers Retry within its round trip.
const RETRY_TOKEN_AGE_MAX: Duration = Duration::from_secs(10);
/// How long `stop` waits for the goodbyes.
const STOP_MAX: Duration = Duration::from_millis(500);
