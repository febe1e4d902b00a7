//! RACK (RFC 8985), with Linux's reordering window.
//!
//! A segment is lost when one that was sent after it arrived, and the time that a segment takes
//! has passed, and a window for reordering.

use super::scoreboard::Scoreboard;
use super::scoreboard::Sent;

/// State of one sender; times in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Rack {
    /// Time and end of the segment that was sent last among those that arrived.
    newest: (u64, u64),
    /// Its round-trip time.
    rtt: u64,
    /// Quarters of the smallest round-trip time in the reordering window.
    steps: u32,
    /// Recoveries until the window shrinks to one step.
    persistence: u32,
    saw_duplicate: bool,
    /// Segments delivered when the window grew last.
    grown_at: u64,
    /// How often reordering was seen.
    pub(crate) reorderings: u64,
    /// Segments that may be overtaken without loss, for the duplicate threshold.
    pub(crate) degree: usize,
}

impl Default for Rack {
    fn default() -> Self {
        Self {
            newest: (0, 0),
            rtt: 0,
            steps: 1,
            persistence: 0,
            saw_duplicate: false,
            grown_at: 0,
            reorderings: 0,
            degree: DEGREE_MIN,
        }
    }
}

/// What the reordering window depends on besides RACK's own state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    pub(crate) min_rtt: u64,
    pub(crate) smoothed_rtt: u64,
    /// Whether segments are being recovered, by acknowledgments or after a timeout.
    pub(crate) is_recovering: bool,
    pub(crate) sacked: usize,
}

impl Rack {
    /// Takes a segment that arrived.
    pub(crate) fn on_arrival(&mut self, now: u64, segment: &Sent, min_rtt: u64) {
        let rtt = now - segment.at;
        // So fast an answer is that of an earlier transmission.
        if segment.was_resent && rtt < min_rtt {
            return;
        }
        self.rtt = rtt;
        self.newest = self.newest.max((segment.at, segment.end));
    }

    /// Notes that a segment which was sent once arrived after one `extent` bytes higher.
    pub(crate) fn on_reordering(&mut self, extent: u64, mss: u32) {
        self.reorderings += 1;
        let segments = extent.div_ceil(u64::from(mss)) as usize;
        self.degree = self.degree.max(segments).min(DEGREE_MAX);
    }

    /// Notes that the peer received a segment twice.
    pub(crate) fn on_duplicate(&mut self) {
        self.saw_duplicate = true;
    }

    /// Grows the window after a duplicate, once in a round trip. `prior` of `delivered` segments had
    /// been delivered when the newest of those that arrived was sent.
    pub(crate) fn adapt(&mut self, prior: u64, delivered: u64) {
        if prior < self.grown_at {
            self.saw_duplicate = false;
        }
        if self.saw_duplicate {
            self.steps = (self.steps + 1).min(STEPS_MAX);
            self.saw_duplicate = false;
            self.grown_at = delivered;
            self.persistence = RECOVERIES_TO_SHRINK;
        } else if self.persistence == 0 {
            self.steps = 1;
        }
    }

    /// Notes a recovery that had reason.
    pub(crate) fn on_recovered(&mut self) {
        self.persistence = self.persistence.saturating_sub(1);
    }

    /// Marks the segments that are lost. Returns how long until others may be.
    pub(crate) fn detect(
        &self,
        now: u64,
        board: &mut Scoreboard,
        around: Surroundings,
    ) -> Option<u64> {
        let allowed = self.rtt + self.window(around);
        let mut lost = Vec::new();
        let mut wait = None;
        let older = board
            .transmissions()
            .take_while(|(_, segment)| (segment.at, segment.end) < self.newest);
        for (place, segment) in older {
            match (segment.at + allowed).checked_sub(now).filter(|&rest| rest > 0) {
                Some(rest) => wait = wait.max(Some(rest)),
                None => lost.push(place),
            }
        }
        for place in lost {
            board.lose(place);
        }
        wait
    }

    /// Whether a segment may still arrive at `now`, as far as time says.
    pub(crate) fn may_arrive(&self, now: u64, segment: &Sent, around: Surroundings) -> bool {
        segment.at + self.rtt + self.window(around) > now
    }

    /// The time by which a segment may be overtaken.
    fn window(&self, around: Surroundings) -> u64 {
        let many_sacked = around.sacked >= self.degree;
        if self.reorderings == 0 && (around.is_recovering || many_sacked) {
            return 0;
        }
        (around.min_rtt / 4 * u64::from(self.steps)).min(around.smoothed_rtt)
    }
}

/// The duplicate threshold of RFC 5681, and the most that Linux lets it grow to.
pub(crate) const DEGREE_MIN: usize = 3;
const DEGREE_MAX: usize = 300;
const STEPS_MAX: u32 = 255;
/// RFC 8985, section 6.2, step 4: the window is kept for 16 recoveries.
const RECOVERIES_TO_SHRINK: u32 = 16;
