//! The steering modes by their names.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use crate::config::{Wrong, nearest};

/// How packets are shared out over the paths.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Mode {
    /// One path carries everything; another takes over when it fails.
    ActiveStandby,
    /// Every packet goes where it arrives first, and a copy over another path where that is worth it.
    Adaptive,
    /// Every packet goes over the two best paths.
    Duplicate,
    /// All packets of a flow go over one path.
    FlowHash,
    /// Every packet goes where it arrives first.
    LowestLatency,
    /// All packets of a host go over one path.
    HostHash,
    /// Packets are spread over all paths.
    #[default]
    Split,
}

impl Mode {
    /// All modes, in the order in which they are explained to users.
    pub const ALL: [Self; 7] = [
        Self::Split,
        Self::Duplicate,
        Self::Adaptive,
        Self::FlowHash,
        Self::HostHash,
        Self::LowestLatency,
        Self::ActiveStandby,
    ];

    /// The name in configurations and on command lines.
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
}

impl From<Mode> for engine::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::ActiveStandby => Self::ActiveStandby,
            Mode::Adaptive => Self::Adaptive,
            Mode::Duplicate => Self::Duplicate,
            Mode::FlowHash => Self::FlowHash,
            Mode::LowestLatency => Self::LowestLatency,
            Mode::HostHash => Self::HostHash,
            Mode::Split => Self::Split,
        }
    }
}

impl Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let names = Self::ALL.map(Self::name);
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let right = match nearest(text, names) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => "write one of them".to_owned(),
            };
            Wrong::new(format!(
                "\"{}\" is not a mode of this build, which has {}",
                shown.escape_debug(),
                names.join(", ")
            ))
            .right(right)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_found_by_its_name() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
    }

    #[test]
    fn an_unknown_mode_is_answered_with_those_that_exist() {
        let wrong = "redundant".parse::<Mode>().unwrap_err();

        for mode in Mode::ALL {
            assert!(wrong.what().contains(mode.name()), "{}", wrong.what());
        }
        let wrong = "splti".parse::<Mode>().unwrap_err();
        assert_eq!(wrong.remedy(), "did you mean \"split\"?");
    }
}
