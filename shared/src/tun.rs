//! The TUN device: where inner packets come from and go to.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use engine::{Merged, Offload, PacketBuffer, ROW_PARTS_MAX, RowHeader, Segments};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::exit::Error;

/// An open TUN device, read and written without waiting.
pub struct Tun {
    device: SyncDevice,
    name: String,
    /// The kernel takes no rows of UDP packets: before Linux 6.2.
    refuses_udp_rows: AtomicBool,
}

impl Tun {
    /// Creates a device that carries IP packets, with segmentation offload, not yet up. Its name is
    /// the first of `hawser0`, `hawser1`, … that is free; it vanishes when it is dropped, or with
    /// the process.
    ///
    /// # Errors
    /// When the kernel has no TUN devices, or we may not make one.
    pub fn create() -> Result<Self, Error> {
        let mut last = None;
        for number in 0..DEVICES_MAX {
            let name = format!("hawser{number}");
            if std::path::Path::new("/sys/class/net").join(&name).exists() {
                continue;
            }
            match Self::open(&name) {
                Ok(device) => return Ok(Self::of(device, name)),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = Some(error),
                Err(error) => return Err(explain(&error)),
            }
        }
        let error = last.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EBUSY));
        Err(Error::from_io("create a TUN device", &error))
    }

    fn of(device: SyncDevice, name: String) -> Self {
        Self { device, name, refuses_udp_rows: AtomicBool::new(false) }
    }

    fn open(name: &str) -> io::Result<SyncDevice> {
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L3)
            .offload(true)
            .enable(false)
            .build_sync()?;
        device.set_nonblocking(true)?;
        Ok(device)
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads one packet, or super-packet, into `buffer`. Returns what the kernel left for us to do.
    /// `None` for something that is no packet.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none.
    pub fn read(&self, buffer: &mut PacketBuffer) -> io::Result<Option<Offload>> {
        let len = self.device.recv(buffer.room())?;
        let offload = parse(&buffer.room()[..len]);
        buffer.set(HEADER_LEN..len);
        Ok(offload)
    }

    /// Writes one packet, or a super-packet.
    ///
    /// # Errors
    /// What the kernel says; [`io::ErrorKind::WouldBlock`] when its queue is full.
    pub fn write(&self, merged: Merged<'_>) -> io::Result<()> {
        if let ([packet], None) = (merged.parts, merged.row) {
            let slices = [IoSlice::new(&[0; HEADER_LEN]), IoSlice::new(packet)];
            return self.device.send_vectored(&slices).map(drop);
        }
        let Some(row) = merged.row else { return Err(io::ErrorKind::InvalidInput.into()) };
        if !row.tcp && self.refuses_udp_rows.load(Ordering::Relaxed) {
            return self.write_apart(row, merged);
        }
        match self.write_row(row, merged) {
            Err(error) if !row.tcp && error.raw_os_error() == Some(libc::EINVAL) => {
                self.write_apart(row, merged)?;
                // It was the row that was refused.
                self.refuses_udp_rows.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written,
        }
    }

    fn write_row(&self, row: RowHeader, merged: Merged<'_>) -> io::Result<()> {
        let header = emit(row, merged.headers.len());
        let mut slices: [IoSlice<'_>; 2 + ROW_PARTS_MAX] =
            std::array::from_fn(|_| IoSlice::new(&[]));
        slices[0] = IoSlice::new(&header);
        slices[1] = IoSlice::new(merged.headers);
        for (slice, part) in slices[2..].iter_mut().zip(merged.parts) {
            *slice = IoSlice::new(part);
        }
        self.device.send_vectored(&slices[..2 + merged.parts.len()]).map(drop)
    }

    /// Writes the packets of a row one by one.
    fn write_apart(&self, row: RowHeader, merged: Merged<'_>) -> io::Result<()> {
        apart(row, merged, |packet| {
            let slices = [IoSlice::new(&[0; HEADER_LEN]), IoSlice::new(packet)];
            self.device.send_vectored(&slices).map(drop)
        })
    }
}

/// Cuts a row into its packets again.
fn apart(
    row: RowHeader,
    merged: Merged<'_>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let whole: Vec<u8> =
        [merged.headers].iter().chain(merged.parts).copied().flatten().copied().collect();
    let offload = Offload { segment: Some(row.size), checksum: None };
    let segments = Segments::of(&whole, offload).ok_or(io::ErrorKind::InvalidData)?;
    let mut packet = vec![0; segments.len(0)];
    for index in 0..segments.count() {
        segments.emit(index, &mut packet);
        write(&packet[..segments.len(index)])?;
    }
    Ok(())
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fd = self.device.as_raw_fd();
        f.debug_struct("Tun").field("name", &self.name).field("fd", &fd).finish()
    }
}

/// Reads the virtio header (virtio 1.2, 5.1.6; in the host's byte order, as Linux hands it over).
fn parse(bytes: &[u8]) -> Option<Offload> {
    let header = bytes.first_chunk::<HEADER_LEN>()?;
    let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let segment = match header[1] & !GSO_ECN {
        GSO_NONE => None,
        GSO_TCPV4 | GSO_TCPV6 | GSO_UDP_L4 => Some(word(4)),
        _ => return None,
    };
    let checksum = (header[0] & NEEDS_CSUM != 0).then(|| (word(6), word(8)));
    Some(Offload { segment, checksum })
}

/// Writes the virtio header of a super-packet.
fn emit(row: RowHeader, headers_len: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = NEEDS_CSUM;
    header[1] = match (row.tcp, row.v6) {
        (false, _) => GSO_UDP_L4,
        (true, false) => GSO_TCPV4,
        (true, true) => GSO_TCPV6,
    };
    let words = [headers_len as u16, row.size, row.transport, row.checksum];
    for (place, word) in header[2..].chunks_mut(2).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    header
}

fn explain(error: &io::Error) -> Error {
    let missing = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO));
    let plain = Error::rights(format_args!("create a TUN device: {error}"));
    if missing || !std::path::Path::new("/dev/net/tun").exists() {
        return plain.with_remedy("the kernel has no /dev/net/tun: load it with `modprobe tun`");
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            plain.with_remedy("run as root, or give the program CAP_NET_ADMIN")
        }
        _ => Error::from_io("create a TUN device", error),
    }
}

const HEADER_LEN: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// More tunnels than this on one host are a mistake.
const DEVICES_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use engine::Merger;

    use super::*;

    #[test]
    fn the_header_tells_of_segments_and_checksums() {
        let mut bytes = vec![NEEDS_CSUM, GSO_TCPV4 | GSO_ECN, 0, 0];
        for word in [1398u16, 20, 16] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.push(0x45);

        let offload = Offload { segment: Some(1398), checksum: Some((20, 16)) };
        assert_eq!(parse(&bytes), Some(offload));
    }

    #[test]
    fn a_row_that_the_kernel_refuses_becomes_its_packets_again() {
        let packets = [(7, &b"one!"[..]), (8, b"two!"), (9, b"end")].map(udp);
        let mut merger = Merger::new();
        let mut seen = Vec::new();
        for packet in &packets {
            merger.push(packet, |_| unreachable!("each follows the one before"));
        }

        merger.flush(|merged| {
            let row = merged.row.expect("a row");
            apart(row, merged, |packet| {
                seen.push(packet.to_vec());
                Ok(())
            })
            .expect("cut");
        });

        assert_eq!(seen, packets);
    }

    /// A UDP packet with this identification, whose checksums are right.
    fn udp((id, payload): (u8, &[u8])) -> Vec<u8> {
        let len = 8 + payload.len() as u16;
        let mut packet = vec![0x45, 0, 0, 20 + len as u8, 0, id, 0x40, 0, 64, 17, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 1, 2, 0, len as u8, 0, 0]);
        packet.extend(payload);
        let sum = |bytes: &[u8]| {
            let words = bytes
                .chunks(2)
                .map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
            words.sum::<u32>()
        };
        let fold = |sum: u32| !((sum & 0xffff) + (sum >> 16)) as u16;
        let header = fold(sum(&packet[..20]));
        packet[10..12].copy_from_slice(&header.to_be_bytes());
        let transport = fold(sum(&packet[12..]) + 17 + u32::from(len));
        packet[26..28].copy_from_slice(&transport.to_be_bytes());
        packet
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        assert!(parse(&[0; 9]).is_none());
        assert!(parse(&[0, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0x45]).is_none());
        assert_eq!(parse(&[0; 10]), Some(Offload::default()));
    }
}
