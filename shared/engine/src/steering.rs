//! How traffic is told apart, and which way each class goes.

use crate::{
    class::{Class, Rules},
    scheduler::Mode,
};

/// What a session is told about steering: everything that an operator can set.
#[derive(Clone, Debug, Default)]
pub struct Steering {
    /// The mode of all classes that have none of their own.
    pub mode: Mode,
    /// What belongs to which class, whatever it looks like.
    pub rules: Rules,
    /// The modes of classes that have one of their own, in the order of [`Class::ALL`].
    pub modes: [Option<Mode>; Class::ALL.len()],
}

impl Steering {
    /// The mode of a class. Where nothing is said, what is real-time is sent twice if that is worth it.
    pub fn mode_of(&self, class: Class) -> Mode {
        let usual = match (self.mode, class) {
            (Mode::Split, Class::RealTime) => Mode::Adaptive,
            (mode, _) => mode,
        };
        self.modes[class.index()].unwrap_or(usual)
    }
}

impl From<Mode> for Steering {
    fn from(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_the_mode_that_is_written_for_it_and_else_that_of_all() {
        let split = Steering::from(Mode::Split);
        assert_eq!(split.mode_of(Class::RealTime), Mode::Adaptive);
        assert_eq!(split.mode_of(Class::Bulk), Mode::Split);
        let standby = Steering::from(Mode::ActiveStandby);
        assert_eq!(standby.mode_of(Class::RealTime), Mode::ActiveStandby);

        let mut modes = [None; Class::ALL.len()];
        modes[Class::RealTime.index()] = Some(Mode::Duplicate);
        let written = Steering { modes, ..standby };
        assert_eq!(written.mode_of(Class::RealTime), Mode::Duplicate);
        assert_eq!(written.mode_of(Class::Interactive), Mode::ActiveStandby);
    }
}
