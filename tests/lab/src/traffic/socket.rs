//! What the tools' sockets have in common.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use clap::Args;
use socket2::{Domain, Protocol, Socket, Type};

/// Which way a socket takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Way {
    /// Leave by this device only (SO_BINDTODEVICE)
    #[arg(long)]
    pub interface: Option<String>,
    /// Send from this address
    #[arg(long)]
    pub bind: Option<IpAddr>,
}

impl Way {
    /// A UDP socket that sends to `to`.
    ///
    /// # Errors
    /// When the device or the address is not there.
    pub(super) fn udp_to(&self, to: SocketAddr) -> Result<Socket> {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        self.prepare(&socket)?;
        enlarge_buffers(&socket);
        socket.connect(&to.into()).with_context(|| format!("send to {to}"))?;
        Ok(socket)
    }

    /// A UDP socket for datagrams to `to` and others, bound as wished.
    ///
    /// # Errors
    /// When the device or the address is not there.
    pub(super) fn udp_towards(&self, to: SocketAddr) -> Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        enlarge_buffers(&socket);
        if self.bind.is_none() {
            let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
            socket.bind(&SocketAddr::new(any, 0).into())?;
        }
        self.prepare(&socket)?;
        Ok(socket.into())
    }

    /// Binds the socket as wished.
    ///
    /// # Errors
    /// When the device or the address is not there.
    pub(super) fn prepare(&self, socket: &Socket) -> Result<()> {
        if let Some(interface) = &self.interface {
            let bound = socket.bind_device(Some(interface.as_bytes()));
            bound.with_context(|| format!("bind to the device {interface}"))?;
        }
        if let Some(address) = self.bind {
            let bound = socket.bind(&SocketAddr::new(address, 0).into());
            bound.with_context(|| format!("send from {address}"))?;
        }
        Ok(())
    }
}

/// A UDP socket that listens on `address`.
///
/// # Errors
/// When the address is not there or taken.
pub(super) fn udp_on(address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    enlarge_buffers(&socket);
    socket.bind(&address.into()).with_context(|| format!("listen on {address}"))?;
    Ok(socket)
}

/// The largest IP packet that the way to an address carries, as far as the kernel knows.
///
/// # Errors
/// When there is no way.
pub(super) fn path_mtu(to: SocketAddr) -> Result<u16> {
    let socket = Way::default().udp_to(to)?;
    let (level, option) = if to.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MTU)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU)
    };
    let mut mtu: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let place = (&raw mut mtu).cast();
    // SAFETY: the kernel writes at most `len` bytes, the size of the number.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, place, &raw mut len) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("ask for the MTU");
    }
    Ok(mtu.clamp(0, 65_535) as u16)
}

/// Asks for 4 MiB of buffers, so that a late turn of the tool loses nothing. The kernel grants
/// what it allows.
fn enlarge_buffers(socket: &Socket) {
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, BUFFER_BYTES).is_err() {
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    }
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
}

const BUFFER_BYTES: usize = 4 << 20;
