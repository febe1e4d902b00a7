//! The states of loss recovery, and how the sender gets from one to another.

use super::Retransmission;
use super::Sender;
use super::arrival::Arrival;
use crate::flow::tcp::rack::DEGREE_MIN;

/// What the sender believes about losses.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum State {
    /// All is well.
    Open,
    /// Something is missing, which may be reordering.
    Disorder,
    /// Something is lost; the window shrinks while it is retransmitted.
    Recovery,
    /// Nothing was heard; the window begins anew.
    Loss,
}

/// One stretch of trouble, from the first loss until all that was in flight then is acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct Episode {
    /// The next number to send when it began.
    pub(super) end: u64,
    /// What to return to if nothing had been lost.
    undo: Option<Undo>,
    /// When the first retransmission was sent, milliseconds as in timestamps.
    retransmitted_at: Option<u64>,
    /// Timeouts since the last progress.
    timeouts: u32,
    /// Whether a timeout may have been spurious (RFC 5682).
    pub(super) is_doubtful: bool,
    /// Window when it began, segments delivered and sent since: proportional rate reduction.
    prior_window: u32,
    delivered: u32,
    pub(super) sent: u32,
}

#[derive(Clone, Copy, Debug)]
struct Undo {
    window: u32,
    threshold: u32,
    /// Retransmissions that the peer has not reported as duplicates; none were sent yet if absent.
    unproven: Option<u32>,
    /// The first number in doubt.
    start: u64,
}

impl Episode {
    pub(super) fn on_retransmission(&mut self, now: u64) {
        self.retransmitted_at.get_or_insert(now / 1000);
        if let Some(undo) = &mut self.undo {
            undo.unproven = Some(undo.unproven.unwrap_or(0) + 1);
        }
    }

    /// Notes that the peer received twice what ends at `end`.
    pub(super) fn on_duplicate(&mut self, end: u64, segments: u32) {
        if let Some(undo) = self.undo.as_mut().filter(|undo| end > undo.start)
            && let Some(unproven) = &mut undo.unproven
        {
            *unproven = unproven.saturating_sub(segments);
        }
    }

    pub(super) fn on_progress(&mut self) {
        self.timeouts = 0;
    }

    /// Whether an acknowledgment answers something sent before the first retransmission; if there
    /// was none, it does.
    fn precedes_retransmission(&self, echo: Option<u64>) -> bool {
        let Some(first) = self.retransmitted_at else { return true };
        echo.is_some_and(|echo| echo < first)
    }

    fn all_duplicate(&self) -> bool {
        self.undo.is_some_and(|undo| undo.unproven == Some(0))
    }

    fn may_undo(&self, echo: Option<u64>) -> bool {
        self.undo.is_some() && (self.all_duplicate() || self.precedes_retransmission(echo))
    }
}

impl Sender {
    /// Draws the conclusions from an acknowledgment that is not quite ordinary.
    pub(super) fn judge(&mut self, now: u64, arrival: &Arrival) {
        if self.state == State::Open {
            self.episode.retransmitted_at = None;
        } else if self.unacknowledged >= self.episode.end && self.state == State::Recovery {
            self.leave_recovery(arrival.echo);
        }
        match self.state {
            State::Open | State::Disorder => {
                self.undo_if_all_duplicate();
                self.detect_losses(now);
                if self.board.lost() == 0 {
                    self.try_to_open();
                    return;
                }
                self.enter_recovery();
            }
            State::Recovery => {
                if arrival.advanced && self.undo_partly(arrival) {
                    return;
                }
                if self.undo_if_all_duplicate() {
                    self.try_to_open();
                }
                self.detect_losses(now);
                if self.state != State::Recovery {
                    if self.board.lost() == 0 {
                        return;
                    }
                    self.enter_recovery();
                }
            }
            State::Loss => {
                self.judge_after_timeout(arrival);
                let resent_losses = self.board.resent_losses;
                self.detect_losses(now);
                // A retransmission that is lost as well is a loss of its own.
                let is_lost_again = self.board.resent_losses > resent_losses;
                if self.state != State::Loss && self.board.lost() == 0 {
                    self.try_to_open();
                    return;
                }
                if self.state != State::Loss || is_lost_again {
                    self.enter_recovery();
                }
            }
        }
        if self.retransmission == Retransmission::Nothing {
            self.retransmission = Retransmission::Lost;
        }
    }

    /// Marks what is lost, and arms the timer for what may be.
    pub(super) fn detect_losses(&mut self, now: u64) {
        let around = self.surroundings();
        if let Some(wait) = self.rack.detect(now, &mut self.board, around) {
            self.arm_reordering(now, wait);
        }
    }

    pub(super) fn enter_recovery(&mut self) {
        self.counters.reductions += 1;
        if !self.board.any_resent() {
            self.episode.retransmitted_at = None;
        }
        let prior = self.begin_reduction();
        self.begin_undo(prior);
        self.state = State::Recovery;
    }

    /// Begins anew after a timeout: everything that may not still arrive is lost.
    pub(super) fn enter_loss(&mut self, now: u64) {
        let around = self.surroundings();
        let first = self.board.front().map(|(place, _)| place);
        let lost: Vec<u64> = self
            .board
            .segments()
            .filter(|(_, segment)| !segment.is_sacked && (!segment.is_lost || segment.is_resent))
            .filter(|&(place, segment)| {
                Some(place) == first || !self.rack.may_arrive(now, segment, around)
            })
            .map(|(place, _)| place)
            .collect();
        lost.into_iter().for_each(|place| self.board.lose(place));
        let is_first = self.state <= State::Disorder;
        let repeats = self.state == State::Loss && self.episode.timeouts > 0;
        if is_first || self.unacknowledged >= self.episode.end || !repeats {
            self.counters.reductions += 1;
            let threshold = self.current_threshold();
            let prior = (self.window.size, threshold);
            self.episode.prior_window = self.window.size;
            self.window.threshold = self.control.on_reduction(&self.window);
            self.begin_undo(prior);
        }
        self.control.on_timeout();
        if is_first && self.board.sacked() >= self.rack.degree {
            self.rack.degree = DEGREE_MIN;
        }
        self.window.size = self.board.in_flight() as u32 + 1;
        self.episode.is_doubtful = is_first || self.episode.timeouts > 0;
        self.episode.timeouts += 1;
        self.episode.end = self.next;
        self.probe = None;
        self.state = State::Loss;
    }

    /// Sets the window of a recovery by proportional rate reduction (RFC 6937, with Linux's
    /// slow start towards the threshold while acknowledgments make progress).
    pub(super) fn reduce_proportionally(&mut self, delivered: u32, lost: u32, advanced: bool) {
        if delivered == 0 || self.episode.prior_window == 0 {
            return;
        }
        let in_flight = self.board.in_flight() as u32;
        let threshold = self.window.threshold;
        let episode = &mut self.episode;
        episode.delivered += delivered;
        let allowance = if in_flight > threshold {
            let share = u64::from(threshold) * u64::from(episode.delivered);
            let due = share.div_ceil(u64::from(episode.prior_window)) as u32;
            due.saturating_sub(episode.sent)
        } else {
            let owed = episode.delivered.saturating_sub(episode.sent).max(delivered);
            let extra = u32::from(advanced && lost == 0);
            (owed + extra).min(threshold - in_flight)
        };
        // The first loss is retransmitted at once.
        let allowance = allowance.max(u32::from(episode.sent == 0));
        self.window.size = in_flight + allowance;
    }

    /// Reduces for a loss that the probe both found and repaired.
    pub(super) fn reduce_for_probe(&mut self) {
        self.counters.reductions += 1;
        self.begin_reduction();
        self.end_reduction();
        self.try_to_open();
    }

    fn begin_reduction(&mut self) -> (u32, u32) {
        let prior = (self.window.size, self.current_threshold());
        self.episode.end = self.next;
        self.episode.prior_window = self.window.size;
        self.episode.delivered = 0;
        self.episode.sent = 0;
        self.probe = None;
        self.window.threshold = self.control.on_reduction(&self.window);
        prior
    }

    fn begin_undo(&mut self, (window, threshold): (u32, u32)) {
        let resent = self.board.resent() as u32;
        let unproven = (resent > 0).then_some(resent);
        let start = self.unacknowledged;
        self.episode.undo = Some(Undo { window, threshold, unproven, start });
    }

    fn end_reduction(&mut self) {
        if self.window.threshold < u32::MAX && !self.is_paced() {
            self.window.size = self.window.threshold;
        }
    }

    fn leave_recovery(&mut self, echo: Option<u64>) {
        if self.episode.may_undo(echo) {
            self.undo();
        } else {
            self.rack.on_recovered();
            self.end_reduction();
            self.episode.undo = None;
        }
        self.state = State::Open;
    }

    /// Follows an acknowledgment after a timeout: F-RTO (RFC 5682) with SACK.
    fn judge_after_timeout(&mut self, arrival: &Arrival) {
        let recovered = self.unacknowledged >= self.episode.end;
        if arrival.advanced && self.episode.may_undo(arrival.echo) {
            return self.undo_loss();
        }
        if self.episode.is_doubtful {
            if arrival.original_arrived && self.episode.undo.is_some() {
                return self.undo_loss();
            }
            if self.next > self.episode.end {
                self.episode.is_doubtful &= !arrival.sacked && !arrival.is_duplicate;
            } else if arrival.advanced && !recovered {
                self.episode.end = self.next;
                self.retransmission = Retransmission::NewDataFirst;
                return;
            }
        }
        if recovered {
            self.leave_loss(arrival.echo);
            return;
        }
        self.retransmission = Retransmission::Lost;
    }

    fn leave_loss(&mut self, echo: Option<u64>) {
        if self.episode.may_undo(echo) {
            self.undo();
        } else {
            self.rack.on_recovered();
        }
        self.episode.undo = None;
        self.state = State::Open;
    }

    fn undo_loss(&mut self) {
        self.board.forgive();
        self.undo();
        self.episode.is_doubtful = false;
        self.episode.timeouts = 0;
        self.state = State::Open;
    }

    /// Takes a reduction back when the first retransmission turns out to have been needless, while
    /// others may be in flight. Returns whether the acknowledgment is dealt with.
    fn undo_partly(&mut self, arrival: &Arrival) -> bool {
        if self.episode.undo.is_none() || !self.episode.precedes_retransmission(arrival.echo) {
            return false;
        }
        let extent = self.unacknowledged.saturating_sub(arrival.prior_unacknowledged);
        self.rack.on_reordering(extent, self.mss);
        // What was retransmitted may prove the opposite.
        if self.board.resent() > 0 {
            self.retransmission = Retransmission::Nothing;
            return true;
        }
        self.board.forgive();
        self.undo();
        self.keep_open();
        true
    }

    fn undo_if_all_duplicate(&mut self) -> bool {
        let undone = self.episode.all_duplicate();
        if undone {
            self.undo();
        }
        undone
    }

    /// Returns to the window before the reduction.
    fn undo(&mut self) {
        let Some(undo) = self.episode.undo.take() else { return };
        self.counters.undos += 1;
        self.window.size = self.control.on_undo(self.window.size, undo.window);
        self.window.threshold = self.window.threshold.max(undo.threshold);
    }

    fn try_to_open(&mut self) {
        if !self.board.any_resent() {
            self.episode.retransmitted_at = None;
        }
        self.keep_open();
    }

    fn keep_open(&mut self) {
        let is_clean = self.board.sacked() + self.board.lost() + self.board.resent() == 0;
        self.state = if is_clean { State::Open } else { State::Disorder };
    }

    /// The threshold to return to: a window that was in use is worth three quarters of itself.
    fn current_threshold(&self) -> u32 {
        match self.state {
            State::Recovery => self.window.threshold,
            _ => self.window.threshold.max(self.window.size / 4 * 3),
        }
    }
}
