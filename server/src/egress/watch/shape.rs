//! Gives interfaces their queues, and takes them back.

use std::collections::BTreeMap;

use tracing::warn;

use super::super::shaping::scripts;
use super::Watch;
use crate::rate::Rate;

impl Watch {
    /// Queues where an uplink with a capacity stands, and nowhere else. Of two on one interface the
    /// first one's capacity counts. Traffic without queues is better than no traffic, so what fails
    /// is only told.
    pub(super) async fn shape(&mut self) {
        let mut wanted: BTreeMap<String, (u32, Rate)> = BTreeMap::new();
        for uplink in &self.uplinks {
            if let (Some(standing), Some(rate)) = (&uplink.standing, uplink.config.capacity) {
                wanted.entry(standing.interface.clone()).or_insert((standing.index, rate));
            }
        }
        let before = std::mem::take(&mut self.shaped);
        for (interface, place) in before.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
            if let Err(error) = self.host.remove_queues(interface).await {
                warn!("queues of {interface} that are of no use any more stay there: {error}");
                self.shaped.insert(interface.clone(), *place);
            }
        }
        for (interface, place) in wanted {
            if before.get(&interface) != Some(&place)
                && let Err(error) =
                    self.host.set_queues(&interface, &scripts(&interface, place.1)).await
            {
                warn!("clients don't share {interface} evenly: {error}");
                continue;
            }
            self.shaped.insert(interface, place);
        }
    }
}
