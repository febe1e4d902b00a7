//! Whether each family of addresses works by an uplink, where probes tell them apart.
//!
//! An uplink whose probes ask by both families may lose one of them: what leaves by that one takes
//! another uplink, the rest stays. Where they don't ask by both, their verdict is of the uplink.

use std::time::Duration;

use shared::host::Family;

use super::health::{Health, State};
use crate::uplink_config::UplinkConfig;

/// What is known of the families of one uplink.
#[derive(Debug)]
pub(super) struct Families {
    /// The probes of each family, in the order of [`Family::ALL`]; none where they tell nothing of it.
    probes: [Vec<usize>; 2],
    /// When a lost family was seen failing last.
    failing_at: [Option<Duration>; 2],
}

impl Families {
    /// All work.
    pub(super) fn new(config: &UplinkConfig) -> Self {
        let of = |family: Family| {
            let probes = config.probes.iter().enumerate();
            let own = probes.filter(|(_, probe)| probe.family() == Some(family));
            own.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let mut probes = Family::ALL.map(of);
        if probes.iter().any(Vec::is_empty) {
            probes.iter_mut().for_each(Vec::clear);
        }
        Self { probes, failing_at: [None; 2] }
    }

    /// Whether answers come by this family.
    pub(super) fn works(&self, family: Family) -> bool {
        self.failing_at[family as usize].is_none()
    }

    /// Whether all of its probes have missed an answer, without a verdict yet.
    pub(super) fn is_doubtful(&self, family: Family, now: Duration, health: &Health) -> bool {
        let own = &self.probes[family as usize];
        let missed = |at: &usize| health.missed_at(*at).is_some_and(|missed| now >= missed);
        !own.is_empty() && own.iter().all(missed)
    }

    /// Draws conclusions; gives what has changed: a family, and whether it works.
    pub(super) fn update(&mut self, now: Duration, health: &Health) -> Vec<(Family, bool)> {
        let mut changed = Vec::new();
        for family in Family::ALL {
            let own = &self.probes[family as usize];
            let failing = !own.is_empty() && own.iter().all(|at| health.has_failed(*at, now));
            let failing_at = &mut self.failing_at[family as usize];
            match *failing_at {
                None if failing => {
                    *failing_at = Some(now);
                    changed.push((family, false));
                }
                Some(_) if failing => *failing_at = Some(now),
                // One that comes and goes would take its flows to and fro.
                Some(at) if now >= at + HELD_FOR && own.iter().any(|at| health.rises(*at)) => {
                    *failing_at = None;
                    changed.push((family, true));
                }
                _ => {}
            }
        }
        changed
    }

    /// When a family that works will have failed without another answer, of an uplink that works.
    pub(super) fn poll_timeout(&self, health: &Health) -> Option<Duration> {
        if health.state() != State::Up {
            return None;
        }
        let fails_at = |family: Family| {
            let own = self.probes[family as usize].iter().map(|at| health.fails_at(*at));
            own.collect::<Option<Vec<Duration>>>()?.into_iter().max()
        };
        Family::ALL.into_iter().filter(|family| self.works(*family)).filter_map(fails_at).min()
    }
}

/// So long a family must answer before it is used again.
const HELD_FOR: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::health::Rules;
    use super::*;
    use crate::probe_config::ProbeConfig;

    #[test]
    fn a_family_is_lost_with_all_of_its_probes_and_returns_when_it_has_answered_for_long() {
        let (mut health, mut families) = of(&["192.0.2.1", "2001:db8::1", "2001:db8::2"]);
        let mut changes = Vec::new();
        for step in 0..400 {
            let now = ms(50 * step);
            for probe in 0..3 {
                health.on_sent(now, probe);
                // From 5 s to 7 s one of IPv6 is silent, then both until 9 s.
                let silent = match probe {
                    0 => false,
                    1 => (5000..9000).contains(&now.as_millis()),
                    _ => (7000..9000).contains(&now.as_millis()),
                };
                if !silent {
                    health.on_answer(now + ms(1), probe, ms(1));
                }
            }
            let changed = families.update(now + ms(2), &health);
            changes.extend(changed.into_iter().map(|(family, works)| (now, family, works)));
        }

        let [(lost, Family::V6, false), (back, Family::V6, true)] = changes[..] else {
            panic!("{changes:?}");
        };
        assert!(lost > ms(7200) && lost < ms(7450), "{lost:?}");
        assert!(back > ms(18_900) && back < ms(19_500), "{back:?}");
    }

    #[test]
    fn where_all_probes_are_of_one_family_nothing_is_said_of_it() {
        let (mut health, mut families) = of(&["2001:db8::1", "2001:db8::2"]);
        for probe in 0..2 {
            health.on_sent(ms(0), probe);
            health.on_answer(ms(1), probe, ms(1));
            health.on_sent(ms(50), probe);
        }

        assert_eq!(families.update(ms(60_000), &health), []);
        assert!(families.works(Family::V6));
        assert_eq!(families.poll_timeout(&health), None);
    }

    #[test]
    fn an_uplink_that_is_down_waits_for_no_family() {
        let (mut health, families) = of(&["192.0.2.1", "2001:db8::1"]);
        for probe in 0..2 {
            health.on_sent(ms(0), probe);
            health.on_answer(ms(1), probe, ms(1));
            health.on_sent(ms(50), probe);
        }
        assert!(families.poll_timeout(&health).is_some());

        assert!(health.handle_timeout(ms(1000)).is_some_and(|it| it.to == State::Down));
        assert_eq!(families.poll_timeout(&health), None);
    }

    fn of(targets: &[&str]) -> (Health, Families) {
        let target = |text: &&str| ProbeConfig::Icmp { target: text.parse().unwrap() };
        let probes: Vec<ProbeConfig> = targets.iter().map(target).collect();
        let rules = Rules { interval: ms(100), silence: ms(300), rise: 3, fall: 3, quorum: 1 };
        let mut health = Health::new(ms(0), rules, std::iter::repeat_n(ms(50), probes.len()));
        health.on_link_up(ms(0));
        (health, Families::new(&UplinkConfig { probes, ..UplinkConfig::new("a") }))
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }
}
