//! What kind of traffic a packet is: which matters more to it, delay or throughput.
//!
//! What the operator wrote decides first ([`Rules`]), then the mark that the packet bears
//! ([`Dscp`]), then how its flow behaves ([`behaviour`]). A packet's class changes how long it may
//! wait and which paths it takes, never its lane: a flow may change its class at any packet and
//! keeps its order.

use self::behaviour::{Behaviour, Shape};
pub use self::{
    dscp::Dscp,
    rules::{Match, Rule, Rules},
};
use crate::{packet::Headers, segment::Cut, time::Time};

mod behaviour;
#[cfg(test)]
mod confusion;
mod dscp;
mod rules;
#[cfg(test)]
mod sequences;

/// What a packet needs, from the most urgent to the least.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Calls, games, name queries: worthless some 100 ms late, small, steady. Worth a copy.
    RealTime,
    /// Somebody waits for each answer: terminals, web pages, what is rare. Takes the path on which
    /// it arrives first.
    Interactive,
    /// As much as possible: transfers, streaming. Takes every path.
    Bulk,
    /// What is left: must not disturb anything.
    Scavenger,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::RealTime, Self::Interactive, Self::Bulk, Self::Scavenger];

    /// The class's place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The class's name in configurations and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Interactive => "interactive",
            Self::RealTime => "real-time",
            Self::Scavenger => "scavenger",
        }
    }

    /// The class of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// The number in the class field of a datagram (4 bits; 0 is what a sender without classes
    /// would write).
    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::RealTime => 1,
            Self::Interactive => 2,
            Self::Bulk => 3,
            Self::Scavenger => 4,
        }
    }

    /// The class that a peer means. A number that nobody has given a meaning is bulk: what may be
    /// held longest, so that its order is kept.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Self::ALL.into_iter().find(|class| class.bits() == bits).unwrap_or(Self::Bulk)
    }
}

/// Finds the class of packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classifier {
    rules: Rules,
}

impl Classifier {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules }
    }

    /// The class of a packet that its flow sends now. `flow` is to be kept with the flow, and
    /// begun anew with a new one; where packets of several flows share a state, a new one for each
    /// packet goes by what the packet shows.
    pub(crate) fn classify(
        &self,
        now: Time,
        headers: &Headers,
        cut: &Cut,
        flow: &mut FlowClass,
    ) -> Class {
        // Told of every packet, for what a mark asks for is held against it.
        let behaves = flow.behaviour.on_packets(now, &Shape::new(headers, cut));
        if flow.ruled_for != Some(headers.dscp) {
            flow.ruled_for = Some(headers.dscp);
            flow.rule = self.rules.class(headers);
        }
        let marked = Dscp::of(headers).class();
        flow.by_behaviour = flow.rule.or(marked).is_none();
        if let Some(class) = flow.rule {
            return class;
        }
        match marked {
            // Whoever marks a transfer as a call would take the copies that calls are to have.
            Some(Class::RealTime) if flow.behaviour.floods() => Class::Bulk,
            Some(class) => class,
            None => behaves,
        }
    }
}

/// What is remembered of a flow to classify it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlowClass {
    /// What the rules said, which of all that may differ in a flow depends on the mark alone...
    rule: Option<Class>,
    /// ...which was this one.
    ruled_for: Option<u8>,
    /// Whether nobody said what it is.
    by_behaviour: bool,
    behaviour: Behaviour,
}

impl FlowClass {
    /// Whether the flow was seen to keep the time of a call, and is not only new and small enough
    /// to become one.
    pub(crate) fn keeps_time(&self) -> bool {
        self.behaviour.keeps_time()
    }

    /// Whether its class is what its behaviour shows, for nobody said what it is.
    pub(crate) fn is_guessed(&self) -> bool {
        self.by_behaviour
    }
}

/// One for each of 4 095 flows a session: 300 KiB in all.
const _: () = assert!(size_of::<Behaviour>() <= 64 && size_of::<FlowClass>() <= 72);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{filter::Prefix, packet::UDP, segment::Offload};

    #[test]
    fn every_class_is_found_by_its_name_and_its_number() {
        for class in Class::ALL {
            assert_eq!(Class::from_name(class.name()), Some(class));
            assert_eq!(Class::from_bits(class.bits()), class);
        }
        assert_eq!(Class::from_name("realtime"), None);
        assert_eq!(Class::from_bits(15), Class::Bulk);
    }

    #[test]
    fn configuration_comes_before_the_mark_and_the_mark_before_behaviour() {
        let all = Match { prefixes: vec![prefix("10.0.0.0", 8)], ..Match::default() };
        let ruled = classifier(vec![Rule { class: Class::Scavenger, when: all }]);
        let unruled = classifier(Vec::new());

        assert_eq!(first(&ruled, EF), Class::Scavenger);
        assert_eq!(first(&unruled, EF), Class::RealTime);
        assert_eq!(first(&unruled, LE), Class::Scavenger);
        assert_eq!(first(&unruled, 0), Class::RealTime, "a small packet of an unknown flow");
    }

    #[test]
    fn a_rule_about_marks_follows_the_mark_of_each_packet() {
        let marked = Match { dscp: Some(1 << EF), ..Match::default() };
        let classifier = classifier(vec![Rule { class: Class::Bulk, when: marked }]);
        let mut flow = FlowClass::default();

        let classes = [EF, LE, EF].map(|dscp| classify(&classifier, 0, dscp, 200, &mut flow));

        assert_eq!(classes, [Class::Bulk, Class::Scavenger, Class::Bulk]);
    }

    #[test]
    fn what_is_small_and_new_is_told_from_what_keeps_time() {
        let classifier = classifier(Vec::new());
        let mut flow = FlowClass::default();

        let proved = (0..).find(|packet| {
            classify(&classifier, packet * 20_000, 0, 200, &mut flow);
            flow.keeps_time()
        });

        assert_eq!(proved, Some(18), "after six slots of 60 ms");
    }

    #[test]
    fn a_transfer_marked_as_a_call_is_none() {
        let classifier = classifier(Vec::new());
        let mut flow = FlowClass::default();

        let classes: Vec<Class> = (0..1000)
            .map(|packet| classify(&classifier, packet * 200, EF, 1400, &mut flow))
            .collect();

        assert_eq!(classes[0], Class::RealTime);
        assert_eq!(classes[999], Class::Bulk);
        let later = classify(&classifier, 3_000_000, EF, 200, &mut flow);
        assert_eq!(later, Class::RealTime, "believed again");
    }

    const EF: u8 = 46;
    const LE: u8 = 1;

    fn classifier(rules: Vec<Rule>) -> Classifier {
        Classifier::new(Rules::new(rules).expect("few rules"))
    }

    fn first(classifier: &Classifier, dscp: u8) -> Class {
        classify(classifier, 0, dscp, 200, &mut FlowClass::default())
    }

    fn classify(it: &Classifier, at: u64, dscp: u8, len: u16, flow: &mut FlowClass) -> Class {
        let mut packet = vec![0; usize::from(len)];
        packet[0] = 0x45;
        packet[1] = dscp << 2;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[9] = UDP;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[0x80, 0, 0x90, 0]);
        let headers = Headers::parse(&packet).expect("well-formed");
        let cut = Cut::new(&packet, &headers, Offload::default()).expect("one segment");
        it.classify(Time(at), &headers, &cut, flow)
    }

    fn prefix(address: &str, len: u8) -> Prefix {
        Prefix::new(address.parse().expect("an address"), len).expect("a prefix")
    }
}
