//! The raw socket of an echo probe.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use shared::host::Family;
use shared::{clock, entropy};
use socket2::{Domain, Protocol, Type};
use tokio::net::UdpSocket;

use super::echo::{self, Token};
use super::socket::Binding;

/// A raw socket that talks to one target, and what it still waits for.
pub(super) struct EchoSocket {
    /// Not of UDP: tokio has no type for raw sockets, and this one only sends, receives and waits,
    /// which is the same for every connected socket.
    socket: UdpSocket,
    family: Family,
    token: Token,
    /// Requests sent; the lower 16 bits stand in them.
    sent: u64,
    waiting: VecDeque<(u64, Duration)>,
}

impl EchoSocket {
    pub(super) fn open(binding: &Binding, target: IpAddr) -> io::Result<Self> {
        let family = Family::of(target);
        let (domain, protocol) = match family {
            Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = binding.socket(domain, Type::RAW, protocol)?;
        // From here the kernel passes on only what comes from the target.
        socket.connect(&SocketAddr::new(target, 0).into())?;
        let mut random = [0; 10];
        entropy::fill(&mut random);
        let [high, low, secret @ ..] = random;
        let token = Token { identifier: u16::from_be_bytes([high, low]), secret };
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { socket, family, token, sent: 0, waiting: VecDeque::new() })
    }

    /// Sends a request and gives its number.
    pub(super) fn send(&mut self) -> io::Result<u64> {
        self.sent += 1;
        let request = echo::request(self.family, self.token, self.sent as u16);
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((self.sent, clock::since_boot()));
        self.socket.try_send(&request)?;
        Ok(self.sent)
    }

    /// Waits for a reply to one of our requests, each counted once; gives the request's number, and
    /// how long it took.
    pub(super) async fn receive(&mut self) -> io::Result<(u64, Duration)> {
        // The kernel cuts what is longer, and a reply to us is not.
        let mut packet = [0; 256];
        loop {
            let length = self.socket.recv(&mut packet).await?;
            let now = clock::since_boot();
            let Some(sequence) = echo::reply(self.family, self.token, &packet[..length]) else {
                continue;
            };
            let place = self.waiting.iter().position(|(number, _)| *number as u16 == sequence);
            if let Some((number, sent_at)) = place.and_then(|place| self.waiting.remove(place)) {
                return Ok((number, now.saturating_sub(sent_at)));
            }
        }
    }
}

/// Requests whose answer may still come: at a hundred a second, five seconds of round trip.
const WAITING_MAX: usize = 512;
