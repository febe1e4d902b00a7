//! Datagrams of one path that are ready to leave, in the form that one system call takes.

use crate::{packet::Ecn, path::FourTuple};

/// Datagrams of equal size in a row, of which the last may be shorter.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) segment_size: usize,
    count: usize,
    pub(super) ecn: Ecn,
    pub(super) tuple: Option<FourTuple>,
    closed: bool,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a datagram of this size to this address could be added.
    pub(super) fn takes(&self, len: usize, ecn: Ecn, tuple: &FourTuple, bytes_max: usize) -> bool {
        if self.is_empty() {
            return true;
        }
        !self.closed
            && len <= self.segment_size
            && self.count < SEGMENTS_MAX
            && self.bytes.len() + len <= bytes_max.min(BYTES_MAX)
            && self.ecn == ecn
            && self.tuple.as_ref() == Some(tuple)
    }

    /// Adds room for a datagram and gives it, zeroed.
    pub(super) fn add(&mut self, len: usize, ecn: Ecn, tuple: FourTuple) -> &mut [u8] {
        if self.is_empty() {
            (self.segment_size, self.ecn, self.tuple) = (len, ecn, Some(tuple));
        }
        self.closed |= len < self.segment_size;
        self.count += 1;
        let start = self.bytes.len();
        self.bytes.resize(start + len, 0);
        &mut self.bytes[start..]
    }

    /// Ends the batch: nothing is added any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Gives back the memory of an empty batch.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.closed = false;
    }
}

/// What the kernel takes in one segmented send (UDP_MAX_SEGMENTS was 64 before Linux 6.9).
const SEGMENTS_MAX: usize = 64;

/// The largest UDP payload over IPv4.
const BYTES_MAX: usize = 65_507;
