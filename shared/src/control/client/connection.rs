//! The client's control connection, once the server has let it in.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quinn::Endpoint;
use tokio::sync::mpsc;

use super::attempt::{Established, Line};
use super::dial::Answer;
use crate::control::ending::{self, Cause, Goodbye, GoodbyeCode};
use crate::control::message::{Grant, Message, MessageError, Settings, Unsent};
use crate::control::message_stream;
use crate::control::secret::RootSecret;
use crate::control::wire::{ClientWire, Route};

/// A client's control connection. Dropping it says goodbye.
#[derive(Debug)]
pub struct Control {
    grant: Grant,
    secret: RootSecret,
    link: String,
    events: mpsc::Receiver<ControlEvent>,
    endpoint: Endpoint,
    handle: ControlHandle,
}

/// What happens on a control connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ControlEvent {
    /// It is over. Nothing follows.
    Closed(Cause),
    /// The server will leave soon.
    Drain,
    /// The server's settings are these from here on.
    Update(Settings),
}

/// Acts on a control connection from elsewhere. Cheap to clone; dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    quic: quinn::Connection,
    wire: Arc<ClientWire>,
    outbox: mpsc::Sender<Message>,
    goodbye: Arc<OnceLock<Goodbye>>,
}

impl Control {
    pub(crate) fn new(established: Established, answer: Answer) -> Self {
        let Established { quic, endpoint, line } = established;
        let Answer { grant, secret, send, receive } = answer;
        let (outbox, messages) = mpsc::channel(OUTBOX_MAX);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let wire = Arc::clone(&line.wire);
        let link = line.candidate.link.clone();
        let handle = ControlHandle { quic, wire, outbox, goodbye: Arc::default() };
        let streams = (send, receive);
        tokio::spawn(talk(handle.clone(), endpoint.clone(), line, streams, messages, sender));
        Self { grant, secret, link, events, endpoint, handle }
    }

    /// What the server granted.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The root secret that both ends share.
    pub fn secret(&self) -> &RootSecret {
        &self.secret
    }

    /// The name of the link that won the race.
    pub fn link(&self) -> &str {
        &self.link
    }

    /// The route that won the race.
    pub fn route(&self) -> Route {
        self.handle.route()
    }

    /// The next event; `None` after [`ControlEvent::Closed`]. May be cancelled.
    pub async fn next_event(&mut self) -> Option<ControlEvent> {
        self.events.recv().await
    }

    /// To act on the connection from elsewhere.
    pub fn handle(&self) -> &ControlHandle {
        &self.handle
    }

    /// Says goodbye and waits until it is out, for a quarter of a second at most.
    pub async fn close(self, goodbye: Goodbye) {
        self.handle.end(goodbye);
        // quinn keeps a closed connection for three probe timeouts, to repeat the goodbye.
        let _ = tokio::time::timeout(CLOSE_MAX, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.handle.end(Goodbye::new(GoodbyeCode::Ended, ""));
    }
}

impl ControlHandle {
    /// Sends a message, in the order of the calls.
    ///
    /// # Errors
    /// When the connection is over, or 32 messages wait already.
    pub fn send(&self, message: Message) -> Result<(), Unsent> {
        self.outbox.try_send(message).map_err(Unsent::from)
    }

    /// Draws an answer from the server: call this when the data plane hears nothing. A server that
    /// has restarted answers by a reset, and [`ControlEvent::Closed`] follows within a round trip.
    pub fn ping(&self) {
        // A full outbox draws an answer as well.
        let _ = self.send(Message::Ping);
    }

    /// Sends by another route from here on, and lets the server know by a ping.
    pub fn set_route(&self, route: Route) {
        if self.wire.route() != route {
            self.wire.set_route(route);
            self.ping();
        }
    }

    /// The route that datagrams leave by.
    pub fn route(&self) -> Route {
        self.wire.route()
    }

    /// The round trip, smoothed.
    pub fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    /// Bytes of datagrams sent to the server, without their outer headers.
    pub fn bytes_sent(&self) -> u64 {
        self.quic.stats().udp_tx.bytes
    }

    /// Ends the connection at once; the server is told why.
    pub fn end(&self, goodbye: Goodbye) {
        if self.quic.close_reason().is_none() {
            let goodbye = self.goodbye.get_or_init(|| goodbye);
            ending::say_goodbye(&self.quic, goodbye);
        }
    }

    async fn ended(&self) -> Cause {
        match self.quic.closed().await {
            quinn::ConnectionError::LocallyClosed => {
                let nameless = || Goodbye::new(GoodbyeCode::Ended, "");
                Cause::Left(self.goodbye.get().cloned().unwrap_or_else(nameless))
            }
            other => other.into(),
        }
    }
}

/// Carries messages both ways until the connection is over, and says why it is.
async fn talk(
    handle: ControlHandle,
    endpoint: Endpoint,
    line: Line,
    streams: (quinn::SendStream, quinn::RecvStream),
    mut messages: mpsc::Receiver<Message>,
    events: mpsc::Sender<ControlEvent>,
) {
    let (mut send, mut receive) = streams;
    let writing = async {
        while let Some(message) = messages.recv().await {
            message_stream::write(&mut send, &message).await?;
        }
        Ok::<(), MessageError>(())
    };
    let reading = async {
        while let Some(message) = message_stream::read(&mut receive).await? {
            let event = match message {
                Message::Update(settings) => ControlEvent::Update(settings),
                Message::Drain => ControlEvent::Drain,
                Message::Ping | Message::Unknown => continue,
                Message::Hello(_) | Message::Grant(_) => return Err(MessageError::Limit("type")),
            };
            // Whoever dropped the receiver has dropped the connection as well.
            let _ = events.send(event).await;
        }
        Ok(())
    };
    let cause = tokio::select! {
        cause = handle.ended() => cause,
        result = async { tokio::try_join!(writing, reading) } => {
            match result {
                Ok(_) | Err(MessageError::Connection(_)) => {}
                Err(error) => {
                    handle.end(Goodbye::new(GoodbyeCode::Misbehaved, error.to_string()));
                }
            }
            handle.ended().await
        }
    };
    // Whoever dropped the receiver does not want to know.
    let _ = events.send(ControlEvent::Closed(cause)).await;
    // While quinn keeps the closed connection, what the server still sends draws the goodbye again.
    endpoint.wait_idle().await;
    drop(line);
}

/// Messages to the server that wait for the network.
pub(crate) const OUTBOX_MAX: usize = 32;
/// Events that wait for their reader; beyond it the server's messages wait.
const EVENTS_MAX: usize = 32;
/// How long `close` waits for the goodbye.
const CLOSE_MAX: Duration = Duration::from_millis(250);
