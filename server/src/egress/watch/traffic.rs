//! What the traffic itself says of an uplink whose targets are silent.
//!
//! Somebody who opens a connection is answered, or asks a name server and hears: then the line carries
//! packets both ways, and it is the targets that are silent. What is counted when an uplink becomes
//! doubtful is compared with what is counted shortly before its silence becomes a failure. Answers that
//! nobody asked for a moment ago, such as a stream that goes on, prove only one direction, and don't
//! count.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::clock;
use shared::host::nft_counters;
use tracing::{debug, info};

use super::super::health::State;
use super::super::mark::UplinkMark;
use super::super::nat::answers;
use super::super::uplink::Uplink;
use super::Watch;

/// What was counted of uplinks that are in doubt.
#[derive(Debug, Default)]
pub(in super::super) struct Traffic {
    believed: bool,
    /// The answers when the doubt began, and whether they have been looked at again.
    doubts: BTreeMap<UplinkMark, Doubt>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    answers: u64,
    /// The failure that the second look was for.
    looked_for: Option<Duration>,
}

impl Traffic {
    /// Looks at nothing unless it is to be believed.
    pub(in super::super) fn new(believed: bool) -> Self {
        Self { believed, doubts: BTreeMap::new() }
    }

    /// When to look at the traffic of an uplink.
    pub(super) fn looks_at(&self, uplink: &Uplink) -> Option<Duration> {
        if !self.believed || uplink.health.state() != State::Up {
            return None;
        }
        match self.doubts.get(&uplink.mark()) {
            None => uplink.health.doubtful_at(),
            Some(doubt) => {
                let fails_at = uplink.health.silent_at()?;
                (doubt.looked_for != Some(fails_at)).then(|| fails_at.saturating_sub(BEFORE))
            }
        }
    }
}

impl Watch {
    /// Counts answers where somebody is in doubt, and believes them.
    pub(super) async fn look_at_traffic(&mut self) {
        let now = clock::since_boot();
        let traffic = &mut self.traffic;
        for uplink in &self.uplinks {
            if !uplink.health.is_doubtful(now) {
                traffic.doubts.remove(&uplink.mark());
            }
        }
        let due = |uplink: &Uplink| traffic.looks_at(uplink).is_some_and(|at| now >= at);
        let due: Vec<usize> =
            (0..self.uplinks.len()).filter(|at| due(&self.uplinks[*at])).collect();
        if due.is_empty() {
            return;
        }
        let counted = match nft_counters(&self.table.name).await {
            Ok(counted) => counted,
            Err(error) => {
                // Probes decide alone then.
                debug!(%error, "the traffic of uplinks can't be counted");
                BTreeMap::new()
            }
        };
        for at in due {
            let uplink = &mut self.uplinks[at];
            let answers = counted.get(&answers(uplink.mark())).copied().unwrap_or(0);
            let looked_for = uplink.health.silent_at();
            let first = Doubt { answers, looked_for: None };
            let doubt = match self.traffic.doubts.get(&uplink.mark()) {
                None => first,
                Some(before) if answers > before.answers => {
                    info!(
                        uplink = uplink.config.name,
                        "its targets are silent, but connections by it are answered"
                    );
                    uplink.on_passing(clock::since_boot());
                    first
                }
                Some(before) => Doubt { looked_for, ..*before },
            };
            self.traffic.doubts.insert(uplink.mark(), doubt);
        }
    }
}

/// The second look takes some time, and must not delay what follows from it.
const BEFORE: Duration = Duration::from_millis(25);
