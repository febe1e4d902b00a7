//! Waiting for file descriptors: epoll, by numbers of our own.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::event::{Timespec, epoll};

/// A set of file descriptors to wait for.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
}

/// What can be done with a descriptor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ready {
    pub(super) key: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Waits for `fd` to be readable from here on.
    pub(super) fn add(&self, fd: impl AsFd, key: u64) -> io::Result<()> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Waits for `fd` to be writable as well, or no longer.
    pub(super) fn want_writable(&self, fd: impl AsFd, key: u64, wanted: bool) -> io::Result<()> {
        let extra = if wanted { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        let flags = epoll::EventFlags::IN | extra;
        epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(key), flags)?;
        Ok(())
    }

    /// Waits no longer for `fd`.
    pub(super) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        epoll::delete(&self.epoll, fd)?;
        Ok(())
    }

    /// Waits, `micros` at most, and fills in what is ready. Returns how many are.
    pub(super) fn wait(&self, micros: u64, ready: &mut [Ready; READY_MAX]) -> io::Result<usize> {
        let micros = micros.min(WAIT_MAX);
        let timeout = Timespec {
            tv_sec: (micros / 1_000_000) as i64,
            tv_nsec: (micros % 1_000_000 * 1000) as i64,
        };
        let mut room = [const { MaybeUninit::uninit() }; READY_MAX];
        let events = match epoll::wait(&self.epoll, &mut room, Some(&timeout)) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        for (ready, event) in ready.iter_mut().zip(&*events) {
            let flags = event.flags;
            let failed = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            *ready = Ready {
                key: event.data.u64(),
                readable: failed || flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
            };
        }
        Ok(events.len())
    }
}

/// Descriptors handled in one turn.
pub(super) const READY_MAX: usize = 64;

/// Nobody waits longer than a minute, so that a clock that leaps is noticed.
const WAIT_MAX: u64 = 60_000_000;
