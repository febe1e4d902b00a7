//! Ties the sockets of a probe to its uplink.
//!
//! Every socket is bound to the uplink's interface and source address and carries its mark, so a
//! question can't leave by another way and be answered there.

use std::io;
use std::net::{IpAddr, SocketAddr};

use shared::host::Family;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, UdpSocket};

/// What ties a probe's sockets to an uplink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) struct Binding {
    pub(in super::super) interface: String,
    /// Another index is another interface, even with the same name.
    pub(in super::super) index: u32,
    /// Where questions of each family come from, in the order of [`Family::ALL`]; none where the
    /// uplink has no way.
    pub(in super::super) sources: [Option<IpAddr>; 2],
    /// The next hops, in the same order; none where there is no way, or none with an address.
    pub(in super::super) gateways: [Option<IpAddr>; 2],
    pub(in super::super) mark: u32,
}

impl Binding {
    /// A socket that is tied to the uplink.
    pub(super) fn socket(
        &self,
        domain: Domain,
        kind: Type,
        protocol: Protocol,
    ) -> io::Result<Socket> {
        let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))?;
        socket.bind_device(Some(self.interface.as_bytes()))?;
        socket.set_mark(self.mark)?;
        let family = if domain == Domain::IPV4 { Family::V4 } else { Family::V6 };
        if let Some(source) = self.sources[family as usize] {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        Ok(socket)
    }

    /// A socket for a TCP connection to there.
    pub(super) fn tcp(&self, target: SocketAddr) -> io::Result<TcpSocket> {
        let socket = self.socket(Domain::for_address(target), Type::STREAM, Protocol::TCP)?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }

    /// A socket for questions by UDP, connected to there.
    pub(super) fn udp(&self, target: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.socket(Domain::for_address(target), Type::DGRAM, Protocol::UDP)?;
        socket.connect(&target.into())?;
        UdpSocket::from_std(socket.into())
    }
}
