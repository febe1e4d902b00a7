//! Whether the gateway is on the wire, by ARP or neighbour discovery.

use std::time::Duration;

use shared::clock;
use shared::host::{Neighbour, Netlink};
use tokio::time::sleep;

use super::Outcome;
use super::socket::Binding;

/// Has the kernel ask the gateway, and looks what comes of it. A wire without gateways has nobody to
/// ask.
pub(super) async fn ask(
    netlink: &Netlink,
    binding: &Binding,
    patience: Duration,
) -> Option<Outcome> {
    let Some(gateway) = binding.gateways.iter().flatten().next() else {
        return Some(Outcome::Unreachable);
    };
    let began = clock::since_boot();
    if netlink.solicit(binding.index, *gateway).await.is_err() {
        return Some(Outcome::Unreachable);
    }
    let mut pause = PAUSE_MIN;
    loop {
        let elapsed = clock::since_boot().saturating_sub(began);
        match netlink.neighbour(binding.index, *gateway).await {
            Ok(Some(Neighbour::Present)) => return Some(Outcome::Answered(elapsed)),
            Ok(Some(Neighbour::Unsure)) => {}
            Ok(Some(Neighbour::Absent) | None) | Err(_) => return Some(Outcome::Unreachable),
        }
        if elapsed >= patience {
            return None;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// An answer on a wire takes less than that.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);
