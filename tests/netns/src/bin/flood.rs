//! Sends what nobody should send: one bad kind of datagram, at a steady rate, for a while.

#![expect(clippy::disallowed_methods, reason = "a flood runs in real time")]

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use engine::Ecn;
use quinn_proto::crypto::rustls::QuicClientConfig;
use shared::udp::PathSocket;
use socket2::{Domain, Protocol, Socket, Type};

#[derive(Parser)]
struct Arguments {
    /// What to send.
    kind: Kind,
    /// Where to send it.
    #[arg(long)]
    to: SocketAddr,
    /// Datagrams a second.
    #[arg(long)]
    rate: u32,
    /// For how long.
    #[arg(long)]
    seconds: u32,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    /// Data datagrams of a session, numbered anew, so that the tag is wrong.
    Forged,
    /// First datagrams of QUIC handshakes from invented addresses of 198.18.0.0/15, which must be
    /// local ones of this machine.
    Hello,
    /// Well-formed datagrams of sessions that there are not.
    Index,
    /// Noise that looks like data.
    Random,
    /// Data datagrams of a session, again.
    Replayed,
    /// Less than a header.
    Truncated,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let datagrams = make(arguments.kind, arguments.to)?;
    let socket = PathSocket::listen("0.0.0.0:0".parse()?).context("open a socket")?;
    println!("flooding");
    let began = Instant::now();
    let total = u64::from(arguments.rate) * u64::from(arguments.seconds);
    let mut sent = 0;
    for (number, datagram) in (0..total).zip(datagrams.iter().cycle()) {
        let due = began + Duration::from_secs(1) * number as u32 / arguments.rate;
        let ahead = due.saturating_duration_since(Instant::now());
        if ahead > TICK {
            thread::sleep(ahead);
        }
        let from = (arguments.kind == Kind::Hello).then(|| invented(number));
        // What does not fit is lost: that is the point of a flood.
        let result = socket.send(datagram, datagram.len(), arguments.to, from, Ecn::NotEct);
        sent += u64::from(result.is_ok());
    }
    println!("sent {sent}");
    Ok(())
}

/// A few datagrams are sent together.
const TICK: Duration = Duration::from_millis(1);

fn make(kind: Kind, to: SocketAddr) -> Result<Vec<Vec<u8>>> {
    let noise = |seed: u32, len: u32| (0..len).map(move |at| hash(seed, at));
    match kind {
        Kind::Forged => {
            let mut datagrams = captured(to.port())?;
            for datagram in &mut datagrams {
                // Numbers that are yet to come: they have to be opened to be found out.
                let (_, number) = datagram.split_at_mut(NUMBER_AT);
                let number = number.first_chunk_mut().context("a short datagram")?;
                *number = u32::from_be_bytes(*number).wrapping_add(1 << 20).to_be_bytes();
            }
            Ok(datagrams)
        }
        Kind::Hello => hellos(to),
        Kind::Index => Ok((0..VARIETY)
            .map(|seed| [0].into_iter().chain(noise(seed, 3)).chain([0; 96]).collect())
            .collect()),
        Kind::Random => Ok((0..VARIETY)
            .map(|seed| noise(seed, 20 + seed % 1400).map(|byte| byte & 0x3f).collect())
            .collect()),
        Kind::Replayed => captured(to.port()),
        Kind::Truncated => {
            Ok((0..VARIETY).map(|seed| noise(seed, 1 + seed % 23).collect()).collect())
        }
    }
}

/// Where the packet number of a data datagram begins.
const NUMBER_AT: usize = 4;

/// So many different datagrams are sent in turns.
const VARIETY: u32 = 10_000;

/// Any number between 0 and 255, always the same one for the same place.
fn hash(seed: u32, at: u32) -> u8 {
    let mixed = (seed ^ at.rotate_left(16)).wrapping_mul(0x9e37_79b1);
    (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b).to_be_bytes()[0]
}

/// Data datagrams that reach this machine's UDP `port` while we look on.
fn captured(port: u16) -> Result<Vec<Vec<u8>>> {
    let protocol = Protocol::from(i32::from(IPV4.to_be()));
    let socket =
        Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).context("open a packet socket")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut datagrams = Vec::new();
    let mut packet = [0; 65536];
    while datagrams.len() < CAPTURED {
        let len = (&socket).read(&mut packet).context("capture: no traffic?")?;
        // No options, UDP, to the port; not QUIC; of one segment; no other flood of this machine.
        let (ip, udp) = packet[..len].split_at_checked(20).context("a short packet")?;
        let ours = ip[0] == 0x45 && ip[9] == 17 && udp.len() > 8 && len <= 1500;
        if ours && ip[12..16] != ip[16..20] && udp[2..4] == port.to_be_bytes() && udp[8] & 0xc0 == 0
        {
            datagrams.push(udp[8..].to_vec());
        }
    }
    Ok(datagrams)
}

/// EtherType of IPv4.
const IPV4: u16 = 0x0800;
const CAPTURED: usize = 500;

/// First datagrams of handshakes that nobody will complete, each valid in itself.
fn hellos(to: SocketAddr) -> Result<Vec<Vec<u8>>> {
    let mut tls = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"hawser/1".to_vec()];
    let crypto = QuicClientConfig::try_from(tls).context("set up TLS")?;
    let config = quinn_proto::ClientConfig::new(Arc::new(crypto));
    let now = Instant::now();
    let endpoint = Arc::new(quinn_proto::EndpointConfig::default());
    (0..VARIETY)
        .map(|_| {
            let mut endpoint = quinn_proto::Endpoint::new(endpoint.clone(), None, false, None);
            let (_, mut connection) = endpoint.connect(now, config.clone(), to, "x.invalid")?;
            let mut datagram = Vec::new();
            let transmit = connection.poll_transmit(now, 1, &mut datagram);
            ensure!(transmit.is_some(), "QUIC sends nothing at the start");
            Ok(datagram)
        })
        .collect()
}

/// One of 131 072 addresses.
fn invented(number: u64) -> IpAddr {
    let [.., a, b, c] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
    IpAddr::from([198, 18 | (a & 1), b, c])
}
