//! The data plane's thread: TUN device and UDP sockets on one side, sessions on the other.
//!
//! ```text
//! TUN ─ inner destination ─ session ─ Outbound ─ batch ─ socket
//! socket ─ first byte ─┬─ QUIC: the control plane
//!                      └─ ours: receiver index ─ session ─ Inbound ─ packet ─ TUN
//! ```
//! One thread owns every session outright and runs both of its halves. Others speak to it by
//! [`Command`]s and hear of it by [`DriverEvent`]s; no packet ever waits for them.

use std::{io, os::fd::AsFd, sync::Arc, thread, time::Duration};

use crossbeam::channel;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc;

use self::thread_loop::DriverThread;
use crate::{control::Route, tun::Tun, udp::SocketTable};

pub use self::{
    command::{Command, NewSession, PathChange},
    refusals::Refusals,
    report::{DriverReport, SessionReport},
};

mod command;
mod poller;
mod refusals;
mod report;
mod route_table;
mod session_table;
pub mod status;
mod thread_loop;

/// Takes the control datagrams that the sockets receive.
pub type ControlSink = Box<dyn Fn(&[u8], &Route, u8) + Send>;

/// Something that the data plane's thread has noticed.
#[derive(Debug)]
pub enum DriverEvent {
    /// The thread can't go on.
    Failed(io::Error),
    /// Something happened in a session.
    Session(u32, engine::Event),
    /// Nothing was heard from a session's peer for a while although it owed an answer.
    Silent(u32),
    /// A socket's link carries nothing, as the kernel says.
    SocketFailed(u16, io::Error),
}

/// A handle to the data plane's thread. The thread ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Driver {
    commands: channel::Sender<Command>,
    wake: Arc<rustix::fd::OwnedFd>,
}

impl Driver {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the kernel has no file descriptors or threads left.
    pub fn start(
        tun: Tun,
        sockets: SocketTable,
        control: ControlSink,
    ) -> io::Result<(Self, mpsc::Receiver<DriverEvent>)> {
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let (commands, inbox) = channel::bounded(COMMANDS_MAX);
        let (events, outbox) = mpsc::channel(EVENTS_MAX);
        let thread = DriverThread::new(tun, sockets, control, inbox, Arc::clone(&wake), events)?;
        thread::Builder::new().name("hawser-data".to_owned()).spawn(move || thread.run())?;
        Ok((Self { commands, wake }, outbox))
    }

    /// Hands a command to the thread. It is carried out within a turn of its loop; after the thread
    /// has ended it is dropped.
    pub fn command(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.wake();
        }
    }

    /// What the data plane's counters say.
    pub async fn report(&self) -> Option<DriverReport> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.command(Command::Report(sender));
        tokio::time::timeout(REPORT_WITHIN, receiver).await.ok()?.ok()
    }

    fn wake(&self) {
        // An eventfd that is full wakes the thread all the same.
        let _ = rustix::io::write(self.wake.as_fd(), &1u64.to_ne_bytes());
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The thread looks at its inbox and finds out whether that was the last handle.
        self.wake();
    }
}

/// Commands that wait; whoever sends more waits too.
const COMMANDS_MAX: usize = 4096;
/// Events that wait; more are dropped, for each only says what a report says too.
const EVENTS_MAX: usize = 4096;
/// The thread answers within a turn; a second is for a host that stands still.
const REPORT_WITHIN: Duration = Duration::from_secs(1);
