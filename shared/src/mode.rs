//! The steering modes by their names.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use crate::config::{Wrong, nearest};

/// How packets are shared out over the paths: one of the engine's modes, as people write it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mode(pub engine::Mode);

impl Mode {
    /// The name in configurations and on command lines.
    pub fn name(self) -> &'static str {
        self.0.name()
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
        let names = engine::Mode::ALL.map(engine::Mode::name);
        engine::Mode::from_name(text).map(Self).ok_or_else(|| {
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
        for mode in engine::Mode::ALL.map(Mode) {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
    }

    #[test]
    fn an_unknown_mode_is_answered_with_those_that_exist() {
        let wrong = "redundant".parse::<Mode>().unwrap_err();

        for mode in engine::Mode::ALL {
            assert!(wrong.what().contains(mode.name()), "{}", wrong.what());
        }
        let wrong = "splti".parse::<Mode>().unwrap_err();
        assert_eq!(wrong.remedy(), "did you mean \"split\"?");
    }
}
