//! Figures for Prometheus: what the status shows, in the text exposition format 0.0.4.
//!
//! Names begin with `hawser_`, units are seconds, bytes and ratios, counters end in `_total`. A
//! figure that is not known has no sample. Directions are `up` (client to server) and `down`, at
//! both ends.

use prometheus_client::{encoding::text::encode_registry, registry::Registry};

use self::exposition::Figures;
use crate::{exit::Error, status::Snapshot};

pub use self::{
    address::{explain, read},
    page::MetricsPage,
};

mod address;
mod exposition;
mod page;
mod path;
mod program;
mod session;
#[cfg(test)]
mod strict;
mod uplink;

/// The figures of a snapshot as Prometheus reads them.
///
/// # Errors
/// When they can't be written, which only a lack of memory brings about.
pub fn render(snapshot: Snapshot) -> Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(snapshot)));
    let mut out = String::new();
    encode_registry(&mut out, &registry)
        .map_err(|_| Error::failed("the figures can't be written"))?;
    Ok(out)
}

/// What [`render`] gives, as HTTP names it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{strict::parse, *};
    use crate::status::{Overhead, Path, PathDirection, Probe, Session, Traffic, Uplink};

    #[test]
    fn a_snapshot_is_written_line_by_line() {
        let snapshot = Snapshot {
            pid: 42,
            refused: BTreeMap::from([("too old".to_owned(), 3)]),
            ..Snapshot::new("hawser", "branch", 1_764_319_382)
        };

        let expected = format!(
            "\
# HELP hawser_build_info The program that runs, always 1.
# TYPE hawser_build_info gauge
hawser_build_info{{program=\"hawser\",name=\"branch\",version=\"{}\"}} 1
# HELP hawser_start_time_seconds When the program started, in seconds since 1970.
# TYPE hawser_start_time_seconds gauge
hawser_start_time_seconds 1764319382
# HELP hawser_sessions Sessions that there are.
# TYPE hawser_sessions gauge
hawser_sessions 0
# HELP hawser_refused_total Datagrams, packets and connections that were refused, by reason.
# TYPE hawser_refused_total counter
hawser_refused_total{{reason=\"too old\"}} 3
",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(render(snapshot).unwrap(), expected);
    }

    #[test]
    fn every_figure_of_a_busy_server_is_there_in_base_units() {
        let series = series(snapshot());

        let way = "session=\"a\",path=\"1\",link=\"lte\",direction=\"up\"";
        for (name, value) in [
            (format!("hawser_path_state{{{way},state=\"up\"}}"), 1.0),
            (format!("hawser_path_state{{{way},state=\"dead\"}}"), 0.0),
            (format!("hawser_path_quiet{{{way}}}"), 1.0),
            (format!("hawser_path_srtt_seconds{{{way}}}"), 0.0205),
            (format!("hawser_path_loss_ratio{{{way}}}"), 0.005),
            (format!("hawser_path_rate_bytes_per_second{{{way}}}"), 11_775_000.5),
            (format!("hawser_path_sent_bytes_total{{{way}}}"), u64::MAX as f64),
            ("hawser_path_mtu_bytes{session=\"a\",path=\"1\",link=\"lte\"}".to_owned(), 1500.0),
            (
                "hawser_session_skipped_packets_total{session=\"a\",direction=\"down\"}".to_owned(),
                7.0,
            ),
            ("hawser_session_state{session=\"a\",state=\"up\"}".to_owned(), 1.0),
            ("hawser_sessions".to_owned(), 3.0),
            ("hawser_uplink_state{uplink=\"fibre\",state=\"healthy\"}".to_owned(), 1.0),
            ("hawser_uplink_state{uplink=\"fibre\",state=\"unknown\"}".to_owned(), 0.0),
            ("hawser_uplink_tier{uplink=\"fibre\"}".to_owned(), 2.0),
            ("hawser_uplink_breach{uplink=\"fibre\",class=\"real-time\"}".to_owned(), 1.0),
        ] {
            assert_eq!(series.get(&name), Some(&value), "{name} in {series:#?}");
        }
        let overhead = "hawser_session_overhead_bytes_total{session=\"a\",direction=\"up\"";
        assert_eq!(series[&format!("{overhead},reason=\"copies\"}}")], 9.0);
        let probe = |which: &str| format!("{{uplink=\"fibre\",probe=\"https://x/{which}\"}}");
        assert_eq!(series[&format!("hawser_uplink_probe_answered{}", probe(""))], 0.0);
        assert_eq!(series[&format!("hawser_uplink_probe_rtt_seconds{}", probe(" (2)"))], 0.0015);
        let left = format!("hawser_uplink_probe_certificate_remaining_seconds{}", probe(" (2)"));
        assert_eq!(series[&left], 864_000.0);
    }

    #[test]
    fn a_figure_that_is_not_known_has_no_sample() {
        let series = series(snapshot());
        let with = |part: &str| series.keys().filter(|name| name.contains(part)).count();

        assert_eq!(
            with("hawser_path_state{session=\"a\",path=\"1\",link=\"lte\",direction=\"down\""),
            0
        );
        assert_eq!(with("hawser_path_jitter_seconds"), 0, "it was no number");
        assert_eq!(with("hawser_path_pace_bytes_per_second"), 0);
        assert_eq!(with("probe_rtt_seconds"), 1);
        assert_eq!(with("hawser_uplink_sources"), 0);
    }

    #[test]
    fn names_with_odd_letters_are_told_apart() {
        let odd = "b\"\\\n}";
        let series = series(snapshot());

        let name = "hawser_session_state{session=\"b\\\"\\\\\\n}\",state=\"dancing\"}";
        assert_eq!(series.get(name), Some(&1.0), "{odd:?} in {series:#?}");
    }

    fn series(snapshot: Snapshot) -> strict::Series {
        let text = render(snapshot).unwrap();
        parse(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
    }

    fn snapshot() -> Snapshot {
        let up = PathDirection {
            state: Some("up quiet".to_owned()),
            srtt_ms: Some(20.5),
            jitter_ms: Some(f64::NAN),
            loss: Some(0.005),
            rate_bit_s: Some(94_200_004),
            bytes_sent: Some(u64::MAX),
            ..PathDirection::default()
        };
        let path = |id, link: &str| Path {
            id,
            link: link.to_owned(),
            mtu: Some(1500),
            up: up.clone(),
            ..Path::default()
        };
        let session = |name: &str, state: &str, since| Session {
            name: name.to_owned(),
            state: state.to_owned(),
            since,
            paths: vec![path(0, ""), path(1, "lte")],
            up: Traffic {
                overhead: Overhead { copies_bytes: Some(9), ..Overhead::default() },
                ..Traffic::default()
            },
            down: Traffic { lost: Some(4), late: Some(3), ..Traffic::default() },
            ..Session::default()
        };
        let probe = Probe { target: "https://x/".to_owned(), ..Probe::default() };
        let answered = Probe {
            answered: Some(true),
            rtt_ms: Some(1.5),
            certificate_days: Some(10),
            ..probe.clone()
        };
        let uplink = Uplink {
            name: "fibre".to_owned(),
            state: "healthy".to_owned(),
            tier: 2,
            breaches: BTreeMap::from([("real-time".to_owned(), "loss 24%".to_owned())]),
            probes: vec![Probe { answered: Some(false), ..probe }, answered],
            ..Uplink::default()
        };
        Snapshot {
            sessions: vec![
                session("a", "reconnecting", 1),
                session("a", "up", 2),
                session("b\"\\\n}", "dancing", 3),
            ],
            uplinks: vec![uplink],
            refused: BTreeMap::from([("forged".to_owned(), 1)]),
            ..Snapshot::new("hawser-server", "x", 7)
        }
    }
}
