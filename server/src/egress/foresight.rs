//! What the policies would do if the uplinks were in some state: the same choice as at work, with
//! nothing asked and nothing changed.

use std::fmt::{self, Display};
use std::str::FromStr;

use engine::Class;
use shared::classes::class;
use shared::config::{Wrong, nearest};
use shared::host::Family;

use super::buckets::{BUCKETS, Buckets, WHOLE};
use super::event::Reason;
use super::health::State;
use super::pool::{Candidate, Choice, Fit, Trust, Way};
use super::selection::Selection;
use super::uplink::{DRAINED_TIER, Duty};
use super::watch::members;
use crate::egress_config::EgressConfig;
use crate::policy::{Choose, Policy};
use crate::uplink_config::UplinkConfig;

/// An uplink in a state that it might have: `lte=no-link`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Supposition {
    /// The uplink.
    pub uplink: String,
    /// Its state.
    pub state: Supposed,
}

/// A state that an uplink might have. Several may hold at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Supposed {
    /// Its probes are answered: as without a word.
    Healthy,
    /// Its probes are not answered.
    Unhealthy,
    /// Its interface is gone, or has no carrier.
    NoLink,
    /// The operator drains it.
    Draining,
    /// The operator has switched it off.
    Off,
    /// It breaks the limits of a class.
    BadFor(Class),
}

/// What becomes of the traffic of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreseen {
    /// The class, or "the rest".
    pub class: &'static str,
    /// The uplinks of new flows, with their shares, 0 to 1.
    pub shares: Vec<(String, f64)>,
    /// Why these.
    pub reason: Reason,
    /// The uplinks whose flows begin anew by others.
    pub flushed: Vec<String>,
}

/// What each policy does when all uplinks were healthy and then are as supposed.
///
/// # Errors
/// When a supposition names an uplink that isn't configured.
pub fn foresee(config: &EgressConfig, supposed: &[Supposition]) -> Result<Vec<Foreseen>, Wrong> {
    for Supposition { uplink, .. } in supposed {
        let names = config.uplinks.iter().map(|it| it.name.as_str());
        if names.clone().all(|name| name != uplink) {
            let right = match nearest(uplink, names.clone()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
            };
            return Err(Wrong::new(format!("there is no uplink \"{uplink}\"")).right(right));
        }
    }
    let buckets = Buckets::new(&members(&config.uplinks));
    let each = config.policies.iter().enumerate();
    Ok(each.map(|(at, policy)| foresee_one(config, at, policy, &buckets, supposed)).collect())
}

fn foresee_one(
    config: &EgressConfig,
    at: usize,
    policy: &Policy,
    buckets: &Buckets,
    supposed: &[Supposition],
) -> Foreseen {
    // Families differ only in what the host has, which nobody asks here.
    let mut selection = Selection::new(Family::V4, at, policy.clone(), config.uplinks.len());
    let candidates = |supposed: &[Supposition]| -> Vec<Candidate> {
        let of = |uplink: &UplinkConfig| candidate(uplink, policy.class, supposed);
        config.uplinks.iter().map(of).collect()
    };
    selection.choose(&candidates(&[]));
    selection.poll_flush();
    selection.choose(&candidates(supposed));
    let name = |at: usize| config.uplinks[at].name.clone();
    let shares = shares(policy, config, buckets, &selection.choice);
    Foreseen {
        class: policy.name(),
        shares: shares.into_iter().map(|(at, share)| (name(at), share)).collect(),
        reason: selection.choice.reason,
        flushed: selection.poll_flush().into_iter().map(name).collect(),
    }
}

fn candidate(config: &UplinkConfig, class: Option<Class>, all: &[Supposition]) -> Candidate {
    let own = all.iter().filter(|it| it.uplink == config.name).map(|it| it.state);
    let is = |state: Supposed| own.clone().any(|it| it == state);
    let closed = is(Supposed::NoLink) || is(Supposed::Off) || !config.admits(class);
    let after_all = if is(Supposed::Draining) { DRAINED_TIER } else { 0 };
    let bad = class.is_some_and(|class| is(Supposed::BadFor(class)));
    Candidate {
        tier: u16::from(config.tier) + after_all,
        cost: config.cost,
        state: if is(Supposed::Unhealthy) { State::Down } else { State::Up },
        trust: Trust::Fresh,
        route: if closed { Way::None } else { Way::Open },
        fit: if bad { Fit::Breaks } else { Fit::Keeps },
        part: WHOLE,
        duty: match () {
            () if is(Supposed::Off) => Duty::Off,
            () if is(Supposed::Draining) => Duty::Drain,
            () => Duty::Normal,
        },
    }
}

fn shares(
    policy: &Policy,
    config: &EgressConfig,
    buckets: &Buckets,
    choice: &Choice,
) -> Vec<(usize, f64)> {
    let weight = |at: usize| f64::from(config.uplinks[at].weight);
    let all: f64 = choice.members().map(weight).sum();
    let owners = buckets.owners(&choice.parts);
    let owned = |at: usize| owners.iter().filter(|it| **it == Some(at as u8)).count() as f64;
    let share = |at: usize| match policy.choose {
        Choose::ActiveStandby => 1.0,
        Choose::Share if policy.deals_out() => weight(at) / all,
        Choose::Share => owned(at) / BUCKETS as f64,
    };
    choice.members().map(|at| (at, share(at))).collect()
}

impl FromStr for Supposition {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write \"NAME=STATE\", with healthy, unhealthy, no-link, draining, off or \
                     bad-for-CLASS for STATE";
        let Some((uplink, state)) = text.split_once('=') else {
            return Err(Wrong::new("this is no state of an uplink").right(right));
        };
        let state = match state {
            "healthy" => Supposed::Healthy,
            "unhealthy" => Supposed::Unhealthy,
            "no-link" => Supposed::NoLink,
            "draining" => Supposed::Draining,
            "off" => Supposed::Off,
            other => match other.strip_prefix("bad-for-") {
                Some(name) => Supposed::BadFor(class(name)?),
                None => return Err(Wrong::new("there is no such state").right(right)),
            },
        };
        Ok(Self { uplink: uplink.to_owned(), state })
    }
}

/// "a 67 %, b 33 %".
impl Display for Foreseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |(name, share): &(String, f64)| match share {
            1.0 => name.clone(),
            _ => format!("{name} {:.0} %", share * 100.0),
        };
        match self.shares.as_slice() {
            [] => f.write_str("none: packets are refused"),
            several => f.write_str(&several.iter().map(share).collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_moves_alone_and_an_uplink_that_fails_takes_its_flows_along() {
        let config = config();

        let calm = foresee(&config, &[]).unwrap();
        assert_eq!((calm[0].to_string(), calm[1].to_string()), ("a".to_owned(), "a".to_owned()));
        let bad = foresee(&config, &suppose(&["a=bad-for-real-time"])).unwrap();
        assert_eq!((bad[0].to_string(), bad[0].flushed.len()), ("a".to_owned(), 0));
        assert_eq!(
            (bad[1].to_string(), &bad[1].flushed[..]),
            ("b".to_owned(), &["a".to_owned()][..])
        );
        let lost = foresee(&config, &suppose(&["a=no-link"])).unwrap();
        assert_eq!(lost[0].to_string(), "none: packets are refused", "b is for calls");
        assert_eq!(lost[0].reason, Reason::NoneLeft);
        assert_eq!(lost[1].to_string(), "b");
        let silent = foresee(&config, &suppose(&["a=unhealthy"])).unwrap();
        assert_eq!((silent[0].to_string(), silent[0].reason), ("a".to_owned(), Reason::FailOpen));
    }

    #[test]
    fn shares_are_those_of_the_buckets() {
        let mut config = config();
        config.policies[0].choose = Choose::Share;
        config.uplinks[1].only.clear();
        config.uplinks[1].tier = 1;
        config.uplinks[1].weight = 3;

        let all = foresee(&config, &[]).unwrap();
        assert_eq!(all[0].to_string(), "a 25 %, b 75 %");
        let drained = foresee(&config, &suppose(&["b=draining"])).unwrap();
        assert_eq!((drained[0].to_string(), drained[0].flushed.len()), ("a".to_owned(), 0));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("a", "no state of an uplink"),
            ("a=ill", "no such state"),
            ("a=bad-for-calls", "\"calls\" is not a class"),
        ] {
            let wrong = text.parse::<Supposition>().unwrap_err();
            assert!(wrong.to_string().contains(expected), "{wrong}");
        }
        let wrong = foresee(&config(), &suppose(&["c=off"])).unwrap_err();
        assert!(wrong.to_string().contains("no uplink \"c\""), "{wrong}");
    }

    fn config() -> EgressConfig {
        let mut config = EgressConfig::default();
        config.policies.push(Policy { class: Some(Class::RealTime), ..Policy::default() });
        config.uplinks = vec![UplinkConfig::new("a"), UplinkConfig::new("b")];
        config.uplinks[1].tier = 2;
        config.uplinks[1].only = vec![Class::RealTime];
        config
    }

    fn suppose(texts: &[&str]) -> Vec<Supposition> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }
}
