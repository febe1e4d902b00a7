//! The figures of the server's uplinks.

use std::fmt;

use super::exposition::{
    Exposition, Family, Figure, Labels, Value, seconds, states, truth, whole, with,
};
use crate::status::{Probe, Snapshot, Uplink};

pub(super) fn write(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    let label = |it: &Uplink| vec![("uplink", it.name.clone())];
    let uplinks: Vec<(Labels, &Uplink)> =
        snapshot.uplinks.iter().map(|it| (label(it), it)).collect();
    let state = uplinks.iter().flat_map(|(labels, it)| states(labels, &STATES, &it.state));
    out.family(&STATE, state)?;
    out.figures(&UPLINKS, &uplinks)?;
    let breaches = uplinks.iter().flat_map(|(labels, it)| {
        it.breaches.keys().map(|class| (with(labels, "class", class), truth(true)))
    });
    out.family(&BREACH, breaches)?;
    let carried = uplinks.iter().flat_map(|(labels, it)| {
        it.classes.iter().map(|class| (with(labels, "class", class), truth(true)))
    });
    out.family(&CARRIES, carried)?;
    let duties = uplinks.iter().flat_map(|(labels, it)| {
        it.duty.iter().map(|duty| (with(labels, "duty", duty), truth(true)))
    });
    out.family(&DUTY, duties)?;
    let probes: Vec<(Labels, &Probe)> =
        uplinks.iter().flat_map(|(labels, it)| probes(labels, it)).collect();
    out.figures(&PROBES, &probes)
}

/// The probes of an uplink. Of several with one target all but the first are numbered: two samples
/// with the same labels would be refused.
fn probes<'u>(labels: &Labels, uplink: &'u Uplink) -> Vec<(Labels, &'u Probe)> {
    let all = uplink.probes.iter().enumerate();
    all.map(|(at, probe)| {
        let before = uplink.probes[..at].iter().filter(|it| it.target == probe.target).count();
        let target = match before {
            0 => probe.target.clone(),
            several => format!("{} ({})", probe.target, several + 1),
        };
        (with(labels, "probe", &target), probe)
    })
    .collect()
}

const STATES: [&str; 3] = ["healthy", "unhealthy", "unknown"];

const STATE: Family =
    Family::gauge("hawser_uplink_state", "1 for the state that the uplink is in, else 0.");
const BREACH: Family = Family::gauge(
    "hawser_uplink_breach",
    "1 for each class whose limits the uplink breaks; absent where it keeps them.",
);

const CARRIES: Family = Family::gauge(
    "hawser_uplink_carries",
    "1 for each class whose new flows take the uplink; absent for the others.",
);
const DUTY: Family = Family::gauge(
    "hawser_uplink_duty",
    "1 for what the operator has ordered, draining or off; absent where nothing.",
);

const UPLINKS: [Figure<Uplink>; 5] = [
    Figure::gauge(
        "hawser_uplink_state_change_time_seconds",
        "Since when it is in that state, in seconds since 1970.",
        |it| Some(Value::Whole(it.since)),
    ),
    Figure::gauge("hawser_uplink_active", "1 while traffic leaves by the uplink, else 0.", |it| {
        Some(truth(it.active))
    }),
    Figure::gauge("hawser_uplink_tier", "The order of preference, the lowest first.", |it| {
        Some(Value::Whole(it.tier.into()))
    }),
    Figure::gauge("hawser_uplink_weight", "How much it takes where several share.", |it| {
        Some(Value::Whole(it.weight.into()))
    }),
    Figure::gauge(
        "hawser_uplink_sources",
        "Sources that it has, where they are remembered.",
        |it| whole(it.sources),
    ),
];

const PROBES: [Figure<Probe>; 5] = [
    Figure::gauge(
        "hawser_uplink_probe_answered",
        "1 if the last question was answered, else 0; absent before the first.",
        |it| it.answered.map(truth),
    ),
    Figure::gauge("hawser_uplink_probe_rtt_seconds", "How long the last answer took.", |it| {
        seconds(it.rtt_ms)
    }),
    Figure::counter("hawser_uplink_probe_sent_total", "Questions asked.", |it| {
        Some(Value::Whole(it.sent))
    }),
    Figure::counter("hawser_uplink_probe_received_total", "Answers that came in time.", |it| {
        Some(Value::Whole(it.received))
    }),
    Figure::gauge(
        "hawser_uplink_probe_certificate_remaining_seconds",
        "For how long the certificate of the target is still good, in whole days.",
        |it| whole(it.certificate_days.map(|days| days.saturating_mul(24 * 3600))),
    ),
];
