//! Dialling: the race, then hello and answer on the connection that won.

use std::time::Duration;

use quinn::{RecvStream, SendStream};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::attempt::Established;
use super::connection::Control;
use super::error::DialError;
use super::race::Race;
use super::{DialLink, Dialer};
use crate::control::ending::{Cause, Refusal, RefusalCode};
use crate::control::message::{Grant, Hello, Message, MessageError};
use crate::control::message_stream;
use crate::control::secret::RootSecret;

impl Dialer {
    /// Dials until the server lets us in, refuses, or `time_max` is over.
    ///
    /// `links` come in the order in which they are tried, the one that was best last time first.
    /// Any one of them suffices. Must be called inside a tokio runtime; dropping the future gives
    /// everything up.
    ///
    /// # Errors
    /// See [`DialError`]. The server's refusal is final, everything else may pass.
    pub async fn dial(
        &self,
        links: &[DialLink],
        hello: &Hello,
        time_max: Duration,
    ) -> Result<Control, DialError> {
        let mut race = Race::new(&self.shared, links, time_max);
        loop {
            let (index, established) = race.winner().await?;
            let answer = timeout(GRANT_WAIT_MAX, greet(&established, hello)).await;
            match answer.unwrap_or(Err(Cause::Silent)) {
                Ok(answer) => {
                    debug!(link = %established.line.candidate.link, took = ?race.elapsed(), "joined");
                    return Ok(Control::new(established, answer));
                }
                Err(Cause::Refused(refusal)) => return Err(self.refused(refusal)),
                Err(cause) => race.lost(index, cause),
            }
        }
    }

    /// A refusal that names the key to add, if that is what is missing.
    fn refused(&self, refusal: Refusal) -> DialError {
        let reason = match refusal.code {
            RefusalCode::UnknownKey => format!(
                "add it there with `hawser-server client add NAME --pubkey {}`",
                self.shared.key.public()
            ),
            _ => refusal.reason,
        };
        DialError::Refused(Refusal { code: refusal.code, reason })
    }
}

/// What a server's answer gives.
pub(crate) struct Answer {
    pub(crate) grant: Grant,
    pub(crate) secret: RootSecret,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
}

async fn greet(established: &Established, hello: &Hello) -> Result<Answer, Cause> {
    let quic = &established.quic;
    let (mut send, mut receive) = quic.open_bi().await?;
    message_stream::write(&mut send, &Message::Hello(hello.clone())).await.map_err(failed)?;
    let answer = tokio::select! {
        answer = grant(quic, &mut receive) => answer,
        error = nudge(&mut send) => Err(failed(error)),
    };
    let grant = answer?;
    if !hello.suites.contains(&grant.suite) {
        return Err(Cause::Broken("the server chose a suite that we do not speak".into()));
    }
    let secret = RootSecret::export(quic)
        .map_err(|_| Cause::Broken("the handshake gives no key material".into()))?;
    Ok(Answer { grant, secret, send, receive })
}

async fn grant(quic: &quinn::Connection, receive: &mut RecvStream) -> Result<Grant, Cause> {
    loop {
        match message_stream::read(receive).await.map_err(failed)? {
            Some(Message::Grant(grant)) => return Ok(grant),
            Some(Message::Unknown | Message::Ping) => {}
            Some(Message::Hello(_) | Message::Update(_) | Message::Drain) => {
                return Err(Cause::Broken("the server's answer is no grant".into()));
            }
            None => return Err(quic.closed().await.into()),
        }
    }
}

/// Says something now and then until it is dropped, so that a lost hello is noticed.
///
/// When the datagram that completes the handshake is lost, the server cannot read the hello beside
/// it either, and QUIC alone would repeat the one after the other, after 400 ms in all. What is
/// said later draws the acknowledgement that shows the gap.
async fn nudge(send: &mut SendStream) -> MessageError {
    loop {
        sleep(NUDGE_INTERVAL).await;
        // A write is whole or does not happen: the stream's window has room for all of them.
        if let Err(error) = message_stream::write(send, &Message::Ping).await {
            return error;
        }
    }
}

fn failed(error: MessageError) -> Cause {
    match error {
        MessageError::Connection(error) => error.into(),
        other => Cause::Broken(other.to_string()),
    }
}

/// As long as a short round trip; a dozen bytes each time.
const NUDGE_INTERVAL: Duration = Duration::from_millis(60);
/// A server that completed a handshake answers within a round trip and its main loop's time.
const GRANT_WAIT_MAX: Duration = Duration::from_secs(3);
