//! Datagrams of one path that are ready to leave, in the form that one system call takes.

use crate::{packet::Ecn, path::FourTuple};

/// Datagrams of equal size in a row, of which the last may be shorter.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Room, of which the first `len` bytes are in use: to be zeroed once, and not for each datagram.
    room: Vec<u8>,
    len: usize,
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

    /// Bytes of the datagrams.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The datagrams.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    /// The last so many bytes of them.
    pub(super) fn last_mut(&mut self, len: usize) -> &mut [u8] {
        &mut self.room[self.len - len..self.len]
    }

    /// Whether a datagram of this size to this address could be added.
    pub(super) fn takes(&self, len: usize, ecn: Ecn, tuple: &FourTuple, bytes_max: usize) -> bool {
        if self.is_empty() {
            return true;
        }
        !self.closed
            && len <= self.segment_size
            && self.count < SEGMENTS_MAX
            && self.len + len <= bytes_max.min(BYTES_MAX)
            && self.ecn == ecn
            && self.tuple.as_ref() == Some(tuple)
    }

    /// Adds room for a datagram and gives it. What is in it is of an earlier one.
    pub(super) fn add(&mut self, len: usize, ecn: Ecn, tuple: FourTuple) -> &mut [u8] {
        if self.is_empty() {
            (self.segment_size, self.ecn, self.tuple) = (len, ecn, Some(tuple));
        }
        self.closed |= len < self.segment_size;
        self.count += 1;
        let end = self.len + len;
        if self.room.len() < end {
            self.room.resize(end, 0);
        }
        self.len = end;
        self.last_mut(len)
    }

    /// Ends the batch: nothing is added any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Gives back the memory of an empty batch.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.room = Vec::new();
        }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.count = 0;
        self.closed = false;
    }
}

/// What the kernel takes in one segmented send (UDP_MAX_SEGMENTS was 64 before Linux 6.9).
const SEGMENTS_MAX: usize = 64;

/// The largest UDP payload over IPv4.
const BYTES_MAX: usize = 65_507;
