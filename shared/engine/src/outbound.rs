//! The sending half of a session.
//!
//! ```text
//! packet ─ clamp ─ queue of its flow ─ scheduler ─ segment, sequence, stamp, number ─ seal ─ batch
//! Heard  ─ acknowledge, lose, repair ─ path states ─ messages ──────────────────────────┘
//! ```
//! Only this half numbers, stamps, seals and sends, messages included: one owner for each counter,
//! and on every path the order of stamps is the order of sending.

use std::collections::VecDeque;

use rand::{Rng, SeedableRng, rngs::StdRng};

use self::{copies::Copies, epoch::EpochAge, path::Path, rescue::Rescue, standing::Standing};
use crate::{
    class::{Class, Classifier},
    ingress::Ingress,
    keys::SealingKeys,
    notice::{Heard, Notices, Told},
    packet::{Ecn, FlowHash},
    path::{
        FourTuple, Hint, PathId, PathState,
        memory::PathMemory,
        sent::{Segment, Sent},
        window::Window,
    },
    scheduler::{Mode, PathView, Scheduler},
    segment::Cut,
    slots::Slots,
    stats::OutboundStats,
    steering::Steering,
    time::{Span, Time},
    trial::{Ablation, Trial},
    wire::{PATHS_MAX, feedback::Report, message::Preference},
};

mod batch;
mod copies;
mod data;
mod entrance;
mod epoch;
mod hints;
mod lead;
mod messages;
mod path;
mod probation;
mod rescue;
mod settle;
mod snapshot;
mod standing;
mod turn;
mod watch;
mod worth;

pub use self::epoch::EpochLimits;

/// A batch of datagrams for one system call.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// The path they belong to.
    pub path: PathId,
    /// Where they go.
    pub tuple: FourTuple,
    /// The ECN field of their outer headers.
    pub ecn: Ecn,
    /// The datagrams in a row.
    pub bytes: &'a [u8],
    /// The length of each but the last, which may be shorter.
    pub segment_size: usize,
}

/// Something that happened, for logs and for the driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A path's state changed.
    Path {
        /// The path.
        path: PathId,
        /// What it was.
        from: PathState,
        /// What it is.
        to: PathState,
    },
    /// A path's datagrams go to another address than before.
    Rebound(PathId),
    /// The longest packet that the tunnel carries changed.
    TunnelMtu(u16),
}

/// Queues packets, schedules, numbers, seals, and repairs.
pub struct Outbound {
    keys: SealingKeys,
    /// The peer's slot of this session.
    peer_slot: u32,
    /// Whether we answer for paths that the peer opens: the server does.
    accepts_paths: bool,
    steering: Steering,
    classifier: Classifier,
    /// One for each class.
    schedulers: [Box<dyn Scheduler>; Class::ALL.len()],
    copies: Copies,
    rescue: Rescue,
    slots: Slots<Note>,
    ingress: Ingress,
    paths: [Option<Box<Path>>; PATHS_MAX],
    /// What an earlier session knew of paths that are not open yet.
    memories: Vec<(PathId, PathMemory)>,
    /// Segments to be sent again, oldest first.
    repair: VecDeque<Segment>,
    /// Reports to be sent: one for each path and epoch.
    reports: VecDeque<Report>,
    reports_sent: u32,
    /// The paths whose next report goes by themselves, one bit each.
    reported_by: u16,
    /// The version of the state block, and the last one that the peer has acknowledged.
    state: u16,
    state_acknowledged: u16,
    state_sent_at: Time,
    allowance_told: Span,
    stamp: Time,
    /// The path of the packet that was stamped last, unless it was a message.
    stamped_on: Option<PathId>,
    epoch: EpochAge,
    epoch_limits: EpochLimits,
    trial: Trial,
    standing: Standing,
    /// Whether a path was left at the kernel's word, and nothing has gone by another since.
    hinted: bool,
    tunnel_mtu: u16,
    /// The path whose batch was handed out last.
    offered: Option<PathId>,
    notices: Notices<Told>,
    events: VecDeque<Event>,
    errors: VecDeque<Box<[u8]>>,
    random: StdRng,
    settled: Vec<Sent>,
    /// Room for what schedulers see.
    views: Vec<PathView>,
    /// When packets were last waiting or on their way, and whether memory was given back since.
    busy_at: Time,
    resting: bool,
    stats: OutboundStats,
}

/// What is known of a packet in a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Note {
    cut: Option<Cut>,
    ecn: Ecn,
}

/// What an [`Outbound`] is made of.
pub(crate) struct OutboundConfig {
    pub(crate) peer_slot: u32,
    pub(crate) accepts_paths: bool,
    pub(crate) steering: Steering,
    pub(crate) epoch_limits: EpochLimits,
    pub(crate) trial: Trial,
    pub(crate) seed: [u8; 32],
}

impl Outbound {
    pub(crate) fn new(now: Time, keys: SealingKeys, config: OutboundConfig) -> Self {
        let mut random = StdRng::from_seed(config.seed);
        let hash = FlowHash([random.next_u64(), random.next_u64()]);
        Self {
            keys,
            peer_slot: config.peer_slot,
            accepts_paths: config.accepts_paths,
            classifier: Classifier::new(config.steering.rules.clone()),
            schedulers: schedulers(&config.steering),
            steering: config.steering,
            copies: Copies::new(now),
            rescue: Rescue::new(),
            slots: Slots::new(SLOT_BYTES_MAX),
            ingress: Ingress::new(hash, config.accepts_paths),
            paths: [const { None }; PATHS_MAX],
            memories: Vec::new(),
            repair: VecDeque::new(),
            reports: VecDeque::new(),
            reports_sent: 0,
            reported_by: 0,
            state: 0,
            state_acknowledged: 0,
            state_sent_at: Time::ZERO,
            allowance_told: Span::ZERO,
            stamp: Time::ZERO,
            stamped_on: None,
            epoch: EpochAge { since: now, datagrams: 0, confirmed: 0 },
            epoch_limits: config.epoch_limits,
            trial: config.trial,
            standing: Standing::new(),
            hinted: false,
            tunnel_mtu: 0,
            offered: None,
            notices: Notices::new(),
            events: VecDeque::new(),
            errors: VecDeque::new(),
            random,
            settled: Vec::new(),
            views: Vec::new(),
            busy_at: now,
            resting: false,
            stats: OutboundStats::default(),
        }
    }

    /// Opens a path in a slot that had none: probes it, and uses it once the peer answers.
    pub fn open_path(&mut self, now: Time, id: PathId, tuple: FourTuple, preference: Preference) {
        if self.paths.get(id.index()).is_none_or(|path| path.is_some()) {
            return;
        }
        let mut path = Path::new(now, id, tuple, preference, self.keys.epoch);
        let memory = self.memories.iter().position(|&(of, _)| of == id);
        if let Some((_, memory)) = memory.map(|at| self.memories.swap_remove(at)) {
            path.window = Window::recalled(&memory);
        }
        if let Some(bytes) = self.trial.window(id) {
            path.window = Window::fixed(bytes);
        }
        path.marks_off = self.trial.has(Ablation::NoMarks);
        path.flaps.off = self.trial.has(Ablation::NoDamping);
        self.paths[id.index()] = Some(Box::new(path));
        if preference.metered {
            self.notices.push_once(Told::Metered { path: id, metered: true });
        }
        self.change_state();
    }

    /// Takes over what a session that this one replaces knew of the same paths. To be told before they are
    /// opened.
    pub fn recall(&mut self, before: &Self) {
        let known = before.paths.iter().flatten();
        let memories = known.filter_map(|path| Some((path.id, path.window.memory()?)));
        self.memories = memories.collect();
    }

    /// Gives a path up for good: its link is gone.
    pub fn close_path(&mut self, now: Time, id: PathId) {
        self.enter(now, id, PathState::Closed);
    }

    /// Probes a path that is not up at once: something about its link has changed.
    pub fn wake_path(&mut self, now: Time, id: PathId) {
        if let Some(path) = self.path_mut(id)
            && path.state != PathState::Up
        {
            path.probe.next_at = now;
        }
    }

    /// Changes where a path's datagrams go: the client's link has another address, or socket.
    pub fn move_path(&mut self, now: Time, id: PathId, tuple: FourTuple) {
        if let Some(path) = self.path_mut(id) {
            path.go_to(now, tuple);
            path.probe.next_at = now;
        }
    }

    /// Takes in what [`Inbound`](crate::Inbound) heard.
    pub fn handle_notice(&mut self, now: Time, heard: Heard) {
        match heard {
            Heard::Close(path) => {
                if self.path(path).is_some_and(|path| path.state != PathState::Closed) {
                    self.enter(now, path, PathState::Closed);
                }
            }
            Heard::Epoch(epoch) => self.on_epoch(now, epoch),
            // Our own datagram opens a NAT that has forgotten the path, and shows whether it lives.
            Heard::Faded(path) => {
                if let Some(path) = self.path_mut(path) {
                    path.probe.next_at = path.probe.next_at.min(now);
                }
            }
            Heard::Feedback { report, stamp, at } => self.on_feedback(now, &report, stamp, at),
            Heard::Gone(path) => self.fail_path(now, path, Hint::Peer, now),
            Heard::Moved { path, from, bytes } => self.on_moved(now, path, from, bytes),
            Heard::Opened { path, from } => {
                if self.accepts_paths {
                    self.open_path(now, path, from, Preference::default());
                }
            }
            Heard::Preference { path, preference } => self.on_preference(path, preference),
            Heard::Present(path) => {
                if let Some(claim) = self.path_mut(path).and_then(|path| path.claim.as_mut()) {
                    claim.present_at = Some(now);
                }
            }
            Heard::Probe { path, token } => self.on_probe(now, path, token),
            Heard::Reply { path, token } => self.on_reply(now, path, token),
            Heard::Report(report) => self.take_report(report),
        }
    }

    /// The next batch to send. It counts as sent unless [`on_blocked`](Self::on_blocked) is called
    /// before anything else.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit<'_>> {
        if let Some(offered) = self.offered.take()
            && let Some(path) = self.path_mut(offered)
        {
            path.batch.clear();
        }
        if !self.is_staged() {
            self.stage(now);
        }
        let path =
            self.paths.iter().flatten().find(|path| !path.batch.is_empty() && !path.blocked)?;
        let (id, tuple) = (path.id, path.batch.tuple?);
        self.offered = Some(id);
        let batch = &self.paths[id.index()].as_ref()?.batch;
        let (bytes, segment_size) = (batch.bytes(), batch.segment_size);
        Some(Transmit { path: id, tuple, ecn: batch.ecn, bytes, segment_size })
    }

    /// The socket did not take the batch that was polled last: it is kept, and given again after
    /// [`on_writable`](Self::on_writable).
    pub fn on_blocked(&mut self) {
        if let Some(id) = self.offered.take()
            && let Some(path) = self.path_mut(id)
        {
            path.blocked = true;
        }
    }

    /// The path's socket takes datagrams again.
    pub fn on_writable(&mut self, id: PathId) {
        if let Some(path) = self.path_mut(id) {
            path.blocked = false;
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.watch(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and to poll for transmits, if nothing
    /// happens before.
    pub fn poll_timeout(&self, now: Time) -> Time {
        self.next_timeout(now)
    }

    /// The next thing that [`Inbound`](crate::Inbound) has to be told.
    pub fn poll_notice(&mut self) -> Option<Told> {
        self.notices.pop()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next packet to be written to the TUN device: an error for a local sender.
    pub fn poll_error(&mut self) -> Option<Box<[u8]>> {
        self.errors.pop_front()
    }

    /// What was counted.
    pub fn stats(&self) -> OutboundStats {
        self.stats
    }

    /// The mode in which packets are steered.
    pub fn set_mode(&mut self, mode: Mode) {
        self.steering.mode = mode;
        self.schedulers = schedulers(&self.steering);
    }

    /// Bytes of packets that wait to be sent or acknowledged.
    pub fn slot_bytes(&self) -> usize {
        self.slots.used()
    }

    /// The longest inner packet that every usable path carries; 0 before any path is up.
    pub fn tunnel_mtu(&self) -> u16 {
        self.tunnel_mtu
    }

    /// How long the peer has owed an answer on every path that may carry data, or, if none may, on
    /// all that are open; zero if it owes none on one of them.
    pub fn unanswered_for(&self, now: Time) -> Span {
        let owed = |path: &Path, heard: Time| {
            path.sent.oldest().map_or(Span::ZERO, |oldest| now.since(oldest.max(heard)))
        };
        let up = self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        if let Some(least) = up.map(|path| owed(path, path.heard_at)).min() {
            return least;
        }
        let open = || self.paths.iter().flatten().filter(|path| path.state != PathState::Closed);
        let heard = open().map(|path| path.heard_at).max().unwrap_or_default();
        open().map(|path| owed(path, heard)).max().unwrap_or_default()
    }

    /// The usable path on which a message arrives soonest.
    pub fn best_path(&self) -> Option<PathId> {
        self.best().map(|path| path.id)
    }

    fn path(&self, id: PathId) -> Option<&Path> {
        self.paths.get(id.index())?.as_deref()
    }

    fn path_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.paths.get_mut(id.index())?.as_deref_mut()
    }

    /// The next stamp. What goes by different paths never has the same, and messages have their own; packets in a
    /// row on one path may share one, or stamps would run ahead of the clock beyond a million packets a second,
    /// and delays would look shorter than they are.
    fn next_stamp(&mut self, now: Time, packet_on: Option<PathId>) -> Time {
        let shared = packet_on.is_some() && packet_on == self.stamped_on;
        let least = if shared { self.stamp.0 } else { self.stamp.0 + 1 };
        self.stamp = Time(now.0.max(least));
        self.stamped_on = packet_on;
        self.stamp
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }
}

fn schedulers(steering: &Steering) -> [Box<dyn Scheduler>; Class::ALL.len()] {
    Class::ALL.map(|class| steering.mode_of(class).scheduler())
}

/// Bytes of packets that wait, and of those sent and not acknowledged: 1 Gbit/s for half a second.
pub const SLOT_BYTES_MAX: usize = 64 << 20;

/// Events that wait for the driver. Each path causes a few.
const EVENTS_MAX: usize = 256;
