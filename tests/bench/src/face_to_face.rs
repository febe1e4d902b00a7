//! Two sessions without anything between them, for counting what they do.

use anyhow::{Result, ensure};
use engine::{Ablation, Offload, PacketBuffer, PathId, Time, Trial};
use sim::pair::Pair;
use sim::world::{CLIENT, SERVER};

/// Carries [`PACKETS`] packets from a client to a server: super-packets of a TCP flow. With two paths the first
/// has room for a quarter of each, and what goes by the second comes before it.
///
/// # Errors
/// When some do not arrive.
pub fn carry(paths: u8) -> Result<()> {
    let plain = Trial::default();
    let narrow = plain.with(Ablation::Greedy).with_window(PathId(0), 10 * 1500);
    let mut pair = Pair::new(paths, if paths == 1 { plain } else { narrow });
    run_until(&mut pair, 2_000_000);
    let mut buffer = PacketBuffer::new();
    for number in 0..PACKETS / SEGMENTS {
        let packet = super_packet(number);
        let offload = Offload { segment: Some(SEGMENT), checksum: None };
        let now = Time(pair.now);
        buffer.room()[..packet.len()].copy_from_slice(&packet);
        buffer.set(0..packet.len());
        pair.ends[CLIENT].outbound.handle_buffer(now, offload, &mut buffer);
        let due = pair.now + 500;
        run_until(&mut pair, due);
    }
    let end = pair.now + 1_000_000;
    run_until(&mut pair, end);
    let held: u64 = pair.ends[SERVER].inbound.stats().holds.lengths.iter().sum();
    ensure!(paths == 1 || held > u64::from(PACKETS) / 10, "only {held} waited for others");
    ensure!(pair.delivered[SERVER] == u64::from(PACKETS), "{:?} of {PACKETS} came", pair.delivered);
    Ok(())
}

/// Packets that are carried.
pub const PACKETS: u32 = 100 * SEGMENTS;
/// Of one super-packet.
const SEGMENTS: u32 = 40;
const SEGMENT: u16 = 1386;

/// Lets time pass in steps of half a millisecond: what one end sends the other has at once.
fn run_until(pair: &mut Pair, end: u64) {
    while pair.now < end {
        pair.now += STEP;
        for from in [CLIENT, SERVER] {
            pair.ends[from].handle_timeout(Time(pair.now));
            let mut datagrams = pair.datagrams(from);
            datagrams.sort_by_key(|(path, _)| std::cmp::Reverse(*path));
            pair.receive(1 - from, datagrams);
        }
    }
}

/// What a TUN device gives of a TCP flow.
fn super_packet(number: u32) -> Vec<u8> {
    let payload = SEGMENTS * u32::from(SEGMENT);
    let len = (40 + payload) as u16;
    let [high, low] = len.to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet.extend([10, 0, 0, 2, 10, 0, 0, 1, 0x13, 0x88, 0, 80]);
    packet.extend((number * payload).to_be_bytes());
    packet.extend([0, 0, 0, 0, 0x50, 0x10, 1, 1, 0, 0, 0, 0]);
    packet.resize(usize::from(len), 7);
    packet
}

const STEP: u64 = 500;
