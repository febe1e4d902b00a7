//! When a packet has left the bottleneck.

use super::config::{RATE_MIN, Rate, Stalls};
use super::trace::{OPPORTUNITY_BYTES, Position};

/// Serves one packet after the other.
#[derive(Debug, Default)]
pub(super) struct Bottleneck {
    /// When the last packet left.
    free_ns: u64,
    /// When the trace that is played began.
    began_ns: u64,
    position: Position,
    /// What is left of the delivery opportunity at `free_ns`.
    credit_bytes: u64,
}

impl Bottleneck {
    /// When a packet of `len` bytes that is ready at `ready_ns` has left. Packets come in order.
    pub(super) fn serve(&mut self, rate: &Rate, stalls: Stalls, ready_ns: u64, len: u64) -> u64 {
        let start_ns = stalls.release_ns(ready_ns.max(self.free_ns));
        self.free_ns = match rate {
            Rate::Constant { bits_per_second } => {
                start_ns + service_ns(len, (*bits_per_second).max(RATE_MIN))
            }
            Rate::Trace(_) => self.serve_by_trace(rate, stalls, start_ns, len),
            Rate::Unlimited => start_ns,
        };
        self.free_ns
    }

    /// Forgets what was being served: the bottleneck is free from `now_ns`, a trace begins there.
    pub(super) fn restart(&mut self, now_ns: u64) {
        *self = Self { free_ns: now_ns, began_ns: now_ns, ..Self::default() };
    }

    /// Takes delivery opportunities until `len` bytes are through. An opportunity that nobody
    /// waits for is lost; one that a small packet leaves half used serves the next one too.
    fn serve_by_trace(&mut self, rate: &Rate, stalls: Stalls, start_ns: u64, len: u64) -> u64 {
        let Rate::Trace(trace) = rate else { return start_ns };
        let mut need = len;
        if start_ns == self.free_ns {
            let used = need.min(self.credit_bytes);
            self.credit_bytes -= used;
            need -= used;
        }
        let mut at_ns = start_ns;
        while need > 0 {
            let offset_ns = at_ns.max(start_ns).saturating_sub(self.began_ns);
            self.position = trace.next(self.position, offset_ns);
            at_ns = self.began_ns + trace.time_ns(self.position);
            self.position.advance();
            if stalls.release_ns(at_ns) != at_ns {
                at_ns = stalls.release_ns(at_ns);
                continue;
            }
            let used = need.min(OPPORTUNITY_BYTES);
            self.credit_bytes = OPPORTUNITY_BYTES - used;
            need -= used;
        }
        at_ns
    }
}

fn service_ns(len: u64, bits_per_second: u64) -> u64 {
    len.saturating_mul(8_000_000_000) / bits_per_second
}
