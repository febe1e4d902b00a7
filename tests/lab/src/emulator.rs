//! Carries packets between the ends of the links, in real time.
//!
//! One thread owns every device and every link, sleeps until a packet comes in or a timer says
//! that one is due, and asks for real-time priority so that a busy machine delays it little. Other threads
//! change the links by handing it closures.

mod copier;
mod nat;
mod packet;
mod span;
mod urgency;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tun_rs::SyncDevice;

pub use self::copier::Catch;

use self::span::Span;
use self::urgency::ask_for_realtime;
use crate::clock::monotonic_ns;
use crate::link::{DropLog, Link, LinkConfig, LinkCounters};
use crate::topology::text::Edit;
use crate::topology::{Direction, Topology};

/// Everything the emulating thread owns.
pub struct Emulator {
    began_ns: u64,
    spans: Vec<Span>,
    shared: Vec<Shared>,
    /// The client's and the server's end of each link; `None` while it is unplugged or gone.
    ports: Vec<[Option<SyncDevice>; 2]>,
    epoll: OwnedFd,
    /// Rings when the next packet is due; the timeouts of epoll are whole milliseconds.
    timer: OwnedFd,
    /// What the timer is set to, in microseconds; 0 if it has rung.
    timer_us: u64,
    spin_us: u64,
    realtime: bool,
    packets_unwritten: u64,
    scratch: Box<[u8; PACKET_MAX]>,
}

impl Emulator {
    /// An emulator of `topology` without devices.
    ///
    /// # Errors
    /// When the kernel refuses to watch devices.
    pub fn new(topology: &Topology) -> Result<Self> {
        let spans = topology.links.iter().enumerate();
        let spans: Vec<Span> =
            spans.map(|(index, spec)| Span::new(index, spec, topology.seed)).collect();
        let shared = topology.shared.iter().zip(1..).map(|(spec, number)| Shared {
            links: spec.links.iter().filter_map(|name| topology.position(name).ok()).collect(),
            up: Link::new(spec.up.clone(), topology.seed ^ (number << 32)),
            down: Link::new(spec.down.clone(), topology.seed ^ (number << 48)),
        });
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll")?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        // To see only that it rings spares reading it.
        let once = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), once)
            .context("watch a timer")?;
        Ok(Self {
            began_ns: monotonic_ns(),
            epoll,
            timer,
            timer_us: 0,
            ports: spans.iter().map(|_| [None, None]).collect(),
            shared: shared.collect(),
            spans,
            spin_us: topology.spin_us,
            realtime: false,
            packets_unwritten: 0,
            scratch: Box::new([0; PACKET_MAX]),
        })
    }

    /// Starts to carry, on a thread of its own, until the process ends.
    ///
    /// # Errors
    /// When the thread can't be had.
    pub fn start(mut self) -> Result<Remote> {
        let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let number = epoll::EventData::new_u64(BELL);
        epoll::add(&self.epoll, &bell, number, epoll::EventFlags::IN).context("watch the bell")?;
        let (commands, receiver) = sync_channel(COMMANDS_MAX);
        let heard = Arc::clone(&bell);
        std::thread::Builder::new()
            .name("emulator".to_owned())
            .spawn(move || {
                self.realtime = ask_for_realtime();
                if let Err(error) = self.run(&receiver, &heard) {
                    eprintln!("lab: the emulator stopped: {error:#}");
                }
            })
            .context("start the emulator's thread")?;
        Ok(Remote { commands, bell })
    }

    /// Plugs a device into one end of a link, or with `None` pulls it out.
    ///
    /// # Errors
    /// When the kernel refuses to watch the device.
    pub fn plug(&mut self, link: usize, end: Port, device: Option<SyncDevice>) -> Result<()> {
        let Some(ends) = self.ports.get_mut(link) else { return Ok(()) };
        if let Some(device) = &device {
            let number = epoll::EventData::new_u64((2 * link + end as usize) as u64);
            let watched = epoll::add(&self.epoll, device, number, epoll::EventFlags::IN);
            watched.context("watch a device")?;
        }
        // What was there is closed, and with that no longer watched.
        ends[end as usize] = device;
        Ok(())
    }

    /// Changes a link at once.
    pub fn edit(&mut self, link: usize, edits: Vec<Edit>) {
        let now_us = self.now_us();
        let Some(span) = self.spans.get_mut(link) else { return };
        for Edit { direction, change } in edits {
            for each in DIRECTIONS {
                if direction.is_none_or(|only| only == each) {
                    span.link_mut(each).apply(now_us, change.clone());
                }
            }
        }
    }

    /// Forgets the mappings of a link's NAT. Returns whether there is one.
    pub fn rebind(&mut self, link: usize) -> bool {
        self.spans.get_mut(link).is_some_and(Span::rebind)
    }

    /// Lets a copier into a link, ahead of the originals by `lead_us`, or with 0 sends him away.
    pub fn set_copier(&mut self, link: usize, lead_us: u64) {
        if let Some(span) = self.spans.get_mut(link) {
            span.set_copier(lead_us);
        }
    }

    /// What happened on a link.
    pub fn tallies(&self, link: usize) -> Option<SpanTallies> {
        let span = self.spans.get(link)?;
        Some(SpanTallies {
            up: span.link(Direction::Up).counters(),
            down: span.link(Direction::Down).counters(),
            nat_packets_refused: span.packets_refused(),
            copier: span.catch(),
        })
    }

    /// What a link is set to, up and down.
    pub fn settings(&self, link: usize) -> Option<[LinkConfig; 2]> {
        let span = self.spans.get(link)?;
        Some(DIRECTIONS.map(|direction| span.link(direction).config().clone()))
    }

    /// What happened in a shared bottleneck, up and down.
    pub fn shared_tallies(&self) -> Vec<[LinkCounters; 2]> {
        self.shared.iter().map(|shared| [shared.up.counters(), shared.down.counters()]).collect()
    }

    /// Sets the counters of every link to zero.
    pub fn reset(&mut self) {
        for span in &mut self.spans {
            DIRECTIONS.into_iter().for_each(|each| span.link_mut(each).reset_counters());
        }
        for shared in &mut self.shared {
            DIRECTIONS.into_iter().for_each(|each| shared.link_mut(each).reset_counters());
        }
    }

    /// Notes from here on which packets each link drops, at most `max` a direction.
    pub fn log_drops(&mut self, max: usize) {
        for span in &mut self.spans {
            DIRECTIONS.into_iter().for_each(|each| span.link_mut(each).log_drops(max));
        }
    }

    /// Takes the drop log of one direction of a link.
    pub fn take_drops(&mut self, link: usize, direction: Direction) -> DropLog {
        let span = self.spans.get_mut(link);
        span.map(|span| span.link_mut(direction).take_drops()).unwrap_or_default()
    }

    /// How the emulator itself fares.
    pub fn own_tally(&self) -> OwnTally {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        OwnTally {
            now_us: self.now_us(),
            cpu_us: cpu.tv_sec as u64 * 1_000_000 + cpu.tv_nsec as u64 / 1000,
            realtime: self.realtime,
            packets_unwritten: self.packets_unwritten,
        }
    }

    fn now_us(&self) -> u64 {
        (monotonic_ns() - self.began_ns) / 1000
    }

    fn run(&mut self, commands: &Receiver<Command>, bell: &OwnedFd) -> Result<()> {
        let mut ready = Vec::with_capacity(READY_MAX);
        loop {
            self.wait(&mut ready)?;
            for event in &ready {
                match event.data.u64() {
                    BELL => {
                        let mut count = [0; 8];
                        // Nothing to read means that the commands were looked at already.
                        let _ = rustix::io::read(bell, &mut count);
                        while let Ok(command) = commands.try_recv() {
                            command(self);
                        }
                    }
                    TIMER => self.timer_us = 0,
                    port => {
                        let number = port as usize;
                        let end =
                            if number.is_multiple_of(2) { Port::Client } else { Port::Server };
                        self.read(number / 2, end);
                    }
                }
            }
            self.deliver();
        }
    }

    /// Sleeps until a packet comes in, a command comes in, or a packet is due.
    fn wait(&mut self, ready: &mut Vec<epoll::Event>) -> Result<()> {
        let due_us = [
            self.spans.iter().filter_map(Span::next_due_us).min(),
            self.shared.iter().filter_map(Shared::next_due_us).min(),
        ];
        let due_us = due_us.into_iter().flatten().min();
        let timeout = match due_us {
            None => None,
            // To spin is to look again and again instead of sleeping.
            Some(due_us) if due_us <= self.now_us() + self.spin_us => Some(&AT_ONCE),
            Some(due_us) => {
                self.set_timer(due_us - self.spin_us)?;
                None
            }
        };
        ready.clear();
        let places = rustix::buffer::spare_capacity(ready);
        match epoll::wait(&self.epoll, places, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("wait for packets"),
        }
    }

    fn set_timer(&mut self, at_us: u64) -> Result<()> {
        if self.timer_us == at_us {
            return Ok(());
        }
        self.timer_us = at_us;
        let at_ns = self.began_ns + at_us * 1000;
        let it_value = Timespec {
            tv_sec: (at_ns / 1_000_000_000) as i64,
            tv_nsec: (at_ns % 1_000_000_000) as i64,
        };
        let time = Itimerspec { it_interval: AT_ONCE, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &time).context("set the timer")?;
        Ok(())
    }

    /// Takes in what waits at one end of a link.
    fn read(&mut self, link: usize, end: Port) {
        let now_us = self.now_us();
        for _ in 0..BATCH_MAX {
            let Some(device) = self.ports.get(link).and_then(|ends| ends[end as usize].as_ref())
            else {
                return;
            };
            let packet = match device.recv(&mut self.scratch[..]) {
                Ok(len) => self.scratch[..len].to_vec(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                // The device was deleted: the link is gone until another is plugged in.
                Err(_) => {
                    self.ports[link][end as usize] = None;
                    return;
                }
            };
            if let Some(answer) = self.spans[link].accept(now_us, end.direction(), packet) {
                self.write(link, end, &answer);
            }
        }
    }

    /// Hands over everything that is due.
    fn deliver(&mut self) {
        let now_us = self.now_us();
        for link in 0..self.spans.len() {
            for direction in DIRECTIONS {
                while let Some(packet) = self.spans[link].poll(now_us, direction) {
                    self.pass_on(now_us, link, direction, packet);
                }
            }
        }
        for index in 0..self.shared.len() {
            for direction in DIRECTIONS {
                while let Some((link, packet)) = self.shared[index].link_mut(direction).pop(now_us)
                {
                    self.arrive(link, direction, packet);
                }
            }
        }
    }

    fn pass_on(&mut self, now_us: u64, link: usize, direction: Direction, packet: Vec<u8>) {
        match self.shared.iter_mut().find(|shared| shared.links.contains(&link)) {
            None => self.arrive(link, direction, packet),
            Some(shared) => {
                let (len, key) = (packet.len(), packet::key(&packet));
                // What the bottleneck refuses it has counted.
                let _ = shared.link_mut(direction).push(now_us, (link, packet), len, key);
            }
        }
    }

    fn arrive(&mut self, link: usize, direction: Direction, mut packet: Vec<u8>) {
        if self.spans[link].arrives(direction, &mut packet) {
            self.write(link, Port::exit_of(direction), &packet);
        }
    }

    fn write(&mut self, link: usize, end: Port, packet: &[u8]) {
        let Some(device) = &self.ports[link][end as usize] else { return };
        // A device that is down refuses; so does one whose memory is short.
        if device.send(packet).is_err() {
            self.packets_unwritten += 1;
        }
    }
}

/// Reaches the emulating thread from others.
#[derive(Clone, Debug)]
pub struct Remote {
    commands: SyncSender<Command>,
    bell: Arc<OwnedFd>,
}

impl Remote {
    /// Runs `question` on the emulating thread.
    ///
    /// # Errors
    /// When the emulator has stopped or does not answer within 5 s.
    pub fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Emulator) -> R + Send + 'static,
    ) -> Result<R> {
        let (answer, answered) = sync_channel(1);
        let command: Command = Box::new(move |emulator| {
            // Whoever asked may have given up.
            let _ = answer.send(question(emulator));
        });
        self.commands.send(command).ok().context("the emulator has stopped")?;
        self.ring();
        answered.recv_timeout(ANSWER_WAIT_MAX).context("the emulator does not answer")
    }

    fn ring(&self) {
        // It can only fail because it rings already.
        let _ = rustix::io::write(self.bell.as_fd(), &1u64.to_ne_bytes());
    }
}

/// One end of a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Port {
    /// The client's.
    Client = 0,
    /// The server's.
    Server = 1,
}

impl Port {
    /// Where packets go that come in here.
    fn direction(self) -> Direction {
        match self {
            Self::Client => Direction::Up,
            Self::Server => Direction::Down,
        }
    }

    fn exit_of(direction: Direction) -> Self {
        match direction {
            Direction::Down => Self::Client,
            Direction::Up => Self::Server,
        }
    }
}

/// What happened on one link.
#[derive(Clone, Copy, Debug)]
pub struct SpanTallies {
    /// From the client to the server.
    pub up: LinkCounters,
    /// From the server to the client.
    pub down: LinkCounters,
    /// Packets to the client that fitted no mapping of the NAT.
    pub nat_packets_refused: u64,
    /// What the copier has got.
    pub copier: Catch,
}

/// How the emulating thread fares.
#[derive(Clone, Copy, Debug)]
pub struct OwnTally {
    /// Microseconds since the emulator began: the clock of the drop logs.
    pub now_us: u64,
    /// Processor time it has used, in microseconds.
    pub cpu_us: u64,
    /// Whether it has real-time priority.
    pub realtime: bool,
    /// Packets that a device did not take.
    pub packets_unwritten: u64,
}

/// A bottleneck behind several links. Its packets remember which link they came by.
#[derive(Debug)]
struct Shared {
    links: Vec<usize>,
    up: Link<(usize, Vec<u8>)>,
    down: Link<(usize, Vec<u8>)>,
}

impl Shared {
    fn link_mut(&mut self, direction: Direction) -> &mut Link<(usize, Vec<u8>)> {
        match direction {
            Direction::Down => &mut self.down,
            Direction::Up => &mut self.up,
        }
    }

    fn next_due_us(&self) -> Option<u64> {
        [self.up.next_due_us(), self.down.next_due_us()].into_iter().flatten().min()
    }
}

type Command = Box<dyn FnOnce(&mut Emulator) + Send>;

/// The bell's number in the epoll; ports have theirs from 0.
const BELL: u64 = u64::MAX;
/// The timer's number in the epoll.
const TIMER: u64 = u64::MAX - 1;
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// Devices served between two looks at what is due.
const READY_MAX: usize = 32;
const DIRECTIONS: [Direction; 2] = [Direction::Up, Direction::Down];
/// Packets taken from one device before the others have their turn.
const BATCH_MAX: usize = 64;
/// Commands that wait at most; whoever has more waits.
const COMMANDS_MAX: usize = 16;
/// The largest packet a device can give.
const PACKET_MAX: usize = 65_536;
/// A turn of the loop takes far less.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
