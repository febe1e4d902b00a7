//! Takes in new handshakes, as many as can be borne.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::stats::{Counters, add};
use super::{Core, serve};

/// Accepts until the endpoint is closed.
pub(super) async fn run(core: Arc<Core>) {
    while let Some(incoming) = core.endpoint.accept().await {
        let half_open = core.counters.half_open.load(Ordering::Relaxed);
        match verdict(half_open, Address::of(&incoming)) {
            Verdict::Accept => {
                let half_open = HalfOpen::new(&core.counters);
                tokio::spawn(serve::run(Arc::clone(&core), incoming, half_open));
            }
            Verdict::Retry => {
                add(&core.counters.retries_sent);
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
            }
            Verdict::Ignore => {
                add(&core.counters.handshakes_ignored);
                incoming.ignore();
            }
        }
    }
}

/// One handshake under way, counted as long as this lives.
pub(super) struct HalfOpen(Arc<Counters>);

impl HalfOpen {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.half_open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counters))
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        let counter: &AtomicUsize = &self.0.half_open;
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Address {
    Unproven,
    Proven,
}

impl Address {
    fn of(incoming: &quinn::Incoming) -> Self {
        if incoming.remote_address_validated() { Self::Proven } else { Self::Unproven }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Accept,
    Ignore,
    Retry,
}

fn verdict(half_open: usize, address: Address) -> Verdict {
    match address {
        _ if half_open >= HALF_OPEN_MAX => Verdict::Ignore,
        Address::Unproven if half_open >= HALF_OPEN_UNPROVEN_MAX => Verdict::Retry,
        Address::Unproven | Address::Proven => Verdict::Accept,
    }
}

/// Above this, only who answers a Retry gets a handshake: forged addresses do not. A handshake that
/// nobody completes stays for five seconds and some 20 KB.
const HALF_OPEN_UNPROVEN_MAX: usize = 128;
/// Above this, nobody new does: a server that restarts under a thousand clients is just below it.
const HALF_OPEN_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_gets_shorter_as_the_flood_grows() {
        use Address::{Proven, Unproven};

        assert_eq!(verdict(HALF_OPEN_UNPROVEN_MAX - 1, Unproven), Verdict::Accept);
        assert_eq!(verdict(HALF_OPEN_UNPROVEN_MAX, Unproven), Verdict::Retry);
        assert_eq!(verdict(HALF_OPEN_UNPROVEN_MAX, Proven), Verdict::Accept);
        assert_eq!(verdict(HALF_OPEN_MAX, Proven), Verdict::Ignore);
        assert_eq!(verdict(HALF_OPEN_MAX, Unproven), Verdict::Ignore);
    }
}
