//! Links and changes as people write them: `lte=50M/60ms,jitter=8ms,loss=0.5%,queue=500ms`.

use serde::{Deserialize, Serialize};

use super::{Direction, LinkSpec};
use crate::link::{
    Change, Jitter, JitterLaw, LinkConfig, Loss, QueueLimit, Rate, Stalls, Switch, Trace,
};

/// One change to a link, in one direction or in both.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Edit {
    /// `None` is both.
    pub direction: Option<Direction>,
    /// What changes.
    pub change: Change,
}

/// Reads `NAME[@CLIENT]=RATE/RTT[,KEY=VALUE...]`, or `NAME[@CLIENT]=wire` for one that nothing is
/// emulated on.
///
/// # Errors
/// Says which part is wrong and what would be right.
pub fn parse_link(text: &str) -> Result<LinkSpec, String> {
    let example = "for example lte=50M/60ms,jitter=8ms,loss=0.5%,queue=500ms";
    let (name, rest) = text.split_once('=').ok_or(format!("'{text}' is no link; {example}"))?;
    let (name, client) = match name.split_once('@') {
        Some((name, client)) => {
            (name, client.parse().map_err(|_| format!("'{client}' is no client number"))?)
        }
        None => (name, 0),
    };
    if rest == "wire" {
        return Ok(LinkSpec { client, ..LinkSpec::wire(name) });
    }
    let mut parts = rest.split(',');
    let (rate, rtt) = parts
        .next()
        .and_then(|line| line.split_once('/'))
        .ok_or(format!("link '{name}' needs RATE/RTT; {example}"))?;
    let config = LinkConfig::new(parse_rate(rate)?, parse_duration_us(rtt)? / 2);
    let mut spec = LinkSpec { client, ..LinkSpec::with(name, config) };
    let mut changes = Vec::new();
    for part in parts {
        match part.split_once('=') {
            Some(("nat", value)) => spec.nat = parse_switch(value)?,
            Some(("icmp", value)) => spec.icmp_too_big = parse_switch(value)?,
            Some(("device-mtu", value)) => {
                let wrong = |_| format!("'{value}' is no MTU");
                spec.device_mtu = value.parse().map_err(wrong)?;
            }
            _ => changes.push(part),
        }
    }
    for Edit { direction, change } in parse_edits(&changes)? {
        if matches!(change, Change::StallNow { .. }) {
            return Err(
                "a single stall happens while the lab runs: lab set LINK stall=200ms".into()
            );
        }
        if direction != Some(Direction::Down) {
            spec.up.change(change.clone());
        }
        if direction != Some(Direction::Up) {
            spec.down.change(change);
        }
    }
    Ok(spec)
}

/// Reads `KEY=VALUE` of one link, each with `up.` or `down.` before it or for both directions.
///
/// # Errors
/// Says which part is wrong and what would be right.
pub fn parse_edits(parts: &[&str]) -> Result<Vec<Edit>, String> {
    let mut edits = Vec::new();
    for part in parts {
        let (key, value) =
            part.split_once('=').ok_or(format!("'{part}' is not KEY=VALUE; {KEYS}"))?;
        let (direction, key) = match key.split_once('.') {
            Some(("up", key)) => (Some(Direction::Up), key),
            Some(("down", key)) => (Some(Direction::Down), key),
            Some((other, _)) => return Err(format!("'{other}.' is neither 'up.' nor 'down.'")),
            None => (None, key),
        };
        if key == "blackhole" {
            edits.extend(parse_blackhole(value)?);
            continue;
        }
        // `law` and `burst` say how `jitter` and `loss` are meant; alone they say nothing.
        let beside = |wanted: &str| {
            parts.iter().find_map(|part| {
                let (other, value) = part.split_once('=')?;
                let same = part_direction(other) == direction || part_direction(other).is_none();
                (same && other.rsplit('.').next() == Some(wanted)).then_some(value)
            })
        };
        let change = match key {
            "burst" if beside("loss").is_some() => continue,
            "burst" => return Err("burst=N belongs to a loss: loss=2% burst=5".to_owned()),
            "law" if beside("jitter").is_some() => continue,
            "law" => return Err("law=... belongs to a jitter: jitter=8ms law=per-packet".into()),
            "jitter" => {
                let law = beside("law").map(parse_law).transpose()?.unwrap_or_default();
                Change::Jitter(Jitter { sigma_us: parse_duration_us(value)?, law })
            }
            "loss" => Change::Loss(parse_loss(value, beside("burst"))?),
            _ => parse_change(key, value)?,
        };
        edits.push(Edit { direction, change });
    }
    Ok(edits)
}

/// Reads `100M`, `512k`, `2.5G` or `unlimited`: bits a second.
///
/// # Errors
/// Says what would be right.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "unlimited" {
        return Ok(Rate::Unlimited);
    }
    let wrong = || format!("'{text}' is no rate; for example 512k, 100M, 2.5G or unlimited");
    let bits = parse_scaled(text, &[("k", 1e3), ("M", 1e6), ("G", 1e9), ("", 1.0)]);
    let bits = bits.filter(|bits| (1e3..=1e12).contains(bits)).ok_or_else(wrong)?;
    Ok(Rate::Constant { bits_per_second: bits as u64 })
}

/// Reads `20ms`, `1.5s` or `250us` as microseconds.
///
/// # Errors
/// Says what would be right.
pub fn parse_duration_us(text: &str) -> Result<u64, String> {
    parse_scaled(text, &[("us", 1.0), ("ms", 1e3), ("s", 1e6)])
        .filter(|us| (0.0..=3.6e9).contains(us))
        .map(|us| us as u64)
        .ok_or_else(|| format!("'{text}' is no time; for example 250us, 20ms or 1.5s, at most 1 h"))
}

/// Reads `0.5%` or `0.005` as a probability.
///
/// # Errors
/// Says what would be right.
pub fn parse_share(text: &str) -> Result<f64, String> {
    parse_scaled(text, &[("%", 0.01), ("", 1.0)])
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("'{text}' is no share; for example 0.5% or 0.005, at most 100%"))
}

/// Reads `on` or `off`.
///
/// # Errors
/// Says what would be right.
pub fn parse_switch(text: &str) -> Result<Switch, String> {
    match text {
        "off" => Ok(Switch::Off),
        "on" => Ok(Switch::On),
        _ => Err(format!("'{text}' is neither on nor off")),
    }
}

const KEYS: &str = "keys are rate, rtt, delay, jitter, law, loss, burst, queue, mtu, duplicate, \
                    blackhole, stall, trace, with up. or down. before them for one direction";

fn part_direction(key: &str) -> Option<Direction> {
    match key.split_once('.')?.0 {
        "up" => Some(Direction::Up),
        "down" => Some(Direction::Down),
        _ => None,
    }
}

fn parse_change(key: &str, value: &str) -> Result<Change, String> {
    match key {
        "delay" => Ok(Change::Delay { us: parse_duration_us(value)? }),
        "duplicate" => Ok(Change::Duplication { probability: parse_share(value)? }),
        "mtu" => {
            let wrong = || format!("'{value}' is no MTU; from 68 to 65535");
            let bytes = value.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
            Ok(Change::Mtu { bytes: bytes.ok_or_else(wrong)? })
        }
        "queue" => parse_queue(value).map(Change::Queue),
        "rate" => parse_rate(value).map(Change::Rate),
        "rtt" => Ok(Change::Delay { us: parse_duration_us(value)? / 2 }),
        "stall" => parse_stall(value),
        "trace" => read_trace(value).map(|trace| Change::Rate(Rate::Trace(trace))),
        _ => Err(format!("unknown key '{key}'; {KEYS}")),
    }
}

fn parse_blackhole(text: &str) -> Result<[Edit; 2], String> {
    let (up, down) = match text {
        "both" => (Switch::On, Switch::On),
        "down" => (Switch::Off, Switch::On),
        "off" => (Switch::Off, Switch::Off),
        "up" => (Switch::On, Switch::Off),
        _ => return Err(format!("'{text}' is no black hole; one of up, down, both, off")),
    };
    Ok([
        Edit { direction: Some(Direction::Up), change: Change::Blackhole(up) },
        Edit { direction: Some(Direction::Down), change: Change::Blackhole(down) },
    ])
}

fn parse_law(text: &str) -> Result<JitterLaw, String> {
    match text {
        "held" => Ok(JitterLaw::default()),
        "per-packet" => Ok(JitterLaw::PerPacket),
        _ => match parse_duration_us(text)? {
            0 => Err("a jitter is held for longer than 0".to_owned()),
            interval_us => Ok(JitterLaw::Held { interval_us }),
        },
    }
}

fn parse_loss(text: &str, burst: Option<&str>) -> Result<Loss, String> {
    let probability = parse_share(text)?;
    let Some(burst) = burst else {
        return Ok(if probability == 0.0 { Loss::None } else { Loss::Independent { probability } });
    };
    let burst = burst.parse().ok().filter(|packets| (1.0..=1e6).contains(packets));
    let burst = burst.ok_or("burst is the mean number of packets lost in a row, at least 1")?;
    Ok(Loss::Bursts { mean: probability, burst })
}

fn parse_queue(text: &str) -> Result<QueueLimit, String> {
    if let Ok(us) = parse_duration_us(text) {
        return Ok(QueueLimit::Time { us });
    }
    let scales = [("kB", 1e3), ("MB", 1e6), ("k", 1e3), ("M", 1e6), ("B", 1.0), ("", 1.0)];
    parse_scaled(text, &scales)
        .filter(|bytes| (0.0..=1e10).contains(bytes))
        .map(|bytes| QueueLimit::Bytes(bytes as u64))
        .ok_or_else(|| format!("'{text}' is no queue; for example 500ms or 64kB"))
}

fn parse_stall(text: &str) -> Result<Change, String> {
    if text == "off" {
        return Ok(Change::Stalls(Stalls::default()));
    }
    let Some((length, every)) = text.split_once('/') else {
        return Ok(Change::StallNow { us: parse_duration_us(text)? });
    };
    let (length_us, every_us) = (parse_duration_us(length)?, parse_duration_us(every)?);
    if length_us >= every_us {
        return Err(format!("stall={text}: a pause is shorter than its interval, as in 80ms/15s"));
    }
    Ok(Change::Stalls(Stalls { every_us, length_us }))
}

fn read_trace(path: &str) -> Result<Trace, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("trace {path}: {error}; make one by 'lab trace generate --out {path}'")
    })?;
    Trace::parse(&text).map_err(|error| format!("trace {path}: {error}"))
}

/// Reads a number with the first of the endings that fits; an empty ending comes last.
fn parse_scaled(text: &str, scales: &[(&str, f64)]) -> Option<f64> {
    scales.iter().find_map(|(ending, scale)| {
        let number: f64 = text.strip_suffix(ending)?.parse().ok()?;
        number.is_finite().then_some(number * scale)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_of_the_demo_are_read() {
        let fibre = parse_link("fibre=100M/20ms").unwrap();
        let lte = parse_link("lte=50M/60ms,jitter=8ms,loss=0.5%,queue=500ms").unwrap();

        assert_eq!(fibre, LinkSpec::new("fibre", 100, 20));
        assert_eq!(lte.up, lte.down);
        assert_eq!(lte.up.delay_us, 30_000);
        assert_eq!(lte.up.jitter, Jitter::held(8000));
        assert_eq!(lte.up.loss, Loss::Independent { probability: 0.005 });
        assert_eq!(lte.up.queue, QueueLimit::Time { us: 500_000 });
    }

    #[test]
    fn one_direction_can_differ() {
        let dsl = parse_link("dsl=50M/30ms,up.rate=10M,up.loss=1%,up.burst=3,mtu=1492,nat=on");
        let dsl = dsl.unwrap();

        assert_eq!(dsl.up.rate, Rate::Constant { bits_per_second: 10_000_000 });
        assert_eq!(dsl.down.rate, Rate::Constant { bits_per_second: 50_000_000 });
        assert_eq!(dsl.up.loss, Loss::Bursts { mean: 0.01, burst: 3.0 });
        assert_eq!(dsl.down.loss, Loss::None);
        assert_eq!((dsl.up.mtu, dsl.down.mtu, dsl.nat), (1492, 1492, Switch::On));
    }

    #[test]
    fn a_black_hole_says_which_direction_it_leaves_open() {
        let edits = parse_edits(&["blackhole=up"]).unwrap();

        assert_eq!(edits[0].change, Change::Blackhole(Switch::On));
        assert_eq!(edits[0].direction, Some(Direction::Up));
        assert_eq!(edits[1].change, Change::Blackhole(Switch::Off));
    }

    #[test]
    fn stalls_come_once_or_return() {
        assert_eq!(
            parse_edits(&["stall=200ms"]).unwrap()[0].change,
            Change::StallNow { us: 200_000 }
        );
        assert_eq!(
            parse_edits(&["stall=80ms/15s"]).unwrap()[0].change,
            Change::Stalls(Stalls { every_us: 15_000_000, length_us: 80_000 })
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, says) in [
            ("fibre", "for example"),
            ("fibre=100M", "RATE/RTT"),
            ("fibre=fast/20ms", "no rate"),
            ("fibre=1M/20", "no time"),
            ("fibre=1M/20ms,loss=120%", "at most 100%"),
            ("fibre=1M/20ms,colour=red", "unknown key 'colour'"),
            ("fibre=1M/20ms,burst=4", "belongs to a loss"),
            ("fibre=1M/20ms,side.loss=1%", "neither 'up.' nor"),
            ("fibre=1M/20ms,trace=/nowhere", "lab trace generate"),
        ] {
            let error = parse_link(text).unwrap_err();

            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
