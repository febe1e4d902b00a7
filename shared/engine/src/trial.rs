//! Rules of the engine changed for an experiment, to measure what each is worth.
//!
//! Nobody needs this to use a tunnel: the table of ablations in ARCHITECTURE.md is made with it, and
//! whoever doubts a rule can repeat it.

use crate::{path::PathId, wire::PATHS_MAX};

/// What differs from the rules as they are. The default differs in nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Trial {
    changes: u32,
    /// Windows set by hand, in bytes, by path slot; 0 where the controller is to find it.
    windows: [u64; PATHS_MAX],
}

/// One rule left out, or replaced by a simpler one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Ablation {
    /// Every packet is delivered as it comes.
    NoHold,
    /// A packet waits only for one that is known to be lost and may come again.
    HoldKnownLost,
    /// What is lost stays lost.
    NoRepair,
    /// What is late is not sent again before its path is suspected.
    NoRescue,
    /// A path that died is used again as soon as it answers, however often it died.
    NoDamping,
    /// An idle path says nothing of how far it has come.
    NoMarks,
    /// Every path is used as soon as the queue is not empty.
    Greedy,
    /// A flow begins where its packets arrive first, however little that path carries.
    NoLead,
    /// What is real-time or interactive goes where it arrives first on average, too.
    MeanDelay,
    /// A packet always waits for the path on which it arrives first.
    EarliestFirst,
    /// A flow's queue may stand for 5 ms, judged over 100, as RFC 8289 has it for one link.
    ShortQueue,
    /// What another path's failure leaves in the queue is held against its senders.
    NoMute,
}

impl Ablation {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoHold,
        Self::HoldKnownLost,
        Self::NoRepair,
        Self::NoRescue,
        Self::NoDamping,
        Self::NoMarks,
        Self::Greedy,
        Self::NoLead,
        Self::MeanDelay,
        Self::EarliestFirst,
        Self::ShortQueue,
        Self::NoMute,
    ];

    /// Its name on command lines and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::EarliestFirst => "earliest-first",
            Self::Greedy => "greedy",
            Self::HoldKnownLost => "hold-known-lost",
            Self::MeanDelay => "mean-delay",
            Self::NoDamping => "no-damping",
            Self::NoLead => "no-lead",
            Self::NoHold => "no-hold",
            Self::NoMarks => "no-marks",
            Self::NoMute => "no-mute",
            Self::NoRepair => "no-repair",
            Self::NoRescue => "no-rescue",
            Self::ShortQueue => "short-queue",
        }
    }
}

impl Trial {
    /// The same with one more rule changed.
    #[must_use]
    pub fn with(mut self, ablation: Ablation) -> Self {
        self.changes |= 1 << ablation as u8;
        self
    }

    /// The same with a path's window set by hand, in bytes.
    #[must_use]
    pub fn with_window(mut self, path: PathId, bytes: u64) -> Self {
        self.windows[path.index()] = bytes;
        self
    }

    /// Adds what a word says: an ablation's name, or `window-0=312500` for a path slot and bytes.
    /// Returns `None` for another word.
    #[must_use]
    pub fn with_word(self, word: &str) -> Option<Self> {
        if let Some(ablation) = Ablation::ALL.into_iter().find(|ablation| ablation.name() == word) {
            return Some(self.with(ablation));
        }
        let (slot, bytes) = word.strip_prefix("window-")?.split_once('=')?;
        let slot = slot.parse().ok().filter(|&slot| usize::from(slot) < PATHS_MAX)?;
        Some(self.with_window(PathId(slot), bytes.parse().ok()?))
    }

    pub(crate) fn has(&self, ablation: Ablation) -> bool {
        self.changes & 1 << ablation as u8 != 0
    }

    pub(crate) fn window(&self, path: PathId) -> Option<u64> {
        Some(self.windows[path.index()]).filter(|&bytes| bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ablation_is_found_by_its_name() {
        for ablation in Ablation::ALL {
            let trial = Trial::default().with_word(ablation.name()).expect("a name");
            assert!(trial.has(ablation));
            assert_eq!(Ablation::ALL.iter().filter(|&&other| trial.has(other)).count(), 1);
        }
        assert_eq!(Trial::default().with_word("no-such"), None);
    }

    #[test]
    fn a_window_is_set_for_its_path_alone() {
        let trial = Trial::default().with_word("window-1=312500").expect("a window");
        assert_eq!(trial.window(PathId(1)), Some(312_500));
        assert_eq!(trial.window(PathId(0)), None);
        assert_eq!(Trial::default().with_word("window-16=1"), None);
    }
}
