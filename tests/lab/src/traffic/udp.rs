//! A stream of numbered UDP packets, and what became of it.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::READY;
use super::pace::{Pace, sleep_exactly, sleep_until};
use super::socket::{Way, udp_on};
use crate::clock::monotonic_ns;
use crate::link::{Histogram, Summary};

/// What to send.
#[derive(Args, Clone, Debug)]
pub struct SendOptions {
    /// Where a udp-recv listens
    #[arg(long)]
    pub to: SocketAddr,
    /// Packets a second
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// Bytes of each UDP payload
    #[arg(long, default_value_t = 200)]
    pub size: usize,
    /// Let sizes grow by one byte a packet up to this and begin again, so that a packet can be
    /// told by its size even when it is sealed
    #[arg(long)]
    pub size_max: Option<usize>,
    /// How long to send
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Device and address
    #[command(flatten)]
    pub way: Way,
}

/// How to receive.
#[derive(Args, Clone, Debug)]
pub struct ReceiveOptions {
    /// Address and port
    #[arg(long)]
    pub listen: SocketAddr,
    /// How long to wait for the first packet, in seconds
    #[arg(long, default_value_t = 30.0)]
    pub wait: f64,
    /// How much silence ends the stream if its end is lost, in seconds
    #[arg(long, default_value_t = 10.0)]
    pub idle: f64,
    /// How long after the end of the stream late packets still count, in seconds
    #[arg(long, default_value_t = 0.5)]
    pub linger: f64,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct SendReport {
    /// Packets sent.
    pub sent: u64,
    /// Packets that the kernel refused; they count as sent.
    pub refused: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How much later than due packets were sent, in microseconds.
    pub lateness_us: Summary,
}

/// What arrived.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ReceiveReport {
    /// Packets sent: told by the sender, or if its word was lost, the largest number + 1.
    pub sent: u64,
    /// Different packets that arrived.
    pub received: u64,
    /// Packets that never arrived.
    pub lost: u64,
    /// Arrivals of packets that had arrived before.
    pub duplicated: u64,
    /// First arrivals with a smaller number than one before (RFC 4737, section 3).
    pub reordered: u64,
    /// One-way delay of first arrivals, in microseconds.
    pub delay_us: Summary,
    /// The longest time between two first arrivals minus the sender's interval, in microseconds.
    pub gap_max_us: f64,
    /// When that gap ended, in microseconds after the first arrival.
    pub gap_at_us: f64,
    /// UDP payload of first arrivals, in bits a second between the first and the last.
    pub bits_per_second: f64,
    /// First arrivals in each 100 ms after the first, for at most [`SERIES_MAX`] of them.
    pub per_100ms: Vec<u32>,
    /// The numbers that never arrived, at most [`LOST_LISTED_MAX`] of them.
    pub lost_numbers: Vec<u64>,
    /// Packets that belong to no stream or to another one.
    pub foreign: u64,
}

/// Sends the stream.
///
/// # Errors
/// When an option makes no sense or the socket can't be had.
pub fn send(options: &SendOptions) -> Result<SendReport> {
    let largest = options.size_max.unwrap_or(options.size);
    if options.size < Header::LEN || largest < options.size || largest > PAYLOAD_MAX {
        bail!("sizes are from {} to {PAYLOAD_MAX} bytes, the largest last", Header::LEN);
    }
    if !(0.1..=1e6).contains(&options.rate) || !(0.0..=86_400.0).contains(&options.seconds) {
        bail!("--rate is from 0.1 to 1000000 packets a second, --seconds at most a day");
    }
    sleep_exactly();
    let socket = UdpSocket::from(options.way.udp_to(options.to)?);
    let flow = monotonic_ns() as u32 ^ std::process::id();
    let count = (options.rate * options.seconds).ceil() as u64;
    let interval_ns = (1e9 / options.rate) as u64;
    let mut payload = vec![0; largest];
    let (mut lateness, mut refused, began_ns) = (Histogram::default(), 0, monotonic_ns());
    let mut pace = Pace::new(options.rate);
    for _ in 0..count {
        pace.sleep()?;
        let due_ns = pace.next_ns();
        let number = pace.take();
        let sent_ns = monotonic_ns();
        lateness.insert(sent_ns.saturating_sub(due_ns));
        Header { kind: Kind::Packet, flow, number, sent_ns, extra: interval_ns }.emit(&mut payload);
        let size = options.size + number as usize % (largest - options.size + 1);
        // The first error may be an old ICMP message, reported in place of sending.
        let sent = socket.send(&payload[..size]).or_else(|_| socket.send(&payload[..size]));
        refused += u64::from(sent.is_err());
    }
    let seconds = (monotonic_ns() - began_ns) as f64 / 1e9;
    // The end is said several times, lest it be lost, after what was sent has had time to arrive.
    for _ in 0..ENDS {
        sleep_until(monotonic_ns() + END_EVERY_NS)?;
        let sent_ns = monotonic_ns();
        Header { kind: Kind::End, flow, number: count, sent_ns, extra: 0 }.emit(&mut payload);
        // An end that can't be sent is as good as lost.
        let _ = socket.send(&payload[..Header::LEN]);
    }
    Ok(SendReport { sent: count, refused, seconds, lateness_us: lateness.summary(0.001) })
}

/// Receives one stream until its end.
///
/// # Errors
/// When the socket can't be had, or no packet comes.
pub fn receive(options: &ReceiveOptions) -> Result<ReceiveReport> {
    let socket = UdpSocket::from(udp_on(options.listen)?);
    eprintln!("{READY}");
    let seconds = |seconds: f64| (seconds.clamp(0.0, 86_400.0) * 1e9) as u64;
    let mut deadline_ns = monotonic_ns() + seconds(options.wait);
    let mut arrivals = Arrivals::default();
    let mut payload = [0; 65_536];
    while monotonic_ns() < deadline_ns {
        let left_ns = deadline_ns.saturating_sub(monotonic_ns()).max(1_000_000);
        socket.set_read_timeout(Some(Duration::from_nanos(left_ns)))?;
        let len = match socket.recv(&mut payload) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let now_ns = monotonic_ns();
        match arrivals.take(now_ns, &payload[..len]) {
            Taken::End => deadline_ns = deadline_ns.min(now_ns + seconds(options.linger)),
            Taken::Foreign => {}
            Taken::Packet if arrivals.ended => {}
            Taken::Packet => deadline_ns = now_ns + seconds(options.idle),
        }
    }
    if arrivals.flow.is_none() {
        bail!("no packet came within {} s; is the sender's --to right?", options.wait);
    }
    Ok(arrivals.report())
}

/// What has arrived of one stream.
#[derive(Debug, Default)]
struct Arrivals {
    flow: Option<u32>,
    /// One bit a number.
    seen: Vec<u64>,
    sent: u64,
    ended: bool,
    received: u64,
    bytes: u64,
    duplicated: u64,
    reordered: u64,
    foreign: u64,
    /// One above the largest number so far.
    next_expected: u64,
    first_ns: u64,
    last_ns: u64,
    gap_max_ns: u64,
    gap_at_ns: u64,
    delay: Histogram,
    per_100ms: Vec<u32>,
}

impl Arrivals {
    fn take(&mut self, now_ns: u64, payload: &[u8]) -> Taken {
        let header = Header::parse(payload)
            .filter(|header| header.number < NUMBERS_MAX)
            .filter(|header| *self.flow.get_or_insert(header.flow) == header.flow);
        let Some(header) = header else {
            self.foreign += 1;
            return Taken::Foreign;
        };
        match header.kind {
            Kind::End => {
                self.sent = header.number;
                self.ended = true;
                Taken::End
            }
            Kind::Packet => {
                self.take_packet(now_ns, &header, payload.len());
                Taken::Packet
            }
        }
    }

    fn take_packet(&mut self, now_ns: u64, header: &Header, len: usize) {
        let (word, bit) = (header.number as usize / 64, 1u64 << (header.number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicated += 1;
            return;
        }
        self.seen[word] |= bit;
        if header.number < self.next_expected {
            self.reordered += 1;
        } else {
            self.next_expected = header.number + 1;
        }
        if self.received == 0 {
            self.first_ns = now_ns;
        } else {
            let gap_ns = (now_ns - self.last_ns).saturating_sub(header.extra);
            if gap_ns > self.gap_max_ns {
                self.gap_max_ns = gap_ns;
                self.gap_at_ns = now_ns - self.first_ns;
            }
        }
        self.last_ns = now_ns;
        self.received += 1;
        self.bytes += len as u64;
        self.delay.insert(now_ns.saturating_sub(header.sent_ns));
        let slot = ((now_ns - self.first_ns) / 100_000_000) as usize;
        if slot < SERIES_MAX {
            self.per_100ms.resize(self.per_100ms.len().max(slot + 1), 0);
            self.per_100ms[slot] += 1;
        }
    }

    fn report(self) -> ReceiveReport {
        let sent = if self.ended { self.sent } else { self.next_expected };
        let arrived = |number: &u64| {
            let word = self.seen.get(*number as usize / 64).copied().unwrap_or(0);
            word & (1 << (number % 64)) != 0
        };
        let lost_numbers =
            (0..sent).filter(|number| !arrived(number)).take(LOST_LISTED_MAX).collect();
        let seconds = (self.last_ns - self.first_ns) as f64 / 1e9;
        ReceiveReport {
            sent,
            received: self.received,
            lost: sent.saturating_sub(self.received),
            duplicated: self.duplicated,
            reordered: self.reordered,
            delay_us: self.delay.summary(0.001),
            gap_max_us: self.gap_max_ns as f64 / 1000.0,
            gap_at_us: self.gap_at_ns as f64 / 1000.0,
            bits_per_second: if seconds > 0.0 { self.bytes as f64 * 8.0 / seconds } else { 0.0 },
            per_100ms: self.per_100ms,
            lost_numbers,
            foreign: self.foreign,
        }
    }
}

enum Taken {
    End,
    Foreign,
    Packet,
}

/// The start of each payload, all numbers big-endian:
///
/// ```text
/// magic 32 · flow 32 · number 64 · sent at 64 (ns) · the sender's interval 64 (ns)
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Header {
    kind: Kind,
    flow: u32,
    number: u64,
    sent_ns: u64,
    extra: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    End,
    Packet,
}

impl Header {
    const LEN: usize = 32;

    fn emit(&self, payload: &mut [u8]) {
        let magic = match self.kind {
            Kind::End => END_MAGIC,
            Kind::Packet => PACKET_MAGIC,
        };
        payload[..4].copy_from_slice(&magic);
        payload[4..8].copy_from_slice(&self.flow.to_be_bytes());
        payload[8..16].copy_from_slice(&self.number.to_be_bytes());
        payload[16..24].copy_from_slice(&self.sent_ns.to_be_bytes());
        payload[24..32].copy_from_slice(&self.extra.to_be_bytes());
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let (magic, rest) = payload.split_first_chunk::<4>()?;
        let (flow, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (sent_ns, rest) = rest.split_first_chunk::<8>()?;
        let extra = rest.first_chunk::<8>()?;
        let kind = match *magic {
            END_MAGIC => Kind::End,
            PACKET_MAGIC => Kind::Packet,
            _ => return None,
        };
        Some(Self {
            kind,
            flow: u32::from_be_bytes(*flow),
            number: u64::from_be_bytes(*number),
            sent_ns: u64::from_be_bytes(*sent_ns),
            extra: u64::from_be_bytes(*extra),
        })
    }
}

const PACKET_MAGIC: [u8; 4] = *b"LabP";
const END_MAGIC: [u8; 4] = *b"LabE";
/// The largest UDP payload over IPv4.
const PAYLOAD_MAX: usize = 65_507;
/// Numbers of a stream at most: their bits take 8 MiB.
const NUMBERS_MAX: u64 = 1 << 26;
/// Lost numbers in a report at most.
pub const LOST_LISTED_MAX: usize = 100_000;
/// Tenths of a second in a report at most: one hour.
pub const SERIES_MAX: usize = 36_000;
/// How often the end is said.
const ENDS: u32 = 5;
const END_EVERY_NS: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_lost_duplicated_and_reordered_apart() {
        let mut arrivals = Arrivals::default();
        for (at_ms, number) in [(0, 0), (1, 1), (4, 4), (5, 2), (6, 4), (30, 6)] {
            arrivals.take(at_ms * 1_000_000 + 20_000_000, &packet(9, number, at_ms));
        }
        arrivals.take(40_000_000, &packet(8, 3, 7));
        arrivals.take(90_000_000, &end(9, 8));

        let report = arrivals.report();

        assert_eq!((report.sent, report.received, report.lost), (8, 5, 3));
        assert_eq!(report.lost_numbers, [3, 5, 7]);
        assert_eq!((report.duplicated, report.reordered, report.foreign), (1, 1, 1));
        assert_eq!((report.gap_max_us, report.gap_at_us), (24_000.0, 30_000.0));
        assert_eq!((report.delay_us.min, report.delay_us.max), (20_000.0, 20_000.0));
        assert_eq!(report.per_100ms, [5]);
    }

    #[test]
    fn a_header_is_what_was_emitted_and_nothing_else_is_one() {
        let payload = packet(1, 2, 3);

        assert_eq!(Header::parse(&payload).map(|header| header.number), Some(2));
        assert!((0..Header::LEN).all(|len| Header::parse(&payload[..len]).is_none()));
        assert_eq!(Header::parse(&[0; 64]), None);
    }

    // Helpers.

    fn packet(flow: u32, number: u64, sent_ms: u64) -> [u8; 40] {
        let mut payload = [0; 40];
        let sent_ns = sent_ms * 1_000_000;
        let kind = Kind::Packet;
        Header { kind, flow, number, sent_ns, extra: 1_000_000 }.emit(&mut payload);
        payload
    }

    fn end(flow: u32, number: u64) -> [u8; 32] {
        let mut payload = [0; 32];
        Header { kind: Kind::End, flow, number, sent_ns: 0, extra: 0 }.emit(&mut payload);
        payload
    }
}
