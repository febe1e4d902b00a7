//! A TCP connection that is opened and closed.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use shared::clock;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::socket::Binding;
use super::{Cause, Outcome};

/// Opens a connection and closes it.
pub(super) async fn ask(
    binding: &Binding,
    target: SocketAddr,
    patience: Duration,
) -> Option<Outcome> {
    let began = clock::since_boot();
    match timeout(patience, open(binding, target)).await {
        Ok(Ok(_)) => Some(Outcome::Answered(clock::since_boot().saturating_sub(began))),
        Ok(Err(error)) => outcome(&error),
        Err(_) => None,
    }
}

/// A connection through the uplink.
pub(super) async fn open(binding: &Binding, target: SocketAddr) -> io::Result<TcpStream> {
    binding.tcp(target)?.connect(target).await
}

/// What an error of a connection says about the way there.
pub(super) fn outcome(error: &io::Error) -> Option<Outcome> {
    match error.kind() {
        ErrorKind::ConnectionRefused => Some(Outcome::Refused(Cause::Refused)),
        ErrorKind::TimedOut => None,
        _ => Some(Outcome::Unreachable),
    }
}
