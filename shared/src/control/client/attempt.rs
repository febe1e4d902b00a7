//! One attempt: a handshake by one link with one address, on an endpoint of its own.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connecting, Connection, Endpoint, NoneTokenStore, TokioRuntime};
use tokio::time::timeout;

use super::Shared;
use super::attempts::Place;
use super::candidates::Candidate;
use crate::control::boot_clock::BootClock;
use crate::control::ending::Cause;
use crate::control::identity::PublicKey;
use crate::control::tls::{self, ServerPin};
use crate::control::transport;
use crate::control::wire::{ClientWire, VIRTUAL_SERVER};
use crate::entropy;

/// An attempt that is under way.
pub(crate) struct Attempt {
    connecting: Connecting,
    endpoint: Endpoint,
    pin: Arc<ServerPin>,
    line: Line,
}

/// What a connection needs to live on.
pub(crate) struct Line {
    pub(crate) wire: Arc<ClientWire>,
    pub(crate) candidate: Candidate,
    /// Keeps the mail coming.
    _place: Place,
}

/// A connection whose handshake is complete.
pub(crate) struct Established {
    pub(crate) quic: Connection,
    pub(crate) endpoint: Endpoint,
    pub(crate) line: Line,
}

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection ended.
    Ended(Cause),
    /// It cannot even begin.
    Impossible(String),
    /// Too many attempts are alive.
    NoPlace,
    /// Nothing came back; the text is what a socket said, if it said anything.
    Silence(Option<std::io::Error>),
    /// The server proved another key.
    WrongKey(PublicKey),
}

impl Attempt {
    /// Sends the first flight.
    pub(crate) fn begin(shared: &Arc<Shared>, candidate: Candidate) -> Result<Self, Failure> {
        let wire = Arc::new(ClientWire::new(Arc::clone(&shared.out), candidate.route));
        let place = Place::take(shared, &wire).ok_or(Failure::NoPlace)?;
        let pin = Arc::new(ServerPin::new(shared.server.key));
        let config = quic_config(shared, &pin)?;
        let endpoint = Endpoint::new_with_abstract_socket(
            transport::endpoint(&entropy::seed(), place.ids()),
            None,
            Arc::clone(&wire) as Arc<dyn quinn::AsyncUdpSocket>,
            Arc::new(TokioRuntime),
        )
        .map_err(impossible)?;
        let connecting =
            endpoint.connect_with(config, VIRTUAL_SERVER, TLS_NAME).map_err(impossible)?;
        let line = Line { wire, candidate, _place: place };
        Ok(Self { connecting, endpoint, pin, line })
    }

    /// The wire that it sends by.
    pub(crate) fn wire(&self) -> &Arc<ClientWire> {
        &self.line.wire
    }

    /// Completes the handshake. Dropping the future tells the server that nobody waits any more.
    pub(crate) async fn complete(self) -> Result<Established, Failure> {
        let Self { connecting, endpoint, pin, line } = self;
        match timeout(ATTEMPT_MAX, connecting).await {
            Ok(Ok(quic)) => {
                line.wire.set_established();
                Ok(Established { quic, endpoint, line })
            }
            Ok(Err(error)) => Err(match pin.other_key() {
                Some(key) => Failure::WrongKey(key),
                None => Failure::Ended(error.into()),
            }),
            Err(_) => Err(Failure::Silence(line.wire.take_send_error())),
        }
    }
}

fn quic_config(shared: &Shared, pin: &Arc<ServerPin>) -> Result<quinn::ClientConfig, Failure> {
    let tls = tls::client(&shared.key, Arc::clone(pin), Arc::new(BootClock)).map_err(impossible)?;
    let crypto = QuicClientConfig::try_from(tls).map_err(impossible)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport::connection(STREAMS_FROM_SERVER)))
        .token_store(Arc::new(NoneTokenStore));
    Ok(config)
}

fn impossible(error: impl std::fmt::Display) -> Failure {
    Failure::Impossible(error.to_string())
}

/// The server opens no stream.
const STREAMS_FROM_SERVER: u32 = 0;
/// Long enough for a satellite link that loses some; others are begun meanwhile.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// TLS wants a name; it is not sent, and the key is what counts.
const TLS_NAME: &str = "hawser.invalid";
