//! A question to a name server.

use std::io;
use std::time::Duration;

use shared::clock;
use shared::name_query;
use simple_dns::{Packet, RCODE, TYPE};
use tokio::time::timeout;

use super::socket::Binding;
use super::{Cause, Outcome, connect};
use crate::probe_config::DnsProbe;

/// Asks once. Any answer without an error is good, even that the name has no address.
pub(super) async fn ask(
    binding: &Binding,
    probe: &DnsProbe,
    patience: Duration,
) -> Option<Outcome> {
    let began = clock::since_boot();
    match timeout(patience, exchange(binding, probe)).await.ok()? {
        Ok(RCODE::NoError) => Some(Outcome::Answered(clock::since_boot().saturating_sub(began))),
        Ok(error) => Some(Outcome::Refused(Cause::NameServer(error as u16))),
        Err(error) => connect::outcome(&error),
    }
}

async fn exchange(binding: &Binding, probe: &DnsProbe) -> io::Result<RCODE> {
    let socket = binding.udp(probe.server)?;
    let (id, question) = name_query::question(&probe.name, TYPE::A)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    socket.send(&question).await?;
    let mut bytes = [0; name_query::ANSWER_MAX];
    loop {
        let length = socket.recv(&mut bytes).await?;
        match Packet::parse(&bytes[..length]) {
            Ok(answer) if name_query::is_answer(&answer) && answer.id() == id => {
                return Ok(answer.rcode());
            }
            _ => {}
        }
    }
}
