//! How many sources each uplink has, where they are remembered.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::clock;
use shared::host::{Family, nft_set_len};
use tracing::debug;

use super::super::mark::UplinkMark;
use super::super::nat::home;
use super::Watch;
use crate::policy::Policy;

/// The sources at each uplink, when they were counted last.
#[derive(Debug, Default)]
pub(in super::super) struct Census {
    due_at: Option<Duration>,
    counts: BTreeMap<(usize, Family, UplinkMark), u64>,
}

impl Census {
    /// The sources of a policy at an uplink.
    pub(in super::super) fn of(&self, policy: usize, family: Family, uplink: UplinkMark) -> u64 {
        self.counts.get(&(policy, family, uplink)).copied().unwrap_or(0)
    }

    /// The sources of all policies at an uplink; none where nobody counts.
    pub(in super::super) fn at(&self, uplink: UplinkMark) -> Option<u64> {
        self.due_at?;
        let own = self.counts.iter().filter(|((_, _, mark), _)| *mark == uplink);
        Some(own.map(|(_, count)| count).sum())
    }

    /// When the next one is due; none where nobody needs it.
    pub(super) fn due_at(&self) -> Option<Duration> {
        self.due_at
    }

    /// Asks for one soon, where there are any.
    pub(super) fn make_due(&mut self, now: Duration) {
        self.due_at = self.due_at.map(|at| at.min(now + SETTLED_AFTER));
    }

    /// Begins to count.
    pub(in super::super) fn begin(&mut self, now: Duration) {
        self.due_at = Some(now + EVERY);
        // Of uplinks and policies that may be no more.
        self.counts.clear();
    }
}

impl Watch {
    /// Counts the sources, if that is due.
    pub(super) async fn count_sources(&mut self) {
        let now = clock::since_boot();
        if self.census.due_at.is_none_or(|at| now < at) {
            return;
        }
        self.census.due_at = Some(now + EVERY);
        self.changed = true;
        let remembering = self.table.policies.iter().filter(|policy| policy.remembers());
        for policy in remembering.map(Policy::number) {
            for family in Family::ALL {
                for uplink in &self.uplinks {
                    let set = home(policy, family, uplink.mark());
                    match nft_set_len(&self.table.name, &set).await {
                        Ok(count) => {
                            self.census.counts.insert((policy, family, uplink.mark()), count);
                        }
                        Err(error) => debug!(%error, "the sources of an uplink can't be counted"),
                    }
                }
            }
        }
    }
}

/// New sources are rare.
const EVERY: Duration = Duration::from_secs(30);
/// Time for the flows that were forgotten to begin anew.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
