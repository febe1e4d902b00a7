//! The clock that TLS and QUIC are given: time since the machine started.
//!
//! Raw public keys have no dates, so nothing in a handshake needs the calendar; a machine whose
//! clock is years off joins like any other. Retry tokens only compare ages.

use std::time::SystemTime;

use quinn::TimeSource;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::clock;

/// Time since the machine started, in the types of rustls and quinn.
#[derive(Debug)]
pub(crate) struct BootClock;

impl TimeProvider for BootClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(clock::since_boot()))
    }
}

impl TimeSource for BootClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + clock::since_boot()
    }
}
