//! What the status shows of an uplink.

use std::time::Duration;

use shared::clock;
use shared::status;

use super::health::{Probe, State};
use super::uplink::Uplink;
use crate::probe_config::ProbeConfig;
use crate::uplink_config::UplinkConfig;

pub(super) fn uplink(uplink: &Uplink, config: &UplinkConfig, active: bool) -> status::Uplink {
    let age = clock::since_boot().saturating_sub(uplink.health.since());
    let probes = config.probes.iter().zip(uplink.health.probes());
    let mut probes: Vec<_> = probes.map(|(config, found)| probe(config, found)).collect();
    if uplink.health.state() == State::Down {
        // Whoever asks why an uplink is down looks here; the link has no line of its own.
        for probe in probes.iter_mut().filter(|probe| probe.error.is_none()) {
            probe.error = Some(uplink.health.cause().to_string());
        }
    }
    status::Uplink {
        name: uplink.name.clone(),
        state: uplink.health.state().to_string(),
        since: clock::since_epoch().saturating_sub(age).as_secs(),
        tier: uplink.tier,
        active,
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
