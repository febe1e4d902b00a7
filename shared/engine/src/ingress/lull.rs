//! The moment in which a long transfer looks for its shortest round trip.
//!
//! Each ten seconds a BBR lets what it has on its way run dry, and then has four packets there for 200 ms: the
//! least round trip that it sees is the one it counts with from then on. If these few go by the nearest path, a flow
//! over several paths never has enough on its way for the farther ones. No other sender falls silent in the midst of a
//! transfer to send a packet now and then.

use crate::time::{Span, Time};

/// What one flow has sent of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lull {
    /// Since when it has sent without a long break, and what.
    since: Time,
    bytes: u64,
    last_at: Time,
    /// When it fell silent, what it has sent since, and its bytes a second before that.
    quiet: Option<(Time, u64, f64)>,
}

/// What a packet shows of its flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// The flow had ended, or rested: what was found before is over.
    Break,
    /// A transfer that was silent for a moment: it may look for its round trip.
    Silence,
    /// It did.
    Look,
    /// It did not: it goes on as before.
    Pause,
}

impl Lull {
    /// Notes a packet of so many bytes. A silence is at least `shortest`, half a round trip, and `drained` whether
    /// this packet may end one.
    pub(super) fn on_packet(
        &mut self,
        now: Time,
        len: usize,
        shortest: Span,
        drained: bool,
    ) -> Option<Found> {
        let silent = now.since(self.last_at);
        self.last_at = now;
        if silent > BREAK {
            *self = Self { since: now, bytes: len as u64, last_at: now, quiet: None };
            return Some(Found::Break);
        }
        self.bytes += len as u64;
        if let Some((at, sent, rate)) = &mut self.quiet {
            *sent += len as u64;
            let (passed, sent) = (now.since(*at), *sent as f64);
            let few = (FEW * *rate).min(FOUR / (shortest * 2).as_secs_f64());
            if sent > HANDFUL + few * passed.as_secs_f64() {
                self.quiet = None;
                return Some(Found::Pause);
            }
            if passed < LOOK {
                return None;
            }
            self.quiet = None;
            return Some(Found::Look);
        }
        let age = now.since(self.since);
        if drained && silent >= shortest && age >= LONG {
            let rate = self.bytes as f64 / age.as_secs_f64();
            if rate * silent.as_secs_f64() >= MISSING + 2.0 * len as f64 {
                self.quiet = Some((now, len as u64, rate));
                return Some(Found::Silence);
            }
        }
        if age >= LONG * 4 {
            self.since = now - age / 2;
            self.bytes /= 2;
        }
        None
    }
}

/// A transfer that was interrupted for so long begins anew.
const BREAK: Span = Span::secs(1);

/// Who looks sooner than this has seen little of the paths yet.
const LONG: Span = Span::secs(3);

/// For how long a look lasts at the least (BBR: 200 ms, from when all but four packets have arrived).
const LOOK: Span = Span::millis(150);

/// What is sent in a look, as a share of what was sent in the same time before.
const FEW: f64 = 0.2;

/// The most that is sent in each round trip, for BBR has four packets on their way, and beside that.
const FOUR: f64 = 4.0 * 1500.0;
const HANDFUL: f64 = 6.0 * 1500.0;

/// Bytes that have to be missing in a silence, beside two packets.
const MISSING: f64 = 16.0 * 1400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_that_stops_and_then_trickles_looks_for_its_round_trip() {
        let mut lull = Lull::default();
        let now = pour(&mut lull, Time(1_000_000), 4_000);
        let mut found = Vec::new();
        for packet in 0..20 {
            found.extend(lull.on_packet(
                now + Span::millis(60 + 10 * packet),
                1400,
                SHORTEST,
                true,
            ));
        }
        assert_eq!(found, [Found::Silence, Found::Look]);
    }

    #[test]
    fn one_that_goes_on_as_before_was_only_held_up() {
        let mut lull = Lull::default();
        let now = pour(&mut lull, Time(1_000_000), 4_000);
        let mut found = Vec::new();
        for packet in 0..400 {
            found.extend(lull.on_packet(now + Span::millis(60 + packet), 1400, SHORTEST, true));
        }
        assert_eq!(found, [Found::Silence, Found::Pause]);
    }

    #[test]
    fn what_is_short_or_slow_looks_for_nothing() {
        let mut short = Lull::default();
        let now = pour(&mut short, Time(1_000_000), 1_000);
        assert_eq!(short.on_packet(now + Span::millis(60), 1400, SHORTEST, true), None);

        let mut slow = Lull::default();
        slow.on_packet(Time(1_000_000), 1400, SHORTEST, true);
        for packet in 1..100 {
            let at = Time(1_000_000) + Span::millis(100) * packet;
            assert_eq!(slow.on_packet(at, 1400, SHORTEST, true), None);
        }
    }

    #[test]
    fn one_that_starts_again_after_a_timeout_looks_for_nothing() {
        let mut lull = Lull::default();
        let now = pour(&mut lull, Time(1_000_000), 4_000);
        // It doubles what it sends in each round trip of 20 ms.
        let mut found = Vec::new();
        for round in 0..8 {
            for packet in 0..1 << round {
                let at = now + Span::millis(220 + 20 * round) + Span(10) * packet;
                found.extend(lull.on_packet(at, 1400, SHORTEST, packet == 0));
            }
        }
        assert_eq!(found, [Found::Silence, Found::Pause]);
    }

    #[test]
    fn a_long_rest_ends_what_was_found() {
        let mut lull = Lull::default();
        let now = pour(&mut lull, Time(1_000_000), 4_000);
        lull.on_packet(now + Span::millis(60), 1400, SHORTEST, true);
        let later = now + Span::secs(3);
        assert_eq!(lull.on_packet(later, 1400, SHORTEST, true), Some(Found::Break));
    }

    /// Sends a packet each millisecond.
    fn pour(lull: &mut Lull, start: Time, packets: u64) -> Time {
        lull.on_packet(start, 1400, SHORTEST, true);
        for packet in 1..packets {
            assert_eq!(lull.on_packet(start + Span::millis(packet), 1400, SHORTEST, true), None);
        }
        start + Span::millis(packets)
    }

    const SHORTEST: Span = Span::millis(10);
}
