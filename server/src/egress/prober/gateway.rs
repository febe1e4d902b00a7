//! Whether the gateway is on the wire, by ARP or neighbour discovery.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shared::clock;
use shared::host::{Neighbour, Netlink};
use tokio::time::{sleep, timeout};

use super::Outcome;
use super::socket::Binding;

/// The gateway of one uplink.
pub(super) struct Gateway {
    netlink: Netlink,
    /// Questions in a row without an answer.
    unanswered: AtomicU32,
}

impl Gateway {
    pub(super) fn new(netlink: Netlink) -> Self {
        Self { netlink, unanswered: AtomicU32::new(0) }
    }

    /// Has the kernel ask, and looks what comes of it. A wire without gateways has nobody to ask.
    pub(super) async fn ask(&self, binding: &Binding, patience: Duration) -> Option<Outcome> {
        let outcome = timeout(patience, self.exchange(binding)).await.ok();
        let answered = matches!(outcome, Some(Outcome::Answered(_)));
        let before = self.unanswered.load(Ordering::Relaxed);
        let unanswered = if answered { 0 } else { before.saturating_add(1) };
        self.unanswered.store(unanswered, Ordering::Relaxed);
        outcome
    }

    async fn exchange(&self, binding: &Binding) -> Outcome {
        let Some(gateway) = binding.gateways.iter().flatten().next() else {
            return Outcome::Unreachable;
        };
        let began = clock::since_boot();
        // After that the kernel is left to look for it elsewhere: it may have another card.
        let again = self.unanswered.load(Ordering::Relaxed) < AGAIN_MAX;
        if self.netlink.solicit(binding.index, *gateway, again).await.is_err() {
            return Outcome::Unreachable;
        }
        let mut pause = PAUSE_MIN;
        loop {
            match self.netlink.neighbour(binding.index, *gateway).await {
                Ok(Some(Neighbour::Present)) => {
                    return Outcome::Answered(clock::since_boot().saturating_sub(began));
                }
                Ok(Some(Neighbour::Unsure)) => {}
                Ok(Some(Neighbour::Absent) | None) | Err(_) => return Outcome::Unreachable,
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// So many questions in vain are asked at once, each.
const AGAIN_MAX: u32 = 5;
/// An answer on a wire takes less than that.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);
