//! Both halves of a session in one hand.

use crate::{
    aead::Suite,
    filter::Filter,
    inbound::Inbound,
    keys::{Activation, Direction, KeyChain, OpeningKeys, RootSecret, SealingKeys},
    outbound::{EpochLimits, Outbound, OutboundConfig},
    path::{PathId, PathSnapshot},
    steering::Steering,
    time::Time,
    trial::Trial,
};

/// Which end of a session we are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Opens paths.
    Client,
    /// Accepts paths, and follows them to other addresses.
    Server,
}

/// What a session is made of.
pub struct SessionConfig {
    /// Which end this is.
    pub side: Side,
    /// The cipher that both ends agreed on.
    pub suite: Suite,
    /// The secret that both ends share.
    pub root: RootSecret,
    /// Which activation of the session this is.
    pub activation: Activation,
    /// The peer's slot of the session: it finds the session by it.
    pub peer_slot: u32,
    /// What may come in.
    pub filter: Filter,
    /// How packets are told apart and steered.
    pub steering: Steering,
    /// When keys change.
    pub epoch_limits: EpochLimits,
    /// What differs from the rules, for an experiment.
    pub trial: Trial,
    /// Randomness of this session's own.
    pub seed: [u8; 32],
}

/// One client-server association.
///
/// A session does nothing by itself. Tell it what happened, then ask what to do:
///
/// | happened                                             | ask, until each is empty            |
/// |------------------------------------------------------|-------------------------------------|
/// | [`Outbound::handle_buffer`] from TUN                 | [`Outbound::poll_transmit`] → send  |
/// | [`Inbound::handle_datagram`] from UDP                | [`Inbound::ready`] → TUN            |
/// | [`handle_timeout`](Self::handle_timeout)             | [`Outbound::poll_error`] → TUN      |
/// | [`Outbound::open_path`], [`Outbound::close_path`], … | [`Outbound::poll_event`] → log      |
/// |                                                      | [`poll_timeout`](Self::poll_timeout)|
///
/// Call [`exchange`](Self::exchange) after what happened and before asking. `now` must not go
/// backwards. The halves may also live on two threads that carry their notices to each other: no
/// rule depends on how fast.
pub struct Session {
    /// The sending half.
    pub outbound: Outbound,
    /// The receiving half.
    pub inbound: Inbound,
}

impl Session {
    /// A session without paths.
    pub fn new(now: Time, config: SessionConfig) -> Self {
        let (ours, theirs) = match config.side {
            Side::Client => (Direction::Up, Direction::Down),
            Side::Server => (Direction::Down, Direction::Up),
        };
        let chain = |way| KeyChain::new(config.suite, &config.root, &config.activation, way);
        let accepts_paths = config.side == Side::Server;
        let outbound = OutboundConfig {
            peer_slot: config.peer_slot,
            accepts_paths,
            steering: config.steering,
            epoch_limits: config.epoch_limits,
            trial: config.trial,
            seed: config.seed,
        };
        Self {
            outbound: Outbound::new(now, SealingKeys::new(chain(ours)), outbound),
            inbound: Inbound::new(
                OpeningKeys::new(chain(theirs)),
                config.filter,
                accepts_paths,
                config.trial,
            ),
        }
    }

    /// Carries the halves' notices to each other.
    pub fn exchange(&mut self, now: Time) {
        while let Some(heard) = self.inbound.poll_notice() {
            self.outbound.handle_notice(now, heard);
        }
        while let Some(told) = self.outbound.poll_notice() {
            self.inbound.handle_notice(told);
        }
    }

    /// Does what is due in both halves.
    pub fn handle_timeout(&mut self, now: Time) {
        self.inbound.handle_timeout(now);
        self.exchange(now);
        self.outbound.handle_timeout(now);
        self.exchange(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) if nothing happens before.
    pub fn poll_timeout(&self, now: Time) -> Time {
        self.inbound.poll_timeout().min(self.outbound.poll_timeout(now))
    }

    /// What a path looks like from both halves.
    pub fn path_snapshot(&self, id: PathId) -> Option<PathSnapshot> {
        let snapshot = self.outbound.path_snapshot(id)?;
        Some(PathSnapshot { received: self.inbound.path_stats(id), ..snapshot })
    }
}
