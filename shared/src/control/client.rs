//! The client's end: dials by all links at once, and keeps the connection that came first.

mod attempt;
mod attempts;
mod candidates;
mod connection;
mod dial;
mod error;
mod lookup;
mod names;
mod race;

use std::sync::Arc;

use super::identity::{PrivateKey, PublicKey};
use super::wire::ControlSend;
use attempts::Attempts;
use names::Names;

pub use connection::{Control, ControlEvent, ControlHandle};
pub use error::{DialError, Tried};

/// The server that a client belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerName {
    /// The key that it must prove.
    pub key: PublicKey,
    /// Where it may be reached, as `HOST:PORT`, the preferred one first. Names are resolved anew
    /// for every dial.
    pub addresses: Vec<String>,
}

/// A link that a dial may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DialLink {
    /// Its socket for servers with IPv4 addresses, `None` if it has no IPv4.
    pub socket_v4: Option<u32>,
    /// Its socket for servers with IPv6 addresses, `None` if it has no IPv6; the same number is
    /// fine.
    pub socket_v6: Option<u32>,
    /// The name that errors use: the interface's.
    pub name: String,
}

/// Dials one server, any number of times, and sorts what comes back.
///
/// Cheap to clone; all clones are the same dialer.
#[derive(Clone)]
pub struct Dialer {
    shared: Arc<Shared>,
}

/// What all attempts of a dialer share.
struct Shared {
    key: PrivateKey,
    server: ServerName,
    names: Names,
    attempts: Attempts,
    out: Arc<dyn ControlSend>,
}

impl Dialer {
    /// A client with this key, for this server. What quinn sends leaves through `out`.
    pub fn new(key: PrivateKey, server: ServerName, out: Arc<dyn ControlSend>) -> Self {
        let names = Names::new(server.addresses.clone());
        let attempts = Attempts::default();
        Self { shared: Arc::new(Shared { key, server, names, attempts, out }) }
    }

    /// Takes a datagram for which [`is_control`](super::is_control) holds, whichever socket it came
    /// to and from wherever; `ecn` is the field's two bits. Any thread may call this; it never
    /// waits.
    pub fn push(&self, datagram: &[u8], ecn: u8) {
        self.shared.attempts.push(datagram, ecn);
    }

    /// All addresses that the server's names are known to have, in their order.
    pub fn addresses(&self) -> Vec<std::net::SocketAddr> {
        self.shared.names.known()
    }

    /// Datagrams that belonged to no attempt, or found no room.
    pub fn datagrams_dropped(&self) -> u64 {
        self.shared.attempts.dropped()
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("server", &self.shared.server).finish_non_exhaustive()
    }
}
