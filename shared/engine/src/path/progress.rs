//! What feedback tells a path.

use crate::time::Span;

/// What a report says that the one before did not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes that arrived since the feedback before.
    pub(crate) bytes: u64,
    /// Bytes that arrived on the path so far.
    pub(crate) arrived: u64,
    /// The peer's clock when the newest of them arrived, low half.
    pub(crate) received_at: u32,
    /// How many bytes the delays are of, fewer where a report was lost.
    pub(crate) fresh: u64,
    pub(crate) delay_mean: i64,
    pub(crate) delay_min: i64,
    /// Bytes found lost with this feedback.
    pub(crate) lost: u64,
    /// Whether the network marked congestion.
    pub(crate) marked: bool,
    /// Whether what is lost is sent again.
    pub(crate) repairs: bool,
    /// Whether reports are earned, and far apart: on a link where each byte costs.
    pub(crate) sparse: bool,
    /// Smoothed and smallest round-trip time.
    pub(crate) rtt: Span,
    pub(crate) rtt_min: Span,
}

#[cfg(test)]
impl Progress {
    /// What the report says that comes at this time, of so many bytes that took so long.
    pub(super) fn of(received_at: u64, bytes: u64, delay: i64, rtt: Span) -> Self {
        Self {
            bytes,
            arrived: u64::MAX,
            received_at: received_at as u32,
            fresh: 0,
            delay_mean: delay,
            delay_min: delay,
            lost: 0,
            marked: false,
            repairs: true,
            sparse: false,
            rtt,
            rtt_min: rtt,
        }
    }
}
