//! The client's side of the wire: one for each dial attempt, the winner's for the session.

use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::inbox::{Arrival, Inbox, Pushed};
use super::{
    AlwaysWritable, ControlSend, DATAGRAM_MAX, LOCAL, Route, VIRTUAL_SERVER, ecn_bits, lock,
};

/// One attempt's wire.
pub(crate) struct ClientWire {
    inbox: Inbox,
    out: Arc<dyn ControlSend>,
    route: Mutex<Route>,
    send_error: Mutex<Option<io::Error>>,
    heard: AtomicBool,
    established: AtomicBool,
    dropped: AtomicU64,
}

impl ClientWire {
    /// A wire that sends by `route` until told otherwise.
    pub(crate) fn new(out: Arc<dyn ControlSend>, route: Route) -> Self {
        Self {
            inbox: Inbox::new(INBOX_MAX),
            out,
            route: Mutex::new(route),
            send_error: Mutex::default(),
            heard: AtomicBool::new(false),
            established: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        }
    }

    /// Takes a datagram for quinn.
    pub(crate) fn push(&self, datagram: &[u8], ecn: u8) {
        self.heard.store(true, Ordering::Relaxed);
        let fits = datagram.len() <= DATAGRAM_MAX;
        let arrival =
            || Arrival { bytes: datagram.into(), remote: VIRTUAL_SERVER, local: None, ecn };
        if !fits || self.inbox.push(arrival()) == Pushed::Full {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The way that datagrams leave by.
    pub(crate) fn route(&self) -> Route {
        *lock(&self.route)
    }

    /// Changes the way that datagrams leave by.
    pub(crate) fn set_route(&self, route: Route) {
        *lock(&self.route) = route;
    }

    /// Whether anything ever came back.
    pub(crate) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether the connection is established, so that a stateless reset can be meant for it.
    pub(crate) fn is_established(&self) -> bool {
        self.established.load(Ordering::Relaxed)
    }

    /// Notes that the connection is established.
    pub(crate) fn set_established(&self) {
        self.established.store(true, Ordering::Relaxed);
    }

    /// The last error in sending, to be told with "unreachable".
    pub(crate) fn take_send_error(&self) -> Option<io::Error> {
        lock(&self.send_error).take()
    }

    /// Datagrams that found no room, or were too long.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl AsyncUdpSocket for ClientWire {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if let Err(error) = self.out.send(transmit.contents, &self.route(), ecn_bits(transmit.ecn))
        {
            *lock(&self.send_error) = Some(error);
        }
        // An error would end the connection, and the next route may work.
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inbox.poll_recv(cx, buffers, metas)
    }

    fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        Ok(LOCAL)
    }
}

impl std::fmt::Debug for ClientWire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientWire").field("route", &self.route()).finish_non_exhaustive()
    }
}

/// A server's whole flight is three datagrams, and messages are rare.
const INBOX_MAX: usize = 64;
