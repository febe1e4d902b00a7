//! What a world is made of.

use engine::{EpochLimits, Mode, Trial};
use lab::link::LinkConfig;

/// The properties of a world.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// The links, each with its direction up and its direction down.
    pub links: Vec<(LinkConfig, LinkConfig)>,
    /// The links where each byte costs, by number.
    pub metered: Vec<usize>,
    /// Whether datagrams go by IPv6.
    pub is_v6: bool,
    /// How both ends steer.
    pub mode: Mode,
    /// When keys change.
    pub epoch_limits: EpochLimits,
    /// What differs from the engine's rules, at both ends.
    pub trial: Trial,
    /// The longest that a notice between halves takes, in microseconds.
    pub notice_delay_max: u64,
    /// Everything random follows from it.
    pub seed: u64,
}

impl WorldConfig {
    /// A world with these links, the same in both directions.
    pub fn symmetric(links: Vec<LinkConfig>, seed: u64) -> Self {
        Self {
            links: links.into_iter().map(|link| (link.clone(), link)).collect(),
            metered: Vec::new(),
            is_v6: false,
            mode: Mode::Split,
            epoch_limits: EpochLimits::default(),
            trial: Trial::default(),
            notice_delay_max: 2000,
            seed,
        }
    }
}
