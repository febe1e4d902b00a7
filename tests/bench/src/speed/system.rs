//! What is compared.

use std::path::PathBuf;

use crate::relay::Sealing;

/// A way for packets from the client to the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum System {
    /// The wire alone.
    Raw,
    /// Ours.
    Hawser,
    /// A tunnel that does nothing but seal.
    Relay(Sealing),
    /// The tunnel that a script brings up.
    Script(PathBuf),
}

impl System {
    /// How people call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Raw => "raw".to_owned(),
            Self::Hawser => "hawser".to_owned(),
            Self::Relay(sealing) => format!("relay-{}", sealing.name()),
            Self::Script(path) => {
                path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
            }
        }
    }
}
