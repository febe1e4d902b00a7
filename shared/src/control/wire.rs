//! What quinn takes for a socket: a bounded inbox that the data plane's threads fill, and a way out
//! through their sockets.
//!
//! On the client quinn sees one virtual server address (`VIRTUAL_SERVER`) and `ClientWire`
//! decides by its current [`Route`] which link and which of the server's addresses a datagram goes
//! to; the route may change at any time. On the server quinn sees real addresses, so that Retry,
//! the limit on amplification and path validation mean something, and `ServerWire` only
//! remembers which of our sockets a client's datagrams come to, so that answers leave there.

mod arrivals;
mod client_wire;
mod inbox;
mod initials;
mod server_wire;

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use quinn::UdpPoller;
use quinn::udp::EcnCodepoint;

pub(crate) use client_wire::ClientWire;
pub(crate) use server_wire::{ServerWire, WireCounts};

/// The way of one control datagram: by which of our sockets, to or from which address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Route {
    /// Our socket, by the number that its owner gave it: one for each link on a client, one for
    /// each address that a server listens on.
    pub socket: u32,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Our address, if a socket has several: where a datagram came to, and is to leave from.
    pub local: Option<IpAddr>,
}

/// The way out: implemented over the data plane's sockets.
pub trait ControlSend: Send + Sync {
    /// Sends one datagram without waiting. `ecn` is the field's two bits (RFC 3168, section 5).
    ///
    /// # Errors
    /// What the socket says, [`io::ErrorKind::WouldBlock`] included: the datagram is counted as
    /// lost, and QUIC sends its content again.
    fn send(&self, datagram: &[u8], route: &Route, ecn: u8) -> io::Result<()>;
}

/// The server's address as the client's quinn knows it, from the discard-only prefix (RFC 6666).
pub(crate) const VIRTUAL_SERVER: SocketAddr =
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1), 1, 0, 0));

/// Our own address as quinn knows it: it only looks at the family, and IPv6 admits both.
pub(crate) const LOCAL: SocketAddr =
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));

/// Bytes in the longest control datagram that is read. We send 1200; 1500 − 28 is what other
/// implementations may send.
pub(crate) const DATAGRAM_MAX: usize = 1472;

/// Says that there is always room to send: what a socket has no room for is lost.
#[derive(Debug)]
pub(crate) struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Locks, whatever happened to the thread that held the lock before: all we keep under locks is
/// whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ecn_bits(ecn: Option<EcnCodepoint>) -> u8 {
    ecn.map_or(0, |ecn| ecn as u8)
}
