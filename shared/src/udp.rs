//! UDP sockets of the outer datagrams, one a link on a client, one a listening address on a server.

use std::{
    collections::BTreeMap,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use arc_swap::ArcSwap;
use engine::Ecn;
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::control::{ControlSend, Route};

/// A UDP socket with the kernel's batch features: segmented sends, coalesced receives, ECN.
#[derive(Debug)]
pub struct PathSocket {
    socket: Socket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl PathSocket {
    /// A socket on one link: whatever the routes say, its datagrams leave and come there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn on_link(interface: &str, family: IpAddr, mark: u32) -> io::Result<Self> {
        let any = match family {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let address = SocketAddr::new(any, 0);
        let socket = Self::unbound(address)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        match socket.set_mark(mark) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            // Without the right to mark, a full tunnel can't be had either, which says so itself.
            Ok(()) | Err(_) => {}
        }
        Self::bound(socket, address)
    }

    /// A socket that listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        Self::bound(Self::unbound(address)?, address)
    }

    fn unbound(address: SocketAddr) -> io::Result<Socket> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        Ok(socket)
    }

    fn bound(socket: Socket, address: SocketAddr) -> io::Result<Self> {
        socket.bind(&address.into())?;
        // Forced where we may, else what the system's limit leaves.
        if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_LEN).is_err() {
            socket.set_recv_buffer_size(BUFFER_LEN)?;
        }
        if sockopt::set_socket_send_buffer_size_force(&socket, BUFFER_LEN).is_err() {
            socket.set_send_buffer_size(BUFFER_LEN)?;
        }
        let state = UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, state, local })
    }

    /// The address that the socket is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends datagrams of `segment_size` bytes each, the last perhaps shorter.
    ///
    /// # Errors
    /// What the kernel says; with [`io::ErrorKind::WouldBlock`] nothing was sent.
    pub fn send(
        &self,
        datagrams: &[u8],
        segment_size: usize,
        to: SocketAddr,
        from: Option<IpAddr>,
        ecn: Ecn,
    ) -> io::Result<()> {
        // Without segmentation offload each datagram is a call of its own.
        let step = segment_size * self.state.max_gso_segments().max(1);
        for contents in datagrams.chunks(step) {
            let transmit = Transmit {
                destination: to,
                ecn: EcnCodepoint::from_bits(ecn.bits()),
                contents,
                segment_size: (contents.len() > segment_size).then_some(segment_size),
                src_ip: from,
            };
            self.state.try_send((&self.socket).into(), &transmit)?;
        }
        Ok(())
    }

    /// Receives as many batches as there are and fit.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing.
    pub fn receive(&self, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
        let mut chunks = buffers.bytes.chunks_mut(RECEIVE_LEN);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let (slices, metas) = (&mut slices[..buffers.wanted], &mut buffers.metas);
        let count = self.state.recv((&self.socket).into(), slices, metas)?;
        let longest = metas[..count].iter().map(|meta| meta.len).max().unwrap_or(0);
        buffers.wanted = (RECEIVE_BYTES / longest.max(1)).clamp(1, BATCH);
        Ok(count)
    }
}

impl AsFd for PathSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for one receive call.
pub struct ReceiveBuffers {
    bytes: Box<[u8]>,
    metas: [RecvMeta; BATCH],
    /// How many batches the next call asks for.
    wanted: usize,
}

/// A batch that was received: datagrams in a row from one address.
pub struct Received<'b> {
    /// The datagrams, each `stride` bytes, the last perhaps shorter.
    pub bytes: &'b mut [u8],
    /// The length of each but the last.
    pub stride: usize,
    /// Where they came from.
    pub from: SocketAddr,
    /// To which of our addresses.
    pub to: Option<IpAddr>,
    /// The ECN field of their IP headers.
    pub ecn: Ecn,
}

impl ReceiveBuffers {
    /// Buffers, to be used again and again: they are two megabytes, and zeroed.
    #[expect(
        clippy::new_without_default,
        reason = "to take one out of its place must not make another"
    )]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; BATCH * RECEIVE_LEN].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH],
            wanted: BATCH,
        }
    }

    /// The batches that the last call received.
    pub fn batches(&mut self, count: usize) -> impl Iterator<Item = Received<'_>> {
        let chunks = self.bytes.chunks_mut(RECEIVE_LEN);
        chunks.zip(&self.metas).take(count).map(|(bytes, meta)| Received {
            bytes: &mut bytes[..meta.len],
            stride: meta.stride.max(1),
            from: plain(meta.addr),
            to: meta.dst_ip,
            ecn: Ecn::from_bits(meta.ecn.map_or(0, |ecn| ecn as u8)),
        })
    }
}

/// The sockets by their numbers, for those who send control datagrams beside the data plane.
#[derive(Clone, Debug, Default)]
pub struct SocketTable {
    sockets: Arc<ArcSwap<BTreeMap<u16, Arc<PathSocket>>>>,
}

impl SocketTable {
    /// Adds a socket, or puts another in its place.
    pub fn insert(&self, number: u16, socket: Arc<PathSocket>) {
        self.sockets.rcu(|sockets| {
            let mut sockets = BTreeMap::clone(sockets);
            sockets.insert(number, Arc::clone(&socket));
            sockets
        });
    }

    /// Takes a socket out; it is closed when nobody uses it any more.
    pub fn remove(&self, number: u16) {
        self.sockets.rcu(|sockets| {
            let mut sockets = BTreeMap::clone(sockets);
            sockets.remove(&number);
            sockets
        });
    }

    /// The socket of this number.
    pub fn find(&self, number: u16) -> Option<Arc<PathSocket>> {
        self.sockets.load().get(&number).cloned()
    }
}

impl ControlSend for SocketTable {
    fn send(&self, datagram: &[u8], route: &Route, ecn: u8) -> io::Result<()> {
        let number = u16::try_from(route.socket).ok();
        let socket = number.and_then(|number| self.find(number));
        let socket = socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        socket.send(datagram, datagram.len(), route.remote, route.local, Ecn::from_bits(ecn))
    }
}

/// An IPv6 address without what only this host knows of it, so that addresses compare.
fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if !v6.ip().is_unicast_link_local() => {
            SocketAddr::new(IpAddr::V6(*v6.ip()), v6.port())
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}

/// What one call may receive: each entry may be a coalesced row of datagrams.
const BATCH: usize = quinn_udp::BATCH_SIZE;
/// About how many bytes one call receives, so that they stay in the processor's caches until they are
/// opened and delivered.
const RECEIVE_BYTES: usize = 256 << 10;
/// The longest row.
const RECEIVE_LEN: usize = 1 << 16;

/// 1 Gbit/s for 64 ms: as long as a busy host may keep us waiting.
const BUFFER_LEN: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segmented_send_arrives_as_its_datagrams() {
        let one = PathSocket::listen(([127, 0, 0, 1], 0).into()).expect("a socket");
        let two = PathSocket::listen(([127, 0, 0, 1], 0).into()).expect("a socket");
        let bytes: Vec<u8> = (0..2500u32).map(|i| i as u8).collect();

        one.send(&bytes, 1000, two.local(), None, Ecn::Ect0).expect("sent");

        let mut buffers = ReceiveBuffers::new();
        let mut seen = Vec::new();
        while seen.len() < bytes.len() {
            match two.receive(&mut buffers) {
                Ok(count) => {
                    for batch in buffers.batches(count) {
                        assert_eq!((batch.from, batch.ecn), (one.local(), Ecn::Ect0));
                        seen.extend_from_slice(batch.bytes);
                    }
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(seen, bytes);
    }
}
