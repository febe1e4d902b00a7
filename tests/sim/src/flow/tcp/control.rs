//! The congestion window, and who decides about it.

use super::bbr::Bbr;
use super::cubic::Cubic;
use super::rate::RateSample;
use crate::flow::Congestion;

/// Congestion window and slow-start threshold, in segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) size: u32,
    pub(crate) threshold: u32,
}

impl Window {
    pub(crate) fn is_slow_start(&self) -> bool {
        self.size < self.threshold
    }

    /// Grows by what was acknowledged, up to the threshold; returns what is left of it.
    pub(crate) fn grow_in_slow_start(&mut self, acknowledged: u32) -> u32 {
        if !self.is_slow_start() {
            return acknowledged;
        }
        let growth = acknowledged.min(self.threshold - self.size);
        self.size += growth;
        acknowledged - growth
    }
}

/// A congestion control algorithm.
#[derive(Debug)]
pub(crate) enum Control {
    Bbr(Box<Bbr>),
    Cubic(Cubic),
}

impl Control {
    pub(crate) fn new(congestion: Congestion, seed: u64) -> Self {
        match congestion {
            Congestion::Bbr => Self::Bbr(Box::new(Bbr::new(seed))),
            Congestion::Cubic => Self::Cubic(Cubic::default()),
        }
    }

    /// Takes the round-trip time of the handshake.
    pub(crate) fn on_handshake_rtt(&mut self, rtt: u64, window: &Window) {
        if let Self::Bbr(bbr) = self {
            bbr.begin_pacing(rtt, window);
        }
    }

    /// Notes that loss begins a recovery, and returns the slow-start threshold.
    pub(crate) fn on_reduction(&mut self, window: &Window) -> u32 {
        match self {
            Self::Bbr(bbr) => {
                bbr.on_recovery(window.size);
                window.threshold
            }
            Self::Cubic(cubic) => cubic.on_reduction(window.size),
        }
    }

    /// Notes a retransmission timeout.
    pub(crate) fn on_timeout(&mut self) {
        match self {
            Self::Bbr(bbr) => bbr.on_timeout(),
            Self::Cubic(cubic) => cubic.on_timeout(),
        }
    }

    /// Notes that a reduction is taken back; returns the window, which was `prior` before it.
    pub(crate) fn on_undo(&mut self, window: u32, prior: u32) -> u32 {
        match self {
            Self::Bbr(bbr) => {
                bbr.on_undo();
                window
            }
            Self::Cubic(_) => window.max(prior),
        }
    }

    /// Takes a round-trip time.
    pub(crate) fn on_rtt(&mut self, now: u64, rtt: u64, flight: (u64, u64), window: &mut Window) {
        if let Self::Cubic(cubic) = self {
            cubic.on_rtt(now, rtt, flight, window);
        }
    }

    /// Takes a rate sample; returns whether the algorithm sets the window by it, at all times.
    pub(crate) fn on_rate(&mut self, sample: &RateSample, window: &mut Window) -> bool {
        match self {
            Self::Bbr(bbr) => {
                bbr.on_rate(sample, window);
                true
            }
            Self::Cubic(_) => false,
        }
    }

    /// Grows a window that was used, for so many segments acknowledged.
    pub(crate) fn on_acknowledged(&mut self, now: u64, acknowledged: u32, window: &mut Window) {
        if let Self::Cubic(cubic) = self {
            cubic.on_acknowledged(now, acknowledged, window);
        }
    }

    /// Segments per second to pace by, if the algorithm paces.
    pub(crate) fn pacing_rate(&self) -> Option<f64> {
        match self {
            Self::Bbr(bbr) => bbr.pacing_rate(),
            Self::Cubic(_) => None,
        }
    }
}
