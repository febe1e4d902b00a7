//! What an acknowledgment says, and what follows from it.

use super::Retransmission;
use super::Sender;
use super::State;
use crate::flow::tcp::rack::DEGREE_MIN;
use crate::flow::tcp::rate::RateSample;
use crate::flow::tcp::scoreboard::Sent;

/// The part of a segment that is for the sender, its numbers expanded.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledgment<'a> {
    /// The next number that the peer expects.
    pub(crate) number: u64,
    /// SACK blocks in the order in which they came.
    pub(crate) sacks: &'a [(u64, u64)],
    /// The timestamp that is echoed, milliseconds.
    pub(crate) echo: Option<u64>,
    /// The peer takes numbers below this.
    pub(crate) window_end: u64,
    pub(crate) carries_payload: bool,
}

/// What one acknowledgment changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrival {
    pub(super) prior_unacknowledged: u64,
    pub(super) echo: Option<u64>,
    /// The first unacknowledged number is higher than before.
    pub(super) advanced: bool,
    /// It marked segments by SACK.
    pub(super) sacked: bool,
    /// It reports that something arrived twice.
    pub(super) reports_duplicate: bool,
    /// It says nothing that was not known.
    pub(super) is_duplicate: bool,
    /// A segment of before the trouble arrived that was sent once.
    pub(super) original_arrived: bool,
    /// A segment was acknowledged that was sent more than once.
    resent_acknowledged: bool,
    /// Segments that arrived.
    delivered: u32,
    /// When the first and the last segments were sent that arrived, were sent once, and were
    /// acknowledged (or marked).
    acknowledged_at: Option<(u64, u64)>,
    sacked_at: Option<(u64, u64)>,
    /// The newest segment that arrived, for the rate.
    newest: Option<Sent>,
}

impl Sender {
    /// Takes an acknowledgment.
    pub(crate) fn handle(&mut self, now: u64, acknowledgment: &Acknowledgment<'_>) {
        let number = acknowledgment.number;
        if number > self.next {
            return;
        }
        let prior_in_flight = self.board.in_flight() as u32;
        let prior_losses = self.board.losses;
        let opened = acknowledgment.window_end > self.window_end;
        self.window_end = self.window_end.max(acknowledgment.window_end);

        let mut arrival = self.register(now, acknowledgment);
        let is_known = !arrival.advanced && !opened && !acknowledgment.carries_payload;
        arrival.is_duplicate = is_known && !arrival.sacked && !arrival.reports_duplicate;
        let rtt = self.measure(now, &arrival);
        let (sample_rate, prior_delivered) = self.count_delivered(now, &arrival);
        if let Some(prior) = prior_delivered {
            self.rack.adapt(prior, self.delivery.delivered);
        }
        self.judge_probe(number, arrival.reports_duplicate, arrival.is_duplicate);

        self.retransmission = Retransmission::Nothing;
        let is_old = number < self.unacknowledged;
        if is_known || arrival.sacked || arrival.reports_duplicate || self.state != State::Open {
            self.judge(now, &arrival);
        }
        if is_old {
            return;
        }
        let lost = (self.board.losses - prior_losses) as u32;
        let sample = RateSample {
            now,
            rate: sample_rate,
            prior_delivered: prior_delivered.unwrap_or(0),
            delivered: self.delivery.delivered,
            is_limited: arrival.newest.is_some_and(|sent| sent.mark.is_limited),
            rtt,
            smoothed_rtt: self.rtt.smoothed(),
            acknowledged: arrival.delivered,
            lost,
            prior_in_flight,
            in_flight: self.board.in_flight() as u32,
            is_recovering: self.state >= State::Recovery,
        };
        self.adjust_window(&sample, &arrival);
    }

    /// Marks on the scoreboard what arrived.
    fn register(&mut self, now: u64, acknowledgment: &Acknowledgment<'_>) -> Arrival {
        let mut arrival = Arrival {
            prior_unacknowledged: self.unacknowledged,
            echo: acknowledgment.echo,
            ..Arrival::default()
        };
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.clear();
        let prior_sacked_end = self.board.sacked_end().unwrap_or(self.unacknowledged);

        let blocks = self.note_duplicate(acknowledgment, &mut arrival);
        for &(start, end) in blocks {
            if start < end && end > self.unacknowledged && end <= self.next {
                self.board.sack(start.max(self.unacknowledged), end, &mut arrived);
            }
        }
        arrival.sacked = !arrived.is_empty();
        let reordered = self.note_arrivals(now, &arrived, prior_sacked_end, &mut arrival);
        if let Some(start) = reordered {
            let end = self.board.sacked_end().unwrap_or(self.unacknowledged);
            self.note_reordering(start, end);
        }

        if acknowledgment.number > self.unacknowledged {
            arrived.clear();
            self.board.acknowledge(acknowledgment.number, &mut arrived);
            self.unacknowledged = acknowledgment.number;
            arrival.advanced = true;
            self.episode.on_progress();
            let reordered = self.note_acknowledged(now, &arrived, &mut arrival);
            if let Some(start) = reordered.filter(|&start| start < prior_sacked_end) {
                let end = self.board.sacked_end().unwrap_or(self.unacknowledged);
                self.note_reordering(start, end);
            }
        }
        self.arrived = arrived;
        arrival
    }

    /// Recognises a duplicate SACK (RFC 2883, section 4); returns the blocks that are none.
    fn note_duplicate<'a>(
        &mut self,
        acknowledgment: &Acknowledgment<'a>,
        arrival: &mut Arrival,
    ) -> &'a [(u64, u64)] {
        let Some((&(start, end), rest)) = acknowledgment.sacks.split_first() else { return &[] };
        let within_next = rest.first().is_some_and(|next| next.0 <= start && end <= next.1);
        if end > acknowledgment.number && !within_next {
            return acknowledgment.sacks;
        }
        arrival.reports_duplicate = true;
        self.rack.on_duplicate();
        let segments = end.saturating_sub(start).div_ceil(u64::from(self.mss)) as u32;
        self.episode.on_duplicate(end, segments.max(1));
        // Both transmissions of a segment arrived although segments above it arrived before.
        if self.board.is_sacked_resent(start)
            && let Some(sacked_end) = self.board.sacked_end()
        {
            self.note_reordering(start, sacked_end);
        }
        rest
    }

    /// Notes segments marked by SACK; returns the lowest that was overtaken and sent once.
    fn note_arrivals(
        &mut self,
        now: u64,
        arrived: &[Sent],
        prior_sacked_end: u64,
        arrival: &mut Arrival,
    ) -> Option<u64> {
        let mut reordered = None;
        for segment in arrived {
            self.note_arrival(now, segment, arrival);
            if segment.was_resent {
                continue;
            }
            if segment.start < prior_sacked_end {
                reordered =
                    Some(reordered.map_or(segment.start, |low: u64| low.min(segment.start)));
            }
            arrival.original_arrived |= segment.end <= self.episode.end;
            widen(&mut arrival.sacked_at, segment.at);
        }
        reordered
    }

    /// Notes segments that were acknowledged; returns the lowest that was sent once and not marked.
    fn note_acknowledged(
        &mut self,
        now: u64,
        arrived: &[Sent],
        arrival: &mut Arrival,
    ) -> Option<u64> {
        let mut lowest = None;
        for segment in arrived {
            if !segment.is_sacked {
                // The echo tells which transmission it was that arrived.
                let echoes_earlier = arrival.echo.is_some_and(|echo| echo < segment.at / 1000);
                if segment.was_resent && echoes_earlier {
                    arrival.delivered += 1;
                } else {
                    self.note_arrival(now, segment, arrival);
                }
            }
            if segment.was_resent {
                arrival.resent_acknowledged = true;
            } else if !segment.is_sacked {
                lowest.get_or_insert(segment.start);
                arrival.original_arrived |= segment.end <= self.episode.end;
                widen(&mut arrival.acknowledged_at, segment.at);
            }
        }
        lowest
    }

    fn note_arrival(&mut self, now: u64, segment: &Sent, arrival: &mut Arrival) {
        arrival.delivered += 1;
        self.rack.on_arrival(now, segment, self.rtt.min().unwrap_or(0));
        let order = |sent: &Sent| (sent.at, sent.end);
        if arrival.newest.is_none_or(|newest| order(segment) > order(&newest)) {
            arrival.newest = Some(*segment);
        }
    }

    fn note_reordering(&mut self, start: u64, end: u64) {
        if start < end {
            self.rack.on_reordering(end - start, self.mss);
        }
    }

    /// Takes round-trip times, and arms the timer. Returns the newest.
    fn measure(&mut self, now: u64, arrival: &Arrival) -> Option<u64> {
        let acknowledged = arrival.acknowledged_at.filter(|_| !arrival.resent_acknowledged);
        let newest = arrival.sacked_at.or(acknowledged).map(|(_, last)| now - last);
        let oldest = acknowledged.or(arrival.sacked_at).map(|(first, _)| now - first);
        // Karn's rule does not bind where timestamps tell the transmissions apart.
        let echoed = arrival
            .echo
            .filter(|_| arrival.advanced)
            .map(|echo| (now / 1000 - echo.min(now / 1000)) * 1000);
        if let Some(newest) = newest {
            self.rtt.on_min_sample(newest);
            let flight = (self.unacknowledged, self.next);
            self.control.on_rtt(now, newest, flight, &mut self.window);
        }
        if let Some(sample) = oldest.or(echoed) {
            self.rtt.on_sample(sample, self.unacknowledged, self.next);
        }
        let first_sent_at = self.board.front().map(|(_, first)| first.at);
        // A mark of something sent before the first segment was is a sign of life for that as well.
        let revives = arrival
            .sacked_at
            .zip(first_sent_at)
            .is_some_and(|((first_sacked, _), first)| first_sacked < first);
        if arrival.advanced || revives {
            self.arm_after_progress(now);
        }
        newest
    }

    /// Counts what arrived. Returns the sample of the rate, and what had been delivered when the
    /// newest of it was sent.
    fn count_delivered(
        &mut self,
        now: u64,
        arrival: &Arrival,
    ) -> (Option<(u64, u64)>, Option<u64>) {
        let Some(newest) = arrival.newest else {
            self.delivery.delivered += u64::from(arrival.delivered);
            return (None, None);
        };
        let (delivered, interval) =
            self.delivery.on_delivered(now, arrival.delivered, newest.at, newest.mark);
        // Faster than the shortest round trip is no rate, but an old segment taken for a new one.
        let plausible = interval >= self.rtt.min().unwrap_or(0);
        (plausible.then_some((delivered, interval)), Some(newest.mark.delivered))
    }

    fn adjust_window(&mut self, sample: &RateSample, arrival: &Arrival) {
        if self.control.on_rate(sample, &mut self.window) {
            return;
        }
        let delivered = sample.acknowledged;
        if self.state == State::Recovery {
            self.reduce_proportionally(delivered, sample.lost, arrival.advanced);
            return;
        }
        // A sender that knows reordering takes marks as progress, others only acknowledgments.
        let progresses = arrival.advanced || (arrival.sacked && self.rack.degree > DEGREE_MIN);
        let is_used = self.is_window_limited
            || (self.window.is_slow_start()
                && (self.window.size as usize) < 2 * self.outstanding_max);
        if progresses && is_used && delivered > 0 {
            self.control.on_acknowledged(sample.now, delivered, &mut self.window);
        }
        self.outstanding_max = self.board.len();
    }
}

fn widen(range: &mut Option<(u64, u64)>, at: u64) {
    *range = Some(range.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
}
