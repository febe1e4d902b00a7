//! Why a path does not carry more.

use crate::time::{Span, Time};

/// What keeps a path from carrying more in the direction that this end sends in. Nothing is decided
/// by it: people read it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// It is there for when no other path works.
    Backup,
    /// Its socket takes nothing at the moment.
    Blocked,
    /// Another address claims to be the path's, and has not proved itself.
    Claimed,
    /// It was given up for good.
    Closed,
    /// It is dead.
    Dead {
        /// Since when.
        since: Time,
    },
    /// It carries what it can.
    Full {
        /// What arrives, in bytes a second.
        rate: u64,
        /// The queue that stands on it.
        queue: Span,
    },
    /// It is full as far as is known, but no queue says so: more is tried.
    Growing {
        /// What arrives so far, in bytes a second.
        rate: u64,
    },
    /// More is on its way than it carries: less is sent until that has gone.
    HeldBack {
        /// The queue that stands on it.
        queue: Span,
    },
    /// What exceeds a rate is dropped by somebody on the way.
    Policed {
        /// That rate, in bytes a second.
        rate: u64,
    },
    /// It answers again after it was dead, and has to prove itself.
    Probation {
        /// When it is decided on: dead again if it owes answers then, else used.
        until: Time,
        /// The answers that it still owes.
        missing: u32,
    },
    /// There is nothing to send on it.
    Quiet,
    /// Another sender fills the link, and the path fights for its share.
    Shared {
        /// The queue that stands on it, whosever it is.
        queue: Span,
    },
    /// It answers nothing, and nothing new is sent on it.
    Silent {
        /// When it was last heard.
        since: Time,
    },
    /// It carries all that it is given.
    Spare,
    /// It grows by doubling, until a queue shows.
    Starting,
    /// Order would not be waited for until its packets came.
    TooFarBehind {
        /// How long others would have to wait for them.
        wait: Span,
    },
    /// Less is sent for a moment, to see whether the loss is a policer's.
    TryingLoss,
    /// Less is sent for a moment, to see whether the queue is our own.
    TryingQueue,
    /// It has not answered since it was opened.
    Unanswered {
        /// When that was.
        since: Time,
    },
}

impl Cause {
    /// Its name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Blocked => "blocked",
            Self::Claimed => "claimed",
            Self::Closed => "closed",
            Self::Dead { .. } => "dead",
            Self::Full { .. } => "full",
            Self::Growing { .. } => "growing",
            Self::HeldBack { .. } => "held-back",
            Self::Policed { .. } => "policed",
            Self::Probation { .. } => "probation",
            Self::Quiet => "quiet",
            Self::Shared { .. } => "shared",
            Self::Silent { .. } => "silent",
            Self::Spare => "spare",
            Self::Starting => "starting",
            Self::TooFarBehind { .. } => "too-far-behind",
            Self::TryingLoss => "trying-loss",
            Self::TryingQueue => "trying-queue",
            Self::Unanswered { .. } => "unanswered",
        }
    }
}
