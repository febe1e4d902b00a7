//! Paths: what carries datagrams between one client link and one server address.

use std::net::{IpAddr, SocketAddr};

use self::cause::Cause;
use crate::time::Span;

pub(crate) mod cause;
pub(crate) mod delays;
mod gauge;
pub(crate) mod memory;
pub(crate) mod mtu;
mod policer;
pub(crate) mod progress;
mod proof;
mod rival;
pub(crate) mod rtt;
pub(crate) mod sent;
mod sounding;
pub(crate) mod window;

/// A path's slot in its session; it belongs to a client link and a server address for the
/// session's life.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PathId(pub u8);

impl PathId {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn bit(self) -> u16 {
        1 << self.0
    }
}

/// Where a path's datagrams come from and go to. It may change while the path lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FourTuple {
    /// The driver's number of the socket.
    pub socket: u16,
    /// Our own address, where the socket has several.
    pub local: Option<IpAddr>,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// What has been observed of a path.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum PathState {
    /// Given up for the session's life.
    Closed,
    /// Silent for so long that nothing is expected of it; probed now and then.
    Dead,
    /// Answers again after it was dead; has to prove itself.
    Probation,
    /// What was sent on it is overdue. Nothing new is sent on it.
    Suspect,
    /// Carries data.
    Up,
    /// Opened, and not answered yet.
    Validating,
}

impl PathState {
    /// The state's name in status and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Dead => "dead",
            Self::Probation => "probation",
            Self::Suspect => "suspect",
            Self::Up => "up",
            Self::Validating => "validating",
        }
    }
}

/// How the kernel says that nothing leaves by a link any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hint {
    /// The link's address, or its route, is gone.
    Address,
    /// The interface is gone, or has no carrier.
    Carrier,
    /// One of these was seen by the peer, about its end of the link.
    Peer,
    /// A datagram could not be sent.
    Send,
}

impl Hint {
    /// The hint's name in status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Carrier => "carrier",
            Self::Peer => "the peer's kernel",
            Self::Send => "send error",
        }
    }
}

/// What a path looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathSnapshot {
    /// The path.
    pub id: PathId,
    /// Its addresses.
    pub tuple: FourTuple,
    /// Its state as its sender sees it.
    pub state: PathState,
    /// Whether it has nothing to carry and the peer knows.
    pub quiet: bool,
    /// Its rank among the client's links.
    pub rank: u8,
    /// Whether each byte on its link costs.
    pub metered: bool,
    /// Smoothed round-trip time and its variation (RFC 6298), and the smallest one of late.
    pub srtt: Option<Span>,
    /// Mean deviation of the round-trip time.
    pub rttvar: Span,
    /// The smallest round-trip time seen in the last ten seconds.
    pub min_rtt: Option<Span>,
    /// Bytes a second that arrived at the peer of late.
    pub rate: u64,
    /// Bytes that may be on their way.
    pub window: u64,
    /// Bytes that are on their way.
    pub in_flight: u64,
    /// How long what is sent waits on the path.
    pub queue: Span,
    /// What the path adds to its smallest delay on average, without a queue.
    pub jitter: Span,
    /// Bytes a second that it is sent at most.
    pub pace: u64,
    /// Bytes a second that it carries, as far as is known: before it was used, by how the first datagrams came out
    /// of it. 0 if nothing is known.
    pub capacity: u64,
    /// Whether it leads flows that begin, although another is nearer.
    pub leads: bool,
    /// The share of bytes that was lost in the last seconds under load, from 0 to 1.
    pub lost: f64,
    /// Whether as much would be lost if less were sent.
    pub loses_by_itself: bool,
    /// Why it does not carry more.
    pub cause: Cause,
    /// The longest datagram that the path has been shown to carry, with IP and UDP headers.
    pub mtu: u16,
    /// What was sent.
    pub sent: crate::stats::PathSent,
    /// What was received.
    pub received: crate::stats::PathReceived,
}
