//! A handle to one client's control connection.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{ClientName, ConnectionNumber, plain_address};
use crate::control::ending::{self, Cause, Goodbye};
use crate::control::identity::PublicKey;
use crate::control::message::{Instance, Message, Unsent};

/// One client's control connection, as seen by the server. Cheap to clone; dropping it changes
/// nothing.
#[derive(Clone, Debug)]
pub struct ClientConnection {
    pub(super) number: ConnectionNumber,
    pub(super) name: ClientName,
    pub(super) key: PublicKey,
    pub(super) instance: Instance,
    pub(super) quic: quinn::Connection,
    outbox: mpsc::Sender<Message>,
    goodbye: Arc<OnceLock<Goodbye>>,
}

impl ClientConnection {
    pub(super) fn new(
        number: ConnectionNumber,
        name: ClientName,
        key: PublicKey,
        instance: Instance,
        quic: quinn::Connection,
    ) -> (Self, mpsc::Receiver<Message>) {
        let (outbox, receiver) = mpsc::channel(OUTBOX_MAX);
        let goodbye = Arc::default();
        (Self { number, name, key, instance, quic, outbox, goodbye }, receiver)
    }

    /// Its number.
    pub fn number(&self) -> ConnectionNumber {
        self.number
    }

    /// The client's name.
    pub fn name(&self) -> &ClientName {
        &self.name
    }

    /// The key that the client proved.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Where the client's control datagrams come from at this moment.
    pub fn remote(&self) -> SocketAddr {
        plain_address(self.quic.remote_address())
    }

    /// The round trip of the control connection, smoothed.
    pub fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    /// Bytes of datagrams sent to the client, without their outer headers.
    pub fn bytes_sent(&self) -> u64 {
        self.quic.stats().udp_tx.bytes
    }

    /// Sends a message, in the order of the calls.
    ///
    /// # Errors
    /// When the connection is over, or 32 messages wait already.
    pub fn send(&self, message: Message) -> Result<(), Unsent> {
        self.outbox.try_send(message).map_err(Unsent::from)
    }

    /// Ends the connection at once; the client is told why.
    pub fn end(&self, goodbye: Goodbye) {
        if self.quic.close_reason().is_none() {
            let goodbye = self.goodbye.get_or_init(|| goodbye);
            ending::say_goodbye(&self.quic, goodbye);
        }
    }

    /// Why the connection is over, waiting for it.
    pub(super) async fn ended(&self) -> Cause {
        match (self.quic.closed().await, self.goodbye.get()) {
            (quinn::ConnectionError::LocallyClosed, Some(goodbye)) => Cause::Left(goodbye.clone()),
            (error, _) => error.into(),
        }
    }
}

/// Messages to one client that wait for the network.
pub(crate) const OUTBOX_MAX: usize = 32;
