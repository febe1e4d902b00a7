//! The loop of the data plane's thread.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use crossbeam::channel::{Receiver, TryRecvError};
use engine::{
    Event, FourTuple, Hint, Inbound, Merged, Merger, PacketBuffer, Session, SessionConfig, Time,
    wire::{Outer, PATHS_MAX},
};
use tokio::sync::mpsc;

use super::{
    Command, ControlSink, DriverEvent, DriverReport, NewSession, PathChange, SessionReport,
    poller::{Poller, READY_MAX, Ready},
    route_table::RouteTable,
    session_table::SessionTable,
};
use crate::{
    clock,
    control::{self, Route},
    tun::Tun,
    udp::{PathSocket, ReceiveBuffers, Received, SocketTable},
};

/// Everything that the thread owns.
pub(super) struct DriverThread {
    poller: Poller,
    tun: Tun,
    tun_buffer: PacketBuffer,
    /// Lent to a batch of datagrams while it is read.
    buffers: Option<Box<ReceiveBuffers>>,
    sockets: BTreeMap<u16, Socket>,
    table: SocketTable,
    sessions: SessionTable,
    routes: RouteTable,
    control: ControlSink,
    inbox: Receiver<Command>,
    wake: Arc<OwnedFd>,
    events: mpsc::Sender<DriverEvent>,
    counts: DriverReport,
}

struct Socket {
    socket: Arc<PathSocket>,
    blocked: bool,
}

impl DriverThread {
    pub(super) fn new(
        tun: Tun,
        table: SocketTable,
        control: ControlSink,
        inbox: Receiver<Command>,
        wake: Arc<OwnedFd>,
        events: mpsc::Sender<DriverEvent>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&wake, WAKE)?;
        poller.add(&tun, TUN)?;
        Ok(Self {
            poller,
            tun,
            tun_buffer: PacketBuffer::new(),
            buffers: Some(Box::new(ReceiveBuffers::new())),
            sockets: BTreeMap::new(),
            table,
            sessions: SessionTable::default(),
            routes: RouteTable::default(),
            control,
            inbox,
            wake,
            events,
            counts: DriverReport::default(),
        })
    }

    /// Runs until the last handle is dropped.
    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let _ = self.events.try_send(DriverEvent::Failed(error));
                    return;
                }
            }
        }
    }

    /// Waits, takes in what there is, and does what follows. Returns whether to go on.
    fn turn(&mut self) -> io::Result<bool> {
        let before = clock::since_boot();
        let wait = match self.sessions.next_due() {
            Some(due) => due.saturating_sub(before).as_micros() as u64,
            None => u64::MAX,
        };
        let mut ready = [Ready::default(); READY_MAX];
        let count = self.poller.wait(wait, &mut ready)?;
        let mut going = true;
        for ready in &ready[..count] {
            let now = clock::since_boot();
            match ready.key {
                WAKE => going = self.obey(now),
                TUN => self.read_tun(now)?,
                _ => {
                    let number = (ready.key - SOCKETS) as u16;
                    if ready.writable {
                        self.unblock(number);
                    }
                    if ready.readable {
                        self.read_socket(number);
                    }
                }
            }
        }
        // What is sent is stamped with the time at which it is sent.
        let now = clock::since_boot();
        while let Some(slot) = self.sessions.next(now) {
            self.serve(now, slot);
        }
        Ok(going)
    }

    /// Carries out the commands that wait. Returns whether any handle is left.
    fn obey(&mut self, now: Duration) -> bool {
        let mut counter = [0; 8];
        // An empty eventfd is as good as a full one: the inbox tells.
        let _ = rustix::io::read(&self.wake, &mut counter);
        loop {
            match self.inbox.try_recv() {
                Ok(command) => self.carry_out(now, command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn carry_out(&mut self, now: Duration, command: Command) {
        match command {
            Command::AddSession(new) => self.add_session(now, *new),
            Command::AddSocket(number, socket) => self.add_socket(number, socket),
            Command::ChangePath(slot, path, change) => {
                let Some(entry) = self.sessions.get_mut(slot) else { return };
                let time = entry.time(now);
                let began = entry.began;
                let outbound = &mut entry.session.outbound;
                match change {
                    PathChange::Close => outbound.close_path(time, path),
                    PathChange::Fail(hint, told) => {
                        let told = Time(told.saturating_sub(began).as_micros() as u64);
                        outbound.fail_path(time, path, hint, told);
                    }
                    PathChange::Move(tuple) => outbound.move_path(time, path, tuple),
                    PathChange::Open(tuple, preference) => {
                        outbound.open_path(time, path, tuple, preference);
                    }
                    PathChange::Wake => outbound.wake_path(time, path),
                }
                self.sessions.touch(slot);
            }
            Command::RemoveSession(slot) => {
                self.sessions.remove(slot);
                self.routes.remove(slot);
            }
            Command::RemoveSocket(number) => {
                self.table.remove(number);
                if let Some(socket) = self.sockets.remove(&number) {
                    // A socket whose device is gone may have left the set by itself.
                    let _ = self.poller.remove(&*socket.socket);
                }
            }
            Command::Report(answer) => {
                // Whoever asked may have given up waiting.
                let _ = answer.send(self.report(now));
            }
            Command::SetMode(slot, mode) => {
                if let Some(entry) = self.sessions.get_mut(slot) {
                    entry.session.outbound.set_mode(mode);
                }
            }
        }
    }

    fn add_session(&mut self, now: Duration, new: NewSession) {
        let NewSession { slot, config, prefixes, replaces, paths } = new;
        let mut session = Session::new(Time::ZERO, SessionConfig { ..config });
        if let Some(before) = replaces.and_then(|slot| self.sessions.get_mut(slot)) {
            session.outbound.recall(&before.session.outbound);
        }
        for (path, tuple, preference) in paths {
            session.outbound.open_path(Time::ZERO, path, tuple, preference);
        }
        if let Some(replaced) = replaces {
            self.routes.remove(replaced);
        }
        for prefix in prefixes {
            self.routes.insert(prefix, slot);
        }
        self.sessions.insert(now, slot, session);
    }

    fn add_socket(&mut self, number: u16, socket: Arc<PathSocket>) {
        self.table.insert(number, Arc::clone(&socket));
        if let Err(error) = self.poller.add(&*socket, SOCKETS + u64::from(number)) {
            let _ = self.events.try_send(DriverEvent::SocketFailed(number, error));
            return;
        }
        self.sockets.insert(number, Socket { socket, blocked: false });
    }

    fn read_tun(&mut self, now: Duration) -> io::Result<()> {
        let mut bytes = 0;
        for _ in 0..TUN_READS {
            if bytes >= TUN_BYTES {
                return Ok(());
            }
            let offload = match self.tun.read(&mut self.tun_buffer) {
                Ok(Some(offload)) => offload,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_down(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            let entry = self.routes.find(self.tun_buffer.packet()).and_then(|slot| {
                self.sessions.touch(slot);
                self.sessions.get_mut(slot)
            });
            let Some(entry) = entry else {
                self.counts.no_session += 1;
                continue;
            };
            let time = entry.time(now);
            bytes += self.tun_buffer.packet().len();
            entry.session.outbound.handle_buffer(time, offload, &mut self.tun_buffer);
        }
        Ok(())
    }

    fn read_socket(&mut self, number: u16) {
        let Some(socket) = self.sockets.get(&number).map(|entry| Arc::clone(&entry.socket)) else {
            return;
        };
        for _ in 0..SOCKET_READS {
            let Some(mut buffers) = self.buffers.take() else { return };
            let received = socket.receive(&mut buffers);
            // Read after the datagrams: an arrival dated before it happened would look like a delay
            // shorter than the path's, and every later one like a queue.
            let now = clock::since_boot();
            if let Ok(count) = received {
                let mut merger = Merger::new();
                for batch in buffers.batches(count) {
                    self.handle_batch(now, number, batch, &mut merger);
                }
                merger.flush(|merged| write(&self.tun, merged, &mut self.counts));
            }
            self.buffers = Some(buffers);
            match received {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    let _ = self.events.try_send(DriverEvent::SocketFailed(number, error));
                    return;
                }
            }
        }
    }

    fn handle_batch<'b>(
        &mut self,
        now: Duration,
        number: u16,
        batch: Received<'b>,
        merger: &mut Merger<'b>,
    ) {
        if batch.from.port() == 0 {
            // Forged: nobody can be answered there.
            self.counts.unknown_session += 1;
            return;
        }
        let from = FourTuple { socket: number, local: batch.to, remote: batch.from };
        for datagram in batch.bytes.chunks_mut(batch.stride) {
            if control::is_control(datagram) {
                let route =
                    Route { socket: u32::from(number), remote: batch.from, local: batch.to };
                (self.control)(datagram, &route, batch.ecn.bits());
                continue;
            }
            let slot = Outer::parse(datagram).map(|outer| outer.index.session);
            let Some(entry) = slot.and_then(|slot| {
                self.sessions.touch(slot);
                self.sessions.get_mut(slot)
            }) else {
                self.counts.unknown_session += 1;
                continue;
            };
            let time = entry.time(now);
            let inbound = &mut entry.session.inbound;
            let packet = inbound.handle_datagram(time, &from, batch.ecn, datagram);
            if let Some(packet) = packet {
                merger.push(packet, |merged| write(&self.tun, merged, &mut self.counts));
            }
            if inbound.ready().next().is_some() {
                // These follow what came before.
                merger.flush(|merged| write(&self.tun, merged, &mut self.counts));
                deliver(inbound, &self.tun, &mut self.counts);
            }
        }
    }

    /// Lets a session do what is due, and sends and delivers what it has.
    fn serve(&mut self, now: Duration, slot: u32) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let time = entry.time(now);
        let session = &mut entry.session;
        session.exchange(time);
        // A packet that has just come goes before what is due: somebody waits for it.
        send(session, time, &mut self.sockets, &self.poller, &mut self.counts);
        session.handle_timeout(time);
        deliver(&mut session.inbound, &self.tun, &mut self.counts);
        while let Some(error) = session.outbound.poll_error() {
            write(&self.tun, Merged::packet(&[&error]), &mut self.counts);
        }
        send(session, time, &mut self.sockets, &self.poller, &mut self.counts);
        session.exchange(time);
        while let Some(event) = session.outbound.poll_event() {
            tell(&self.events, DriverEvent::Session(slot, event));
        }
        let silent = session.outbound.unanswered_for(time) >= SILENT_AFTER;
        if silent && !entry.silent {
            tell(&self.events, DriverEvent::Silent(slot));
        }
        entry.silent = silent;
        let mut due = entry.session.poll_timeout(time);
        if entry.session.outbound.unanswered_for(time).0 > 0 && !silent {
            due = due.min(time + SILENT_AFTER);
        }
        self.sessions.set_timer(slot, due);
    }

    fn unblock(&mut self, number: u16) {
        let Some(socket) = self.sockets.get_mut(&number).filter(|socket| socket.blocked) else {
            return;
        };
        socket.blocked = false;
        let key = SOCKETS + u64::from(number);
        // If this fails the socket is gone, and says so when it is used.
        let _ = self.poller.want_writable(&*socket.socket, key, false);
        let mut waiting = Vec::new();
        for (slot, entry) in self.sessions.iter_mut() {
            for path in paths(&entry.session, number) {
                entry.session.outbound.on_writable(path);
                waiting.push(slot);
            }
        }
        for slot in waiting {
            self.sessions.touch(slot);
        }
    }

    fn report(&self, now: Duration) -> DriverReport {
        let sessions = self.sessions.iter().map(|(slot, entry)| {
            let session = &entry.session;
            let ids = (0..PATHS_MAX as u8).map(engine::PathId);
            SessionReport {
                slot,
                at: entry.time(now),
                paths: ids.filter_map(|id| session.path_snapshot(id)).collect(),
                outbound: session.outbound.stats(),
                inbound: session.inbound.stats(),
                held_bytes: session.inbound.held_bytes(),
                silent: entry.silent,
                tunnel_mtu: session.outbound.tunnel_mtu(),
            }
        });
        let sessions = sessions.collect();
        DriverReport { sessions, ended: self.sessions.ended(), ..self.counts.clone() }
    }
}

/// Sends what a session has to send.
fn send(
    session: &mut Session,
    time: Time,
    sockets: &mut BTreeMap<u16, Socket>,
    poller: &Poller,
    counts: &mut DriverReport,
) {
    loop {
        let Some(batch) = session.outbound.poll_transmit(time) else { return };
        let (path, number) = (batch.path, batch.tuple.socket);
        let Some(socket) = sockets.get_mut(&number) else {
            counts.send_failures += 1;
            session.outbound.fail_path(time, path, Hint::Send, time);
            continue;
        };
        let (to, from) = (batch.tuple.remote, batch.tuple.local);
        match socket.socket.send(batch.bytes, batch.segment_size, to, from, batch.ecn) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                session.outbound.on_blocked();
                socket.blocked = true;
                let key = SOCKETS + u64::from(number);
                // Without it the path stays blocked until its socket is replaced.
                let _ = poller.want_writable(&*socket.socket, key, true);
            }
            Err(error) => {
                counts.send_failures += 1;
                if is_link_failure(&error) {
                    session.outbound.fail_path(time, path, Hint::Send, time);
                }
            }
        }
    }
}

/// The paths of a session that use a socket.
fn paths(session: &Session, number: u16) -> Vec<engine::PathId> {
    let ids = (0..PATHS_MAX as u8).map(engine::PathId);
    let uses = |id: &engine::PathId| {
        session.path_snapshot(*id).is_some_and(|path| path.tuple.socket == number)
    };
    ids.filter(uses).collect()
}

/// Delivers what has waited for its turn.
fn deliver(inbound: &mut Inbound, tun: &Tun, counts: &mut DriverReport) {
    if inbound.ready().next().is_none() {
        return;
    }
    let mut merger = Merger::new();
    for packet in inbound.ready() {
        merger.push(packet, |merged| write(tun, merged, counts));
    }
    merger.flush(|merged| write(tun, merged, counts));
    inbound.forget_ready();
}

fn write(tun: &Tun, merged: Merged<'_>, counts: &mut DriverReport) {
    if tun.write(merged).is_err() {
        counts.tun_refused += merged.parts.len() as u64;
    }
}

fn tell(events: &mpsc::Sender<DriverEvent>, event: DriverEvent) {
    if let DriverEvent::Session(slot, Event::Path { path, from, to }) = &event {
        tracing::debug!(slot, path = path.0, from = from.name(), to = to.name(), "path");
    }
    let _ = events.try_send(event);
}

/// The kernel says that nothing can leave by this link at the moment.
fn is_link_failure(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::ENODEV
                | libc::EHOSTUNREACH
                | libc::EADDRNOTAVAIL
                // A packet filter of this host lets nothing out.
                | libc::EPERM
        )
    )
}

/// The TUN device is not up. One that was deleted says EBADFD, and never works again.
fn is_down(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

const WAKE: u64 = 0;
const TUN: u64 = 1;
const SOCKETS: u64 = 2;

/// Packets read from the TUN device before others get their turn; each may be a super-packet.
const TUN_READS: usize = 32;
/// Bytes after which what was read is sent first, while it is still in the processor's caches.
const TUN_BYTES: usize = 128 << 10;
/// Calls to receive from one socket before others get their turn.
const SOCKET_READS: usize = 4;

/// So long without an answer that was owed, and the peer may have lost the session.
const SILENT_AFTER: engine::Span = engine::Span::millis(1000);
