//! How packets of the tunnel leave the server: by the best uplink that works.
//!
//! | file | decides |
//! |---|---|
//! | `health` | whether an uplink works |
//! | `families` | whether each family of addresses works by it |
//! | `quality`, `mos`, `grades` | whether it is good enough for a class |
//! | `pool` | which of them new flows take |
//! | `selection` | what that means for one family of one class, and for the flows that must leave |
//! | `buckets` | which flows go where, when several uplinks share them |
//! | `foresight` | the same for a state that is only supposed |
//! | `deal` | the same for a handful of sources |
//! | `standing` | on which interface an uplink stands, and what is its next hop |
//! | `prober`, `prober/` | ask the targets |
//! | `nat/`, `mark` | find the class of flows, pin them to uplinks, translate addresses, stop leaks |
//! | `shaping` | shares an uplink's rate between clients |
//! | `routing` | tables and rules |
//! | `conntrack` | forgets the flows of a failed uplink |
//! | `nfnetlink` | speaks to the kernel where `nft` would take too long |
//! | `watch` | the task that holds them together |
//! | `event`, `feed` | what happened, and who reads it |
//!
//! Without any uplink configured, packets leave by the host's own default routes, translated.

mod buckets;
mod conntrack;
mod deal;
mod event;
mod families;
mod feed;
mod foresight;
mod grades;
mod health;
mod mark;
mod mos;
mod nat;
mod nfnetlink;
mod pool;
mod prober;
mod quality;
mod routing;
mod selection;
mod shaping;
mod standing;
mod status;
mod uplink;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv6Net};
use shared::exit::{Error, Exit};
use shared::host::{HostError, HostState, enable_forwarding, forward_refusals, nft_ruleset_json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::warn;

pub use event::{Event, EventKind, Order, Reason};
pub use feed::Feed;
pub use foresight::{Foreseen, Supposed, Supposition, foresee};
pub use health::{Cause, State};
pub(crate) use mark::is_own_table;
pub use quality::Breach;
pub use uplink::Duty;

use crate::egress_config::{EgressConfig, UPLINKS_MAX};
use crate::uplink_config::UplinkConfig;
use buckets::Buckets;
use mark::UplinkMark;
use nat::{Elements, Table};
use nfnetlink::Netfilter;
use prober::{REPORTS_MAX, Report};
use routing::Routing;
use uplink::Uplink;
use watch::{COMMANDS_MAX, Census, Command, Published, Traffic, Watch};

/// The running egress of a server.
///
/// It changes the host through a scope of the given [`HostState`], so whoever undoes the whole
/// undoes it too; dropping it ends its task and leaves the host as it is.
#[derive(Debug)]
pub struct Egress {
    host: HostState,
    commands: mpsc::Sender<Command>,
    published: Arc<Mutex<Published>>,
    task: JoinHandle<()>,
    refusals: Vec<String>,
}

/// Where the packets come from that leave by the egress.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The device that they come out of.
    pub tun: String,
    /// The sources that they may have: the pools, and the prefixes of clients.
    pub sources: Vec<IpNet>,
    /// Whether they may go back into the tunnel, to another client or the networks behind it.
    pub between_clients: bool,
    /// The IPv6 pool, if there is one.
    pub pool6: Option<Ipv6Net>,
}

impl Egress {
    /// Lays tables, rules and the nft table, starts the probes, and returns once packets from
    /// `origin` can leave.
    ///
    /// # Errors
    /// When the configuration names what can't be, when a right or `nft` is missing, or when the
    /// kernel refuses. Each has its exit code.
    pub async fn start(
        config: EgressConfig,
        origin: Origin,
        host: &HostState,
    ) -> Result<Self, Error> {
        refuse_impossible(&config.uplinks, &origin.tun)?;
        Self::lay(config, origin, host).await.map_err(|error| {
            let exit = error.downcast_ref::<HostError>().map_or(Exit::Failed, HostError::exit);
            Error::new(exit, format_args!("{error:#}"))
        })
    }

    /// The uplinks as the status shows them, in the order of the configuration.
    pub fn snapshot(&self) -> Vec<shared::status::Uplink> {
        self.published().uplinks.clone()
    }

    /// The last events, the oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.published().log.to_vec()
    }

    /// What others read the events by while the egress runs.
    pub fn feed(&self) -> Feed {
        Feed::new(Arc::clone(&self.published))
    }

    /// Commands that let packets through firewalls of others, which dropped them at the start.
    pub fn refusals(&self) -> &[String] {
        &self.refusals
    }

    /// Takes over another configuration while traffic goes on: flows stay, but those of uplinks that
    /// are gone begin anew. What an uplink was told by [`set_duty`](Self::set_duty) counts on.
    ///
    /// # Errors
    /// When the configuration names what can't be, or the kernel refuses it; the old one is kept then.
    /// What goes wrong later is told, and tried again until it works.
    pub async fn configure(&self, config: EgressConfig) -> Result<()> {
        self.ask(|done| Command::Configure(Box::new(config), done)).await
    }

    /// Changes what an uplink may do, until it is changed again or the program ends.
    ///
    /// # Errors
    /// When there is no uplink of this name, or the kernel refuses.
    pub async fn set_duty(&self, uplink: &str, duty: Duty) -> Result<()> {
        self.ask(|done| Command::Duty(uplink.to_owned(), duty, done)).await
    }

    /// Replaces the sources that inner packets may have: the pools, and the prefixes of clients.
    ///
    /// # Errors
    /// When nft refuses; that is tried again until it works.
    pub async fn set_sources(&self, sources: Vec<IpNet>) -> Result<()> {
        self.ask(|done| Command::Sources(sources, done)).await
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<()>>) -> Command,
    ) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let ended = "the egress has ended";
        self.commands.send(command(done)).await.context(ended)?;
        answer.await.context(ended)?
    }

    /// Ends the probes and takes back what was changed on the host. What can't be taken back is
    /// logged, and stays in the journal for the undoing of the whole and for the next start.
    pub async fn stop(self) {
        // A task that has ended already needs no command.
        let _ = self.commands.send(Command::Stop).await;
        let _ = self.task.await;
        if let Err(error) = self.host.undo().await {
            warn!(%error, "the egress has left something on this host");
        }
    }

    async fn lay(config: EgressConfig, origin: Origin, host: &HostState) -> Result<Self> {
        let Origin { tun, sources, between_clients, pool6 } = origin;
        let EgressConfig {
            uplinks,
            policies,
            rules,
            slow_start,
            believe_traffic,
            reset_connections,
        } = config;
        let host = host.scope("egress");
        // Followed from before the first look, so that no change falls between them.
        let links = host.netlink().watch().await?;
        let (reports_in, reports) = mpsc::channel(REPORTS_MAX);
        let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
        let published = Arc::new(Mutex::new(Published::default()));
        let buckets = Buckets::new(&watch::members(&uplinks));
        let chooses = !uplinks.is_empty();
        let (uplinks, nowhere) = lay_uplinks(&host, uplinks, &tun, &reports_in).await?;
        enable_forwarding(&host, &tun).await?;
        let mut watch = Watch {
            table: Table {
                name: format!("hawser-{}", host.name()),
                tun: tun.clone(),
                nowhere,
                between_clients,
                chooses,
                policies,
                rules,
                reset_connections,
            },
            host: host.clone(),
            sources: sources.into_iter().collect(),
            pool6,
            selections: Vec::new(),
            candidates: Vec::new(),
            changed: true,
            publish_at: None,
            buckets,
            slow_start,
            census: Census::default(),
            fenced: false,
            audit_at: Duration::ZERO,
            traffic: Traffic::new(believe_traffic),
            uplinks,
            gone: Vec::new(),
            redraw: false,
            reweighed: false,
            reports,
            reports_in,
            commands,
            published: Arc::clone(&published),
            shaped: BTreeMap::new(),
            netfilter: Netfilter::open().context("open a socket to netfilter")?,
            elements: Elements::default(),
            plain_exits: BTreeSet::new(),
            links: Some(links),
            looking: None,
            retry_at: None,
        };
        watch.begin().await?;
        let refusals = refusals_of_others(&tun).await;
        let task = tokio::spawn(watch.run());
        Ok(Self { host, commands: commands_in, published, task, refusals })
    }

    fn published(&self) -> std::sync::MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

/// Gives each uplink its mark and its table. Returns the mark of what no uplink is left for, too.
async fn lay_uplinks(
    host: &HostState,
    configs: Vec<UplinkConfig>,
    tun: &str,
    reports: &mpsc::Sender<Report>,
) -> Result<(Vec<Uplink>, UplinkMark)> {
    let marks = mark::free_marks(host.netlink(), configs.len() + 1).await?;
    let (nowhere, marks) = marks.split_last().context("there is one mark more than uplinks")?;
    let mut uplinks = Vec::with_capacity(configs.len());
    for (config, mark) in configs.into_iter().zip(marks) {
        let routing = Routing::lay(host, *mark, tun).await?;
        uplinks.push(Uplink::new(config, routing, host.netlink().clone(), reports.clone()));
    }
    // Even without uplinks, which may come: its mark must not be taken by one of them.
    routing::lay_nowhere(host, *nowhere, tun).await?;
    Ok((uplinks, *nowhere))
}

/// Commands that let packets of the tunnel through firewalls of others. Only advice: an nft that
/// can't speak JSON gives none.
async fn refusals_of_others(tun: &str) -> Vec<String> {
    let ruleset = nft_ruleset_json().await;
    let refusals = ruleset.map(|ruleset| forward_refusals(&ruleset, tun)).unwrap_or_default();
    for command in &refusals {
        warn!(
            "a firewall of this host drops forwarded packets of the tunnel; allow them: {command}"
        );
    }
    refusals
}

fn refuse_impossible(uplinks: &[UplinkConfig], tun: &str) -> Result<(), HostError> {
    let impossible = |why: String| Err(HostError::Impossible(why));
    if uplinks.len() > UPLINKS_MAX {
        return impossible(format!(
            "{} uplinks are configured, {UPLINKS_MAX} are possible",
            uplinks.len()
        ));
    }
    let interfaces = uplinks.iter().filter_map(|uplink| uplink.interface.as_deref());
    for interface in interfaces.chain([tun]) {
        if !nat::is_plain_interface(interface) {
            return impossible(format!(
                "`{interface}` can't be the interface of an uplink: up to 15 letters, digits and \
                 .-_@+ make a name"
            ));
        }
    }
    for uplink in uplinks {
        if uplink.interface.as_deref() == Some(tun) {
            return impossible(format!(
                "uplink `{}` names the tunnel's own interface `{tun}`",
                uplink.name
            ));
        }
        if uplink.is_nowhere() {
            return impossible(format!(
                "uplink `{}` needs an interface, a gateway or a table",
                uplink.name
            ));
        }
    }
    Ok(())
}
