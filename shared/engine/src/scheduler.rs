//! Which path a datagram takes: policies behind one trait.
//!
//! The choice is made at the last moment, when a path can really send (late binding). A scheduler
//! sees paths as they are and changes nothing.

use crate::{path::PathId, time::Span, wire::message::BACKUP};

mod active_standby;
mod adaptive;
mod duplicate;
mod flow_hash;
mod lowest_latency;
mod split;

/// A path as a scheduler sees it. Only paths that may carry data are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathView {
    /// The path.
    pub(crate) id: PathId,
    /// Its rank: lower is preferred, from [`BACKUP`] on it is a backup.
    pub(crate) rank: u8,
    /// Whether each byte on its link costs.
    pub(crate) metered: bool,
    /// Whether it can send a full datagram at once.
    pub(crate) room: bool,
    /// How long it has had no room.
    pub(crate) full_for: Span,
    /// How long what is sent on it takes to arrive, beyond what the fastest path takes.
    pub(crate) delay: Span,
    /// How long nine in ten of what is sent on it take at most, beyond what they take on the steadiest path.
    pub(crate) late: Span,
    /// Whether it is too far behind for what has to be in order.
    pub(crate) far: bool,
    /// How long it takes, as a guess, until it can send again.
    pub(crate) wait: Span,
    /// The longest inner packet it carries.
    pub(crate) packet_max: u16,
    /// What it carries, roughly, and steadily.
    pub(crate) weight: f64,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketView {
    /// Bytes of the inner packet.
    pub(crate) len: u16,
    /// Whether the queue has been standing for long enough that every path is worth using.
    pub(crate) backlogged: bool,
    /// How long it has waited, where that speaks for a path on which it arrives later.
    pub(crate) waited: Span,
    /// Whether it goes where nine in ten arrive soonest, as each packet counts; or else where most do.
    pub(crate) steady: bool,
    /// Whether a copy of it is worth its bytes.
    pub(crate) copy: bool,
    /// The path that leads its flow: paths on which it would arrive earlier are not preferred to that one.
    pub(crate) lead: Option<PathId>,
    /// What is the same for all packets of its flow, and for all of its host.
    pub(crate) hashes: Hashes,
}

/// What packets have in common that are to take the same path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Hashes {
    /// Of addresses, protocol and ports.
    pub(crate) flow: u32,
    /// Of the address of the host at the client's end.
    pub(crate) host: u32,
}

/// What to do with the packet at the head of the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Choice {
    /// Send it on the first path, and a copy on the second.
    Both(PathId, PathId),
    /// Send it.
    One(PathId),
    /// Wait until a path that is worth it has room.
    Wait,
}

/// A policy.
pub(crate) trait Scheduler: Send {
    /// Chooses for one packet.
    fn select(&self, packet: &PacketView, paths: &[PathView]) -> Choice;

    /// Whether each packet may take another path than the one before: then a flow may have a lead, and what is late
    /// may go again by a path that was not chosen for it.
    fn roams(&self) -> bool {
        false
    }

    /// Whether a packet taken for lost is sent again. Where every packet has a copy on another
    /// path, the copy is the remedy.
    fn repairs(&self) -> bool {
        true
    }
}

/// A steering mode's name in configuration.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// Everything on the best link; the others stand by.
    ActiveStandby,
    /// Every packet where it arrives first, and a copy on another link where that is worth it.
    Adaptive,
    /// Every packet on the best two links.
    Duplicate,
    /// All packets of a flow on one link.
    FlowHash,
    /// Every packet where it arrives first.
    LowestLatency,
    /// All packets of a host on one link.
    HostHash,
    /// Packets spread over all links.
    #[default]
    Split,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 7] = [
        Self::Split,
        Self::Duplicate,
        Self::Adaptive,
        Self::FlowHash,
        Self::HostHash,
        Self::LowestLatency,
        Self::ActiveStandby,
    ];

    /// The mode's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ActiveStandby => "active-standby",
            Self::Adaptive => "adaptive",
            Self::Duplicate => "duplicate",
            Self::FlowHash => "flow-hash",
            Self::LowestLatency => "lowest-latency",
            Self::HostHash => "host-hash",
            Self::Split => "split",
        }
    }

    /// The mode of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    pub(crate) fn scheduler(self) -> Box<dyn Scheduler> {
        match self {
            Self::ActiveStandby => Box::new(active_standby::ActiveStandby),
            Self::Adaptive => Box::new(adaptive::Adaptive),
            Self::Duplicate => Box::new(duplicate::Duplicate),
            Self::FlowHash => Box::new(flow_hash::FlowHash::ByFlow),
            Self::LowestLatency => Box::new(lowest_latency::LowestLatency),
            Self::HostHash => Box::new(flow_hash::FlowHash::ByHost),
            Self::Split => Box::new(split::Split),
        }
    }
}

/// Leaves out backups where a path that is none can carry the packet, and paths that can't.
fn eligible<'a>(
    packet: &'a PacketView,
    paths: &'a [PathView],
) -> impl Iterator<Item = &'a PathView> + Clone {
    let fits = move |path: &&PathView| path.packet_max >= packet.len;
    let primary = paths.iter().filter(fits).any(|path| path.rank < BACKUP);
    paths.iter().filter(fits).filter(move |path| !primary || path.rank < BACKUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_found_by_its_name() {
        for mode in Mode::ALL {
            assert_eq!(Mode::from_name(mode.name()), Some(mode));
        }
        assert_eq!(Mode::from_name("redundant"), None);
    }

    #[test]
    fn backups_carry_nothing_while_another_path_can() {
        let packet = PacketView { copy: true, ..packet(100, true) };
        let full = PathView { room: false, ..path(0, 0) };

        for mode in [Mode::Split, Mode::Adaptive, Mode::LowestLatency, Mode::ActiveStandby] {
            let scheduler = mode.scheduler();
            assert_eq!(scheduler.select(&packet, &[full, path(1, BACKUP)]), Choice::Wait);
            assert_eq!(scheduler.select(&packet, &[path(1, BACKUP)]), Choice::One(PathId(1)));
        }
    }

    pub(super) fn path(id: u8, rank: u8) -> PathView {
        PathView {
            id: PathId(id),
            rank,
            metered: false,
            room: true,
            full_for: Span::ZERO,
            delay: Span::ZERO,
            late: Span::ZERO,
            far: false,
            wait: Span::ZERO,
            packet_max: 1438,
            weight: 1.0,
        }
    }

    pub(super) const fn packet(len: u16, backlogged: bool) -> PacketView {
        let hashes = Hashes { flow: 0, host: 0 };
        PacketView {
            len,
            backlogged,
            waited: Span::ZERO,
            steady: false,
            copy: false,
            lead: None,
            hashes,
        }
    }
}
