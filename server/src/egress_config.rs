//! What the configuration says about the way out of the server: `[egress]` and every `[[uplink]]`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use engine::Rules;
use shared::config::{self, Placed, Table, Wrong};

use crate::limits::KnownAfter;

use crate::policy::Policy;
use crate::uplink_config::UplinkConfig;

/// The exits of the server, and how they are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct EgressConfig {
    /// The exits, with unique names; when empty, the host's own routing decides.
    pub uplinks: Vec<UplinkConfig>,
    /// How traffic chooses: the first for all that no other is for, then one for each class that
    /// has its own.
    pub policies: Vec<Policy>,
    /// What belongs to which class, where the mark of a packet doesn't say it.
    pub rules: Rules,
    /// How long an uplink that has come back takes to get its whole share.
    pub slow_start: Duration,
    /// Whether an uplink whose targets are silent works as long as connections that others open by
    /// it are answered.
    pub believe_traffic: bool,
    /// Whether connections that have lost their uplink are reset, so that programs connect again
    /// at once instead of waiting for answers.
    pub reset_connections: bool,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            uplinks: Vec::new(),
            policies: vec![Policy::default()],
            rules: Rules::default(),
            slow_start: SLOW_START,
            believe_traffic: true,
            reset_connections: true,
        }
    }
}

impl EgressConfig {
    /// Reads `[egress]`, every `[[egress.class]]` and every `[[uplink]]`.
    pub fn read(table: &mut Table<'_>, rules: Rules) -> Self {
        let mut config = Self { rules, ..Self::default() };
        let uplinks = read_uplinks(table);
        let policies = table.table("egress", |table| {
            let mut rest = Policy::default();
            rest.read(table);
            let slow_start = table.optional("slow_start", config::duration(SLOW_STARTS));
            let believe = table.optional("believe_traffic", config::boolean);
            config.believe_traffic = believe.is_none_or(Placed::into_inner);
            let reset = table.optional("reset_connections", config::boolean);
            config.slow_start = slow_start.map_or(SLOW_START, Placed::into_inner);
            config.reset_connections = reset.is_none_or(Placed::into_inner);
            let classes = table.tables("class", |table| Policy::read_class(table, &rest));
            let mut seen = BTreeSet::new();
            for class in &classes {
                let name = class.get_ref().name();
                if !seen.insert(name) {
                    let wrong = Wrong::new(format!("class \"{name}\" has a policy already"));
                    table.note(class.span(), wrong.right("make one table of both"));
                }
            }
            Some((rest, classes))
        });
        let (rest, classes) = policies.unwrap_or_default();
        config.policies = vec![rest];
        for class in classes {
            for uplink in &uplinks {
                if let Some(wrong) = unmeasurable(class.get_ref(), uplink.get_ref()) {
                    table.note(class.span(), wrong);
                }
            }
            config.policies.push(class.into_inner());
        }
        config.uplinks = uplinks.into_iter().map(Placed::into_inner).collect();
        // A class that some uplink is reserved for chooses on its own, as the rest does.
        for class in config.uplinks.iter().flat_map(|uplink| &uplink.only) {
            if config.policies.iter().all(|policy| policy.class != Some(*class)) {
                let policy = Policy { class: Some(*class), ..config.policies[0].clone() };
                config.policies.push(policy);
            }
        }
        config
    }

    /// Adds an uplink at the end.
    ///
    /// # Errors
    /// When there are too many, or it can't be measured as a class needs it.
    pub fn add(&mut self, uplink: UplinkConfig) -> Result<(), Wrong> {
        if self.uplinks.len() == UPLINKS_MAX {
            return Err(Wrong::new(format!("there are {UPLINKS_MAX} uplinks, as many as can be")));
        }
        if let Some(wrong) = self.policies.iter().find_map(|it| unmeasurable(it, &uplink)) {
            return Err(wrong);
        }
        self.uplinks.push(uplink);
        Ok(())
    }

    /// What is known how soon of the limits of each class on each uplink, a line each.
    pub fn explain_limits(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for policy in self.policies.iter().filter(|policy| !policy.limits.is_empty()) {
            for uplink in self.uplinks.iter().filter(|uplink| uplink.admits(policy.class)) {
                let known = known_after(policy, uplink);
                lines.push(format!(
                    "class {} on uplink {}: {}; {known}",
                    policy.name(),
                    uplink.name,
                    policy.limits,
                ));
            }
        }
        lines
    }
}

fn known_after(policy: &Policy, uplink: &UplinkConfig) -> KnownAfter {
    KnownAfter::of(&policy.limits, uplink.gap(), uplink.hurried_gap())
}

/// A limit must be one that the uplink's probes can measure, in a time that is of use.
fn unmeasurable(policy: &Policy, uplink: &UplinkConfig) -> Option<Wrong> {
    if policy.limits.is_empty() || !uplink.admits(policy.class) {
        return None;
    }
    let of = format!("the limits of class \"{}\" on uplink \"{}\"", policy.name(), uplink.name);
    if uplink.measuring_probes().next().is_none() {
        let wrong =
            Wrong::new(format!("{of} can't be measured: none of its probes measures delay"));
        return Some(wrong.right("add `probe = \"icmp …\"` or \"tcp …\" to the uplink"));
    }
    let known = known_after(policy, uplink);
    if known.latest() > KNOWN_AFTER_MAX {
        let wrong = Wrong::new(format!("{of} would be seen broken too late ({known})"));
        return Some(wrong.right("shorten the uplink's `interval`, or raise the limit"));
    }
    None
}

fn read_uplinks(table: &mut Table<'_>) -> Vec<Placed<UplinkConfig>> {
    let uplinks = table.tables("uplink", UplinkConfig::read);
    let mut seen = BTreeSet::new();
    for uplink in &uplinks {
        let name = &uplink.get_ref().name;
        if !seen.insert(name) {
            let wrong = Wrong::new(format!("there are two uplinks called \"{name}\""));
            table.note(uplink.span(), wrong.right("give one another name"));
        }
    }
    table.limit("uplink", uplinks.len(), UPLINKS_MAX);
    uplinks
}

/// More uplinks than any one machine has; each takes one of 255 marks, a table and five rules.
pub(crate) const UPLINKS_MAX: usize = 32;
/// Long enough to see that a line that has just come back carries what it is given.
const SLOW_START: Duration = Duration::from_secs(10);
const SLOW_STARTS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
/// Whoever calls has hung up by then.
const KNOWN_AFTER_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::policy::{Choose, Failback, Key, OnBreach};
    use engine::Class;
    use shared::config::Document;

    #[test]
    fn without_a_word_about_it_one_uplink_carries_and_others_stand_by() {
        let config = read(UPLINK).unwrap();

        assert_eq!(config.policies, [Policy::default()]);
        assert_eq!(config.uplinks.len(), 1);
    }

    #[test]
    fn a_class_chooses_as_the_rest_does_where_it_says_nothing_else() {
        let text = "[egress]\nchoose = \"share\"\nkey = \"flow\"\n\
            [[egress.class]]\nname = \"real-time\"\nkey = \"source\"\nfailback = \"sticky\"\n\
            [[egress.class]]\nname = \"bulk\"\nloss = \"5%\"\non_breach = \"keep\"\n";

        let policies = read(text).unwrap().policies;

        assert_eq!((policies[0].choose, policies[0].key), (Choose::Share, Key::Flow));
        let calls = &policies[1];
        assert_eq!((calls.class, calls.choose, calls.key), (REAL_TIME, Choose::Share, Key::Source));
        assert_eq!(calls.limits, Limits::usual(Class::RealTime), "what calls usually need");
        assert_eq!((calls.on_breach, calls.failback), (OnBreach::Steer, Failback::Sticky));
        let bulk = &policies[2];
        assert_eq!((bulk.limits.loss, bulk.limits.latency), (Some(0.05), None));
        assert_eq!((bulk.on_breach, bulk.key), (OnBreach::Keep, Key::Flow));
    }

    #[test]
    fn a_class_that_an_uplink_is_reserved_for_chooses_on_its_own() {
        let config = read(&format!("{UPLINK}only = \"real-time\"\n")).unwrap();

        assert_eq!(config.policies[1].class, REAL_TIME);
        assert!(config.policies[1].limits.is_empty());
        assert!(config.uplinks[0].admits(REAL_TIME) && !config.uplinks[0].admits(None));
    }

    #[test]
    fn it_is_told_how_soon_a_breach_is_known() {
        let probe = "probe = \"icmp 192.0.2.1\"\n";
        let class = "[[egress.class]]\nname = \"real-time\"\n";

        let fast = read(&format!("{UPLINK}{probe}interval = \"20ms\"\n{class}")).unwrap();

        assert_eq!(
            fast.explain_limits(),
            ["class real-time on uplink a: latency 150ms, jitter 30ms, loss 1%; known after: \
                 delay 0.3s, 20% loss 0.4s, loss just above its limit 5.0s"]
        );
    }

    #[test]
    fn a_mistyped_choice_is_one_mistake() {
        let error = read("[egress]\nchoose = \"shar\"\nkey = \"flow\"\n").unwrap_err();

        assert!(!error.to_string().contains("they are not"), "{error}");
    }

    #[test]
    fn mistakes_are_named() {
        let class = "[[egress.class]]\nname = \"real-time\"\n";
        let slow = "probe = \"icmp 192.0.2.1\"\ninterval = \"1m\"\n";
        for (text, expected) in [
            ("[egress]\nchoose = \"shared\"\n".to_owned(), "did you mean \"share\"?"),
            ("[egress]\nchoose = \"x\"\n".to_owned(), "write one of active-standby, share"),
            ("[egress]\nkey = \"flow\"\n".to_owned(), "they are not"),
            (format!("{UPLINK}{UPLINK}"), "two uplinks called \"a\""),
            ("[[egress.class]]\nname = \"voice\"\n".to_owned(), "\"voice\" is not a class"),
            (format!("{class}{class}"), "class \"real-time\" has a policy already"),
            (format!("{class}on_breach = \"duplicate\"\n"), "from two addresses"),
            ("[[egress.class]]\nname = \"bulk\"\non_breach = \"keep\"\n".to_owned(), "no limit"),
            (format!("{class}failback = \"never\"\n"), "write one of drain, sticky, force"),
            (format!("{UPLINK}{class}"), "none of its probes measures delay"),
            (format!("{UPLINK}{slow}{class}"), "seen broken too late"),
        ] {
            let error = read(&text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    const UPLINK: &str = "[[uplink]]\nname = \"a\"\ninterface = \"eth1\"\n";
    const REAL_TIME: Option<Class> = Some(Class::RealTime);

    fn read(text: &str) -> Result<EgressConfig, shared::exit::Error> {
        let read = |table: &mut Table<'_>| Some(EgressConfig::read(table, Rules::default()));
        Document::from_text("x", text).read(read)
    }
}
