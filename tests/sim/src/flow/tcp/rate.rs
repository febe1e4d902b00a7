//! Delivery rate samples, as Linux takes them.
//!
//! Each segment remembers what had been delivered when it was sent. When it arrives, what was
//! delivered in between, divided by the longer of the times that sending and acknowledging took, is
//! the rate at which the network delivers.

/// What a segment remembers from the moment when it was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendMark {
    /// Segments delivered until then, and when the last of them was acknowledged.
    pub(crate) delivered: u64,
    pub(crate) delivered_at: u64,
    /// When the flight that this segment belongs to began.
    pub(crate) flight_begun_at: u64,
    /// Whether the sender had less to send than the window allowed.
    pub(crate) is_limited: bool,
}

/// Counts deliveries of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    /// Segments delivered, each counted once.
    pub(crate) delivered: u64,
    delivered_at: u64,
    flight_begun_at: u64,
    /// Samples are limited by the sender until this many segments are delivered.
    limited_until: u64,
}

impl Delivery {
    /// Notes that a segment is sent, while `outstanding` others are not acknowledged.
    pub(crate) fn on_sent(&mut self, now: u64, outstanding: usize) -> SendMark {
        if outstanding == 0 {
            self.flight_begun_at = now;
            self.delivered_at = now;
        }
        SendMark {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            flight_begun_at: self.flight_begun_at,
            is_limited: self.limited_until > self.delivered,
        }
    }

    /// Notes that the sender has nothing to send although the window allows it.
    pub(crate) fn on_limited(&mut self, in_flight: usize) {
        self.limited_until = (self.delivered + in_flight as u64).max(1);
    }

    /// Counts `count` segments, of which the one sent last was sent at `sent_at` with `mark`.
    /// Returns segments delivered since that was sent, and the microseconds that it took.
    pub(crate) fn on_delivered(
        &mut self,
        now: u64,
        count: u32,
        sent_at: u64,
        mark: SendMark,
    ) -> (u64, u64) {
        self.delivered += u64::from(count);
        self.delivered_at = now;
        self.flight_begun_at = sent_at;
        let sending = sent_at.saturating_sub(mark.flight_begun_at);
        let acknowledging = now.saturating_sub(mark.delivered_at);
        (self.delivered - mark.delivered, sending.max(acknowledging))
    }
}

/// What one acknowledgment says about the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateSample {
    pub(crate) now: u64,
    /// Segments delivered in `interval` microseconds, if they are a sample of the rate.
    pub(crate) rate: Option<(u64, u64)>,
    /// Segments that had been delivered when the newest of these was sent.
    pub(crate) prior_delivered: u64,
    /// Segments delivered in all.
    pub(crate) delivered: u64,
    pub(crate) is_limited: bool,
    /// Round-trip time of the newest segment that was sent once.
    pub(crate) rtt: Option<u64>,
    pub(crate) smoothed_rtt: Option<u64>,
    /// Segments that this acknowledgment delivered, and found lost.
    pub(crate) acknowledged: u32,
    pub(crate) lost: u32,
    /// Segments in flight before and after it.
    pub(crate) prior_in_flight: u32,
    pub(crate) in_flight: u32,
    /// Whether a recovery goes on.
    pub(crate) is_recovering: bool,
}
