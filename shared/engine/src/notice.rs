//! What the two halves of a session tell each other.

use std::collections::VecDeque;

use crate::{
    path::{FourTuple, PathId},
    time::Time,
    wire::{feedback::Report, message::Preference},
};

/// Said by `Inbound`, heard by `Outbound`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Heard {
    /// The peer gives a path up.
    Close(PathId),
    /// Something authentic arrived in a key epoch newer than any before.
    Epoch(u32),
    /// The peer has something on its way on a path, and nothing comes.
    Faded(PathId),
    /// The peer says what arrived on one of our paths.
    Feedback {
        /// What it says.
        report: Report,
        /// The peer's clock when it said so, low half.
        stamp: u32,
        /// When it arrived.
        at: Time,
    },
    /// The peer's kernel says that a path's link carries nothing.
    Gone(PathId),
    /// The newest datagram of a path came from another address than the path has.
    Moved {
        /// The path.
        path: PathId,
        /// Where it came from.
        from: FourTuple,
        /// Bytes that came from there since the notice before.
        bytes: u32,
    },
    /// A path's own address shows life, after another address claimed the path.
    Present(PathId),
    /// A datagram arrived on a path that had none before.
    Opened {
        /// The path.
        path: PathId,
        /// Where it came from.
        from: FourTuple,
    },
    /// The peer says how a path is to be used.
    Preference {
        /// The path.
        path: PathId,
        /// How.
        preference: Preference,
    },
    /// The peer asks for a reply.
    Probe {
        /// On this path.
        path: PathId,
        /// With this token.
        token: u64,
    },
    /// The peer answers a probe of ours.
    Reply {
        /// On this path.
        path: PathId,
        /// With its token.
        token: u64,
    },
    /// It is time to tell the peer what arrived.
    Report(Report),
}

/// Said by `Outbound`, heard by `Inbound`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// Whether a path's link is metered, which feedback about it heeds.
    Metered {
        /// The path.
        path: PathId,
        /// Whether it is.
        metered: bool,
    },
    /// The peer knows what arrived up to this number: it need not be reported again.
    ReportSeen {
        /// The path.
        path: PathId,
        /// The epoch, modulo 16.
        epoch: u8,
        /// The largest number of the report.
        largest: u64,
    },
    /// A path's address, as it is sent to.
    Settled {
        /// The path.
        path: PathId,
        /// Its address.
        tuple: FourTuple,
    },
}

/// Notices that wait to be carried to the other half.
#[derive(Debug)]
pub(crate) struct Notices<T>(VecDeque<T>);

impl<T> Notices<T> {
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Appends a notice. If nobody has fetched any for long, it is dropped: every one of them is
    /// said again in some way, or is about a path that is probed.
    pub(crate) fn push(&mut self, notice: T) {
        if self.0.len() < NOTICES_MAX {
            self.0.push_back(notice);
        }
    }

    /// Appends a notice that is said only once, whatever the bound: there is one for each path that
    /// opens and each key epoch.
    pub(crate) fn push_once(&mut self, notice: T) {
        self.0.push_back(notice);
    }

    /// Appends a notice in the place of one that it makes void, so that there is never more than one of its kind.
    pub(crate) fn push_newest(&mut self, notice: T, is_void: impl Fn(&T) -> bool) {
        match self.0.iter_mut().find(|before| is_void(before)) {
            Some(before) => *before = notice,
            None => self.0.push_back(notice),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    /// Gives back memory that is not used.
    pub(crate) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
}

/// A few for each datagram that is read between two exchanges.
const NOTICES_MAX: usize = 4096;
