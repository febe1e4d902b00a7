//! Keeps what belongs together on one path, so that nothing of it ever waits for another one.
//!
//! A flow takes the path with the highest score, and each path's score depends on the flow and on that path alone
//! (rendezvous hashing, Thaler and Ravishankar, ACM/IEEE ToN 1998): when a path goes, only its flows move, and they
//! come back with it. A path that carries four times as much gets four times as many.

use super::{Choice, PacketView, PathView, Scheduler, eligible};

/// What belongs together.
pub(super) enum FlowHash {
    /// The packets of one flow.
    ByFlow,
    /// The packets of one host at the client's end.
    ByHost,
}

impl Scheduler for FlowHash {
    fn select(&self, packet: &PacketView, paths: &[PathView]) -> Choice {
        let hash = match self {
            Self::ByFlow => packet.hashes.flow,
            Self::ByHost => packet.hashes.host,
        };
        let best = eligible(packet, paths).max_by(|a, b| score(hash, a).total_cmp(&score(hash, b)));
        match best {
            Some(path) if path.room => Choice::One(path.id),
            _ => Choice::Wait,
        }
    }
}

/// A path's score for a hash: the logarithm weighs it by what the path carries.
fn score(hash: u32, path: &PathView) -> f64 {
    let mut mixed = u64::from(hash) << 8 | u64::from(path.id.0);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(factor);
    }
    let drawn = ((mixed >> 33) as f64 + 0.5) / f64::from(1_u32 << 31);
    path.weight / -drawn.ln()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Hashes,
            tests::{packet, path},
        },
        *,
    };
    use crate::path::PathId;

    #[test]
    fn a_flow_stays_on_its_path_even_while_that_is_full() {
        let paths = [path(0, 0), path(1, 0)];
        let mut on = [0; 2];
        for flow in 0..1000 {
            let Choice::One(chosen) = choose(flow, &paths) else { panic!("there is room") };
            on[chosen.index()] += 1;
            let full = paths.map(|it| PathView { room: it.id != chosen, ..it });
            assert_eq!(choose(flow, &full), Choice::Wait);
        }
        assert!(on.iter().all(|&flows| (400..600).contains(&flows)), "{on:?}");
    }

    #[test]
    fn only_the_flows_of_a_path_that_goes_move() {
        let paths = [path(0, 0), path(1, 0), path(2, 0)];
        for flow in 0..1000 {
            let before = choose(flow, &paths);
            let after = choose(flow, &paths[..2]);
            assert!(before == Choice::One(PathId(2)) || before == after, "{flow}");
        }
    }

    #[test]
    fn a_path_that_carries_four_times_as_much_gets_four_times_as_many() {
        let narrow = PathView { weight: 2.0, ..path(0, 0) };
        let wide = PathView { weight: 8.0, ..path(1, 0) };
        let wide =
            (0..1000).filter(|&flow| choose(flow, &[narrow, wide]) == Choice::One(PathId(1)));
        let wide = wide.count();
        assert!((760..840).contains(&wide), "{wide}");
    }

    #[test]
    fn by_host_the_flow_does_not_matter() {
        let paths = [path(0, 0), path(1, 0)];
        let of = |flow| {
            let packet = PacketView { hashes: Hashes { flow, host: 7 }, ..packet(100, false) };
            FlowHash::ByHost.select(&packet, &paths)
        };
        assert!((0..100).all(|flow| of(flow) == of(0)));
    }

    fn choose(flow: u32, paths: &[PathView]) -> Choice {
        let packet = PacketView { hashes: Hashes { flow, host: 0 }, ..packet(100, false) };
        FlowHash::ByFlow.select(&packet, paths)
    }
}
