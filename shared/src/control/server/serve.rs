//! The life of one connection at the server: handshake, hello, answer, messages, end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::{Incoming, RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info};

use super::accept::HalfOpen;
use super::joining::{Joining, Machine, Predecessor};
use super::stats::add;
use super::{ClientConnection, ConnectionNumber, Core, ServerEvent, plain_address};
use crate::control::ending::{self, Goodbye, GoodbyeCode, Refusal, RefusalCode};
use crate::control::message::{Grant, Hello, Message, MessageError};
use crate::control::message_stream;
use crate::control::secret::RootSecret;
use crate::control::tls;

/// Serves one connection until it is over.
pub(super) async fn run(core: Arc<Core>, incoming: Incoming, half_open: HalfOpen) {
    let Some(quic) = handshake(&core, incoming).await else { return };
    let (hello, send, receive) = match timeout(HELLO_WAIT_MAX, hello(&quic)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(MessageError::Connection(_) | MessageError::Truncated)) => {
            return add(&core.counters.races_lost);
        }
        Ok(Err(error)) => {
            debug!(%error, "malformed hello");
            let goodbye = Goodbye::new(GoodbyeCode::Misbehaved, error.to_string());
            return ending::say_goodbye(&quic, &goodbye);
        }
        Err(_) => {
            let goodbye = Goodbye::new(GoodbyeCode::Misbehaved, "no hello came");
            return ending::say_goodbye(&quic, &goodbye);
        }
    };
    let joined = join(&core, &quic, hello).await;
    drop(half_open);
    match joined {
        Ok(member) => serve(&core, member, send, receive).await,
        Err(refusal) => {
            add(&core.counters.refusals);
            debug!(%refusal, "client refused");
            ending::refuse(&quic, &refusal);
        }
    }
}

/// A client that was let in.
struct Member {
    connection: ClientConnection,
    grant: Grant,
    outbox: mpsc::Receiver<Message>,
}

async fn handshake(core: &Core, incoming: Incoming) -> Option<quinn::Connection> {
    add(&core.counters.handshakes_started);
    let done = async { incoming.accept()?.await };
    match timeout(HANDSHAKE_MAX, done).await {
        Ok(Ok(quic)) => {
            add(&core.counters.handshakes_completed);
            return Some(quic);
        }
        Ok(Err(error)) => debug!(%error, "handshake failed"),
        Err(_) => debug!("handshake took too long"),
    }
    add(&core.counters.handshakes_failed);
    None
}

async fn hello(quic: &quinn::Connection) -> Result<(Hello, SendStream, RecvStream), MessageError> {
    let (send, mut receive) = quic.accept_bi().await.map_err(MessageError::Connection)?;
    match message_stream::read(&mut receive).await? {
        Some(Message::Hello(hello)) => Ok((hello, send, receive)),
        Some(_) => Err(MessageError::Limit("type")),
        None => Err(MessageError::Truncated),
    }
}

/// Asks the server's main loop, and takes the client in if it says so.
async fn join(core: &Core, quic: &quinn::Connection, hello: Hello) -> Result<Member, Refusal> {
    if core.counters.stopping.load(Ordering::Relaxed) {
        return Err(Refusal::new(RefusalCode::Draining, ""));
    }
    let key = tls::peer_key(quic);
    // Asked again: it may have been removed since the handshake.
    let name = key.and_then(|key| core.admission.identify(&key));
    let (Some(key), Some(name)) = (key, name) else {
        return Err(Refusal::new(RefusalCode::Removed, ""));
    };
    let secret = RootSecret::export(quic)
        .map_err(|_| Refusal::new(RefusalCode::Unsuitable, "no key material"))?;

    let number = ConnectionNumber(core.counters.next_number.fetch_add(1, Ordering::Relaxed));
    let instance = hello.instance;
    let (connection, outbox) = ClientConnection::new(number, name, key, instance, quic.clone());
    let (answer, answered) = oneshot::channel();
    let predecessor = core.members.find(&key).map(|other| predecessor(&other, &connection));
    let joining = Joining { connection: connection.clone(), hello, secret, predecessor, answer };
    let stopped = || Refusal::new(RefusalCode::Draining, "");
    core.events.send(ServerEvent::Joining(joining)).await.map_err(|_| stopped())?;
    let mut grant = answered.await.map_err(|_| stopped())??;

    if let Some(other) = core.members.insert(connection.clone()) {
        grant.replaced = part_with(core, &other, &connection);
    }
    Ok(Member { connection, grant, outbox })
}

fn predecessor(other: &ClientConnection, connection: &ClientConnection) -> Predecessor {
    let same = other.instance == connection.instance;
    let machine = if same { Machine::Same } else { Machine::Another };
    Predecessor { connection: other.number, remote: other.remote(), machine }
}

/// Ends the connection whose place was taken. Returns where it came from, if it was another
/// machine's.
fn part_with(
    core: &Core,
    other: &ClientConnection,
    connection: &ClientConnection,
) -> Option<std::net::SocketAddr> {
    let Predecessor { remote, machine, .. } = predecessor(other, connection);
    match machine {
        Machine::Same => {
            other.end(Goodbye::new(GoodbyeCode::Renewed, ""));
            None
        }
        Machine::Another => {
            add(&core.counters.replacements);
            info!(client = %connection.name, "another machine joined with this client's key");
            let by = connection.remote().ip();
            let reason = format!("it joined from {by}; give each machine a key of its own");
            other.end(Goodbye::new(GoodbyeCode::Replaced, reason));
            Some(plain_address(remote))
        }
    }
}

async fn serve(core: &Core, member: Member, mut send: SendStream, mut receive: RecvStream) {
    let Member { connection, grant, mut outbox } = member;
    add(&core.counters.grants);
    let writing = async {
        message_stream::write(&mut send, &Message::Grant(grant)).await?;
        while let Some(message) = outbox.recv().await {
            message_stream::write(&mut send, &message).await?;
        }
        Ok::<(), MessageError>(())
    };
    let talk = async { tokio::try_join!(writing, read_all(core, &connection, &mut receive)) };
    let cause = tokio::select! {
        cause = connection.ended() => cause,
        result = talk => {
            match result {
                Ok(_) | Err(MessageError::Connection(_)) => {}
                Err(error) => {
                    connection.end(Goodbye::new(GoodbyeCode::Misbehaved, error.to_string()));
                }
            }
            connection.ended().await
        }
    };
    core.members.remove(&connection.key, connection.number);
    let left =
        ServerEvent::Left { connection: connection.number, name: connection.name.clone(), cause };
    // Without a main loop, nobody wants to know.
    let _ = core.events.send(left).await;
}

/// Passes on what the client says, at its leisure: a talkative client only holds up itself.
async fn read_all(
    core: &Core,
    connection: &ClientConnection,
    receive: &mut RecvStream,
) -> Result<(), MessageError> {
    while let Some(message) = message_stream::read(receive).await? {
        match message {
            Message::Hello(_) | Message::Grant(_) => return Err(MessageError::Limit("type")),
            Message::Ping | Message::Unknown => {}
            Message::Update(_) | Message::Drain => {
                let event = ServerEvent::Message { connection: connection.number, message };
                // Without a main loop, nobody wants to know.
                let _ = core.events.send(event).await;
            }
        }
        tokio::time::sleep(MESSAGE_INTERVAL).await;
    }
    Ok(())
}

/// Nobody is waiting any more when a handshake took so long.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// A client says hello with the end of its handshake.
const HELLO_WAIT_MAX: Duration = Duration::from_secs(3);
/// Between two messages that are taken from one client.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(20);
