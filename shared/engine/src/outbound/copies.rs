//! How much is sent twice without being asked to.
//!
//! A copy of a call costs next to nothing, and it is the only remedy that needs no round trip: so what is
//! real-time is copied from its first packet on, within a small allowance. More is copied where it is
//! seen to be of use: where the best path loses packets, or makes them wait.

use crate::time::Time;

/// The allowance, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copies {
    credit: f64,
    as_of: Time,
    /// Whether the path that arrives first loses packets, or is late now and then.
    troubled: bool,
}

impl Copies {
    pub(super) fn new(now: Time) -> Self {
        Self { credit: CREDIT_MAX, as_of: now, troubled: false }
    }

    /// Notes whether copies are of use at the moment.
    pub(super) fn set_troubled(&mut self, troubled: bool) {
        self.troubled = troubled;
    }

    /// Notes bytes that were sent once: they allow a share of them to be sent twice.
    pub(super) fn on_sent(&mut self, now: Time, len: usize) {
        let passed = now.since(self.as_of).as_secs_f64();
        self.as_of = now;
        let (free, share) =
            if self.troubled { (FREE_TROUBLED, SHARE_TROUBLED) } else { (FREE, SHARE) };
        let earned = passed * free + share * len as f64;
        self.credit = (self.credit + earned).min(CREDIT_MAX);
    }

    /// Whether a copy of so many bytes is worth sending; `proved` if its flow was seen to keep time, and
    /// is not only small and new.
    pub(super) fn allow(&self, len: usize, proved: bool) -> bool {
        // Who is not known yet leaves something for those who are.
        let left = if proved { 0.0 } else { CREDIT_MAX / 4.0 };
        self.credit - left >= len as f64
    }

    /// Notes a copy.
    pub(super) fn on_copied(&mut self, len: usize) {
        self.credit -= len as f64;
    }
}

/// What may be copied in any case: 100 kbit/s, a call's rate, or a fiftieth of all bytes.
const FREE: f64 = 12_500.0;
const SHARE: f64 = 0.02;

/// The same where it is of use: a video call's rate, or a tenth.
const FREE_TROUBLED: f64 = 250_000.0;
const SHARE_TROUBLED: f64 = 0.1;

/// What is saved up: two seconds of a call.
const CREDIT_MAX: f64 = 2.0 * FREE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_copied_from_its_first_packet_to_its_last() {
        assert_eq!(copied(200, 50, false, false), 1.0);
    }

    #[test]
    fn a_video_call_is_copied_only_where_the_path_is_in_trouble() {
        let video = |troubled| copied(1200, 200, true, troubled);
        assert!((0.04..0.2).contains(&video(false)), "{}", video(false));
        assert_eq!(video(true), 1.0);
    }

    #[test]
    fn what_is_not_proved_leaves_credit_for_what_is() {
        let mut copies = Copies::new(Time::ZERO);
        while copies.allow(200, false) {
            copies.on_copied(200);
        }
        assert!(copies.allow(1000, true));
    }

    /// The share of a stream that is copied, over a minute.
    fn copied(len: usize, rate: u64, proved: bool, troubled: bool) -> f64 {
        let mut copies = Copies::new(Time::ZERO);
        copies.set_troubled(troubled);
        let mut count = 0;
        for packet in 0..60 * rate {
            copies.on_sent(Time(packet * 1_000_000 / rate), len);
            if copies.allow(len, proved) {
                copies.on_copied(len);
                count += 1;
            }
        }
        f64::from(count) / (60 * rate) as f64
    }
}
