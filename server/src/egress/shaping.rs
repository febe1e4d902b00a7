//! Shares an uplink's rate between clients: a queue for each of 64 hashes of their addresses, served
//! in turn (HTB, whose classes borrow from each other what isn't used).
//!
//! The uplink queues nothing itself then, as long as it carries the rate that the configuration
//! names.

use std::fmt::Write as _;
use std::ops::Range;

use shared::host::QUEUES_HANDLE;

use crate::rate::Rate;

/// The clients' queues, by the priority of the packets that wait in them: a class of tc.
pub(super) const QUEUES: Range<u32> = first()..first() + 64;

/// Scripts for `tc -batch`, the best first: with CoDel (RFC 8289) in each queue where the kernel has
/// it, else with a bound of bytes.
pub(super) fn scripts(interface: &str, rate: Rate) -> [String; 2] {
    let bits = rate.bits_per_second();
    let handle = QUEUES_HANDLE;
    let burst = bits / 8 / BURSTS_PER_SECOND + 2 * FRAME_MAX;
    let mut tree = format!(
        "qdisc add dev {interface} root handle {handle:x}: htb default {OTHERS:x}\n\
         class add dev {interface} parent {handle:x}: classid {handle:x}:{WHOLE:x} htb \
         rate {bits}bit burst {burst} cburst {burst}\n"
    );
    let mut class = |minor: u32, share: u64, prio: u8| {
        let _ = writeln!(
            tree,
            "class add dev {interface} parent {handle:x}:{WHOLE:x} classid {handle:x}:{minor:x} \
             htb rate {share}bit ceil {bits}bit burst {burst} cburst {burst} prio {prio} \
             quantum {FRAME_MAX}"
        );
    };
    // What is not of clients: probes, and the tunnel itself where it comes in by the same line.
    class(OTHERS, bits / 2, 0);
    for queue in QUEUES {
        class(queue & 0xffff, (bits / 2 / QUEUES.len() as u64).max(1000), 1);
    }
    let limit = (bits / 8 / QUEUES_PER_SECOND).max(10 * FRAME_MAX);
    let codel = "fq_codel".to_owned();
    let bytes = format!("bfifo limit {limit}");
    [codel, bytes].map(|kind| {
        QUEUES.fold(tree.clone(), |mut script, queue| {
            let minor = queue & 0xffff;
            let _ =
                writeln!(script, "qdisc add dev {interface} parent {handle:x}:{minor:x} {kind}");
            script
        })
    })
}

const fn first() -> u32 {
    (QUEUES_HANDLE as u32) << 16 | 0x10
}

/// The class above all, and that of what is not of clients.
const WHOLE: u32 = 1;
const OTHERS: u32 = 2;
/// An Ethernet frame.
const FRAME_MAX: u64 = 1514;
/// What leaves at once is 4 ms of the rate.
const BURSTS_PER_SECOND: u64 = 250;
/// A queue holds 50 ms of the rate.
const QUEUES_PER_SECOND: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_queue_is_a_class_that_may_use_the_whole_rate() {
        let [codel, bytes] = scripts("wan1", "10mbit".parse().unwrap());

        for script in [&codel, &bytes] {
            assert_eq!(script.matches("ceil 10000000bit").count(), 65);
            assert_eq!(script.lines().count(), 2 + 65 + 64);
        }
        assert!(codel.ends_with("qdisc add dev wan1 parent 4841:4f fq_codel\n"), "{codel}");
        assert!(bytes.ends_with("parent 4841:4f bfifo limit 62500\n"));
    }
}
