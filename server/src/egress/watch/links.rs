//! Follows interfaces and default routes: what a lost link means at once, and where uplinks stand.
//!
//! Looking takes as long as it takes to list the main table and those that uplinks name, which behind
//! BGP is a second. It goes on beside everything else, and a link that is lost meanwhile is left at
//! once. Only another configuration waits for its look.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use anyhow::Result;
use shared::clock;
use shared::host::{Carrier, LinkEvent, Netlink, Route, enable_forwarding};
use tokio::task::{JoinError, JoinHandle};

use super::super::nat::is_plain_interface;
use super::super::routing::fence;
use super::super::standing::Surroundings;
use super::super::uplink::Uplink;
use super::{RETRY_AFTER, Waking, Watch};
use crate::uplink_config::UplinkConfig;

/// A look at the host that is under way.
#[derive(Debug)]
pub(in super::super) struct Looking {
    task: JoinHandle<Result<Surroundings>>,
    /// Interfaces that were lost since it began.
    lost: BTreeSet<String>,
    /// Whether something has changed since it began.
    again: bool,
}

impl Looking {
    /// What it has found. Cancelling it loses nothing.
    pub(super) async fn end(&mut self) -> Result<Surroundings> {
        (&mut self.task).await.unwrap_or_else(|error: JoinError| Err(error.into()))
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Takes what else has happened to interfaces by now, which one look shows.
    pub(super) async fn take_links(&mut self, first: Option<LinkEvent>) -> Waking {
        let mut lost = BTreeSet::new();
        let mut matters = first.is_none_or(|event| self.on_link_event(event, &mut lost));
        for _ in 0..LINK_EVENTS_MAX {
            let Some(links) = &mut self.links else { break };
            // Asked once, without waiting: a timer takes a millisecond, and events follow each other.
            let now = {
                let mut next = pin!(links.next());
                poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await
            };
            let Poll::Ready(Some(event)) = now else { break };
            matters |= self.on_link_event(event, &mut lost);
        }
        self.lose_links(lost);
        if matters { Waking::Links } else { Waking::Nothing }
    }

    /// Notes which interfaces carry packets no longer. Returns whether an uplink may stand elsewhere.
    fn on_link_event(&self, event: LinkEvent, lost: &mut BTreeSet<String>) -> bool {
        let named = self.uplinks.iter().filter_map(|uplink| uplink.config.table);
        let matters = !event.is_elsewhere(named.chain([Route::MAIN]));
        match event {
            LinkEvent::Carrier { name, carrier: Carrier::Down }
            | LinkEvent::Vanished { name, .. } => {
                lost.insert(name);
            }
            LinkEvent::Carrier { name, carrier: Carrier::Up }
            | LinkEvent::Appeared { name, carrier: Carrier::Up, .. } => {
                lost.remove(&name);
            }
            _ => {}
        }
        matters
    }

    fn lose_links(&mut self, lost: BTreeSet<String>) {
        for at in 0..self.uplinks.len() {
            if self.uplinks[at].is_lost_with(&lost) {
                self.changed = true;
                if let Some(event) = self.uplinks[at].lose_link() {
                    self.record(event);
                }
            }
        }
        if let Some(looking) = &mut self.looking {
            looking.lost.extend(lost);
        }
    }

    /// Follows interfaces again where that has failed, and looks at everything.
    pub(super) async fn look_again(&mut self) {
        self.retry_at = None;
        if self.links.is_none() {
            self.links = self.host.netlink().watch().await.ok();
            if self.links.is_none() {
                self.retry_at = Some(clock::since_boot() + RETRY_AFTER);
            }
        }
        self.begin_look();
    }

    /// Begins to look, or has it done once more after the look that is under way.
    pub(super) fn begin_look(&mut self) {
        if let Some(looking) = &mut self.looking {
            looking.again = true;
            return;
        }
        let configs: Vec<UplinkConfig> = self.uplinks.iter().map(|it| it.config.clone()).collect();
        // On a connection of its own: changes would have to wait for the end of its lists.
        let look = async move { Surroundings::look(&Netlink::open()?, configs.iter()).await };
        self.looking =
            Some(Looking { task: tokio::spawn(look), lost: BTreeSet::new(), again: false });
    }

    /// Takes what a look has found.
    pub(super) async fn on_look(&mut self, found: Result<Surroundings>) {
        let looking = self.looking.take();
        let stood = match found {
            Ok(mut around) => {
                // Whatever went wrong before is tried again with what follows from this.
                self.retry_at = self.retry_at.filter(|_| self.links.is_none());
                around.lose(looking.iter().flat_map(|it| &it.lost));
                self.stand(&around).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stood {
            self.try_again(&error);
        }
        if looking.is_some_and(|it| it.again) {
            self.begin_look();
        }
    }

    /// Looks where each uplink stands and waits for it.
    pub(super) async fn look(&mut self) -> Result<()> {
        // What is under way knows nothing of uplinks that are new.
        self.looking = None;
        // Before the table may change: while nothing is known of the host, nothing leaks.
        self.fence().await?;
        let configs = self.uplinks.iter().map(|uplink: &Uplink| &uplink.config);
        let around = Surroundings::look(self.host.netlink(), configs).await?;
        self.stand(&around).await
    }

    /// Has each uplink stand where it does, and opens what leads out there.
    async fn stand(&mut self, around: &Surroundings) -> Result<()> {
        self.changed = true;
        self.fence().await?;
        if !self.table.chooses {
            let links = around.default_links.values().flatten().map(|link| &link.interface);
            let exits = links.filter(|name| **name != self.table.tun && is_plain_interface(name));
            self.plain_exits = exits.cloned().collect();
            for exit in &self.plain_exits {
                enable_forwarding(&self.host, exit).await?;
            }
            self.shape().await;
            return Ok(());
        }
        self.plain_exits.clear();
        // What goes wrong with one uplink is no reason to overlook the others.
        let mut stood = Ok(());
        for at in 0..self.uplinks.len() {
            let standing = around.standing(&self.uplinks[at].config);
            let (event, opened) = self.uplinks[at].stand(&self.host, standing).await;
            if let Some(event) = event {
                self.record(event);
            }
            stood = stood.and(opened);
        }
        self.shape().await;
        stood
    }

    /// Keeps what has no mark from the host's default routes, where uplinks are chosen.
    pub(super) async fn fence(&mut self) -> Result<()> {
        let closed = self.table.chooses;
        if self.fenced != closed {
            fence(&self.host, &self.table.tun, closed).await?;
            self.fenced = closed;
        }
        Ok(())
    }
}

/// What a routing daemon may say at once.
const LINK_EVENTS_MAX: usize = 1024;
