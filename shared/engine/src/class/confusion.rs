//! What the sequences are taken for: the table of ARCHITECTURE.md.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
};

use super::{
    Class, Classifier, FlowClass, Rules,
    sequences::{ALL, Script, Sent, Sequence},
};
use crate::{
    packet::{Headers, TCP},
    segment::{Cut, Offload},
    time::Time,
};

#[test]
fn the_sequences_are_taken_for_what_they_are() {
    let mut table = String::from(
        "| sequence | is | real-time | interactive | bulk | recognised after, worst | changes of mind, worst |\n|---|---|---|---|---|---|---|\n",
    );
    let mut wrong = Vec::new();
    for sequence in &ALL {
        let seen = observe(sequence);
        seen.add_to(&mut table, sequence);
        let misjudged = seen.misjudged(sequence.class);
        if misjudged > f64::from(sequence.misjudged_max) / 1000.0 {
            wrong.push(format!("{}: {misjudged:.3} of it misjudged", sequence.name));
        }
        if seen.recognised.is_none_or(|after| after > sequence.recognised_max * 1000) {
            wrong.push(format!("{}: recognised after {:?} us", sequence.name, seen.recognised));
        }
    }
    writeln!(io::stdout(), "{table}").expect("standard output is there");
    assert!(wrong.is_empty(), "{table}\n{}", wrong.join("\n"));
}

/// What was made of a kind of traffic, over all seeds and jitters.
#[derive(Debug, Default)]
struct Observation {
    /// Segments by the class that was found.
    found: BTreeMap<Class, u64>,
    /// How late the first packet of a flow was that was taken for what it is, at worst; flows that
    /// end before that do not count.
    recognised: Option<u64>,
    changes: u32,
}

fn observe(sequence: &Sequence) -> Observation {
    let mut all = Observation::default();
    for seed in 0..SEEDS {
        for sigma in JITTERS_MICROS {
            let mut script = Script::new(seed);
            (sequence.make)(&mut script);
            all.observe(&script.jittered(sigma), sequence.class);
        }
    }
    all
}

impl Observation {
    fn observe(&mut self, sent: &[Sent], class: Class) {
        let classifier = Classifier::new(Rules::default());
        let mut flows: BTreeMap<u16, Flow> = BTreeMap::new();
        for sent in sent {
            let flow = flows.entry(sent.flow).or_insert_with(|| Flow::new(sent.at));
            let (headers, cut) = packet(sent);
            let found = classifier.classify(Time(sent.at), &headers, &cut, &mut flow.state);
            *self.found.entry(found).or_default() += u64::from(cut.count);
            flow.changes += u32::from(flow.last.is_some_and(|last| last != found));
            flow.last = Some(found);
            if found == class && flow.recognised.is_none() {
                flow.recognised = Some(sent.at - flow.began);
            }
        }
        for flow in flows.values() {
            self.recognised = self.recognised.max(flow.recognised);
            self.changes = self.changes.max(flow.changes);
        }
    }

    fn share(&self, class: Class) -> f64 {
        let all: u64 = self.found.values().sum();
        self.found.get(&class).copied().unwrap_or(0) as f64 / all as f64
    }

    fn misjudged(&self, class: Class) -> f64 {
        1.0 - self.share(class)
    }

    fn add_to(&self, table: &mut String, sequence: &Sequence) {
        let after = match self.recognised {
            Some(0) => "the first packet".to_owned(),
            Some(micros) if micros < 10_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
            Some(micros) => format!("{:.0} s", micros as f64 / 1e6),
            None => "never".to_owned(),
        };
        let shares = [Class::RealTime, Class::Interactive, Class::Bulk].map(|class| {
            let share = self.share(class);
            if share == 0.0 { "-".to_owned() } else { format!("{share:.3}") }
        });
        let _ = writeln!(
            table,
            "| {} | {} | {} | {after} | {} |",
            sequence.name,
            sequence.class.name(),
            shares.join(" | "),
            self.changes,
        );
    }
}

struct Flow {
    state: FlowClass,
    began: u64,
    recognised: Option<u64>,
    last: Option<Class>,
    changes: u32,
}

impl Flow {
    fn new(began: u64) -> Self {
        Self { state: FlowClass::default(), began, recognised: None, last: None, changes: 0 }
    }
}

/// The packet in bytes, read and cut as one that comes from the TUN device.
fn packet(sent: &Sent) -> (Headers, Cut) {
    let len = sent.len.max(if sent.protocol == TCP { 52 } else { 28 });
    let mut packet = vec![0; usize::from(len)];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[9] = sent.protocol;
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 192, 0, 2, 1]);
    packet[20..22].copy_from_slice(&(50_000 + sent.flow).to_be_bytes());
    packet[22..24].copy_from_slice(&sent.port.to_be_bytes());
    if sent.protocol == TCP {
        packet[32] = 8 << 4;
    }
    let headers = Headers::parse(&packet).expect("well-formed");
    let offload = Offload { segment: (len > 1500).then_some(1386), ..Offload::default() };
    (headers, Cut::new(&packet, &headers, offload).expect("it can be cut"))
}

const SEEDS: u64 = 20;

/// Of a quiet local network, of a Wi-Fi, of a caller far away.
const JITTERS_MICROS: [f64; 3] = [0.0, 4_000.0, 12_000.0];
