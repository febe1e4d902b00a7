//! Datagrams on their way to quinn: filled by any thread, emptied by quinn's task.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use quinn::udp::{EcnCodepoint, RecvMeta};

use super::{DATAGRAM_MAX, lock};

/// A bounded queue of datagrams that wakes its reader.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    len_max: usize,
}

#[derive(Debug, Default)]
struct Queue {
    datagrams: VecDeque<Arrival>,
    reader: Option<Waker>,
}

/// One datagram as quinn will see it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) ecn: u8,
}

/// Whether a datagram was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pushed {
    Queued,
    Full,
}

impl Inbox {
    /// An inbox that holds at most `len_max` datagrams.
    pub(crate) fn new(len_max: usize) -> Self {
        Self { queue: Mutex::default(), len_max }
    }

    /// Adds a datagram of at most [`DATAGRAM_MAX`] bytes, unless the inbox is full.
    pub(crate) fn push(&self, arrival: Arrival) -> Pushed {
        self.push_below(self.len_max, arrival)
    }

    /// The same, but only while fewer than `len` wait: the rest is for others.
    pub(crate) fn push_below(&self, len: usize, arrival: Arrival) -> Pushed {
        debug_assert!(arrival.bytes.len() <= DATAGRAM_MAX);
        let mut queue = lock(&self.queue);
        if queue.datagrams.len() >= len.min(self.len_max) {
            return Pushed::Full;
        }
        queue.datagrams.push_back(arrival);
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
        Pushed::Queued
    }

    /// Hands over as many datagrams as there are buffers, one in each.
    pub(crate) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut queue = lock(&self.queue);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some(arrival) = queue.datagrams.pop_front() else { break };
            // quinn's buffers have room for max_udp_payload_size, which is DATAGRAM_MAX.
            let len = arrival.bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&arrival.bytes[..len]);
            *meta = RecvMeta {
                addr: arrival.remote,
                len,
                stride: len,
                ecn: EcnCodepoint::from_bits(arrival.ecn),
                dst_ip: arrival.local,
            };
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        queue.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::VIRTUAL_SERVER;

    #[test]
    fn a_full_inbox_refuses_and_an_emptied_one_takes_again() {
        let inbox = Inbox::new(2);

        assert_eq!(inbox.push(arrival(b"1")), Pushed::Queued);
        assert_eq!(inbox.push(arrival(b"2")), Pushed::Queued);
        assert_eq!(inbox.push(arrival(b"3")), Pushed::Full);
        assert_eq!(read(&inbox), [b"1", b"2"]);
        assert_eq!(inbox.push(arrival(b"4")), Pushed::Queued);
        assert_eq!(read(&inbox), [b"4"]);
        assert!(read(&inbox).is_empty());
    }

    #[test]
    fn some_room_can_be_kept_for_others() {
        let inbox = Inbox::new(2);

        assert_eq!(inbox.push_below(1, arrival(b"1")), Pushed::Queued);
        assert_eq!(inbox.push_below(1, arrival(b"2")), Pushed::Full);
        assert_eq!(inbox.push(arrival(b"3")), Pushed::Queued);
    }

    fn arrival(bytes: &[u8]) -> Arrival {
        Arrival { bytes: bytes.into(), remote: VIRTUAL_SERVER, local: None, ecn: 0 }
    }

    fn read(inbox: &Inbox) -> Vec<Vec<u8>> {
        let mut storage = [[0; DATAGRAM_MAX]; 8];
        let mut buffers: Vec<_> = storage.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        let mut metas = [RecvMeta::default(); 8];
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(count) = inbox.poll_recv(&mut cx, &mut buffers, &mut metas) else {
            return Vec::new();
        };
        let count = count.unwrap();
        buffers.iter().zip(metas).take(count).map(|(b, meta)| b[..meta.len].to_vec()).collect()
    }
}
