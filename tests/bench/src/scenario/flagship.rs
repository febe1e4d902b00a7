//! The pair that everything is judged by: a fibre of 100 Mbit/s and 20 ms beside LTE of 50 Mbit/s
//! and 60 ms.

use lab::LinkSpec;
use lab::link::{Jitter, LinkConfig, Loss, QueueLimit};

use super::{Figure, Limit, Load, Scenario, Sender};

/// Without flaws, with what LTE has, and with loss on both.
pub(super) fn all(seconds: u64) -> Vec<Scenario> {
    let main = |name: &str, links| {
        let plain = Scenario::bulk(name, links).with(&[Load::Ping]);
        let senders = vec![Sender::Cubic, Sender::Bbr, Sender::Quic];
        Scenario { seconds, primed: true, is_main: true, senders, ..plain }
    };
    let always = |scenario: &Scenario| {
        let first = Limit::at_least(Figure::FirstShare, 0.90);
        let ping = Limit::at_most(Figure::Ping, scenario.idle_rtt_ms() + 10.0);
        let added = Limit::at_most(Figure::Added, 0.02);
        let queue = Limit::at_most(Figure::Queue, 15.0);
        [first, ping, added, queue, Limit::at_most(Figure::Feedback, 0.10)]
    };
    let clean = main("flagship-clean", clean());
    let limits = always(&clean);
    let clean = clean.holds(Limit::share(0.97, 0.95)).holds(limits);

    let with_lte = main("flagship-lte", lte());
    let limits = always(&with_lte).into_iter().filter(|it| it.figure != Figure::FirstShare);
    let with_lte = with_lte.holds(Limit::share(0.95, 0.90)).holds(limits);

    let both = |name: &str, fibre, mobile| {
        let mut links = lte();
        lose(&mut links[0], fibre);
        lose(&mut links[1], mobile);
        let scenario = Scenario { seconds, ..Scenario::bulk(name, links) };
        scenario.holds([Limit::at_least(Figure::Share, 0.93)])
    };
    vec![
        clean,
        with_lte,
        both("loss-on-both", 0.001, 0.005),
        both("loss-on-both-2", 0.001, 0.02),
        both("loss-2", 0.0, 0.02),
    ]
}

/// Both links without flaws.
pub(super) fn clean() -> Vec<LinkSpec> {
    vec![LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)]
}

/// The second link with jitter, loss and a deep queue.
pub(super) fn lte() -> Vec<LinkSpec> {
    let mut mobile = LinkConfig::mbit(50, 30_000);
    mobile.jitter = Jitter::held(8000);
    mobile.loss = Loss::Independent { probability: 0.005 };
    mobile.queue = QueueLimit::Time { us: 500_000 };
    vec![LinkSpec::new("fibre", 100, 20), LinkSpec::with("lte", mobile)]
}

/// Lets a link lose packets in both directions.
pub(super) fn lose(link: &mut LinkSpec, probability: f64) {
    let loss = if probability > 0.0 { Loss::Independent { probability } } else { Loss::None };
    (link.up.loss, link.down.loss) = (loss, loss);
}
