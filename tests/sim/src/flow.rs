//! Inner conversations: what the hosts on both sides of a tunnel say to each other.

pub mod cbr;
pub mod quic;
pub mod tcp;

mod report;

pub use report::Report;

use crate::packet::Packet;

/// One end of an inner conversation, which sends and receives whole IP packets.
///
/// A flow does nothing by itself. Tell it what happened, then ask what to do:
///
/// | happened                                      | ask                                   |
/// |-----------------------------------------------|---------------------------------------|
/// | a packet for it arrived: [`handle_packet`]    | [`poll_packet`], until there is none  |
/// | the time of [`poll_timeout`] came             | the same                              |
/// | the simulation begins                         | the same                              |
///
/// After that, [`poll_timeout`] tells when to come back. Times are microseconds since the simulation
/// began, and must not go backwards.
///
/// [`handle_packet`]: Flow::handle_packet
/// [`poll_packet`]: Flow::poll_packet
/// [`poll_timeout`]: Flow::poll_timeout
pub trait Flow {
    /// Takes a packet that arrived. One that is not this flow's, or damaged, is only counted.
    fn handle_packet(&mut self, now: u64, packet: &[u8]);

    /// The next packet to send, if any may leave at this moment. Runs the timers that are due.
    fn poll_packet(&mut self, now: u64) -> Option<Packet>;

    /// When to call [`poll_packet`](Flow::poll_packet) next, if nothing arrives before.
    fn poll_timeout(&self) -> Option<u64>;

    /// Whether everything that this end had to say was said and acknowledged, and the other end
    /// ended as well.
    fn is_finished(&self) -> bool;

    /// What this end saw so far.
    fn report(&self) -> Report;
}

/// How much a flow sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Load {
    /// This many bytes, then the end.
    Bytes(u64),
    /// As much as goes through, without an end.
    Endless,
    /// Nothing: it listens, and ends when the other end does.
    Nothing,
}

/// Congestion control of an inner sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Congestion {
    /// BBR version 1.
    Bbr,
    /// CUBIC, RFC 9438.
    Cubic,
}

/// Which end of a conversation begins it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Connects.
    Client,
    /// Waits to be connected to.
    Server,
}
