//! UDP sockets of the outer datagrams, one a link on a client, one a listening address on a server.

use std::{
    collections::{BTreeMap, HashSet},
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
    /// Made anew when a send was refused, for this one gives segments and ECN up for good.
    state: ArcSwap<UdpSocketState>,
    local: SocketAddr,
    /// Where the kernel takes no segmented sends to: to other places it still may.
    unsegmented: ArcSwap<HashSet<SocketAddr>>,
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
        let state = ArcSwap::from_pointee(UdpSocketState::new((&socket).into())?);
        let local = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, state, local, unsegmented: ArcSwap::default() })
    }

    /// The address that the socket is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends datagrams of `segment_size` bytes each, the last perhaps shorter.
    ///
    /// # Errors
    /// What the kernel says; after [`io::ErrorKind::WouldBlock`] all of it is to be sent again. Nothing has
    /// gone then, but where segments are refused: what comes twice by that, the peer drops.
    pub fn send(
        &self,
        datagrams: &[u8],
        segment_size: usize,
        to: SocketAddr,
        from: Option<IpAddr>,
        ecn: Ecn,
    ) -> io::Result<()> {
        let transmit = |contents, segmented: bool| Transmit {
            destination: to,
            ecn: EcnCodepoint::from_bits(ecn.bits()),
            contents,
            segment_size: segmented.then_some(segment_size),
            src_ip: from,
        };
        let segments_max = self.state.load().max_gso_segments().max(1);
        let step = segment_size * if self.is_unsegmented(&to) { 1 } else { segments_max };
        for contents in datagrams.chunks(step) {
            let segmented = contents.len() > segment_size;
            match self.try_send(&transmit(contents, segmented)) {
                Err(error) if segmented && is_refusal(&error) => {}
                sent => {
                    sent?;
                    continue;
                }
            }
            for (number, datagram) in contents.chunks(segment_size).enumerate() {
                self.try_send(&transmit(datagram, false))?;
                if number == 0 {
                    // It was the segments that were refused, and not the address.
                    self.note_unsegmented(to);
                }
            }
        }
        Ok(())
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.load().try_send((&self.socket).into(), transmit);
        if sent.as_ref().is_err_and(is_refusal) {
            // It has given up segments, and ECN, for everybody.
            self.state.store(Arc::new(UdpSocketState::new((&self.socket).into())?));
        }
        sent
    }

    fn is_unsegmented(&self, to: &SocketAddr) -> bool {
        let unsegmented = self.unsegmented.load();
        !unsegmented.is_empty() && unsegmented.contains(to)
    }

    /// Remembers that the way to this address takes no segmented sends: a device on it can't do checksums, say.
    fn note_unsegmented(&self, to: SocketAddr) {
        self.unsegmented.rcu(|known| {
            let mut known = HashSet::clone(known);
            if known.len() >= UNSEGMENTED_MAX {
                known.clear();
            }
            known.insert(to);
            known
        });
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
        let count = self.state.load().recv((&self.socket).into(), slices, metas)?;
        let bytes: usize = metas[..count].iter().map(|meta| meta.len).sum();
        buffers.wanted = (RECEIVE_BYTES * count / bytes.max(1)).clamp(1, BATCH);
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

/// What Linux says to a send that the socket or the device can't do.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EOPNOTSUPP))
}

/// Addresses that are remembered to take no segmented sends; with more of them it is learnt anew.
const UNSEGMENTED_MAX: usize = 1024;

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

        assert_eq!(datagrams(&one, &two, bytes.len()), bytes.chunks(1000).collect::<Vec<_>>());
    }

    #[test]
    fn an_address_to_which_segments_are_refused_gets_one_datagram_after_the_other() {
        let one = PathSocket::listen(([127, 0, 0, 1], 0).into()).expect("a socket");
        let [two, three] =
            [0; 2].map(|port| PathSocket::listen(([127, 0, 0, 1], port).into()).expect("a socket"));
        let bytes: Vec<u8> = (0..2500u32).map(|i| i as u8).collect();
        // Linux segments nothing for a socket that wants no checksums.
        for no_checksums in [true, false] {
            set_no_checksums(&one, no_checksums);
            one.send(&bytes, 1000, two.local(), None, Ecn::Ect0).expect("sent");
            assert_eq!(datagrams(&one, &two, bytes.len()), bytes.chunks(1000).collect::<Vec<_>>());
            assert!(one.is_unsegmented(&two.local()));
        }

        one.send(&bytes, 1000, three.local(), None, Ecn::Ect0).expect("sent");

        assert_eq!(datagrams(&one, &three, bytes.len()), bytes.chunks(1000).collect::<Vec<_>>());
        assert!(!one.is_unsegmented(&three.local()), "only the way that refused is without");
    }

    #[test]
    fn an_address_that_nothing_can_be_sent_to_takes_nothing_from_others() {
        let one = PathSocket::listen(([127, 0, 0, 1], 0).into()).expect("a socket");
        let two = PathSocket::listen(([127, 0, 0, 1], 0).into()).expect("a socket");
        let bytes: Vec<u8> = (0..2500u32).map(|i| i as u8).collect();
        let nowhere: SocketAddr = ([127, 0, 0, 1], 0).into();
        let segments_max = one.state.load().max_gso_segments();
        for segment_size in [1000, 2500] {
            assert!(one.send(&bytes, segment_size, nowhere, None, Ecn::Ect0).is_err());
        }

        one.send(&bytes, 1000, two.local(), None, Ecn::Ect0).expect("sent");

        assert_eq!(datagrams(&one, &two, bytes.len()), bytes.chunks(1000).collect::<Vec<_>>());
        assert_eq!(one.state.load().max_gso_segments(), segments_max);
        assert!(!one.is_unsegmented(&nowhere));
    }

    /// What comes from `one` to `two`, until it is so many bytes.
    fn datagrams(one: &PathSocket, two: &PathSocket, bytes: usize) -> Vec<Vec<u8>> {
        let mut buffers = ReceiveBuffers::new();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while seen.iter().map(Vec::len).sum::<usize>() < bytes {
            match two.receive(&mut buffers) {
                Ok(count) => {
                    for batch in buffers.batches(count) {
                        assert_eq!((batch.from, batch.ecn), (one.local(), Ecn::Ect0));
                        seen.extend(batch.bytes.chunks(batch.stride).map(<[u8]>::to_vec));
                    }
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        seen
    }

    fn set_no_checksums(socket: &PathSocket, wanted: bool) {
        let value = libc::c_int::from(wanted);
        // SAFETY: the descriptor is open, and the value is an int as the option wants it.
        let result = unsafe {
            libc::setsockopt(
                std::os::fd::AsRawFd::as_raw_fd(&socket.socket),
                libc::SOL_SOCKET,
                libc::SO_NO_CHECK,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0);
    }
}
