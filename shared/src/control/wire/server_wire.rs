//! The server's side of the wire: one for all of its sockets.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::arrivals::Arrivals;
use super::inbox::{Arrival, Inbox, Pushed};
use super::initials::InitialGate;
use super::{AlwaysWritable, ControlSend, DATAGRAM_MAX, LOCAL, Route, ecn_bits, lock};
use crate::clock;
use crate::control::connection_id::{ConnectionIds, ID_LEN};
use crate::control::header::Header;

/// The server's wire.
pub(crate) struct ServerWire {
    inbox: Inbox,
    out: Arc<dyn ControlSend>,
    ids: ConnectionIds,
    initials: Mutex<InitialGate>,
    doors: Mutex<Vec<Door>>,
    arrivals: Mutex<Arrivals<Door>>,
    counts: Counts,
}

/// One of our sockets, and which of its addresses a datagram came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Door {
    socket: u32,
    local: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    malformed: AtomicU64,
    initials_limited: AtomicU64,
    inbox_full: AtomicU64,
    sent: AtomicU64,
    send_failures: AtomicU64,
}

/// What went over the wire so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct WireCounts {
    pub(crate) received: u64,
    pub(crate) malformed: u64,
    pub(crate) initials_limited: u64,
    pub(crate) inbox_full: u64,
    pub(crate) sent: u64,
    pub(crate) send_failures: u64,
}

impl ServerWire {
    /// A wire that recognises its connections by `ids`.
    pub(crate) fn new(out: Arc<dyn ControlSend>, ids: ConnectionIds) -> Self {
        Self {
            inbox: Inbox::new(INBOX_MAX),
            out,
            ids,
            initials: Mutex::new(InitialGate::new(clock::since_boot())),
            doors: Mutex::default(),
            arrivals: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// Takes a datagram for quinn, unless it is malformed or one Initial too many.
    pub(crate) fn push(&self, datagram: &[u8], route: &Route, ecn: u8) {
        add(&self.counts.received);
        let header = Header::parse(datagram, ID_LEN).filter(|_| datagram.len() <= DATAGRAM_MAX);
        let Some(header) = header else { return add(&self.counts.malformed) };

        let door = Door { socket: route.socket, local: route.local };
        let mut room = INBOX_MAX;
        match header {
            Header::Initial { destination, token } => {
                // A client that was answered uses an id of ours, and is no part of a flood.
                let answered = self.ids.mark_of(destination).is_some();
                if !answered && !lock(&self.initials).admit(clock::since_boot(), token) {
                    return add(&self.counts.initials_limited);
                }
                room = if answered { INBOX_MAX } else { INITIALS_MAX };
            }
            Header::Short { destination: Some(id) } if self.ids.mark_of(id).is_some() => {
                lock(&self.arrivals).insert(route.remote, door);
            }
            Header::Short { .. } | Header::Long { .. } => {}
        }

        let local = self.door_address(door);
        let arrival = Arrival { bytes: datagram.into(), remote: route.remote, local, ecn };
        if self.inbox.push_below(room, arrival) == Pushed::Full {
            add(&self.counts.inbox_full);
        }
    }

    /// What went over the wire so far.
    pub(crate) fn counts(&self) -> WireCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        WireCounts {
            received: read(&self.counts.received),
            malformed: read(&self.counts.malformed),
            initials_limited: read(&self.counts.initials_limited),
            inbox_full: read(&self.counts.inbox_full),
            sent: read(&self.counts.sent),
            send_failures: read(&self.counts.send_failures),
        }
    }

    /// The route of an answer: by the door that this client's datagrams come to lately, else by the
    /// one that `local` names.
    fn route(&self, remote: SocketAddr, local: Option<IpAddr>) -> Route {
        let door = lock(&self.arrivals).get(&remote).or_else(|| self.door_at(local));
        let door = door.unwrap_or(Door { socket: 0, local: None });
        Route { socket: door.socket, remote, local: door.local }
    }

    /// A made-up local address that stands for a door. quinn keeps it with a connection and gives
    /// it back with every answer, but does not look into it.
    fn door_address(&self, door: Door) -> Option<IpAddr> {
        let mut doors = lock(&self.doors);
        let number = doors.iter().position(|known| *known == door).or_else(|| {
            (doors.len() < DOORS_MAX).then(|| {
                doors.push(door);
                doors.len() - 1
            })
        })?;
        let number = u16::try_from(number).ok()?;
        Some(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, number).into())
    }

    fn door_at(&self, local: Option<IpAddr>) -> Option<Door> {
        let Some(IpAddr::V6(address)) = local else { return None };
        let [.., number] = address.segments();
        lock(&self.doors).get(usize::from(number)).copied()
    }
}

impl AsyncUdpSocket for ServerWire {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let route = self.route(transmit.destination, transmit.src_ip);
        add(&self.counts.sent);
        if self.out.send(transmit.contents, &route, ecn_bits(transmit.ecn)).is_err() {
            add(&self.counts.send_failures);
        }
        // An error would end the connection; what was lost is sent again.
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

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(LOCAL)
    }
}

impl std::fmt::Debug for ServerWire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerWire").field("counts", &self.counts).finish_non_exhaustive()
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// 1.2 MB of full datagrams.
const INBOX_MAX: usize = 1024;
/// What some 350 clients send when all begin at once; the rest of the inbox is for those who are
/// known already.
const INITIALS_MAX: usize = 768;
/// Sockets times their local addresses. Beyond it answers leave by the first socket.
const DOORS_MAX: usize = 1024;
