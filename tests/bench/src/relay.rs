//! A tunnel that does nothing but seal: what a user-space tunnel can reach on a machine at best.
//!
//! The same TUN device, the same segments and rows, the same sockets and ciphers as ours, with one
//! thread for each direction. There is no session, no order, no second path, and no one to trust: the
//! key is always the same.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use engine::aead::{Aead, Suite};
use engine::{Ecn, Merged, Merger, PacketBuffer, Segments};
use rustix::event::{PollFd, PollFlags, poll};
use shared::host::{Netlink, Route};
use shared::tun::Tun;
use shared::udp::{PathSocket, ReceiveBuffers};

/// Where a relay stands.
#[derive(Args, Clone, Debug)]
pub struct Relay {
    /// Where it listens
    #[arg(long)]
    local: SocketAddr,
    /// Where the other end listens
    #[arg(long)]
    remote: SocketAddr,
    /// Its inner address
    #[arg(long)]
    inner: IpAddr,
    /// The other end's
    #[arg(long)]
    peer: IpAddr,
    /// How packets are sealed
    #[arg(long, value_enum)]
    sealing: Sealing,
}

/// How packets are sealed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Sealing {
    /// Not at all.
    None,
    /// By AES-256-GCM.
    Aes,
    /// By ChaCha20-Poly1305.
    Chacha,
}

impl Sealing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Aes, Self::Chacha];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Aes => "aes",
            Self::Chacha => "chacha",
        }
    }

    fn cipher(self) -> Option<Box<dyn Aead>> {
        let suite = match self {
            Self::None => return None,
            Self::Aes => Suite::Aes256Gcm,
            Self::Chacha => Suite::ChaCha20Poly1305,
        };
        Some(suite.key(&[7; 32]))
    }
}

impl Relay {
    /// Carries packets until the process ends.
    ///
    /// # Errors
    /// When the device or the socket can't be had, or fails.
    pub fn run(&self) -> Result<()> {
        let tun = Arc::new(Tun::create().map_err(anyhow::Error::msg)?);
        let socket = Arc::new(PathSocket::listen(self.local).context("open a socket")?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.configure(tun.name()))?;
        let sending = thread::spawn({
            let (tun, socket, relay) = (Arc::clone(&tun), Arc::clone(&socket), self.clone());
            move || relay.send(&tun, &socket)
        });
        eprintln!("ready");
        self.receive(&tun, &socket)?;
        match sending.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("the sending thread panicked"),
        }
    }

    async fn configure(&self, device: &str) -> Result<()> {
        let netlink = Netlink::open()?;
        netlink.set_mtu(device, MTU).await?;
        netlink.set_up(device).await?;
        netlink.add_address(device, self.inner.into()).await?;
        netlink.add_route(&Route::to_interface(self.peer.into(), device)).await?;
        Ok(())
    }

    fn send(&self, tun: &Tun, socket: &PathSocket) -> Result<()> {
        let cipher = self.sealing.cipher();
        let mut buffer = PacketBuffer::new();
        let mut wire = Wire { bytes: vec![0; WIRE_LEN], len: 0, size: 0, count: 0, number: 0 };
        loop {
            match tun.read(&mut buffer) {
                Ok(Some(offload)) => {
                    let Some(segments) = Segments::of(buffer.packet(), offload) else { continue };
                    for index in 0..segments.count() {
                        if !wire.takes(segments.len(index)) {
                            wire.send(self, socket)?;
                        }
                        wire.add(&segments, index, cipher.as_deref());
                    }
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wire.send(self, socket)?;
                    wait(tun, PollFlags::IN)?;
                }
                Err(error) => return Err(error).context("read the TUN device"),
            }
        }
    }

    fn receive(&self, tun: &Tun, socket: &PathSocket) -> Result<()> {
        let cipher = self.sealing.cipher();
        let mut buffers = ReceiveBuffers::new();
        loop {
            let count = match socket.receive(&mut buffers) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait(socket, PollFlags::IN)?;
                    continue;
                }
                Err(error) => return Err(error).context("receive"),
            };
            // What the kernel refuses is lost, as on any link.
            let write = |merged: Merged<'_>| drop(tun.write(merged));
            let mut merger = Merger::new();
            for batch in buffers.batches(count) {
                for datagram in batch.bytes.chunks_mut(batch.stride) {
                    if let Some(packet) = open(datagram, cipher.as_deref()) {
                        merger.push(packet, write);
                    }
                }
            }
            merger.flush(write);
        }
    }
}

/// Datagrams of one size in a row, the last perhaps shorter.
struct Wire {
    bytes: Vec<u8>,
    len: usize,
    size: usize,
    count: usize,
    number: u64,
}

impl Wire {
    /// Whether a segment of so many bytes may follow.
    fn takes(&self, len: usize) -> bool {
        let (whole, len) = (self.size * self.count == self.len, len + OVERHEAD);
        self.count == 0
            || self.count < SEGMENTS_MAX && whole && len <= self.size && self.len + len <= WIRE_LEN
    }

    fn add(&mut self, segments: &Segments<'_>, index: u16, cipher: Option<&dyn Aead>) {
        let len = segments.len(index);
        let datagram = &mut self.bytes[self.len..self.len + len + OVERHEAD];
        let (header, rest) = datagram.split_at_mut(HEADER_LEN);
        header.copy_from_slice(&self.number.to_be_bytes());
        segments.emit(index, rest);
        if let Some(cipher) = cipher {
            let (content, tag) = rest.split_at_mut(len);
            tag.copy_from_slice(&cipher.seal(nonce(self.number), header, content));
        }
        self.number += 1;
        self.size = self.size.max(len + OVERHEAD);
        self.len += len + OVERHEAD;
        self.count += 1;
    }

    fn send(&mut self, relay: &Relay, socket: &PathSocket) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let bytes = &self.bytes[..self.len];
        loop {
            match socket.send(bytes, self.size, relay.remote, None, Ecn::NotEct) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait(socket, PollFlags::OUT)?;
                }
                Err(error) => return Err(error).context("send"),
            }
        }
        (self.len, self.size, self.count) = (0, 0, 0);
        Ok(())
    }
}

fn open<'d>(datagram: &'d mut [u8], cipher: Option<&dyn Aead>) -> Option<&'d [u8]> {
    let (header, rest) = datagram.split_first_chunk_mut::<HEADER_LEN>()?;
    let (content, tag) = rest.split_last_chunk_mut::<TAG_LEN>()?;
    let number = u64::from_be_bytes(*header);
    let opened = cipher.is_none_or(|cipher| cipher.open(nonce(number), &*header, content, &*tag));
    opened.then_some(&*content)
}

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

fn wait(of: impl AsFd, what: PollFlags) -> Result<()> {
    let mut ready = [PollFd::from_borrowed_fd(of.as_fd(), what)];
    loop {
        match poll(&mut ready, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(!ready[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL), "it is closed");
    Ok(())
}

const HEADER_LEN: usize = 8;
const TAG_LEN: usize = 16;
const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// That of ours on a path of 1500 bytes, so that both carry the same segments.
const MTU: u32 = 1438;
/// Datagrams of one send (UDP_MAX_SEGMENTS of older kernels).
const SEGMENTS_MAX: usize = 64;
/// What one send may hold.
const WIRE_LEN: usize = 65_507;
