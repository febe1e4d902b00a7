//! What the kernel knows of a TCP flow (TCP_INFO).

use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};

use super::{Sample, SendReport};

/// The kernel's `struct tcp_info`, as far as this kernel fills it. It grows from version to
/// version; what an older kernel does not have reads as zero.
#[derive(Debug)]
pub(super) struct FlowState {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl FlowState {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When it refuses.
    pub(super) fn ask(socket: &TcpStream) -> Result<Self> {
        let mut bytes = [0; LEN_MAX];
        let mut len = LEN_MAX as libc::socklen_t;
        let (descriptor, place) = (socket.as_raw_fd(), bytes.as_mut_ptr().cast());
        // SAFETY: the kernel writes at most `len` bytes, the size of the array.
        let result = unsafe {
            libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, place, &mut len)
        };
        if result != 0 {
            return Err(std::io::Error::last_os_error()).context("ask the kernel about the flow");
        }
        Ok(Self { bytes, len: len as usize })
    }

    /// The state as one of a series.
    pub(super) fn sample(&self, at_ms: u64) -> Sample {
        Sample {
            at_ms,
            cwnd: self.u32(SND_CWND),
            srtt_us: self.u32(RTT),
            retransmits: self.u32(TOTAL_RETRANS),
        }
    }

    /// The state at the end, without times and series.
    pub(super) fn report(&self, congestion: &str) -> SendReport {
        let timeouts = [self.bytes[TOTAL_RTO], self.bytes[TOTAL_RTO + 1]];
        SendReport {
            congestion: congestion.to_owned(),
            bytes_acked: self.u64(BYTES_ACKED),
            seconds: 0.0,
            retransmits: self.u32(TOTAL_RETRANS),
            segments: self.u32(DATA_SEGS_OUT),
            rtt_min_us: self.u32(MIN_RTT),
            mss: self.u32(SND_MSS),
            timeouts: (self.len >= TOTAL_RTO + 2).then(|| u16::from_ne_bytes(timeouts)),
            reordering: self.u32(REORDERING),
            reorderings: self.u32(REORD_SEEN),
            duplicates: self.u32(DSACK_DUPS),
            receiver_limited_us: self.u64(RWND_LIMITED),
            samples: Vec::new(),
        }
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes[at..at + 4].try_into().expect("the range is 4 long"))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes[at..at + 8].try_into().expect("the range is 8 long"))
    }
}

// Where the fields lie: include/uapi/linux/tcp.h, the same on all architectures.
const SND_MSS: usize = 16;
const RTT: usize = 68;
const SND_CWND: usize = 80;
const REORDERING: usize = 88;
const TOTAL_RETRANS: usize = 100;
const BYTES_ACKED: usize = 120;
const MIN_RTT: usize = 148;
const DATA_SEGS_OUT: usize = 156;
const RWND_LIMITED: usize = 176;
const DSACK_DUPS: usize = 216;
const REORD_SEEN: usize = 220;
const TOTAL_RTO: usize = 240;
/// More than any kernel fills.
const LEN_MAX: usize = 512;

// The C library knows the first fields.
const _: () = assert!(SND_CWND == std::mem::offset_of!(libc::tcp_info, tcpi_snd_cwnd));
const _: () = assert!(MIN_RTT == std::mem::offset_of!(libc::tcp_info, tcpi_min_rtt));
const _: () = assert!(BYTES_ACKED == std::mem::offset_of!(libc::tcp_info, tcpi_bytes_acked));
