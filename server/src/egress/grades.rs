//! Which classes an uplink is good enough for.

use std::time::Duration;

use super::event::EventKind;
use super::prober::{Finding, Outcome, Report};
use super::quality::{Breach, Quality};
use crate::policy::Policy;
use crate::uplink_config::UplinkConfig;

/// What is known of an uplink's quality, and the limits that it breaks.
#[derive(Debug)]
pub(super) struct Grades {
    /// Of each probe, in the order of the configuration.
    qualities: Vec<Quality>,
    /// The limit that is broken, of each policy, and when it was seen broken last.
    breaches: Vec<Option<(Breach, Duration)>>,
    /// The probes that measure.
    measuring: Vec<usize>,
}

impl Grades {
    /// Nothing is known yet, which is good enough.
    pub(super) fn new(config: &UplinkConfig) -> Self {
        Self {
            qualities: vec![Quality::new(config.gap()); config.probes.len()],
            breaches: Vec::new(),
            measuring: config.measuring_probes().collect(),
        }
    }

    /// The limit of a policy that is broken.
    pub(super) fn breach(&self, policy: usize) -> Option<Breach> {
        self.breaches.get(policy).copied().flatten().map(|(breach, _)| breach)
    }

    /// Goes on with other policies, each of which was at this place before if it was there; the
    /// others are judged anew.
    pub(super) fn regrade(&mut self, before: &[Option<usize>]) {
        let breach = |place: &Option<usize>| self.breaches.get((*place)?).copied().flatten();
        self.breaches = before.iter().map(breach).collect();
    }

    /// Takes in what a probe has found.
    pub(super) fn on_report(&mut self, report: &Report) {
        let Some(quality) = self.qualities.get_mut(report.seat.probe) else { return };
        match report.finding {
            Finding::Sent(number) => quality.on_sent(report.at, number),
            Finding::Ended(Some(number), Outcome::Answered(rtt)) => quality.on_answer(number, rtt),
            Finding::Ended(..) | Finding::Heard | Finding::Certificate(_) => {}
        }
    }

    /// The traffic shows that the line works, so it is the targets that are silent.
    pub(super) fn on_passing(&mut self) {
        self.qualities.iter_mut().for_each(Quality::forget_unanswered);
    }

    /// Compares what is known with the limits of each policy; what has changed is an event.
    pub(super) fn judge(
        &mut self,
        now: Duration,
        config: &UplinkConfig,
        policies: &[Policy],
    ) -> Vec<EventKind> {
        self.breaches.resize(policies.len(), None);
        let mut events = Vec::new();
        for (at, policy) in policies.iter().enumerate() {
            if policy.limits.is_empty() || !config.admits(policy.class) {
                continue;
            }
            let before = self.breaches[at];
            let after = match before {
                None => self.breach_of(|it| it.breach(now, &policy.limits)).map(|it| (it, now)),
                Some(before) => self.still_bad(now, policy, before),
            };
            self.breaches[at] = after;
            if before.is_some() != after.is_some() {
                events.push(EventKind::Quality {
                    uplink: config.name.clone(),
                    class: policy.name(),
                    breach: after.map(|(breach, _)| breach),
                });
            }
        }
        events
    }

    /// What all of the probes find; a bad target is not a bad uplink.
    fn breach_of(&self, find: impl Fn(&Quality) -> Option<Breach>) -> Option<Breach> {
        let mut worst = None;
        for probe in &self.measuring {
            worst = Some(find(self.qualities.get(*probe)?)?);
        }
        worst
    }

    /// Once bad, an uplink is good again when nothing was wrong for some time by one of its probes,
    /// which from here on counts anew.
    fn still_bad(
        &mut self,
        now: Duration,
        policy: &Policy,
        (breach, seen_at): (Breach, Duration),
    ) -> Option<(Breach, Duration)> {
        if let Some(breach) = self.breach_of(|it| it.breach_now(now, &policy.limits)) {
            return Some((breach, now));
        }
        let clean = |quality: &&mut Quality| {
            now >= seen_at + policy.return_after
                && quality.is_clean(now, &policy.limits, policy.return_after)
        };
        let measuring = &self.measuring;
        let mut qualities = self.qualities.iter_mut().enumerate();
        let mut measure = qualities.by_ref().filter(|(at, _)| measuring.contains(at));
        let recovered = measure.find_map(|(_, quality)| clean(&&mut *quality).then_some(quality));
        let Some(quality) = recovered else { return Some((breach, seen_at)) };
        quality.forget(now.saturating_sub(policy.return_after));
        None
    }
}
