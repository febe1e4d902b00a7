//! How one class of traffic leaves: `[egress]` for all, `[[egress.class]]` for one.

use std::ops::RangeInclusive;
use std::time::Duration;

use engine::Class;
use shared::classes::class;
use shared::config::{self, Placed, Table, Wrong, one_of};

use crate::limits::Limits;

/// How some traffic chooses among the uplinks, and what it asks of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The class of the traffic; none for all that has no policy of its own.
    pub class: Option<Class>,
    /// How many of the best uplinks carry new flows.
    pub choose: Choose,
    /// What keeps to one uplink while several carry new flows.
    pub key: Key,
    /// What an uplink must keep to be one of the best.
    pub limits: Limits,
    /// What happens when an uplink breaks them.
    pub on_breach: OnBreach,
    /// For how long an uplink must keep the limits, with something to spare, after it has broken
    /// them.
    pub return_after: Duration,
    /// What happens to flows that had to leave, when a better uplink is there again.
    pub failback: Failback,
}

/// How many uplinks of the lowest tier that works carry new flows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Choose {
    /// One: the first of them.
    #[default]
    ActiveStandby,
    /// All, by their weights.
    Share,
}

/// What is hashed to choose one of several uplinks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Key {
    /// The inner source: one host behind the tunnel has one address outside.
    #[default]
    Source,
    /// Source and destination.
    SourceDestination,
    /// Addresses, protocol and ports: each flow for itself.
    Flow,
    /// The inner source, which is not hashed but remembered: a new one takes the uplink that has
    /// the fewest for its weight. For a handful of sources, that a hash may put all on one uplink.
    LeastLoaded,
}

/// What happens when an uplink that works breaks a limit of a class.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnBreach {
    /// The class leaves it, with the flows that it has there.
    #[default]
    Steer,
    /// New flows of the class take another one.
    SteerNew,
    /// Nothing: it is told, and that is all.
    Keep,
}

/// What happens to the flows of a class on an uplink that is no longer the best one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Failback {
    /// They stay until they end; new ones take the better uplink.
    #[default]
    Drain,
    /// They stay, and so do new flows of the same source, until it has been quiet for an hour:
    /// all flows of one telephone come from one address.
    Sticky,
    /// They begin anew by the better uplink, at once.
    Force,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            class: None,
            choose: Choose::default(),
            key: Key::default(),
            limits: Limits::default(),
            on_breach: OnBreach::default(),
            return_after: RETURN_AFTER,
            failback: Failback::default(),
        }
    }
}

impl Policy {
    /// Reads what `[egress]` and `[[egress.class]]` have in common, in place of what `self` has.
    pub(crate) fn read(&mut self, table: &mut Table<'_>) {
        let choose = table.optional("choose", one_of("a way to choose", &CHOICES));
        let key = table.optional("key", one_of("a key", &KEYS));
        let failback = table.optional("failback", one_of("a way back", &WAYS_BACK));
        // Who mistyped `choose` is told of that alone.
        let mistyped = choose.is_none() && table.has("choose");
        self.choose = choose.map_or(self.choose, Placed::into_inner);
        if let Some(key) = &key
            && self.choose != Choose::Share
            && !mistyped
        {
            let wrong = Wrong::new("`key` says how uplinks are shared, and they are not");
            table.note(key.span(), wrong.right("add `choose = \"share\"`, or remove `key`"));
        }
        self.key = key.map_or(self.key, Placed::into_inner);
        self.failback = failback.map_or(self.failback, Placed::into_inner);
    }

    /// Reads one `[[egress.class]]`; what it doesn't say is as for the rest.
    pub(crate) fn read_class(table: &mut Table<'_>, rest: &Self) -> Option<Self> {
        let mut policy = rest.clone();
        let class = table.required("name", |value| class(&config::text(value)?));
        policy.read(table);
        let on_breach = table.optional("on_breach", |value| {
            if config::text(value).is_ok_and(|text| text == "duplicate") {
                let why =
                    "two copies would come from two addresses, and no far end takes them for one";
                return Err(Wrong::new(why).right(
                    "write \"steer\"; in the tunnel a class is duplicated by `mode` in `[[class]]`",
                ));
            }
            one_of("what happens on a breach", &BREACHES)(value)
        });
        let return_after = table.optional("return_after", config::duration(RETURNS_AFTER));
        policy.return_after = return_after.map_or(RETURN_AFTER, Placed::into_inner);
        let limits = Limits::read(table);
        let class = class?.into_inner();
        policy.class = Some(class);
        policy.limits = limits.unwrap_or_else(|| Limits::usual(class));
        if let Some(on_breach) = &on_breach
            && policy.limits == Limits::default()
        {
            let wrong = Wrong::new("the class has no limit that could be broken");
            table.note(
                on_breach.span(),
                wrong.right("add `loss = \"2%\"` or `latency = \"150ms\"`"),
            );
        }
        policy.on_breach = on_breach.map_or(OnBreach::Steer, Placed::into_inner);
        Some(policy)
    }

    /// The number that stands for it in the marks of its flows: that of its class, so that it stays
    /// when policies come and go; 0 for the rest.
    pub fn number(&self) -> usize {
        self.class.map_or(0, |class| class.index() + 1)
    }

    /// Whether it is remembered which source was at which uplink.
    pub fn remembers(&self) -> bool {
        self.deals_out() || self.failback == Failback::Sticky
    }

    /// Whether new sources are dealt out to those that have the fewest.
    pub fn deals_out(&self) -> bool {
        self.choose == Choose::Share && self.key == Key::LeastLoaded
    }

    /// The name that people know it by.
    pub fn name(&self) -> &'static str {
        self.class.map_or(REST, Class::name)
    }
}

/// The name of the traffic that belongs to no class with a policy of its own.
pub const REST: &str = "the rest";
/// Long enough to tell a line that is well from one that pauses.
const RETURN_AFTER: Duration = Duration::from_secs(10);
const RETURNS_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// A source that has been quiet for so long is like a new one.
pub const HOME_FOR: Duration = Duration::from_secs(3600);

static CHOICES: [(&str, Choose); 2] =
    [("active-standby", Choose::ActiveStandby), ("share", Choose::Share)];
static KEYS: [(&str, Key); 4] = [
    ("source", Key::Source),
    ("source-destination", Key::SourceDestination),
    ("flow", Key::Flow),
    ("least-loaded", Key::LeastLoaded),
];
static WAYS_BACK: [(&str, Failback); 3] =
    [("drain", Failback::Drain), ("sticky", Failback::Sticky), ("force", Failback::Force)];
static BREACHES: [(&str, OnBreach); 3] =
    [("steer", OnBreach::Steer), ("steer-new", OnBreach::SteerNew), ("keep", OnBreach::Keep)];
