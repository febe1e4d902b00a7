//! A host far away that answers echo requests as the test wants: late, unsteadily, or not always.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::clock::since_boot;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::namespace::Namespace;

/// The far host behind a provider.
pub(crate) struct Target {
    manner: Arc<Mutex<Manner>>,
}

/// How it answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// How late.
    pub(crate) delay: Duration,
    /// How much later every second time.
    pub(crate) swing: Duration,
    /// So many of a hundred not at all.
    pub(crate) lost: u64,
}

/// Its address.
pub(crate) const TARGET: &str = "203.0.113.20";

impl Target {
    pub(crate) fn behind(provider: &Namespace) -> Self {
        let device = provider.make(|| {
            let device = DeviceBuilder::new().name("far0").layer(Layer::L3).build_sync();
            Arc::new(device.expect("a TUN device"))
        });
        provider.run(&format!(
            "ip link set far0 up; ip route add {TARGET}/32 dev far0
             echo 1 > /proc/sys/net/ipv4/ip_forward"
        ));
        let manner = Arc::new(Mutex::new(Manner::default()));
        let (answers, waiting) = channel();
        let (reading, shared) = (Arc::clone(&device), Arc::clone(&manner));
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            let mut asked = 0_u64;
            while let Ok(length) = reading.recv(&mut packet) {
                let Some(answer) = answer(&packet[..length]) else { continue };
                asked += 1;
                let manner = *shared.lock().expect("nobody panics");
                let swing = manner.swing * u32::from(asked.is_multiple_of(2));
                // Knuth's multiplier spreads the numbers.
                let chance = (asked.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 100;
                if chance >= manner.lost {
                    let due = since_boot() + manner.delay + swing;
                    if answers.send((due, answer)).is_err() {
                        return;
                    }
                }
            }
        });
        std::thread::spawn(move || deliver(&waiting, &device));
        Self { manner }
    }

    /// Answers so from here on.
    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().expect("nobody panics") = manner;
    }
}

/// When it is due, and the packet.
type Answer = (Duration, Vec<u8>);

/// Sends each answer when it is due.
fn deliver(waiting: &Receiver<Answer>, device: &SyncDevice) {
    let mut heap = BinaryHeap::new();
    loop {
        let due = heap.peek().map(|Reverse((due, _)): &Reverse<Answer>| *due);
        let pause = due.map_or(Duration::from_secs(1), |due| due.saturating_sub(since_boot()));
        match waiting.recv_timeout(pause) {
            Ok(answer) => heap.push(Reverse(answer)),
            Err(RecvTimeoutError::Timeout) => {
                if due.is_some_and(|due| due <= since_boot())
                    && let Some(Reverse((_, answer))) = heap.pop()
                {
                    let _ = device.send(&answer);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The reply to an ICMP echo request over IPv4.
fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if packet[0] >> 4 != 4 || packet.get(9) != Some(&1) || packet.get(header) != Some(&8) {
        return None;
    }
    let mut reply = packet.to_vec();
    reply.copy_within(12..16, 16);
    reply[12..16].copy_from_slice(&packet[16..20]);
    reply[header] = 0;
    // Eight less in the first word of what is summed is eight more in the sum (RFC 1624).
    let sum = u32::from(u16::from_be_bytes([reply[header + 2], reply[header + 3]])) + 0x0800;
    let sum = (sum & 0xffff) + (sum >> 16);
    reply[header + 2..header + 4].copy_from_slice(&(sum as u16).to_be_bytes());
    Some(reply)
}
