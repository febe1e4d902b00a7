//! What the status shows of an uplink.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::clock;
use shared::status;

use super::health::{Probe, State};
use super::uplink::{Duty, Uplink};
use super::watch::Census;
use crate::policy::Policy;
use crate::probe_config::ProbeConfig;

/// An uplink that carries new flows of these policies.
pub(super) fn uplink(
    uplink: &Uplink,
    policies: &[Policy],
    carried: &BTreeSet<usize>,
    census: &Census,
) -> status::Uplink {
    let health = &uplink.health;
    let age = clock::since_boot().saturating_sub(health.since());
    let probes = uplink.config.probes.iter().zip(health.probes());
    let mut probes: Vec<_> = probes.map(|(config, found)| probe(config, found)).collect();
    if health.state() == State::Down {
        // Whoever asks why an uplink is down looks here; the link has no line of its own.
        for probe in probes.iter_mut().filter(|probe| probe.error.is_none()) {
            probe.error = Some(health.cause().to_string());
        }
    }
    let broken = policies.iter().enumerate().filter_map(|(at, policy)| {
        let breach = uplink.grades.breach(at)?;
        Some((policy.name().to_owned(), breach.to_string()))
    });
    let classes = carried.iter().filter_map(|at| policies.get(*at));
    status::Uplink {
        name: uplink.config.name.clone(),
        state: health.state().to_string(),
        since: clock::since_epoch().saturating_sub(age).as_secs(),
        tier: uplink.config.tier,
        weight: uplink.config.weight,
        labels: uplink.config.labels.clone(),
        active: !carried.is_empty(),
        classes: classes.map(|policy| policy.name().to_owned()).collect(),
        breaches: broken.collect(),
        duty: match uplink.duty {
            Duty::Normal => None,
            Duty::Drain => Some("draining".to_owned()),
            Duty::Off => Some("off".to_owned()),
        },
        sources: census.at(uplink.mark()),
        interface: uplink.standing.as_ref().map(|standing| standing.interface.clone()),
        probes,
    }
}

fn probe(config: &ProbeConfig, found: &Probe) -> status::Probe {
    let last = found.last().map(|(_, result)| result);
    status::Probe {
        target: config.to_string(),
        answered: last.map(|result| result.is_ok()),
        rtt_ms: last.and_then(Result::ok).map(milliseconds),
        sent: found.sent(),
        received: found.answered(),
        error: last.and_then(Result::err).map(|cause| cause.to_string()),
        certificate_days: found.certificate_ends().map(|end| days(end, clock::since_boot())),
    }
}

fn days(end: Duration, now: Duration) -> u64 {
    end.saturating_sub(now).as_secs() / (24 * 3600)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
