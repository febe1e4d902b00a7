//! The memory into which a driver reads a packet.

use std::ops::Range;

use crate::packet::PACKET_MAX;

/// Room for one packet, or super-packet, and for what the device puts before it.
///
/// Where a packet is long the engine keeps its memory and gives other memory for it, so that nothing
/// is copied.
#[derive(Debug)]
pub struct PacketBuffer {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) range: Range<usize>,
}

impl PacketBuffer {
    /// A buffer, to be used again and again.
    pub fn new() -> Self {
        Self { bytes: vec![0; BUFFER_LEN].into_boxed_slice(), range: 0..0 }
    }

    /// Where to read to: [`PACKET_MAX`] bytes at least, after as many as a device puts before a packet.
    /// What is there is of an earlier packet.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Says where in the room the packet lies. Beyond its end there is nothing.
    pub fn set(&mut self, range: Range<usize>) {
        let end = range.end.min(self.bytes.len());
        self.range = range.start.min(end)..end;
    }

    /// The packet.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

impl Default for PacketBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The longest packet, and a little more: the largest slots are exchanged for buffers, so they are of
/// the same size.
pub(crate) const BUFFER_LEN: usize = 65_600;

const _: () = assert!(BUFFER_LEN >= PACKET_MAX + 20);
