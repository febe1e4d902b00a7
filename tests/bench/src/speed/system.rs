//! What is compared.

use std::path::PathBuf;

use crate::relay::Sealing;

/// A way for packets from the client to the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum System {
    /// The wire alone.
    Raw,
    /// The kernel's MPTCP over two wires.
    Mptcp,
    /// Ours.
    Hawser(Kind),
    /// A tunnel that does nothing but seal.
    Relay(Sealing),
    /// The tunnel that a script brings up.
    Script(PathBuf),
}

/// How ours is set up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// As it comes, over one wire.
    Plain,
    /// With ChaCha20-Poly1305 alone.
    Chacha,
    /// Over two wires.
    Two,
    /// The same, each packet by both.
    Duplicate,
}

impl System {
    /// Ours as it comes, which all others are compared with.
    pub(super) const OURS: Self = Self::Hawser(Kind::Plain);

    /// All but scripts.
    pub(super) fn all() -> Vec<Self> {
        let kinds = [Kind::Plain, Kind::Chacha, Kind::Two, Kind::Duplicate].map(Self::Hawser);
        let relays = Sealing::ALL.map(Self::Relay);
        [Self::Raw, Self::Mptcp].into_iter().chain(kinds).chain(relays).collect()
    }

    /// How people call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Raw => "raw".to_owned(),
            Self::Mptcp => "mptcp-two".to_owned(),
            Self::Hawser(kind) => format!("hawser{}", kind.suffix()),
            Self::Relay(sealing) => format!("relay-{}", sealing.name()),
            Self::Script(path) => {
                path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
            }
        }
    }

    /// Whether it is measured in all respects, and not only in what sets it apart.
    pub(super) fn is_main(&self) -> bool {
        match self {
            Self::Raw | Self::Script(_) => true,
            Self::Mptcp => false,
            Self::Hawser(kind) => *kind == Kind::Plain,
            Self::Relay(sealing) => *sealing == Sealing::Aes,
        }
    }
}

impl Kind {
    /// Over how many wires.
    pub(super) fn wires(self) -> usize {
        match self {
            Self::Plain | Self::Chacha => 1,
            Self::Two | Self::Duplicate => 2,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Chacha => "-chacha",
            Self::Two => "-two",
            Self::Duplicate => "-duplicate",
        }
    }
}
